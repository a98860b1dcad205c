"""The log may end inside an input: what it stops is stopped after the next start, wherever the log ended (laws L5, L8, L11)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from order_plane import plain, recording
from order_plane.codes import Code
from order_plane.engine import OrderEngine
from order_plane.ledger.owed import DECIDED
from tests.order_plane.desk import ACCOUNT, Broker, Desk, targets
from tests.order_plane.test_flows import invested
from tests.order_plane.test_reconciliation import compare
from triplane.domain.timestamps import DAY, SECOND


def command(desk: Desk) -> None:
    written = {"event_time": desk.wall, "available_time": desk.wall, "arguments": {"scope": "own"}}
    desk.record(
        "control.commands", {"command_id": "k", "command": "kill.trip", "actor": "ann", "reason": "r", **written}
    )


def liquidation(desk: Desk) -> None:
    execution = desk.broker.execute("AAPL", -1, 100.0, 160.0)
    execution["labels"]["liquidation"] = "1"
    desk.report(execution)


def unexplained(desk: Desk) -> None:
    desk.broker.positions["AAPL"] += 100.0
    desk.broker.cash -= 16_000.0
    compare(desk)


def by_hand(desk: Desk) -> None:
    desk.report(desk.broker.execute("AAPL", 1, 100.0, 160.0))
    compare(desk, 1)


def unknown_order(desk: Desk) -> None:
    execution = desk.broker.execute("BAC", 1, 100.0, 31.0)
    execution |= {"order_ref": f"{ACCOUNT}/77/BAC/1/0", "order_id": 999, "client_id": 12, "perm_id": 99}
    desk.report(execution)


def altered_intents(desk: Desk) -> None:
    desk.intents(1, {"AAPL": 400.0})


def refusals(desk: Desk) -> None:
    desk.auto = False
    desk.intents(2, {"KO": 100.0, "BAC": 100.0, "GE": 100.0})
    for each in desk.sent[-3:]:
        refused = {"kind": "error", "order_id": each.fields["order_id"], "client_id": 12, "code": 201, "text": "no"}
        desk.report(refused)


def adopted(**settings: object) -> Desk:
    broker = Broker(cash=920_000.0, positions={"AAPL": 500.0})
    return Desk(settings=targets(**settings), broker=broker)


def halted() -> Desk:
    return adopted(FOREIGN_POSITIONS="halt").open()


def poor_record() -> Desk:
    """A month of losses, its last day about to end."""
    desk = adopted(FOREIGN_POSITIONS="adopt", PSR_MIN_OBS=20, KILL_PNL=-0.5, MAX_DD_KILL_SWITCH=0.9).open()
    for day in range(20):
        desk.now = desk.engine.s.account.day_end - SECOND
        desk.quotes(mids={"AAPL": 160.0 - day - day % 2})
        desk.tick(1.0)
        if day < 19:
            desk.now += 2 * SECOND
            desk.quotes(mids={"AAPL": 160.0 - day - day % 2})
    return desk


def day_ends(desk: Desk) -> None:
    desk.now += DAY // 12
    desk.quotes(mids={"AAPL": 140.0})


CALLING = ("difference", "baseline", "day_ended")
"""Decisions that call for a stop; before them nothing was taken over, and the input comes again."""
SCENARIOS: dict[str, tuple[Callable[[], Desk], Callable[[Desk], None], str, dict[str, str]]] = {
    "a command": (invested, command, "stopped", {}),
    "a liquidation": (invested, liquidation, "stopped", {}),
    "an unexplained position": (invested, unexplained, "none", {"AAPL": Code.UNEXPLAINED}),
    "a trade by hand, exclude": (invested, by_hand, "none", {"AAPL": Code.FOREIGN_EXECUTION}),
    "a trade by hand, halt": (lambda: invested(FOREIGN_POSITIONS="halt"), by_hand, "none", {"*": Code.FOREIGN_HALT}),
    "foreign positions, halt": (halted, lambda _: None, "none", {"*": Code.FOREIGN_HALT}),
    "an unknown order": (invested, unknown_order, "none", {"BAC": Code.UNKNOWN_ORDER}),
    "altered intents": (invested, altered_intents, "none", {"*": Code.NONDETERMINISM}),
    "refusals": (lambda: invested(REJECTS_KILL=3), refusals, "stopped", {}),
    "a poor record": (poor_record, day_ends, "halved", {}),
}


def again(desk: Desk, log: list[dict]) -> Desk:
    """A new run on a log that ended earlier."""
    engine = OrderEngine(ACCOUNT)
    recording.fold_log(engine, log, desk.lookup)
    new = replace(desk, auto=False, log=[("order.events", event) for event in log], inputs=[], alerts=[])
    new.engine = engine
    new.start()
    return new


@pytest.mark.parametrize("name", SCENARIOS)
def test_what_an_input_stops_is_stopped_wherever_the_log_ended_in_it(name: str):
    make, happens, level, holds = SCENARIOS[name]
    desk = make()
    before = len(desk.recorded())
    happens(desk)
    whole = desk.recorded()
    assert (desk.engine.s.kill.level, desk.engine.s.holds) == (level, holds)
    stops = [i for i, event in enumerate(whole) if event["kind"] in ("killed", "held")]
    assert len(stops) == 1
    cause = max(i for i in range(stops[0]) if whole[i]["kind"] in CALLING or whole[i]["kind"] not in DECIDED)
    assert cause >= before or name == "foreign positions, halt"
    missed = 0
    for end in range(cause + 1, len(whole) + 1):
        new = again(desk, whole[:end])
        told = [event["kind"] for event in new.recorded()[end:]]
        assert (new.engine.s.kill.level, new.engine.s.holds) == (level, holds), f"{end}: {told}"
        missed += "killed" in told or "held" in told
        assert not new.engine.s.owed or end > stops[0]
        # The same from the log alone, and again after a run that ended at its first event.
        twice = again(new, new.recorded())
        assert (twice.engine.s.kill.level, twice.engine.s.holds) == (level, holds)
        cut = new.recorded()[: end + 1]
        assert cut[-1]["kind"] == "epoch"
        third = again(new, cut)
        assert (third.engine.s.kill.level, third.engine.s.holds) == (level, holds)
    assert missed


@pytest.mark.parametrize("name", SCENARIOS)
def test_what_a_person_has_lifted_is_not_owed_any_more(name: str):
    make, happens, _, holds = SCENARIOS[name]
    desk = make()
    happens(desk)
    for symbol in holds:
        about = {"command": "order.release", "actor": "ann", "reason": "r", "arguments": {"symbol": symbol}}
        desk.record("control.commands", {"command_id": f"r{symbol}", "event_time": desk.wall, **about})
    desk.wall += SECOND
    about = {"command": "kill.rearm", "actor": "ann", "reason": "r", "arguments": {}}
    desk.record("control.commands", {"command_id": "a", "event_time": desk.wall, **about})
    new = again(desk, desk.recorded())
    assert (new.engine.s.kill.level, new.engine.s.holds) == ("none", {})
    assert plain.load(type(new.engine.s), plain.dump(new.engine.s)).owed == new.engine.s.owed
