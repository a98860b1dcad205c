"""What the engine does about reports, commands, levels and differences: holds, kills, resolutions, positions taken over."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from order_plane.codes import Code
from order_plane.kill import levels as kill
from order_plane.ledger.book import EPSILON
from order_plane.ledger.child_order import Order
from order_plane.ledger.fold_base import Note
from order_plane.ledger.owed import NOTED_HOLDS
from order_plane.ledger.state import EVERYTHING
from order_plane.messages import (
    Append,
    CancelOrder,
)
from order_plane.trading.account import last_mark, last_price
from order_plane.trading.decision_records import finite
from order_plane.trading.emission import Emission
from order_plane.trading.reconciliation import DUST, Difference, Findings, compare
from triplane.domain.lots import is_whole
from triplane.domain.names import join
from triplane.domain.timestamps import SECOND, iso

PRICE_FACTOR = 10.0
"""How far from the last mark a price that a person tells of may be."""


class Supervision(Emission):
    """Reactions that do not send orders."""

    def _react(self, notes: list[Note]) -> None:
        """Turn what folding an input noticed into records, alerts, holds and kills."""
        s = self.s
        for note in notes:
            if note.record is not None:
                self._out.appends.append(Append("order.fills", note.record))
            holds = note.code in NOTED_HOLDS and s.holds.get(note.symbol) != note.code  # which tells it
            if note.alert and not holds:
                self._alert(note.code, note.detail, note.symbol, note.numbers)
            if note.snapshot:
                s.reconciling.want(str(note.code), s.wall)
            if note.code is Code.NONDETERMINISM:
                self._hold(EVERYTHING, note.code, note.detail)
            elif note.code in NOTED_HOLDS:
                self._hold(note.symbol, note.code, note.detail)
            elif note.code is Code.BROKER_LIQUIDATION:
                self._trip(note.code, "stopped", note.detail, self.folded.targets.order.KILL_SCOPE, "level")
            elif note.code is Code.REJECTED:
                trip = kill.judge_rejects(s.kill, s.rates.rejects_within(s.market_time), self.folded.targets.order)
                self._apply_trip(trip)
            elif note.code is Code.EXECUTION_MISSED:
                self._emit("explained", symbol=note.symbol, reason=str(note.code), text=note.detail)
            if note.code is Code.DOUBLE_ORDER and note.order is not None:
                self._cancel(note.order, Code.DOUBLE_ORDER)
                if note.order_id:
                    order = note.order
                    self._emit(
                        "cancelling",
                        order_ref=order.ref,
                        order_id=note.order_id,
                        symbol=note.symbol,
                        reason=str(note.code),
                    )
                    self._out.cancels.append(CancelOrder(order.ref, note.order_id))

    def _make_up(self) -> None:
        """At a start: the kills and holds that the log ended before."""
        for owed in list(self.s.owed):
            code = Code[owed.code]
            if code is Code.KILL_REQUESTED:
                self._trip(code, "stopped", owed.detail, owed.scope, owed.actor, owed.asked or None)
            elif code is Code.KILL_PSR:
                self._apply_trip(kill.judge_psr(self.s.account, self.s.kill, self.folded.targets.order))
            elif code in (Code.UNEXPLAINED, Code.FOREIGN_EXECUTION, Code.FOREIGN_HALT):
                self._hold(owed.symbol, code, owed.detail)
            else:
                self._react([Note(code, owed.detail, owed.symbol)])  # what it stops alerts

    def _command(self, record: Mapping[str, Any]) -> None:
        arguments, command = record["arguments"], record["command"]
        if command == "kill.trip":
            # A clock that is ahead may stop trading now, and must not keep those that are right from re-arming.
            scope, asked = arguments.get("scope", "account"), min(record["event_time"], self.s.wall)
            self._trip(Code.KILL_REQUESTED, "stopped", record["reason"], scope, record["actor"], asked)
        elif command == "kill.rearm" and record["event_time"] < self.s.kill.asked and self.s.kill.level != "none":
            # It lay on the log while this process was away or behind; commands among themselves are in the log's order.
            self._alert(
                Code.REARM_REFUSED,
                f"{record['actor']} asked at {iso(record['event_time'])} to re-arm, before the kill that holds; re-arm again.",
            )
        elif command == "kill.rearm":
            self._rearm(record["actor"], record["reason"])
        elif command == "order.release":
            self._release(arguments.get("symbol", ""), record)
        else:
            self._resolve(arguments, record)

    def _release(self, symbol: str, record: Mapping[str, Any]) -> None:
        if symbol not in self.s.holds or not record["actor"]:
            self._alert(Code.BAD_COMMAND, f"order.release names {symbol!r}, which is not held, or no actor.")
            return
        self._emit("released", symbol=symbol, reason=record["reason"], labels={"actor": record["actor"]})
        self.s.account.due = True

    def _may_be_filled(self, order: Order, quantity: float, price: float) -> bool:
        """Whether units may have been filled at that price: a slip of the pen must not become cash."""
        asset, mark = self._asset(order.symbol), self.s.market.marks.get(order.symbol)
        around = mark.price if mark is not None else order.worst_price
        return (
            quantity <= order.open_quantity + EPSILON
            and (asset is None or is_whole(quantity, asset.lot_size))
            and 0.0 < price < math.inf
            and (around <= 0.0 or around / PRICE_FACTOR <= price <= around * PRICE_FACTOR)
        )

    def _resolve(self, arguments: Mapping[str, str], record: Mapping[str, Any]) -> None:
        ref, outcome = arguments.get("order_ref", ""), arguments.get("outcome", "abandoned")
        order = self.s.book.orders.get(ref)
        try:
            quantity, price = float(arguments.get("quantity", "0")), float(arguments.get("price", "0"))
        except ValueError:
            quantity = price = math.nan
        good = outcome in ("abandoned", "cancelled", "filled") and quantity >= 0.0
        if order is None or order.dead or not good or (quantity and not self._may_be_filled(order, quantity, price)):
            self._alert(
                Code.BAD_COMMAND,
                f"order.resolve {ref!r} {outcome!r} names no live order or gives no usable numbers (whole lots, at most what is open, with their price near the last one).",
            )
            return
        notes = self._emit(
            "resolved",
            order_ref=ref,
            symbol=order.symbol,
            status=outcome,
            quantity=quantity,
            last_price=price,
            reason=record["reason"],
            labels={"actor": record["actor"]},
        )
        self._react(notes)
        self.s.account.due = self._revalue = True

    def _trip(self, code: Code, level: str, detail: str, scope: str, actor: str, asked: int | None = None) -> None:
        """`asked`: when a command on the log was given, wall ns UTC; None for what is asked for now."""
        s = self.s
        if s.kill.level == level or s.kill.level == "stopped":
            return
        labels = {"level": level, "scope": scope, "actor": actor} | ({} if asked is None else {"asked": str(asked)})
        self._emit("killed", reason=str(code), text=detail, labels=labels)
        self._alert(code, detail)
        s.account.due = True

    def _apply_trip(self, trip: kill.Trip | None) -> None:
        if trip is not None:
            self._trip(trip.code, trip.level, trip.detail, self.folded.targets.order.KILL_SCOPE, "level")

    def _rearm(self, actor: str, reason: str) -> None:
        if self.s.kill.level == "none":
            return
        if not actor.strip() or not reason.strip():
            self._alert(Code.REARM_REFUSED, "Re-arming needs a name and a reason.")
            return
        # The marks since the last account record are on no log, and the new mark is as of now.
        self._emit("rearmed", reason=reason, labels={"actor": actor}, values=finite({"nav": self.s.account.nav}))
        self._alert(Code.REARMED, f"{actor} re-armed trading: {reason}")
        self.s.account.due = True

    def _reconcile(self, event: Mapping[str, Any]) -> None:
        s, targets = self.s, self.folded.targets.order
        later = s.wall + round(targets.ABSENT_AFTER_S * SECOND)
        if event["status"] != "complete" or not s.link.up:
            self._alert(Code.SNAPSHOT_INCOMPLETE, event.get("text", "") or "The link went down meanwhile.")
            s.reconciling.want(str(Code.SNAPSHOT_INCOMPLETE), later)
            return
        found = compare(s, event, targets, self.folded.symbol_of)
        for order in found.doubtful:
            self._emit("doubted", order_ref=order.ref, symbol=order.symbol, reason=str(Code.ABSENT))
        for order in found.absent_first:
            self._emit("missed", order_ref=order.ref, symbol=order.symbol)
        for order in found.absent:
            self._emit("abandoned", order_ref=order.ref, symbol=order.symbol, reason=str(Code.ABSENT))
            self._alert(
                Code.ABSENT,
                f"{order.ref} is not known to the broker; it is abandoned and never sent again.",
                order.symbol,
            )
        if not s.reconciling.baseline:
            self._baseline(event, found)
        for difference in found.differences:
            self._differ(event, difference)
        if found.cash < s.book.cash:
            self._value_taken_over()  # what the cash paid for comes first: it may be more than NAV
        if math.isfinite(found.cash):
            self._emit("cash_set", reason=str(Code.CASH_FLOW), values={"cash": found.cash})
            if s.account.nav <= 0.0:
                self._alert(
                    Code.NAV_UNKNOWN,
                    f"Cash moved without a trade of ours and leaves a NAV of {s.account.nav:,.0f}; nothing is sized or sent until it is positive.",
                )
        values = {"cash_suspect": found.cash_suspect} if math.isfinite(found.cash_suspect) else {}
        if "AvailableFunds" in event["values"]:
            values["available_funds"] = event["values"]["AvailableFunds"]
        self._emit(
            "reconciled",
            symbols=sorted(found.suspects),
            quantities=[found.suspects[name] for name in sorted(found.suspects)],
            values=values,
            labels={"base_currency": event["labels"].get("base_currency", "")}
            | ({"foreign": join(found.untold)} if found.untold else {}),
        )
        if found.again:
            s.reconciling.want("again", later)
        s.account.due = self._revalue = True

    def _baseline(self, event: Mapping[str, Any], found: Findings) -> None:
        policy = self.folded.targets.order.FOREIGN_POSITIONS
        names = sorted(found.foreign)
        costs = {
            self.folded.symbol_of(name, con_id): (con_id, price)
            for name, con_id, price in zip(event["symbols"], event["con_ids"], event["prices"], strict=True)
        }
        known = [costs.get(name, (0, 0.0)) for name in names]
        self._emit(
            "baseline",
            reason=policy,
            symbols=names,
            quantities=[found.foreign[name] for name in names],
            con_ids=[con_id for con_id, _ in known],
            prices=[price for _, price in known],
        )
        if names and policy == "halt":
            self._hold(
                EVERYTHING, Code.FOREIGN_HALT, f"Triplane did not open {', '.join(names)}; FOREIGN_POSITIONS is halt."
            )

    def _differ(self, event: Mapping[str, Any], difference: Difference) -> None:
        """Take a difference over."""
        policy, symbol, cause = self.folded.targets.order.FOREIGN_POSITIONS, difference.symbol, difference.cause
        foreign = cause is Code.FOREIGN_EXECUTION
        excluded = foreign and policy == "exclude" and difference.ours == 0.0
        told = {
            self.folded.symbol_of(name, con_id): (con_id, price)
            for name, con_id, price in zip(event["symbols"], event["con_ids"], event["prices"], strict=True)
        }
        con_id, price = told.get(symbol, (0, 0.0))
        values = {"ours": difference.ours, "theirs": difference.theirs, "price": price}
        if cause is not Code.CORPORATE_ACTION and not excluded:
            values["before"] = last_mark(self.s, symbol) or 0.0
            traded = self.s.book.foreign_traded.get(symbol) if foreign else None
            if traded is not None and abs(difference.theirs - difference.ours - traded.units) <= DUST:
                values |= traded.told
        holds = ""
        if cause is Code.UNEXPLAINED or (foreign and policy == "exclude" and not excluded):
            holds = f"{symbol}:{cause}"
        elif foreign and policy == "halt":
            holds = f"{EVERYTHING}:{Code.FOREIGN_HALT}"
        foreign_units = self.s.book.excluded.get(symbol, 0.0)  # before the event changes them
        notes = self._emit(
            "difference",
            symbol=symbol,
            con_id=con_id,
            reason=str(cause),
            values=values,
            labels={"into": "excluded" if excluded else "ours"} | ({"holds": holds} if holds else {}),
        )
        of_others = f", {foreign_units:g} of them not opened by Triplane" if foreign_units else ""
        detail = (
            f"The broker has {difference.theirs + foreign_units:g} {symbol}, "
            f"known were {difference.ours + foreign_units:g}{of_others}: {cause.meaning}"
        )
        self._react(notes)
        if notes:
            detail += " What a person told of there is taken back."
        if holds.startswith(f"{symbol}:"):
            if self.s.holds.get(symbol) == cause:  # a hold is told once, a position that moved again is news
                self._alert(cause, detail, symbol)
            self._hold(symbol, cause, detail)
        elif holds:
            self._hold(EVERYTHING, Code.FOREIGN_HALT, detail)
        else:
            self._alert(cause, detail, symbol)

    def _value_taken_over(self) -> list[str]:
        """Value what was taken over and has a fresh mark now, or is gone and nobody quotes it. Gives the names that are gone and wait for
        their mark in a session of theirs: levels need it as they need those of names that are held.
        """
        s, universe, gone = self.s, self.folded.universe, []
        if universe is None:
            return []
        oldest = s.market_time - self.folded.targets.order.QUOTE_STALE_S * SECOND
        for symbol, parts in sorted(s.reconciling.unvalued.items()):
            mark = s.market.marks.get(symbol)
            # A mark of before the trade says nothing of it, however young. What nobody told has no time, and its cash may be here next.
            newest = max((taken.since for taken in parts if taken.told), default=-1)
            if mark is not None and mark.time >= oldest and mark.time > newest:
                self._give_worth(symbol, mark.price)
            elif not s.book.position(symbol) and symbol not in universe:
                self._give_worth(symbol, last_price(s, symbol), silent=True)
            elif not s.book.position(symbol) and self._session_end(symbol):
                gone.append(symbol)
        return gone

    def _give_worth(self, symbol: str, price: float, *, silent: bool = False) -> None:
        multiplier = self.folded.multiplier(symbol)
        worth = sum(taken.flow(price, multiplier, silent=silent) for taken in self.s.reconciling.unvalued[symbol])
        self._emit("valued", symbol=symbol, values={"worth": worth})

    def _cancel(self, order: Order, reason: str) -> None:
        self._emit(
            "cancelling",
            order_ref=order.ref,
            order_id=order.order_id,
            client_id=order.client_id,
            symbol=order.symbol,
            intent_id=order.intent_id,
            seq=order.seq,
            child=order.child,
            reason=str(reason),
        )
        self._out.cancels.append(CancelOrder(order.ref, order.order_id))
