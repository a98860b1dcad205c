"""Random histories of orders that a person resolves while the broker goes on: reports late, repeated, corrected, in any order.

The broker of tests/order_plane/desk.py keeps its own books and is the oracle.
"""

from __future__ import annotations

import math
import random
from typing import Any

from order_plane import plain, recording
from order_plane.engine import OrderEngine
from tests.order_plane.desk import ACCOUNT, BrokerOrder, Desk, plain_text
from tests.order_plane.test_resolve import resolve
from triplane.replay.executions import executions

DUST = 1e-6
PRICE = 150.0


class History:
    """One desk, and one random step after the other."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.desk = Desk(auto=False).open()
        self.snapshot()
        self.desk.quotes()
        self.desk.intents(1, {"AAPL": rng.choice((500.0, -500.0)), "BAC": -300.0})
        self.on_the_way: list[dict[str, Any]] = []
        self.seq = 1

    @property
    def orders(self) -> list[BrokerOrder]:
        return list(self.desk.broker.orders.values())

    def snapshot(self) -> None:
        """Let a minute pass; where the engine asks, the broker tells all."""
        self.desk.tick(61.0)
        if self.desk.engine.s.reconciling.pending:
            for report in self.desk.broker.snapshot():
                self.desk.report(report)

    def step(self) -> None:
        rng, desk, broker = self.rng, self.desk, self.desk.broker
        for place in desk.sent:  # it is under way for a while
            if place.order_ref not in broker.received and rng.random() < 0.5:
                broker.place(place.fields)
        live = [order for order in self.orders if order.live]
        what = rng.choice(
            (
                "resolve",
                "fill",
                "deliver",
                "deliver",
                "correct",
                "repeat",
                "open",
                "status",
                "cancel",
                "intents",
                "snapshot",
                "time",
            )
        )
        if what == "resolve":
            outcome, units = rng.choice(("filled", "cancelled", "abandoned")), rng.choice((0, 50, 100, 300, 400, 500))
            ref = rng.choice(desk.sent).order_ref
            price = PRICE if "/AAPL/" in ref else 30.0
            resolve(desk, order_ref=ref, outcome=outcome, quantity=str(units), price=str(price))
        elif what == "fill" and live:
            order = rng.choice(live)
            self.on_the_way.append(
                broker.fill(order, min(order.quantity - order.filled, rng.choice((50.0, 100.0, 500.0))))
            )
        elif what == "deliver" and self.on_the_way:
            desk.report(self.on_the_way.pop(rng.randrange(len(self.on_the_way))))
        elif what == "correct" and broker.executions:
            self.correct(rng.randrange(len(broker.executions)))
        elif what == "repeat" and broker.executions:
            desk.report(rng.choice(broker.executions))
        elif what in ("open", "status") and self.orders:
            order = rng.choice(self.orders)
            desk.report(broker.opened(order) if what == "open" else broker.status(order))
        elif what == "cancel" and live:
            for report in broker.cancel(rng.choice(live)):
                desk.report(report)
        elif what == "intents":
            self.seq += 1
            desk.quotes()
            desk.intents(self.seq, {"AAPL": rng.choice((-500.0, 0.0, 500.0, 1000.0)), "BAC": rng.choice((-300.0, 0.0))})
        elif what == "snapshot":
            self.snapshot()
        else:
            desk.pass_time(rng.choice((1.0, 30.0, 61.0)))

    def correct(self, place: int) -> None:
        broker = self.desk.broker
        old = broker.executions[place]
        order, units = (
            broker.orders[old["order_id"]],
            max(old["quantity"] + self.rng.choice((-500.0, -50.0, 50.0)), 0.0),
        )
        if order.filled - old["quantity"] + units <= order.quantity:
            self.on_the_way.append(broker.correct(place, units, old["last_price"]))

    def check(self) -> None:
        book = self.desk.engine.s.book
        assert math.isfinite(book.cash)
        taken_over = {event["symbol"] for event in self.desk.events("difference")}
        fills = executions(self.desk.appended("order.fills"))
        for order in book.orders.values():
            assert order.booked > -DUST
            assert (order.ref in book.live.get(order.symbol, ())) is (not order.dead or order.open_quantity > DUST)
            if order.symbol not in taken_over:
                told = sum(fill["quantity"] for fill in fills if fill["order_ref"] == order.ref)
                assert abs(told - order.booked) < DUST

    def check_end(self) -> None:
        """Several snapshots later we know what the broker knows."""
        for _ in range(4):
            self.snapshot()
            self.check()
        broker, state = self.desk.broker, self.desk.engine.s
        for symbol in ("AAPL", "BAC"):
            assert abs(state.book.position(symbol) - broker.positions.get(symbol, 0.0)) < DUST
        for order in self.orders:
            if order.live and order.filled < order.quantity:
                assert state.book.open_side(order.symbol, order.side) >= order.quantity - order.filled - DUST
        again = OrderEngine(ACCOUNT)
        recording.fold_log(again, self.desk.recorded(), self.desk.lookup)
        one, two = plain.dump(again.s), plain.dump(state)
        for part in ("book", "fills", "holds", "kill", "costs"):
            assert plain_text(one[part]) == plain_text(two[part]), part


def test_whatever_a_person_says_the_broker_has_the_last_word(seed, counts):
    for number in range(counts(60, 2000)):
        history = History(random.Random(seed + number))
        try:
            for _ in range(25):
                history.step()
                history.check()
            history.check_end()
        except Exception as error:
            error.add_note(f"history {number}: TRIPLANE_SEED={seed + number} begins with it")
            raise
