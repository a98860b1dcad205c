"""A market that outran the planes twice running goes slower, and only then."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.broker.gateways import GatewayProcess
from tests.replay.logs import HandLog
from tests.waiting import wait
from triplane.cli.live_state import LiveState
from triplane.cli.market_pace import MarketPace
from triplane.runtime import loopback


def slowed(pace: MarketPace, *late: bool, first: int = 753, apart_s: float = 2.0) -> list[float]:
    """The pace after each decision; one comes every `apart_s`, and is looked at twice."""
    found, known = list[float](), dict[int, bool]()
    for number, each in enumerate(late):
        known[first + number] = each
        now = (first + number) * apart_s
        changed = pace.judge(known, now) or pace.judge(known, now + 0.3)
        assert changed == (pace.speed != (found[-1] if found else 300.0))
        found.append(pace.speed)
    return found


def test_one_late_decision_is_no_reason_and_two_running_are() -> None:
    assert slowed(MarketPace(300.0)) == []
    assert slowed(MarketPace(300.0), True, False, True, False) == [300.0] * 4
    assert slowed(MarketPace(300.0), False, True, True, False) == [300.0, 300.0, 150.0, 150.0]
    assert slowed(MarketPace(300.0), True, True) == [300.0, 150.0]


def test_what_was_late_at_another_pace_does_not_count_again() -> None:
    assert slowed(MarketPace(300.0), True, True, True, True, apart_s=3.0) == [300.0, 150.0, 150.0, 75.0]


def test_what_a_stopped_process_makes_up_for_is_no_reason() -> None:
    pace = MarketPace(300.0)
    known = dict.fromkeys(range(753, 760), False)
    pace.judge(known, 0.0)
    for number, seq in enumerate(range(760, 772)):
        known[seq] = True
        assert not pace.judge(known, 60.0 + 0.1 * number)
    known |= dict.fromkeys(range(772, 780), True)
    assert not pace.judge(known, 61.5)
    assert pace.speed == 300.0


@pytest.mark.parametrize(("speed", "ends"), [(300.0, 30.0), (100.0, 30.0), (10.0, 10.0)])
def test_it_ends_at_the_pace_of_the_decision_itself(speed: float, ends: float) -> None:
    pace = MarketPace(speed)
    for seq in range(40):
        pace.judge(dict.fromkeys(range(seq), True), seq * 30.0)
    assert pace.speed == ends


def test_the_first_decision_on_an_intent_tells_whether_its_barrier_came_too_late() -> None:
    log, state = HandLog(), LiveState()
    for seq, code, child in (
        (753, "EXPIRED", ""),
        (754, "OK", ""),
        (754, "EXPIRED", "DU1/754/KO/1/0"),
        (754, "EXPIRED", ""),
    ):
        state.take(log.put("order.decisions", seq=seq, symbol="KO", code=code, order_ref=child, allowed=code == "OK"))
    assert state.too_late == {753: True, 754: False}


async def test_the_gateway_takes_it_and_is_told_again_when_it_has_forgotten(tmp_path: Path) -> None:
    pace, said = MarketPace(300.0), list[str]()
    late = {753: True}
    gateway = GatewayProcess(tmp_path, "--hold")
    url = f"http://127.0.0.1:{gateway.http_port}"
    try:
        async with loopback.async_client(5.0) as client:

            async def told() -> float:
                return float((await client.get(f"{url}/status")).json()["fastest"])

            assert await told() == 300.0
            await pace.keep(client, url, await told(), {}, said.append)
            assert await told() == 300.0
            await pace.keep(client, url, await told(), late, said.append)
            assert await told() == 300.0
            wait(1.0)  # wall time between the decisions is what is judged
            late |= {754: True}
            await pace.keep(client, url, await told(), late, said.append)
            assert await told() == 150.0
            await client.post(f"{url}/speed", json={"speed": 300})
            await pace.keep(client, url, await told(), late, said.append)
            assert await told() == 150.0
            refused = await client.post(f"{url}/speed", json={"speed": 301})
            assert refused.status_code == 400
            assert refused.json()["error"] == "speed is 301; give a number from 1 to 300"
    finally:
        gateway.stop()
    assert said == [
        "two decisions running came too late for the market: from here on its clock goes at 150x around a decision, for the machine is busy"
    ]
