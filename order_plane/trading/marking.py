"""The account at its marks: NAV judged by the kill levels, and published."""

from __future__ import annotations

import math

from order_plane.codes import Code
from order_plane.kill import levels as kill
from order_plane.ledger.state import EVERYTHING
from order_plane.messages import Append
from order_plane.trading.account import Valuation, account_record, last_mark, last_price, taken_over, value
from order_plane.trading.supervision import Supervision
from triplane.domain.assets import Universe
from triplane.domain.timestamps import DAY, SECOND

ACCOUNT_EVERY_NS = 100_000_000  # wall time between account records: a burst of fills is one record, not one each
# Limits and sizing use the last mark of a name up to this age (a long weekend), since a halted name's last price is the best there is;
# levels that trip need every mark within QUOTE_STALE_S, or for LATE_NS none of the silent name.
MARK_KEPT_S = 4 * 86_400.0
LATE_NS = 60 * SECOND  # market time
# Bars and quotes are topics of their own and come in turns: while a simulated market runs fast, or a backlog is worked off, the bars of
# minutes stand before the quotes of the first of them. Nobody is silent who is only not read yet.
LATE_WALL_NS = 2 * SECOND


class Marking(Supervision):
    """Values the account whenever marks or holdings changed."""

    def _value(self) -> None:
        """Mark the account and judge the levels, when marks or holdings changed and every mark is good."""
        s, account, universe = self.s, self.s.account, self.folded.universe
        if not self._revalue or universe is None:
            return
        targets = self.folded.targets.order
        account.due = True
        gone = self._value_taken_over()
        valuation = self._judged(universe, targets.QUOTE_STALE_S, gone)
        if valuation is None:
            return
        # Units that somebody brought or took and that have no worth yet: whatever mark NAV has for them is no gain and no loss.
        nav = valuation.nav - taken_over(s, universe)
        if kill.jumped(account, nav, targets):
            self._hold(EVERYTHING, Code.NAV_JUMP, f"NAV moved from {account.nav:.2f} to {nav:.2f} between two marks.")
            return
        account.nav, account.forgiven = nav, False
        if not math.isfinite(account.day_start):
            account.day_start, account.day_flows = nav, 0.0  # what flowed before is in it
        account.high_water_mark = (
            nav if not math.isfinite(account.high_water_mark) else max(account.high_water_mark, nav)
        )
        self._apply_trip(kill.judge(account, s.kill, nav, targets))

    def _judged(self, universe: Universe, stale_s: float, gone: list[str]) -> Valuation | None:
        """The account as levels may judge it; None while one mark is late. `gone`: names no longer held whose last units have no worth yet.

        A name that stays silent must not disarm the levels while all others move: after LATE_NS its last mark stands in for the
        next one, and a person is told, once a day for each name. A name without any mark leaves NAV unknown, which holds and never trips.
        """
        s, market = self.s, self.s.market
        now = s.market_time
        valuation = value(s, universe, now, stale_s)
        if valuation.fresh and not gone:
            market.late_since = 0
            return valuation
        if not all(self._session_end(symbol) for symbol in valuation.missing):
            market.late_since = 0
            return None  # after hours most names are silent, and what is quoted is quoted wide
        if not market.late_since or now - market.late_seen > LATE_NS:  # a night between two sessions is no silence
            market.late_since, market.late_since_wall = now, s.wall
        began, market.late_seen = market.late_since, now
        if now - began < LATE_NS or s.wall - market.late_since_wall < LATE_WALL_NS:
            return None
        kept = value(s, universe, now, MARK_KEPT_S)
        if not kept.fresh:
            return None
        for symbol in gone:  # nobody may ever quote it again, but it has a minute of its own
            if now - s.reconciling.unvalued[symbol][-1].since >= LATE_NS:
                self._give_worth(symbol, last_price(s, symbol), silent=True)
        silent = dict.fromkeys(valuation.missing, now // DAY)
        news = sorted(name for name, _ in silent.items() - market.kept_told.items())
        if news:
            market.kept_told |= silent
            self._alert(
                Code.MARK_KEPT,
                f"{', '.join(news)} had no mark for {LATE_NS / SECOND:.0f} s; levels are judged with the last.",
            )
        return kept

    def _publish_account(self) -> None:
        """One AccountState per change, at most one per ACCOUNT_EVERY_NS of wall time; the rest waits for the next input."""
        s, account, universe = self.s, self.s.account, self.folded.universe
        if not account.due or universe is None or not math.isfinite(s.book.cash):
            return
        if account.published_wall and s.wall - account.published_wall < ACCOUNT_EVERY_NS:
            return
        stale_s = self.folded.targets.order.QUOTE_STALE_S
        valuation = value(s, universe, s.market_time, MARK_KEPT_S)
        record = account_record(
            s,
            universe,
            valuation,
            account=self.account,
            simulated=self.folded.simulated,
            stale_s=stale_s,
            kept_s=MARK_KEPT_S,
        )
        values = {}
        if math.isfinite(account.nav):
            values = {
                "nav": account.nav,
                "high_water_mark": account.high_water_mark,
                "day_start": account.day_start,
                "day_flows": account.day_flows,
                "forgiven": float(account.forgiven),
            }
        # A start forgets the market, and what NAV had for a name must be known there, or what a trade by hand is measured with.
        held = {name for name, position in s.book.positions.items() if position.quantity}
        held |= s.reconciling.unvalued.keys() | s.book.foreign_traded.keys()
        marks = {name: mark for name in sorted(held) if (mark := last_mark(s, name)) is not None}
        self._emit("marked", symbols=list(marks), prices=list(marks.values()), values=values)
        self._out.reports.append(Append("order.account", record))
