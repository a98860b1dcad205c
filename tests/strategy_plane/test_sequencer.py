"""When a barrier is due: warmup, decision, deadline, one per session, recovery, and the parameters that move it."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from strategy_plane.barriers.sequencer import Due, LateWatch, SequenceError, Sequencer
from strategy_plane.machine import barrier_sha
from strategy_plane.worker.watch import BEHIND_TOLD, Watch
from tests.recordings import LogBuilder, Market, Message, targets
from triplane.domain import calendars
from triplane.domain.targets import Targets
from triplane.domain.timestamps import MINUTE, SECOND

BARS = "data.bars-0"
DAY = date(2018, 1, 19)
T = calendars.decision_time("XNYS", DAY, "15:30")
YEAR = 365 * 24 * 60 * MINUTE


class Rig:
    """A sequencer on a log in memory; `emit` writes and adopts whatever is due."""

    def __init__(self, gating: tuple[str, ...] = (BARS,)) -> None:
        self.log = LogBuilder()
        self.sequencer = Sequencer(gating)
        self.barriers: list[dict[str, Any]] = []

    def see(self, *items: Message, partition: int = 0) -> Rig:
        for item in items:
            record = self.log.append(item)
            assert record.value is not None
            self.sequencer.observe(record.topic, partition, record.offset, record.value)
        return self

    def emit(self) -> dict[str, Any] | None:
        due = self.sequencer.due()
        if due is None:
            return None
        barrier = self.sequencer.compose(due, self.log.ends, [], "test")
        assert self.sequencer.adopt(barrier, barrier_sha(barrier))
        self.barriers.append(barrier)
        return barrier

    def drain(self) -> list[dict[str, Any]]:
        while self.emit() is not None:
            pass
        return self.barriers


@pytest.fixture
def market() -> Market:
    return Market(history=5, live=3)


def test_nothing_is_due_before_a_configuration(market: Market) -> None:
    rig = Rig().see(*market.history_slices())
    assert rig.sequencer.due() is None
    rig.see(market.config())
    assert rig.sequencer.due() is not None


def test_the_first_readable_record_of_a_version_is_the_version(market: Market) -> None:
    """Another record of a version, and one that nobody can read, leave the configuration that barriers name."""
    first, second = market.config(), market.config(Targets.model_validate({"strategy": {"REBALANCE": "12:00"}}))
    rig = Rig().see(first)
    rules, offset = rig.sequencer.rules, rig.sequencer.config_offset
    rig.see(replace(second, record=second.record | {"seq": first.record["seq"]}))
    rig.see(replace(second, record=second.record | {"assets": "null"}))
    assert (rig.sequencer.rules, rig.sequencer.config_offset) == (rules, offset)
    rig.see(second)
    assert rig.sequencer.rules is not None
    assert rig.sequencer.rules.rebalance == "12:00"
    assert rig.sequencer.config_offset == offset + 3


def test_a_batch_of_history_gives_each_session_its_own_warmup_barrier_in_order(market: Market) -> None:
    rig = Rig().see(market.config(), *market.history_slices())
    barriers = rig.drain()
    assert [b["session"] for b in barriers] == [day.isoformat() for day in market.history_days]
    assert {b["kind"] for b in barriers} == {"warmup"}
    assert [b["t"] for b in barriers] == [calendars.session_close("XNYS", day) + 1 for day in market.history_days]
    assert [b["seq"] for b in barriers] == [1, 2, 3, 4, 5]
    assert barriers[0]["prev_sha"] == ""
    assert [b["prev_sha"] for b in barriers[1:]] == [barrier_sha(b) for b in barriers[:-1]]


def test_the_first_gating_record_at_the_decision_time_makes_the_decision_due(market: Market) -> None:
    rig = Rig().see(market.config(), *market.before_decision(DAY))
    assert rig.emit() is None
    rig.see(market.gating(DAY))
    barrier = rig.emit()
    assert barrier is not None
    assert (barrier["kind"], barrier["session"], barrier["t"], barrier["missing"]) == ("decision", "2018-01-19", T, [])
    assert rig.see(*market.after_decision(DAY)).emit() is None


def test_a_history_slice_never_makes_a_decision_due(market: Market) -> None:
    rig = Rig().see(market.config(), market.daily(market.history_days[0]), market.daily(market.history_days[1]))
    assert [b["kind"] for b in rig.drain()] == ["warmup", "warmup"]


def test_a_session_with_a_decision_gets_no_warmup_and_the_other_way_round(market: Market) -> None:
    rig = Rig().see(market.config(), *market.session(DAY))
    rig.drain()
    rig.see(market.daily(DAY, history=True))
    assert rig.emit() is None
    other = Rig().see(market.config(), market.daily(DAY, history=True))
    other.drain()
    other.see(*market.session(DAY))
    assert [b["kind"] for b in other.drain()] == ["warmup"]


def test_a_bar_out_of_quarantine_tells_no_time_and_makes_nothing_due(market: Market) -> None:
    """It is old and known now: a barrier on it would be a decision on one name, or one before its time."""
    rig = Rig().see(market.config(), *market.history_slices(), *market.before_decision(DAY))
    rig.drain()
    known = {"history": True, "available_time": T + MINUTE, "released": ["ibkr/1"]}
    day, running = market.daily(market.history_days[-1]), market.bar(DAY, T - MINUTE)
    for old in day, running:
        rig.see(replace(old, record=old.record | known))
        assert rig.emit() is None
    assert rig.see(market.gating(DAY)).emit() is not None


def test_loading_history_twice_adds_no_barrier(market: Market) -> None:
    rig = Rig().see(market.config(), *market.history_slices())
    assert len(rig.drain()) == 5
    rig.see(*market.history_slices())
    assert len(rig.drain()) == 5


def test_a_silent_gating_partition_is_waited_for_until_the_deadline(market: Market) -> None:
    rig = Rig((BARS, "data.bars-1")).see(market.config(), market.gating(DAY))
    assert rig.emit() is None
    wait = 20 * SECOND
    rig.see(market.bar(DAY, T + wait))
    assert rig.emit() is None
    rig.see(market.bar(DAY, T + wait + 1))
    barrier = rig.emit()
    assert barrier is not None
    assert barrier["missing"] == ["data.bars-1"]


def test_a_punctuation_of_the_silent_partition_ends_the_wait(market: Market) -> None:
    rig = Rig((BARS, "data.bars-1")).see(market.config(), market.gating(DAY))
    rig.see(market.bar(DAY, T, symbols=False), partition=1)
    barrier = rig.emit()
    assert barrier is not None
    assert barrier["missing"] == []


def test_quotes_alone_reach_the_deadline(market: Market) -> None:
    rig = Rig().see(market.config(), market.quotes(DAY, T - SECOND), market.quotes(DAY, T + 20 * SECOND + 1))
    barrier = rig.emit()
    assert barrier is not None
    assert barrier["missing"] == [BARS]


def test_facts_and_rates_of_the_future_move_no_clock(market: Market) -> None:
    rig = Rig().see(market.config(), *market.before_decision(DAY), *market.facts(), *market.macro())
    assert rig.emit() is None


def test_the_account_tells_time_but_opens_no_session(market: Market) -> None:
    rig = Rig().see(market.config(), market.account_state(T + MINUTE))
    assert rig.emit() is None


def test_two_sessions_that_wait_are_decided_in_order(market: Market) -> None:
    first, second = market.live_days[:2]
    rig = Rig().see(market.config(), *market.session(first), *market.before_decision(second), market.gating(second))
    assert [b["session"] for b in rig.drain()] == [first.isoformat(), second.isoformat()]


def test_an_early_close_moves_the_decision(market: Market) -> None:
    day = date(2018, 7, 3)
    early = calendars.decision_time("XNYS", day, "15:30")
    assert early == calendars.session_close("XNYS", day) - 30 * MINUTE
    bar = Market(history=5, live=1, first_live=day).gating(day)
    barrier = Rig().see(market.config(), bar).emit()
    assert barrier is not None
    assert barrier["t"] == early


def test_a_restart_from_the_last_barrier_repeats_no_session(market: Market) -> None:
    rig = Rig().see(market.config(), *market.history_slices(), *market.session(DAY))
    barriers = rig.drain()
    fresh = Sequencer((BARS,))
    last = barriers[-1]
    fresh.resume(last["seq"], barrier_sha(last), last["t"], last["session"])
    for record in rig.log.records:
        assert record.value is not None
        fresh.observe(record.topic, 0, record.offset, record.value)
    assert fresh.due() is None


def test_the_loser_of_a_race_adopts_the_first_barrier_of_a_seq(market: Market) -> None:
    winner, loser = Rig().see(market.config(), *market.history_slices()), Sequencer((BARS,))
    for record in winner.log.records:
        assert record.value is not None
        loser.observe(record.topic, 0, record.offset, record.value)
    own = loser.due()
    assert own is not None
    lost = loser.compose(own, winner.log.ends, [], "other machine")
    won = winner.emit()
    assert won is not None
    assert loser.adopt(won, barrier_sha(won))
    assert not loser.adopt(lost, barrier_sha(lost))
    following = loser.due()
    assert following is not None
    assert loser.compose(following, winner.log.ends, [], "x")["prev_sha"] == barrier_sha(won)


def test_a_broken_chain_is_refused(market: Market) -> None:
    rig = Rig().see(market.config(), *market.history_slices())
    first = rig.emit()
    assert first is not None
    for damage in ({"seq": 3}, {"seq": 2, "prev_sha": "0" * 64}):
        with pytest.raises(SequenceError, match="does not follow barrier 1"):
            rig.sequencer.adopt({**first, **damage}, "x")


def test_a_configuration_that_does_not_parse_changes_nothing(market: Market) -> None:
    rig = Rig().see(market.config())
    config = market.config(targets(REBALANCE="15:00"))
    broken = Message(config.topic, {**config.record, "values": '{"strategy": {"REBALANCE": "nonsense"}}'})
    rig.see(broken)
    assert rig.sequencer.rules is not None
    assert rig.sequencer.rules.rebalance == "15:30"
    assert rig.sequencer.config_offset == 0


def test_composing_needs_a_configuration(market: Market) -> None:
    with pytest.raises(ValueError, match="control daemon"):
        Sequencer((BARS,)).compose(Due("warmup", "2018-01-19", 1), {}, [], "")


def test_a_barrier_names_the_newest_configuration_of_its_own_cut(market: Market) -> None:
    """An edit that arrives while the cut is made lies outside it: naming it would hold the whole decision."""
    rig = Rig().see(market.config(), *market.history_slices())
    cut = dict(rig.log.ends)
    rig.see(market.config(targets(REBALANCE="15:00")), market.config(targets(REBALANCE="14:30")))
    due = rig.sequencer.due()
    assert due is not None
    before = rig.sequencer.compose(due, cut, [], "")
    assert before["config_offset"] == cut["control.config-0"] - 1 == 0
    assert rig.sequencer.adopt(before, barrier_sha(before))
    after = rig.emit()
    assert after is not None
    assert after["config_offset"] == rig.sequencer.config_offset == rig.log.ends["control.config-0"] - 1


def test_a_session_that_is_none_is_ignored(market: Market) -> None:
    saturday = market.gating(DAY)
    for name in ("2018-01-20", "not a date"):
        rig = Rig().see(market.config(), Message(saturday.topic, {**saturday.record, "session": name}))
        assert rig.emit() is None


def test_observe_names_the_record_that_completes_a_decision(market: Market) -> None:
    sequencer, log = Sequencer((BARS,)), LogBuilder()
    items = [market.config(), *market.session(DAY)]
    completed = []
    for item in items:
        record = log.append(item)
        assert record.value is not None
        completed.append(sequencer.observe(record.topic, 0, record.offset, record.value))
    assert [name for name in completed if name] == ["2018-01-19"]
    assert items[completed.index("2018-01-19")] == market.gating(DAY)


# The three parameters that act in the sequencer and not in the engine: each changes an output. -----------------------------


def test_rebalance_changes_the_barrier(market: Market) -> None:
    def barrier(rebalance: str) -> dict[str, Any] | None:
        rig = Rig().see(market.config(targets(REBALANCE=rebalance)), *market.before_decision(DAY), market.gating(DAY))
        return rig.emit()

    default, earlier, later = barrier("15:30"), barrier("15:00"), barrier("15:45")
    assert default is not None
    assert earlier is not None
    assert default["t"] - earlier["t"] == 30 * MINUTE
    assert later is None


def test_an_hour_that_has_passed_is_taken_from_the_next_session_on(market: Market) -> None:
    """A decision on what was live hours ago would hold every name; the session keeps the hour it had, also where it is edited again."""
    first, second = market.config(), market.config(targets(REBALANCE="14:00"))
    third = market.config(targets(REBALANCE="13:00"))
    rig = Rig().see(first, *market.history_slices())
    rig.drain()
    rig.see(market.bar(DAY, T - 5 * MINUTE), second, third)
    assert rig.sequencer.due() is None
    assert rig.see(market.gating(DAY)).drain()[-1]["t"] == T
    assert rig.barriers[-1]["config_offset"] == rig.sequencer.config_offset
    following = market.live_days[1]
    hour = calendars.decision_time("XNYS", following, "13:00")
    assert rig.see(market.bar(following, hour - MINUTE)).emit() is None
    assert rig.see(market.bar(following, hour)).drain()[-1]["t"] == hour


def test_an_hour_that_is_still_to_come_is_taken_at_once(market: Market) -> None:
    rig = Rig().see(market.config(), market.bar(DAY, T - 120 * MINUTE))
    early, late = market.config(targets(REBALANCE="12:00")), market.config(targets(REBALANCE="14:00"))
    rig.see(early, late)
    assert rig.see(market.bar(DAY, T - 90 * MINUTE)).drain()[-1]["t"] == T - 90 * MINUTE


def test_versions_that_were_in_force_are_no_edit_after_a_restart(market: Market) -> None:
    """They are read again from the start, beside the session's bars, in any order: a late decision stays the one that was due."""
    rig = Rig().see(market.config(), market.config(targets(REBALANCE="14:00")), *market.history_slices())
    last = rig.drain()[-1]
    hour = calendars.decision_time("XNYS", DAY, "14:00")

    def restarted(**known: int) -> Due | None:
        fresh = Sequencer((BARS,))
        fresh.resume(last["seq"], barrier_sha(last), last["t"], last["session"], **known)
        bar = LogBuilder().append(market.bar(DAY, hour + 5 * MINUTE))
        assert bar.value is not None
        for record in [r for r in rig.log.records if r.topic == "control.config"][:1]:
            fresh.observe(record.topic, 0, record.offset, record.value or {})
        fresh.observe(bar.topic, 0, bar.offset, bar.value)
        for record in [r for r in rig.log.records if r.topic == "control.config"][1:]:
            fresh.observe(record.topic, 0, record.offset, record.value or {})
        return fresh.due()

    found = restarted(config_end=2)
    assert found is not None
    assert found.t == hour
    assert restarted() is None  # were it an edit of now


def test_barrier_wait_changes_what_is_missing(market: Market) -> None:
    def barrier(wait: float) -> dict[str, Any] | None:
        rig = Rig((BARS, "data.bars-1"))
        return rig.see(
            market.config(targets(BARRIER_WAIT_S=wait)), market.gating(DAY), market.bar(DAY, T + 15 * SECOND)
        ).emit()

    assert barrier(20.0) is None
    impatient = barrier(10.0)
    assert impatient is not None
    assert impatient["missing"] == ["data.bars-1"]


def test_barrier_late_changes_the_alert(market: Market) -> None:
    def lateness(limit: float) -> int:
        rig = Rig((BARS, "data.bars-1")).see(market.config(targets(BARRIER_LATE_S=limit)), market.gating(DAY))
        rules, watch = rig.sequencer.rules, LateWatch()
        assert rules is not None
        assert watch.check(0, rig.sequencer.awaited(), rules.late) == 0
        return watch.check(40 * SECOND, rig.sequencer.awaited(), rules.late)

    assert lateness(30.0) == 10 * SECOND
    assert lateness(60.0) == 0


def test_lateness_ends_when_the_barrier_comes(market: Market) -> None:
    rig, watch = Rig().see(market.config(), market.gating(DAY)), LateWatch()
    watch.check(0, rig.sequencer.awaited(), SECOND)
    assert watch.check(5 * SECOND, rig.sequencer.awaited(), SECOND) == 4 * SECOND
    rig.drain()
    assert rig.sequencer.awaited() is None
    assert watch.check(6 * SECOND, None, SECOND) == 0


def test_the_wall_clock_awaits_a_barrier_even_in_silence(market: Market) -> None:
    rig = Rig().see(market.config())
    assert rig.sequencer.awaited(T - 1) is None
    awaited = rig.sequencer.awaited(T)
    assert awaited is not None
    assert awaited.session == DAY.isoformat()
    assert Rig().sequencer.awaited(T) is None


def test_sessions_whose_decision_lies_in_the_past_are_told_as_behind(market: Market) -> None:
    """One session is under way as soon as its time comes; with two the first one's intents may be too late."""
    rig = Rig().see(market.config())
    watch = Watch(None, None, rig.sequencer, None, _none_behind, lambda: None, lambda: 0, _nothing_hidden)  # type: ignore[arg-type]
    watch.caught_up = True
    told = []
    for day in market.live_days:
        rig.see(*market.before_decision(day))
        told.append((rig.sequencer.sessions_left, watch._reason(0, 0)))
        rig.see(market.gating(day))
        told.append((rig.sequencer.sessions_left, watch._reason(0, 0)))
    assert [left for left, _ in told] == [0, 1, 1, 2, 2, 3]
    assert [words for left, words in told if left < 2] == [""] * 3
    assert told[-1][1] == "catching up: 3 session(s) wait for their decision, 0 record(s) of the log are to be read"
    assert watch._reason(BEHIND_TOLD - 1, 0).startswith("catching up: 3")
    rig.drain()
    assert (rig.sequencer.sessions_left, watch._reason(BEHIND_TOLD - 1, 0)) == (0, "")
    assert watch._reason(BEHIND_TOLD, 0) == (
        f"catching up: 0 session(s) wait for their decision, {BEHIND_TOLD} record(s) of the log are to be read"
    )


async def _none_behind() -> dict[str, int]:
    return {}


async def _nothing_hidden() -> str:
    return ""


def test_an_hour_that_the_last_barrier_lies_behind_is_not_waited_for(market: Market) -> None:
    """A plane that starts in the evening has history available since then: today's decision never comes."""
    first = market.live_days[0]
    rig = Rig().see(market.config())
    rig.sequencer.resume(1, "", calendars.decision_time("XNYS", first, "15:30") + MINUTE, "2018-01-18")
    rig.see(*market.before_decision(first), market.gating(first))
    assert rig.sequencer.due() is None
    assert (rig.sequencer.sessions_left, rig.sequencer.decides_within(0)) == (0, False)


def test_a_decision_is_near_from_the_span_before_it_until_it_is_made(market: Market) -> None:
    first, second = market.live_days[:2]
    rig = Rig()
    assert not rig.sequencer.decides_within(YEAR)  # without a configuration nothing is decided
    rig.see(market.config(), *market.before_decision(first))
    distance = calendars.decision_time("XNYS", first, "15:30") - rig.sequencer._clock
    assert distance > 0
    assert not rig.sequencer.decides_within(distance - 1)
    assert rig.sequencer.decides_within(distance)
    rig.see(market.gating(first))
    assert rig.sequencer.decides_within(0)
    rig.drain()
    assert not rig.sequencer.decides_within(YEAR)
    rig.see(*market.before_decision(second))
    assert rig.sequencer.decides_within(YEAR)
