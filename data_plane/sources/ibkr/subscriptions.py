"""The IBKR source's subscriptions, kept to what `lines.py` plans: within the budget, within IB's pacing rules, and said to the engine.

A budget that is smaller at IB than MARKET_DATA_LINES says (other programs of the login use lines, too) is learned from error 101, and
forgotten by and by (`lines.Budget`): they may let go of theirs.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Collection

from data_plane.sources.base import Context
from data_plane.sources.ibkr.lines import LEAST_LINES, TRY_AGAIN_MOST_S, Budget, LinePlan, LineScheduler
from data_plane.sources.ibkr.requests import Requests
from triplane.broker.market_data import (
    BARS,
    BUST,
    PACED,
    QUOTES,
    TOO_MANY_LINES,
    TOO_MANY_TICK_LINES,
    TRADES,
    MarketFeed,
)
from triplane.domain import calendars
from triplane.domain.timestamps import SECOND

# Requests sent between two looks at whether the gateway has taken them.
BURST = 40
# A slot that took longer, by the market's clock, did not measure how fast turns come: a night, or a leap.
LONGEST_SLOTS = 20
# Wall seconds between two tick-by-tick requests of one name (TWS API, "Tick-by-Tick Data": no more than one in 15 seconds).
TRADES_AGAIN_S = 15.0
# What ends tick-by-tick trades of a name for as long as the connection lasts: no contract, no permission (420: unless it is the pace).
# After any other error (10197, another session of the login has the data) they are asked for again, later each time it comes.
NO_TRADES = frozenset({200, 354, 420, 10089, 10090, 10168, 10186, 10189})
# Wall seconds without a request after error 101 when hardly a line is left: one is asked for all the same, not at every look.
NO_LINES_S = 5.0


class Lines:
    """Subscriptions of one source over all its connections."""

    def __init__(self, context: Context, source: str, requests: Requests, *, is_paced: Callable[[], bool]) -> None:
        """`is_paced`: whether the gateway's market passes at the real pace, so that IB's rules may hold there."""
        self._context = context
        self._source = source
        self._requests = requests
        self._is_paced = is_paced
        self._refused_for_pace = False
        self._scheduler = LineScheduler()
        self._budget, self._trades_budget = Budget(LEAST_LINES), Budget(0)
        self._held_until = 0.0
        """Before this nothing is subscribed, wall seconds of the monotonic clock."""
        self._trades_asked: dict[str, float] = {}
        """When each name's tick-by-tick trades were asked for, wall seconds of the monotonic clock."""
        self._no_trades: set[str] = set()
        """Names whose tick-by-tick trades were refused for good."""
        self._trades_held: dict[str, tuple[float, float]] = {}
        """(before this they are not asked for again, for how long that was), wall seconds, of names whose trades ended for a while."""
        self._slot_began = 0
        self._slot_ns = 0
        self._told: tuple[frozenset[str] | None, float] | None = None

    def nothing_subscribed(self) -> None:
        """A connection begins, or all subscriptions on it were ended: what the gateway grants is to be learned."""
        self._budget.forget()
        self._trades_budget.forget()
        self._held_until = 0.0
        self._no_trades.clear()
        self._trades_held.clear()
        self._told = None

    def link_back(self) -> None:
        """The gateway has IB's servers again: what ended while it had not is asked for at the next look."""
        self._trades_held.clear()

    async def follow(self, feed: MarketFeed, names: list[str], flush: Callable[[], Awaitable[object]]) -> bool:
        """Make the feed's subscriptions those that `names` should have now; `flush` returns once the gateway has taken what was sent.

        False when nothing was to be changed.
        """
        plan, round_s = self._plan(names)
        quoted = (*plan.streamed, *plan.quoted)
        changed = self._drop(feed, plan, frozenset(quoted))
        sampled = frozenset(plan.quoted)
        have, bars, trades = (frozenset(feed.having(kind)) for kind in (QUOTES, BARS, TRADES))
        sent = 0
        for symbol in () if time.monotonic() < self._held_until else quoted:
            feed.subscribe(symbol, self._requests.contracts[symbol], sampled=symbol in sampled)
            sent += symbol not in have
            sent += symbol not in sampled and symbol not in bars and self._subscribe_bars(feed, symbol)
            sent += symbol in plan.every_trade and symbol not in trades and self._subscribe_trades(feed, symbol)
            if sent >= BURST:
                changed, sent = True, 0
                await flush()
        if sent:
            changed = True
            await flush()
        self._tell(names, feed.having(BARS), round_s)
        return changed

    def _plan(self, names: list[str]) -> tuple[LinePlan, float]:
        targets, now, wall = self._context.targets, self._context.clock.now(), time.monotonic()
        slot = int(targets.ROTATION_S * SECOND)
        due = now - self._slot_began >= slot and calendars.session_of(calendars.MARKET_CALENDAR, now) is not None
        if due:
            took = now - self._slot_began
            self._slot_ns = took if took <= LONGEST_SLOTS * slot else slot
            self._slot_began = now
        plan = self._scheduler.plan(
            names,
            self._budget.limit(targets.MARKET_DATA_LINES, wall),
            self._trades_budget.limit(targets.TICK_BY_TICK_LINES, wall),
            max(int(targets.ROTATION_ROUND_S // targets.ROTATION_S), 1),
            [name for name in targets.STREAM_FIRST.split(",") if name],
            next_slot=due,
        )
        return plan, plan.round_slots * max(self._slot_ns, slot) / SECOND

    @staticmethod
    def _drop(feed: MarketFeed, plan: LinePlan, quoted: frozenset[str]) -> bool:
        """End what is not wanted, first: its lines are wanted for others."""
        streamed, changed = frozenset(plan.streamed), False
        for symbol in feed.symbols:
            if symbol not in quoted:
                feed.unsubscribe(symbol)
                changed = True
        for symbol in feed.having(BARS):
            if symbol not in streamed:
                feed.unsubscribe_bars(symbol)
                changed = True
        for symbol in feed.having(TRADES):
            if symbol not in plan.every_trade:
                feed.unsubscribe_trades(symbol)
                changed = True
        return changed

    def _subscribe_bars(self, feed: MarketFeed, symbol: str) -> bool:
        """Subscribe a name's bars, if IB's rules allow it now; else a later look does."""
        wish, now = self._requests.streaming(symbol), time.monotonic()
        paced = self._is_paced() or self._refused_for_pace
        if paced and self._requests.pacing.delay(now, wish, self._context.targets.HISTORICAL_REQUESTS) > 0:
            return False
        self._requests.pacing.sent(now, wish)
        feed.subscribe_bars(symbol)
        return True

    def _subscribe_trades(self, feed: MarketFeed, symbol: str) -> bool:
        """Subscribe a name's tick-by-tick trades, if they may be had now; else its trades are those of the quotes."""
        now = time.monotonic()
        asked_at = self._trades_asked.get(symbol, -TRADES_AGAIN_S)
        held_until, _ = self._trades_held.get(symbol, (0.0, 0.0))
        if symbol in self._no_trades or now < held_until or (self._is_paced() and now < asked_at + TRADES_AGAIN_S):
            return False
        self._trades_asked[symbol] = now
        feed.subscribe_trades(symbol)
        return True

    def refused(self, feed: MarketFeed, symbol: str, kind: str, code: int, text: str) -> None:
        """The gateway has not made a subscription, and the feed has let it go."""
        log, source = self._context.log, self._source
        if kind == TRADES:
            self._trades_refused(feed, symbol, code, text)
        elif code == PACED:
            self._refused_for_pace = True
            wait = self._requests.pacing.refused(time.monotonic())
            log.warning("too fast for IB", source=source, symbol=symbol, wait_s=wait)
        elif code == TOO_MANY_LINES:
            now = time.monotonic()
            if self._budget.refused(feed.lines, now):
                lines = self._budget.granted
                log.warning("fewer market data lines than MARKET_DATA_LINES", source=source, lines=lines, reason=text)
            if feed.lines < LEAST_LINES:
                self._held_until = now + NO_LINES_S

    def _trades_refused(self, feed: MarketFeed, symbol: str, code: int, text: str) -> None:
        log, source = self._context.log, self._source
        if code == TOO_MANY_TICK_LINES:
            self._trades_budget.refused(len(feed.having(TRADES)), time.monotonic())
            lines = self._trades_budget.granted
            log.warning("fewer tick-by-tick lines than TICK_BY_TICK_LINES", source=source, lines=lines)
            return
        pacing, wait = "pacing" in text.lower(), TRADES_AGAIN_S
        if code in NO_TRADES and not pacing:
            self._no_trades.add(symbol)
        elif code != BUST and not pacing:
            _, waited = self._trades_held.get(symbol, (0.0, 0.0))
            wait = min(max(2.0 * waited, TRADES_AGAIN_S), TRY_AGAIN_MOST_S)
            self._trades_held[symbol] = time.monotonic() + wait, wait
        again = {} if symbol in self._no_trades else {"again_s": wait}
        log.warning("trades are those of the quotes", source=source, symbol=symbol, code=code, reason=text, **again)

    def _tell(self, names: list[str], streamed: Collection[str], round_s: float) -> None:
        told = (None if len(streamed) == len(names) else frozenset(streamed), round_s)
        if told != self._told:
            self._told = told
            self._context.covered(self._source, *told)
