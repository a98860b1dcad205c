"""A market that outran the planes twice running goes slower, and only then."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.broker.gateways import GatewayProcess
from triplane.cli import log_relay
from triplane.cli.market_pace import MarketPace, outrun
from triplane.runtime import loopback


def said(seq: int) -> str:
    """What the order plane's log says to people of intents that came too late."""
    detail = f"The intents of barrier {seq} are not traded. The intents were valid until 2018-01-23T20:35:00Z, and it is later."
    entry = {"daemon": "order", "code": "EXPIRED", "detail": detail, "symbol": "", "event": "alert", "level": "warning"}
    return f"order: {log_relay.sentence(json.dumps(entry))}"


def refused(seq: int, name: str = "GE", child: int = 1) -> str:
    """What it says of an order that the broker refused for its time."""
    detail = f"DU1234567/{seq}/{name}/{child}/0 came to the broker after its good-till time: error 201 (order rejected)"
    entry = {"daemon": "order", "code": "TOO_LATE", "detail": detail, "symbol": name, "event": "alert"}
    return f"order: {log_relay.sentence(json.dumps(entry))}"


def held(seq: int, detail: str, code: str = "HOLD_UNIVERSE_MISSING") -> dict[str, object]:
    """The strategy plane's log entry of a decision that held everything."""
    return {"event": "decision held", "seq": seq, "code": code, "detail": detail}


STALE = "too many names are without usable prices: 20 of 20 (BARS_STALE 20)"


def paces(pace: MarketPace, *late: int, apart_s: float = 2.0) -> list[float]:
    """The pace after each barrier of `late` came too late; a decision comes every `apart_s`."""
    found = []
    for seq in late:
        before = pace.speed
        sentence = pace.hear(said(seq), seq * apart_s)
        assert bool(sentence) == (pace.speed != before)
        assert not sentence or f"at {pace.speed:g}x around a decision" in sentence
        found.append(pace.speed)
    return found


def test_one_late_decision_is_no_reason_and_two_running_are() -> None:
    assert paces(MarketPace(300.0), 753, 755, 757) == [300.0, 300.0, 300.0]
    assert paces(MarketPace(300.0), 753, 754) == [300.0, 150.0]
    assert paces(MarketPace(300.0), 753, 755, 756, 760) == [300.0, 300.0, 150.0, 150.0]


def test_first_orders_that_come_after_their_time_are_late_decisions_too() -> None:
    """On a busy machine some intents expire and those of the next barrier just do not; each barrier counts once, however many names it has."""
    pace = MarketPace(300.0)
    assert pace.hear(said(753), 0.0) == ""
    assert "at 150x" in pace.hear(refused(754), 2.0)
    assert pace.hear(refused(754, "UNH"), 2.0) == ""
    assert pace.hear(refused(755), 5.0) == ""
    assert "at 75x" in pace.hear(said(756), 8.0)
    assert pace.hear(refused(757, child=2), 12.0) == ""
    assert pace.hear(refused(758, "BRK.B"), 16.0) == ""
    assert "at 37.5x" in pace.hear(refused(759, "BRK.B"), 20.0)


def test_decisions_held_for_late_data_are_late_decisions_too() -> None:
    """A market that outran the data plane holds every decision: nothing is sent that could expire."""
    pace = MarketPace(300.0)
    assert pace.hear(said(754), 0.0) == ""
    assert "at 150x" in pace.hear_entry(held(755, STALE), 3.0)
    assert pace.hear_entry(held(756, "data.bars-0", "HOLD_DATA_MISSING"), 6.0) == ""
    mixed = "too many names are without usable prices: 9 of 20 (DATA_STALE 5, GATE_CLOSED 3, HALTED 1)"
    assert "at 75x" in pace.hear_entry(held(757, mixed), 9.0)
    # The daemons' logs are read one by one: the earlier of two may be heard last.
    assert pace.hear_entry(held(759, STALE), 15.0) == ""
    assert "at 37.5x" in pace.hear(said(758), 18.0)


@pytest.mark.parametrize(
    ("code", "detail", "late"),
    [
        ("HOLD_UNIVERSE_MISSING", STALE, True),
        ("HOLD_UNIVERSE_MISSING", "too many names are without usable prices: 2 of 3 (BARS_STALE 1, HALTED 1)", False),
        ("HOLD_UNIVERSE_MISSING", "too many names are without usable prices: 1 of 1 (DATA_STALE 1)", False),
        ("HOLD_UNIVERSE_MISSING", "too many names are without usable prices: 9 of 20 (GATE_CLOSED 9)", False),
        ("HOLD_UNIVERSE_MISSING", "too many names are without usable prices: KO is held and has no price", False),
        ("HOLD_DATA_MISSING", "a gating partition had not reached the decision time: data.quotes-0", True),
        ("HOLD_GATE_CLOSED", "no decision: clock of ibkr (CLOCK_BACKWARDS)", False),
        ("HOLD_KILLED", STALE, False),
    ],
)
def test_only_holds_of_many_names_whose_data_are_late_tell_of_the_machine(code: str, detail: str, late: bool) -> None:
    assert outrun(code, detail) is late


def test_other_words_do_not_count() -> None:
    pace = MarketPace(300.0)
    assert pace.hear(said(753), 0.0) == ""
    assert pace.hear(said(754).replace("EXPIRED", "SUPERSEDED"), 2.0) == ""
    assert pace.hear("order: not ready: broker: the connection ended", 2.0) == ""
    assert pace.speed == 300.0


def test_what_has_slowed_the_market_does_not_count_again() -> None:
    assert paces(MarketPace(300.0), 753, 754, 755, 756, apart_s=3.0) == [300.0, 150.0, 150.0, 75.0]


def test_what_a_stopped_process_makes_up_for_is_no_reason() -> None:
    assert paces(MarketPace(300.0), *range(753, 770), apart_s=0.3) == [300.0] * 17
    assert paces(MarketPace(50.0), *range(753, 770), apart_s=2.0) == [50.0] * 17


def test_what_a_process_that_was_started_again_makes_up_for_is_no_reason() -> None:
    pace = MarketPace(300.0)
    pace.excuse(100.0)
    assert [pace.hear(said(753), 101.0), pace.hear(said(754), 119.0), pace.hear(said(755), 121.0)] == [""] * 3
    assert "at 150x" in pace.hear(said(756), 123.0)


@pytest.mark.parametrize(("speed", "ends"), [(300.0, 30.0), (100.0, 30.0), (10.0, 10.0)])
def test_it_ends_at_the_pace_of_the_decision_itself(speed: float, ends: float) -> None:
    assert paces(MarketPace(speed), *range(40), apart_s=30.0)[-1] == ends


async def test_the_gateway_takes_it_and_is_told_again_when_it_has_forgotten(tmp_path: Path) -> None:
    pace = MarketPace(300.0)
    gateway = GatewayProcess(tmp_path, "--hold")
    url = f"http://127.0.0.1:{gateway.http_port}"
    try:
        async with loopback.async_client(5.0) as client:

            async def told() -> float:
                return float((await client.get(f"{url}/status")).json()["fastest"])

            await pace.keep(client, url, await told())
            assert await told() == 300.0
            paces(pace, 753, 754)
            await pace.keep(client, url, await told())
            assert await told() == 150.0
            await client.post(f"{url}/speed", json={"speed": 300})
            await pace.keep(client, url, await told())
            assert await told() == 150.0
            refused = await client.post(f"{url}/speed", json={"speed": 301})
            assert refused.status_code == 400
            assert refused.json()["error"] == "speed is 301; give a number from 1 to 300"
    finally:
        gateway.stop()
