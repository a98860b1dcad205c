"""`triplane order resolve`: what a person says of an order, and what the broker says of it afterwards."""

from __future__ import annotations

import math

import pytest

from order_plane.codes import Code
from order_plane.ledger.order_state import State
from order_plane.messages import Place, RequestSnapshot
from tests.order_plane.desk import Desk
from tests.order_plane.test_reconciliation import compare


def sent(targets: dict[str, float] | None = None) -> tuple[Desk, Place]:
    """A reconciled desk that has sent orders which the broker has not answered yet, and the first of them."""
    desk = Desk(auto=False).open()
    for report in desk.broker.snapshot():
        desk.report(report)
    desk.quotes()
    desk.intents(1, targets or {"AAPL": 500.0})
    return desk, desk.sent[0]


def resolve(desk: Desk, **arguments: str) -> None:
    """A person's word, by default of the first order."""
    desk.record(
        "control.commands",
        {
            "command_id": str(len(desk.log)), "command": "order.resolve", "arguments": {"order_ref": desk.sent[0].order_ref} | arguments,
            "actor": "a", "reason": "b",
        },
    )  # fmt: skip


def fills(desk: Desk) -> list[tuple[str, float]]:
    return [(fill["kind"], fill["quantity"]) for fill in desk.appended("order.fills") if fill["kind"] != "parent"]


def test_the_brokers_own_execution_replaces_what_a_person_told_of_it():
    """Booked beside it, the units would count twice until a snapshot shows a position that nothing explains."""
    desk, order = sent()
    cash = desk.engine.s.book.cash
    resolve(desk, outcome="cancelled", quantity="300", price="160")
    book = desk.engine.s.book
    paid = [cash - book.cash]
    taken = desk.broker.place(order.fields)
    for quantity in (200.0, 100.0, 50.0):  # the last is beyond what the person told of
        desk.report(desk.broker.fill(taken, quantity, 150.0))
        paid.append(cash - book.cash)
        assert not book.live_orders("AAPL")
    assert paid == [300 * 160.0, 200 * 150.0 + 100 * 160.0, 300 * 150.0, 350 * 150.0]
    assert book.position("AAPL") == 350.0
    assert book.orders[order.order_ref].booked == 350.0
    assert fills(desk) == [
        ("inferred", 300.0), ("correction", 100.0), ("execution", 200.0), ("correction", 0.0), ("execution", 100.0), ("execution", 50.0),
    ]  # fmt: skip
    # Nothing is learned from a price that a person told.
    assert desk.engine.s.costs.posterior("Standard", desk.engine.folded.targets).linear == (
        desk.engine.folded.targets.strategy.LAMBDA_INIT
    )


def test_resolving_by_hand():
    desk, order = sent({"AAPL": 500.0, "BAC": 100.0})
    ref = order.order_ref
    for bad in ({"order_ref": "nothing"}, {"order_ref": ref, "outcome": "vanished"}, {"order_ref": ref, "quantity": "x"},
                {"order_ref": ref, "outcome": "filled", "quantity": "100"}, {"order_ref": ref, "outcome": "filled", "quantity": "501", "price": "160"},
                {"order_ref": ref, "outcome": "filled", "quantity": "0.5", "price": "160"}, {"order_ref": ref, "outcome": "filled", "quantity": "inf", "price": "160"},
                *({"order_ref": ref, "outcome": "filled", "quantity": "100", "price": price} for price in ("inf", "nan", "0", "-160", "1e308", "16000", "1.6"))):  # fmt: skip
        resolve(desk, **bad)
        assert desk.alerts[-1].code == Code.BAD_COMMAND
    resolve(desk, order_ref=ref, outcome="filled", quantity="300", price="160")
    assert desk.engine.s.book.position("AAPL") == 300.0
    assert desk.state(ref) == State.CANCELLED  # the rest of it will not be filled
    assert next(f["kind"] for f in desk.appended("order.fills")) == "inferred"
    desk.record(
        "control.commands",
        {"command_id": "z", "command": "order.release", "arguments": {"symbol": "GE"}, "actor": "a", "reason": "b"},
    )
    assert desk.alerts[-1].code == Code.BAD_COMMAND
    resolve(desk, order_ref=desk.sent[1].order_ref, outcome="cancelled")
    assert desk.state(desk.sent[1].order_ref) == State.CANCELLED
    resolve(desk, order_ref=desk.sent[1].order_ref)
    assert desk.alerts[-1].code == Code.BAD_COMMAND


def test_an_order_that_a_person_calls_filled_and_the_broker_shows_live_is_unknown():
    """A live order believed dead could fill again, and nothing would count it."""
    desk, order = sent()
    taken = desk.broker.place(order.fields)
    resolve(desk, outcome="filled", quantity="500", price="160")
    assert desk.state(order.order_ref) is State.FILLED
    desk.report(desk.broker.opened(taken))
    assert desk.alerts[-1].code == Code.ANOMALY
    assert desk.state(order.order_ref) is State.UNKNOWN
    assert desk.engine.s.book.live_orders("AAPL")
    desk.report(desk.broker.fill(taken, 500.0, 150.0))
    assert desk.state(order.order_ref) is State.FILLED
    desk.report(desk.broker.opened(taken, status="Submitted"))  # now it is late
    assert desk.state(order.order_ref) is State.FILLED
    assert desk.engine.s.book.position("AAPL") == 500.0


def test_an_order_filled_in_part_that_a_person_calls_filled_may_live():
    desk, order = sent()
    taken = desk.broker.place(order.fields)
    desk.report(desk.broker.fill(taken, 100.0, 150.0))
    resolve(desk, outcome="filled")
    assert not desk.engine.s.book.live_orders("AAPL")
    desk.report(desk.broker.opened(taken))
    assert desk.state(order.order_ref) is State.UNKNOWN
    assert desk.engine.s.book.open_side("AAPL", 1) == 400.0


def test_what_a_person_tells_a_second_time_comes_on_top():
    desk, order = sent()
    taken = desk.broker.place(order.fields)
    cash = desk.engine.s.book.cash
    for units, price in (("100", "160"), ("200", "130")):
        resolve(desk, outcome="cancelled", quantity=units, price=price)
        desk.report(desk.broker.opened(taken))
        assert desk.state(order.order_ref) is State.UNKNOWN
    book = desk.engine.s.book
    assert book.position("AAPL") == 300.0
    assert book.orders[order.order_ref].booked == 300.0
    assert cash - book.cash == pytest.approx(100 * 160 + 200 * 130)
    assert fills(desk) == [("inferred", 100.0), ("correction", 300.0)]
    resolve(desk, outcome="cancelled", quantity="201", price="160")
    assert desk.alerts[-1].code == Code.BAD_COMMAND
    desk.report(desk.broker.fill(taken, 500.0, 150.0))
    assert book.position("AAPL") == 500.0
    assert cash - book.cash == pytest.approx(500 * 150)


def test_a_correction_to_more_units_takes_their_place_too():
    desk, order = sent()
    taken = desk.broker.place(order.fields)
    resolve(desk, outcome="cancelled", quantity="300", price="160")
    first = desk.broker.fill(taken, 100.0, 150.0)
    desk.report(first)
    desk.report(first | {"exec_id": first["exec_id"][:-1] + "2", "quantity": 300.0})
    book = desk.engine.s.book
    assert (book.position("AAPL"), book.orders[order.order_ref].booked) == (300.0, 300.0)
    assert fills(desk) == [
        ("inferred", 300.0), ("correction", 200.0), ("execution", 100.0), ("correction", 0.0), ("correction", 300.0),
    ]  # fmt: skip


def test_a_position_without_what_a_person_told_of_takes_it_back():
    """Else the execution that comes in the end would take those units off a second time."""
    desk, order = sent()
    taken = desk.broker.place(order.fields)
    cash = desk.engine.s.book.cash
    resolve(desk, outcome="filled", quantity="400", price="160")
    book = desk.engine.s.book
    assert book.position("AAPL") == 400.0
    desk.broker.orders.clear()  # it forgets its completed orders at midnight
    compare(desk)
    assert desk.engine.s.holds == {"AAPL": Code.UNEXPLAINED}
    assert (book.position("AAPL"), book.cash) == (0.0, cash)
    assert fills(desk) == [("inferred", 400.0), ("correction", 0.0)]
    assert "What a person told of there is taken back." in next(
        alert.detail for alert in desk.alerts if alert.code == Code.UNEXPLAINED
    )
    desk.report(desk.broker.fill(taken, 500.0, 150.0))
    assert (book.position("AAPL"), book.cash) == (500.0, cash - 500 * 150.0)


def test_of_two_orders_only_the_wrong_word_is_taken_back():
    desk, first = sent({"AAPL": 500.0})
    desk.broker.place(first.fields)
    resolve(desk, outcome="filled", quantity="100", price="160")
    desk.broker.positions["AAPL"] = 100.0  # that is true, and no execution will ever show it
    desk.broker.cash -= 100 * 160.0
    desk.pass_time(1)
    desk.intents(2, {"AAPL": 500.0})
    second = desk.sent[1]
    resolve(desk, order_ref=second.order_ref, outcome="filled", quantity="400", price="160")
    desk.broker.orders.clear()
    compare(desk)
    book = desk.engine.s.book
    assert (book.position("AAPL"), book.cash) == (100.0, desk.broker.cash)
    assert fills(desk) == [("inferred", 100.0), ("inferred", 400.0), ("correction", 0.0)]


@pytest.mark.parametrize("told", ["500", "400"])
def test_an_order_whose_units_were_taken_back_may_live(told):
    desk, order = sent()
    taken = desk.broker.place(order.fields)
    resolve(desk, outcome="filled", quantity=told, price="160")
    taken.status = "Cancelled"
    compare(desk)
    assert desk.engine.s.book.position("AAPL") == 0.0
    taken.status = "Submitted"
    desk.report(desk.broker.opened(taken))
    assert desk.state(order.order_ref) is State.UNKNOWN
    assert desk.engine.s.book.open_side("AAPL", 1) == 500.0


def test_a_position_that_differs_by_something_else_keeps_what_a_person_told_of():
    desk, order = sent()
    taken = desk.broker.place(order.fields)
    resolve(desk, outcome="filled", quantity="400", price="160")
    kept = dict(desk.broker.orders)
    desk.broker.orders.clear()
    desk.broker.positions["AAPL"] = 350.0
    compare(desk)
    assert desk.engine.s.holds == {"AAPL": Code.UNEXPLAINED}
    book = desk.engine.s.book
    assert book.position("AAPL") == 350.0
    assert book.open_side("AAPL", 1) == book.orders[order.order_ref].open_quantity == 0.0
    assert fills(desk) == [("inferred", 400.0)]
    desk.broker.orders.update(kept)
    desk.report(desk.broker.opened(taken))
    assert book.open_side("AAPL", 1) == 500.0
    desk.report(desk.broker.fill(taken, 100.0, 150.0))
    assert book.position("AAPL") == 450.0
    assert book.open_side("AAPL", 1) == 400.0
    assert math.isfinite(book.cash)


def test_what_the_broker_counts_as_filled_is_its_word_on_what_a_person_told_of():
    """Two wrong words on opposite sides leave no difference that would show it, and the units would be sent again."""
    desk, first = sent()
    lives = desk.broker.place(first.fields)
    resolve(desk, outcome="filled", quantity="500", price="160")
    desk.pass_time(1)
    desk.intents(2, {"AAPL": 0.0})
    second = desk.sent[1]
    desk.broker.place(second.fields).status = "Cancelled"
    resolve(desk, order_ref=second.order_ref, outcome="filled", quantity="500", price="160")
    book = desk.engine.s.book
    assert (book.position("AAPL"), book.open_side("AAPL", 1)) == (0.0, 0.0)
    compare(desk)
    assert (book.position("AAPL"), book.cash) == (0.0, desk.broker.cash)
    assert (book.open_side("AAPL", 1), book.open_side("AAPL", -1)) == (500.0, 0.0)
    assert sorted(fills(desk)) == [("correction", 0.0), ("correction", 0.0), ("inferred", 500.0), ("inferred", 500.0)]
    assert "what a person told of it beyond that is taken back" in desk.alerts[-1].detail
    desk.report(desk.broker.fill(lives, 200.0, 150.0))
    assert (book.position("AAPL"), book.open_side("AAPL", 1)) == (200.0, 300.0)


@pytest.mark.parametrize("touched", [0, 1, 2])
def test_after_a_count_that_was_wrong_nothing_is_ordered_twice(touched: int):
    """Filled in part without a report, told so by a person, and then one status with nothing filled: the position knows better.

    A snapshot in which somebody traded the name was not compared, and shows nothing.
    """
    desk, order = sent()
    resolve(desk, outcome="cancelled", quantity="50", price="160")
    taken = desk.broker.place(order.fields)
    status = desk.broker.status(taken) | {"status": "Cancelled", "filled": 0.0}
    desk.broker.orders.clear()
    desk.broker.positions["AAPL"] = 50.0
    desk.broker.cash -= 50 * 160.0
    desk.report(status)
    assert desk.engine.s.book.position("AAPL") == 0.0
    assert any(isinstance(effect, RequestSnapshot) for effect in desk.effects)
    for _ in range(touched):
        desk.tick(61.0)
        for report in desk.broker.snapshot(touched="AAPL"):
            desk.report(report)
    sends = len(desk.sent)
    desk.pass_time(1)
    desk.intents(2, {"AAPL": 500.0})
    desk.pass_time(1)
    assert len(desk.sent) == sends
    compare(desk)
    assert desk.engine.s.book.position("AAPL") == 50.0
    assert desk.engine.s.holds == {"AAPL": Code.UNEXPLAINED}
    desk.pass_time(1)
    desk.intents(3, {"AAPL": 500.0})
    assert len(desk.sent) == sends


def test_after_a_count_that_was_right_the_name_goes_on():
    desk, order = sent()
    resolve(desk, outcome="cancelled", quantity="50", price="160")
    status = desk.broker.status(desk.broker.place(order.fields)) | {"status": "Cancelled", "filled": 0.0}
    desk.broker.orders.clear()
    desk.report(status)
    compare(desk, 1)
    desk.pass_time(1)
    desk.intents(2, {"AAPL": 500.0})
    assert (desk.engine.s.holds, desk.sent[-1].fields["quantity"]) == ({}, 500.0)


def test_an_old_count_disproves_nothing_and_one_that_fits_confirms():
    desk, order = sent()
    taken = desk.broker.place(order.fields)
    desk.report(desk.broker.fill(taken, 200.0, 150.0))
    old = desk.broker.status(taken) | {"filled": 100.0, "remaining": 400.0}
    taken.filled, taken.status = 300.0, "Cancelled"  # of the last hundred no execution ever comes
    desk.broker.positions["AAPL"] += 100.0
    resolve(desk, outcome="cancelled", quantity="300", price="160")
    book = desk.engine.s.book
    desk.report(old)
    assert book.position("AAPL") == 500.0
    desk.report(desk.broker.status(taken))
    assert (book.position("AAPL"), book.orders[order.order_ref].booked) == (300.0, 300.0)
    compare(desk)
    assert (book.position("AAPL"), desk.engine.s.holds) == (300.0, {})


def test_a_filled_order_whose_count_the_broker_leaves_out_disproves_nothing():
    desk, order = sent()
    taken = desk.broker.place(order.fields)
    resolve(desk, outcome="filled", quantity="500", price="160")
    taken.status = "Filled"
    for report in (desk.broker.status(taken), desk.broker.completed(taken)):
        assert report["filled"] == 0.0
        desk.report(report)
        assert desk.engine.s.book.position("AAPL") == 500.0
    assert fills(desk) == [("inferred", 500.0)]


def test_however_many_words_were_wrong_all_are_taken_back():
    desk, _ = sent({"AAPL": 500.0})
    for number in range(5):
        order = desk.sent[-1]
        resolve(desk, order_ref=order.order_ref, outcome="cancelled", quantity="100", price="160")
        desk.pass_time(61)
        desk.intents(2 + number, {"AAPL": 500.0})
    compare(desk)
    assert desk.engine.s.book.position("AAPL") == 0.0
    assert fills(desk).count(("correction", 0.0)) == fills(desk).count(("inferred", 100.0)) == 5
