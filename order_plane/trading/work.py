"""What follows from any input, always in the same order: decide intents, value the account, cancel, send children, close, report."""

from __future__ import annotations

import math

from order_plane.codes import Code
from order_plane.kill import levels as kill
from order_plane.ledger.book import EPSILON
from order_plane.ledger.child_order import Order
from order_plane.ledger.order_state import State
from order_plane.ledger.state import EVERYTHING, Parent, trading_day_end
from order_plane.messages import (
    Append,
    GlobalCancel,
    Place,
    RequestSnapshot,
)
from order_plane.trading import risk
from order_plane.trading.account import Exposure, exposure, value
from order_plane.trading.decision_records import child_decision, finite, intent_decision
from order_plane.trading.execution import Child, cancel_reason, closing_reason, next_child, terms
from order_plane.trading.intents import decide_slice, slice_code
from order_plane.trading.marking import MARK_KEPT_S, Marking
from triplane.domain.timestamps import NEW_YORK, SECOND, to_datetime

SNAPSHOT_TIMEOUTS = 3  # broker timeouts after which an unanswered snapshot request is asked again


class Work(Marking):
    """The engine's work after every input."""

    def _work(self) -> None:
        """Everything that may follow from any input, in a fixed order."""
        if self.s.epoch == 0:
            raise RuntimeError("the order engine was not started; give it Start first")
        self._end_day()
        self._decide()
        self._value()
        self._time_out()
        self._close_parents()
        self._cancels()
        self._children()
        self._finish_parents()
        self._request_snapshot()
        self._publish_account()

    def _end_day(self) -> None:
        """17:00 New York passed: book the day's return, judge the track record once a month."""
        s, account = self.s, self.s.account
        if not account.day_end or s.market_time < account.day_end:
            return
        values: dict[str, float] = {}
        # After a jump that a person released, what the account is worth is not known before the next good mark.
        if math.isfinite(account.nav) and not account.forgiven:
            values["nav"] = account.nav
            if math.isfinite(account.day_start) and account.day_start > 0.0:
                values["return"] = (account.nav - account.day_flows) / account.day_start - 1.0
        month = to_datetime(account.day_end, NEW_YORK).strftime("%Y-%m")
        targets = self.folded.targets.order
        due = month != account.psr_month and account.returns.n + ("return" in values) >= targets.PSR_MIN_OBS
        labels = {"judged": month} if due else {}
        self._emit("day_ended", values=finite(values), labels=labels, good_till=trading_day_end(s.market_time))
        if due:
            self._apply_trip(kill.judge_psr(account, s.kill, targets))
        account.due = True

    def _decide(self) -> None:
        """One decision for each name of each slice that was taken and not decided yet."""
        s, universe = self.s, self.folded.universe
        if universe is None:
            return  # intents wait for the first configuration, or expire
        for record in list(s.pending):
            killed = s.kill.level == "stopped"
            refused = slice_code(s, record, killed)
            decisions = decide_slice(s, record, universe, self.folded.targets.order, refused)
            if record["symbols"] and refused is not None and refused[0] in (Code.SUPERSEDED, Code.EXPIRED):
                self._alert(refused[0], f"The intents of barrier {record['seq']} are not traded. {refused[1]}")
            if record["seq"] >= s.last_seq:
                for parent in [p for p in s.parents.values() if p.seq < record["seq"] and not p.closing]:
                    self._emit(
                        "parent_closing", intent_id=parent.intent_id, symbol=parent.symbol, reason=str(Code.SUPERSEDED)
                    )
            for decision in decisions:
                intent = f"{self.account}/{record['seq']}/{decision.symbol}"
                self._decision(
                    intent_decision(
                        s,
                        self.account,
                        self._decision_id(intent),
                        record,
                        decision.symbol,
                        decision.code,
                        decision.detail,
                        decision.numbers,
                        self.config_hash,
                    )
                )
                if decision.parent is not None:
                    self._open(decision.parent)
            codes: dict[str, int] = {}
            for decision in decisions:
                codes[str(decision.code)] = codes.get(str(decision.code), 0) + 1
            self._emit(
                "intents_decided",
                seq=record["seq"],
                config_hash=self.config_hash,
                intent_config_hash=record["config_hash"],
                labels={code: str(codes[code]) for code in sorted(codes)},
            )

    def _open(self, parent: Parent) -> None:
        self._emit(
            "parent_opened", intent_id=parent.intent_id, seq=parent.seq, symbol=parent.symbol, con_id=parent.con_id,
            quantity=parent.needed, good_till=parent.deadline, config_hash=self.config_hash,
            intent_config_hash=parent.intent_config_hash,
            values={
                "target": parent.target, "arrival_mid": parent.arrival_mid, "half_spread": parent.half_spread,
                "sigma_daily": parent.sigma_daily, "adv": parent.adv, "volume_base": parent.volume_base,
                "volume_start": parent.volume_start,
            },
        )  # fmt: skip

    def _time_out(self) -> None:
        """Orders without any sign from the broker for BROKER_TIMEOUT_S are unknown."""
        s, limit = self.s, round(self.folded.targets.order.BROKER_TIMEOUT_S * SECOND)
        for order in s.book.all_live():
            if order.state is State.PLACING and s.wall - order.placed_wall >= limit:
                self._emit("doubted", order_ref=order.ref, symbol=order.symbol, reason=str(Code.BROKER_TIMEOUT))
                self._alert(
                    Code.BROKER_TIMEOUT, f"{order.ref} got no sign from the broker; its fate is unknown.", order.symbol
                )
                s.reconciling.want(str(Code.BROKER_TIMEOUT), s.wall)
        r = s.reconciling
        if any(order.dead and order.open_quantity > EPSILON for order in s.book.all_live()):
            r.want(str(Code.EXECUTION_MISSED), s.wall + limit)  # told as filled, but the executions have not come
        if r.pending and s.wall - r.requested_wall >= SNAPSHOT_TIMEOUTS * limit:
            r.pending = False
            r.want("unanswered", s.wall)

    def _close_parents(self) -> None:
        s, targets = self.s, self.folded.targets.order
        for parent in list(s.parents.values()):
            asset = self._asset(parent.symbol)
            if s.kill.level == "stopped":
                reason: str = "" if parent.closing else Code.KILLED
            else:
                reason = closing_reason(s, parent, asset, self._session_end(parent.symbol), targets)
            if reason:
                self._emit("parent_closing", intent_id=parent.intent_id, symbol=parent.symbol, reason=str(reason))

    def _cancels(self) -> None:
        s, targets = self.s, self.folded.targets.order
        if not s.link.connected:
            return
        killed = s.kill.level == "stopped"
        if killed and s.kill.scope == "account" and not s.kill.global_sent:
            self._emit("global_cancel", reason=str(Code.KILLED))
            self._out.cancels.insert(0, GlobalCancel(s.kill.reason))
        for order in s.book.all_live():
            reason = cancel_reason(s, order, targets, killed)
            if reason:
                if not s.bucket.allows(s.wall, targets, cancel=True):
                    return
                self._cancel(order, reason)

    def _children(self) -> None:
        s, universe = self.s, self.folded.universe
        working = [parent for parent in s.parents.values() if not parent.closing]
        if not working or universe is None:
            return
        targets = self.folded.targets.order
        valuation = value(s, universe, s.market_time, MARK_KEPT_S)
        worst = exposure(s, universe, valuation, tuple(parent.symbol for parent in working))
        for parent in working:
            asset = universe[parent.symbol]
            while True:
                child = next_child(s, parent, asset, targets, worst, self.account)
                if child is None:
                    break
                if isinstance(child, risk.Denial):
                    self._wait(parent, None, child)
                    break
                context = self._context(parent, child, worst)
                denial = risk.check(child.proposal, context)
                if denial is not None:
                    self._wait(parent, child.proposal, denial)
                    if denial.code is Code.BUYING_POWER and s.reconciling.active:
                        s.reconciling.want(str(denial.code), s.wall)
                    break
                if self.mode == "shadow":
                    self._wait(parent, child.proposal, risk.Denial(Code.SHADOW, Code.SHADOW.meaning))
                    break
                self._place(parent, child, context, worst)

    def _wait(self, parent: Parent, proposal: risk.Proposal | None, denial: risk.Denial) -> None:
        """Record why nothing is sent, once per reason in a row."""
        if parent.last_code == denial.code:
            return
        parent.last_code = str(denial.code)
        self._decision(
            child_decision(
                self.s, self.account, self._decision_id(parent.intent_id), parent, proposal, denial, self.config_hash
            )
        )

    def _context(self, parent: Parent, child: Child, worst: Exposure) -> risk.Context:
        s, p, targets = self.s, child.proposal, self.folded.targets.order
        book, asset = s.book, self._asset(parent.symbol)
        alone = not s.link.proven and any(
            order.placed_event > s.link.since_event and order.state in (State.PLACING, State.UNKNOWN)
            for order in book.all_live()
        )
        return risk.Context(
            targets=targets,
            asset=asset,
            now=s.market_time,
            wall=s.wall,
            killed=s.kill.reason if s.kill.level == "stopped" else "",
            gross_factor=0.5 if s.kill.level == "halved" else 1.0,
            connected=s.link.up,
            reconciled=s.reconciling.passed and p.symbol not in s.reconciling.suspects,
            route_free=not alone,
            hold=s.holds.get(p.symbol, ""),
            account_hold=s.holds.get(EVERYTHING, ""),
            excluded=bool(book.excluded.get(p.symbol)),
            session=self._sessions.of(asset.calendar, s.market_time) if asset is not None else None,
            quote=s.market.quotes.get(p.symbol),
            adv=parent.adv,
            day_traded=book.day_traded.get(p.symbol, 0.0),
            remaining=child.rest,
            key_used=p.ref in book.orders or f"{s.client_id}/{p.order_id}" in book.by_id,
            opposite_open=book.open_side(p.symbol, -p.side),
            active=book.active(p.symbol, p.side),
            orders_in_minute=s.rates.orders_within(p.symbol, s.market_time),
            notional_in_minute=s.rates.notional_within(s.market_time),
            message_allowed=s.bucket.allows(s.wall, targets, cancel=False),
            exposure=worst,
            available_funds=s.account.available_funds,
            reserved=sum(_reserved(book.orders[ref]) for ref in book.reserving),
        )

    def _place(self, parent: Parent, child: Child, context: risk.Context, worst: Exposure) -> None:
        s, p, targets = self.s, child.proposal, self.folded.targets.order
        asset = context.asset
        assert asset is not None
        assert context.session is not None
        reserved = risk.reservation(p, worst.names[p.symbol], asset, targets)
        parent.last_code = str(Code.OK)
        verdict = risk.Denial(Code.OK, "", {"rest": child.rest, "reserved": reserved})
        self._decision(
            child_decision(s, self.account, self._decision_id(parent.intent_id), parent, p, verdict, self.config_hash)
        )
        self._emit(
            "placing",
            order_ref=p.ref, intent_id=parent.intent_id, seq=parent.seq, symbol=p.symbol, con_id=parent.con_id,
            child=parent.next_child, client_id=s.client_id, order_id=p.order_id, action="BUY" if p.side > 0 else "SELL",
            quantity=p.quantity, limit_price=p.price if p.is_limit else 0.0, config_hash=self.config_hash,
            intent_config_hash=parent.intent_config_hash,
            values={"multiplier": asset.multiplier, "notional": risk.notional(p, asset), "reserved": reserved},
            **terms(s.market_time, context.session[1], targets),
        )  # fmt: skip
        placing = self._out.appends[-1]
        assert isinstance(placing, Append)
        worst.add_order(p.symbol, p.side, p.quantity)
        self._out.places.append(Place(p.ref, placing.record, targets.ACK_TIMEOUT_S))

    def _finish_parents(self) -> None:
        """Close parents that stopped and whose orders are final, once their commissions are known or overdue."""
        s = self.s
        patience = round(self.folded.targets.order.BROKER_TIMEOUT_S * SECOND)
        for parent in [p for p in s.parents.values() if p.closing]:
            if any(order.intent_id == parent.intent_id for order in s.book.live_orders(parent.symbol)):
                continue
            executions = self.folded.executions_of(parent)
            if any(not e.charged for e in executions) and s.wall - parent.closing_wall < patience:
                continue
            quote = s.market.quotes.get(parent.symbol)
            final = quote.mid if quote is not None and math.isfinite(quote.mid) else 0.0
            volume = max(s.market.volume(parent.symbol).total - parent.volume_start, 0.0)
            notes = self._emit(
                "parent_closed",
                intent_id=parent.intent_id,
                seq=parent.seq,
                symbol=parent.symbol,
                reason=parent.closing,
                filled=sum(e.quantity for e in executions),
                quantity=parent.needed,
                config_hash=self.config_hash,
                intent_config_hash=parent.intent_config_hash,
                values={"final_mid": final, "volume": volume},
            )
            self._react(notes)
            if executions:
                self._publish_costs()
            s.account.due = True

    def _request_snapshot(self) -> None:
        s, r = self.s, self.s.reconciling
        if not s.link.up or r.pending:
            return
        interval = round(self.folded.targets.order.RECONCILE_S * SECOND)
        if r.passed and s.wall - r.finished_wall >= interval:
            r.want("interval", s.wall)
        elif r.active and not s.book.live and not s.parents:
            r.want("quiet", s.wall)
        if r.wanted and s.wall >= r.wanted_wall:
            reason = r.wanted
            self._emit("snapshot_requested", reason=reason)
            self._out.rest.append(RequestSnapshot(reason))

    def _publish_costs(self) -> None:
        universe = self.folded.universe
        if universe is None:
            return
        s = self.s
        profiles = {asset.cost_profile for asset in universe.tradable}
        estimate_id = f"{self.account}/{s.epoch}/{s.number}"
        record = s.costs.estimate(self.account, self.folded.targets, s.market_time, profiles, estimate_id)
        self._out.reports.append(Append("order.costs", record))


def _reserved(order: Order) -> float:
    """What an order still reserves: its filled part until the next snapshot, its open part while it may fill."""
    return order.reserved * min((order.booked + order.open_quantity) / order.quantity, 1.0)
