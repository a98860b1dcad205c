"""The comparison behind `replay --verify`: it finds the first differing field, and only a real one."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import codec
from tests.replay.logs import HandLog
from triplane.replay import orders, strategy, verification
from triplane.replay.comparison import compare_topic, difference
from triplane.replay.recording import Recording, combined, digest
from triplane.runtime.kafka_in import LogRecord


def logged(topic: str, record: str, values: list[dict]) -> list[LogRecord]:
    result = []
    for offset, value in enumerate(values):
        raw = codec.load().encode(record, value)
        result.append(LogRecord(topic, 0, offset, b"k", codec.load().decode(record, raw), "", raw, {}))
    return result


def regimes(n: int) -> list[dict]:
    return [{"seq": i, "state": "Calm", "posterior": [0.1 * i, 1 - 0.1 * i], "brake": 1.0} for i in range(n)]


def test_equal_records_are_identical():
    recorded = logged("strategy.regime", "RegimeState", regimes(4))
    verdict = compare_topic("strategy.regime", recorded, regimes(4))
    assert verdict.identical
    assert verdict.divergence is None
    assert verdict.sha == digest(r.body for r in recorded)


def test_the_first_divergence_names_offset_and_field():
    replayed = regimes(4)
    replayed[2]["posterior"][1] += 1e-6
    replayed[3]["state"] = "Storm"
    verdict = compare_topic("strategy.regime", logged("strategy.regime", "RegimeState", regimes(4)), replayed)
    assert not verdict.identical
    assert verdict.divergence is not None
    assert (verdict.divergence.offset, verdict.divergence.field) == (2, "posterior[1]")
    assert (verdict.divergence.recorded, verdict.divergence.replayed) == (repr(1 - 0.2), repr(1 - 0.2 + 1e-6))
    assert "strategy.regime@2" in str(verdict.divergence)


def test_a_log_that_lost_its_beginning_is_told_as_that():
    verdict = compare_topic("strategy.regime", logged("strategy.regime", "RegimeState", regimes(4)[2:]), regimes(4))
    assert "; the log begins with what the replay writes as number 3: its beginning is lost, or" in str(
        verdict.divergence
    )
    other = regimes(4)
    other[0]["state"] = "Storm"
    verdict = compare_topic("strategy.regime", logged("strategy.regime", "RegimeState", regimes(4)), other)
    assert "lost" not in str(verdict.divergence)
    swapped = [regimes(4)[place] for place in (1, 0, 2)]
    verdict = compare_topic("strategy.regime", logged("strategy.regime", "RegimeState", regimes(4)[:3]), swapped)
    assert "lost" not in str(verdict.divergence)


def test_last_bits_are_not_identical_and_within_tolerance():
    replayed = regimes(4)
    replayed[1]["posterior"][0] = math.nextafter(replayed[1]["posterior"][0], 1)
    verdict = compare_topic("strategy.regime", logged("strategy.regime", "RegimeState", regimes(4)), replayed)
    assert not verdict.identical
    assert verdict.divergence is None
    assert 0 < verdict.worst < 1e-9
    assert verdict.last_bits is not None
    assert (verdict.last_bits.offset, verdict.last_bits.field) == (1, "posterior[0]")
    assert (verdict.last_bits.recorded, verdict.last_bits.replayed) == ("0.1", "0.10000000000000002")
    whole = verification.Verdict([verdict], verdict.sha, same_fingerprint=True, recorded_fingerprint="here")
    assert not whole.holds
    assert str(whole).startswith(
        "first divergence: strategy.regime@1 field posterior[0]: recorded 0.1, replayed 0.1000"
    )
    assert "in its last bits" in str(whole)


def test_the_largest_difference_is_that_of_all_fields_and_a_larger_one_elsewhere_is_told_too():
    replayed = regimes(4)
    replayed[1]["posterior"][0] = math.nextafter(replayed[1]["posterior"][0], 1)
    replayed[1]["brake"] += 3e-10
    small = compare_topic("strategy.regime", logged("strategy.regime", "RegimeState", regimes(4)), replayed)
    assert small.last_bits is not None
    assert small.last_bits.field == "posterior[0]"
    assert small.worst == pytest.approx(3e-10, rel=1e-3)
    other = regimes(4)
    other[3]["state"] = "Storm"
    large = compare_topic("strategy.regime", logged("strategy.regime", "RegimeState", regimes(4)), other)
    told = str(verification.Verdict([small, large], "", same_fingerprint=True, recorded_fingerprint=""))
    assert "strategy.regime@1 field posterior[0]" in told
    assert "in its last bits on one fingerprint; by more than 1e-9, first divergence: strategy.regime@3 field" in told
    alone = str(verification.Verdict([small], "", same_fingerprint=True, recorded_fingerprint=""))
    assert alone.endswith("in its last bits on one fingerprint (largest difference 3.0e-10)")


@pytest.mark.parametrize(("gap", "diverges"), [(9e-10, False), (1.1e-9, True)])
def test_what_differs_by_more_than_a_billionth_is_no_last_bit(gap: float, diverges: bool):
    replayed = regimes(2)
    replayed[1]["posterior"][0] += gap
    verdict = compare_topic("strategy.regime", logged("strategy.regime", "RegimeState", regimes(2)), replayed)
    assert (verdict.divergence is not None, verdict.last_bits is not None) == (diverges, not diverges)


def test_a_zero_of_the_other_sign_is_not_identical_either():
    recorded, replayed = regimes(2), regimes(2)
    replayed[1]["brake"], recorded[1]["brake"] = -0.0, 0.0
    verdict = compare_topic("strategy.regime", logged("strategy.regime", "RegimeState", recorded), replayed)
    assert not verdict.identical
    assert verdict.last_bits is not None
    assert "strategy.regime@1" in str(verdict.last_bits)


def test_missing_and_surplus_records():
    recorded = logged("strategy.regime", "RegimeState", regimes(3))
    short = compare_topic("strategy.regime", recorded, regimes(2))
    assert short.divergence is not None
    assert short.divergence.offset == 2
    assert compare_topic("strategy.regime", recorded, regimes(4)).divergence is not None
    forgiven = compare_topic("strategy.regime", recorded, regimes(4), tail=1)
    assert forgiven.divergence is None
    assert len(forgiven.notes) == 1


numbers = st.floats(allow_nan=True, allow_infinity=True)
trees = st.recursive(
    numbers | st.integers() | st.text(max_size=3),
    lambda t: st.lists(t, max_size=3) | st.dictionaries(st.text(max_size=2), t, max_size=3),
)


@given(trees)
def test_a_value_does_not_differ_from_itself(tree):
    assert difference(tree, tree, 0.0) is None


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=5), st.data())
def test_a_changed_element_is_found(values, data):
    index = data.draw(st.integers(0, len(values) - 1))
    other = list(values)
    other[index] += 1 + abs(other[index])
    found = difference(values, other, 1e-9)
    assert found is not None
    assert found.path == f"[{index}]"
    assert (found.recorded, found.replayed) == (values[index], other[index])


def test_digests_keep_borders_and_names():
    assert digest([b"ab", b"c"]) != digest([b"a", b"bc"])
    assert combined({"a": "1", "b": "2"}) == combined({"b": "2", "a": "1"})
    assert combined({"a": "1", "b": "2"}) != combined({"a": "2", "b": "1"})


def barriers(log: HandLog, count: int) -> list[LogRecord]:
    written, previous = [], ""
    for seq in range(1, count + 1):
        written.append(log.put("strategy.barriers", seq=seq, prev_sha=previous, kind="decision"))
        previous = strategy.sha(written[-1].body)
    return written


@pytest.mark.parametrize("foreign", [{"seq": 9_000}, {"seq": 4, "prev_sha": "0" * 64}], ids=["seq", "prev_sha"])
def test_a_record_that_follows_no_barrier_is_named_and_nobodys_determinism_is_blamed(foreign: dict):
    log = HandLog()
    log.put("order.account", account="DU1")
    barriers(log, 3)
    log.put("strategy.barriers", kind="decision", **foreign)
    with pytest.raises(strategy.ReplayError) as caught:
        verification.verify(log.recording())
    said = str(caught.value)
    assert said.startswith("strategy.barriers-0@3 does not belong to the chain of barriers")
    assert f"its barrier {foreign['seq']} does not follow barrier 3" in said
    assert "find who wrote it" in said


def test_barriers_whose_beginning_was_deleted_are_lost_and_nobodys():
    log = HandLog()
    log.put("order.account", account="DU1")
    barriers(log, 5)
    kept = log.recording().raw
    rest = [record for name in kept for record in kept[name] if name != "strategy.barriers" or record.offset >= 3]
    with pytest.raises(
        strategy.ReplayError, match=r"^strategy\.barriers-0 begins at 3, with barrier 4: records of the log are lost"
    ):
        verification.verify(Recording.of(rest))


def test_what_the_worker_passes_over_on_the_barrier_log_is_passed_over_and_told():
    """A blank record in front, garbage, a repeat and a loser's barrier: none of them was ever stepped."""
    log = HandLog()
    log.put("strategy.barriers", kind="decision")
    log.put_malformed("strategy.barriers")
    taken = barriers(log, 2)
    log.put("strategy.barriers", seq=2, kind="decision", session="2018-02-05")
    found, passed_over = strategy.chain(log.recording())
    assert found == taken
    assert [sentence.partition(" ")[0] for sentence in passed_over] == [
        "strategy.barriers-0@0",
        "strategy.barriers-0@1",
    ]
    with pytest.raises(strategy.ReplayError, match=r"holds no strategy\.barriers: the Strategy Plane has not"):
        strategy.chain(HandLog().recording())


def test_a_topic_that_is_gone_with_what_follows_from_it_still_there_was_lost():
    """Not a plane that has not run: made anew, the topic is empty."""
    log = HandLog()
    with pytest.raises(strategy.ReplayError, match=r"holds no order\.events: the Order Plane has not run yet"):
        orders.verify(log.recording(), "DU1")
    log.put_malformed("order.events")
    log.put("order.decisions", account="DU1")
    log.put("strategy.intents", account="DU1")
    with pytest.raises(
        strategy.ReplayError, match=r"holds order\.decisions but no order\.events: records of the log are"
    ):
        orders.verify(log.recording(), "DU1")
    with pytest.raises(
        strategy.ReplayError, match=r"holds strategy\.intents but no strategy\.barriers: records of the"
    ):
        strategy.chain(log.recording())
