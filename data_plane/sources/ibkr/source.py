"""Interactive Brokers: daily history, one-minute bars, five-second bars, quotes and trades of the tradable universe.

One connection, one fixed client id. It reconnects and subscribes again by itself; what was missed meanwhile is fetched as bars.
"""

from __future__ import annotations

import time
from datetime import date

from data_plane.gates.clock import ClockSample
from data_plane.observations import QuoteTick, RealtimeBar, TradeTick
from data_plane.slices.ahead import AheadBars
from data_plane.slices.assembly import STEP
from data_plane.sources.base import NOT_SUBSCRIBED, Context, SourceSpec, Stage
from data_plane.sources.ibkr.actions import IbkrActions
from data_plane.sources.ibkr.history import IbkrHistory
from data_plane.sources.ibkr.requests import Requests
from data_plane.sources.ibkr.reread import KeptHistory
from data_plane.sources.ibkr.side_work import SideWork
from data_plane.sources.ibkr.span import SpanHistory
from data_plane.sources.ibkr.speed import Speed
from data_plane.sources.ibkr.subscriptions import Lines
from data_plane.sources.ibkr.watched import WatchedHistory
from data_plane.sources.ibkr.watched_reread import KeptWatched
from triplane.broker.market_data import BarHandler, MarketFeed
from triplane.broker.present_time import other_time
from triplane.broker.session import BrokerSession, BrokerUnavailable, ClientIdInUse, RequestFailed, WrongAccount
from triplane.domain import calendars
from triplane.domain.timestamps import MINUTE, SECOND
from triplane.runtime.exit_codes import DaemonExit
from triplane.runtime.settings import Settings

NAME = "ibkr"

HEARTBEAT_S = 1.0
# While the paper gateway's clock runs fast or is held, a second of wall time can be a whole session.
FAST_HEARTBEAT_S = 0.1
# Silence of so many freshness limits makes the subscriptions anew; at most so often, wall seconds.
RESUBSCRIBE_AFTER = 4.0
RESUBSCRIBE_EVERY_S = 30.0
# Wall seconds without a bar after which the rest of a session that is over is fetched: no next session has begun.
QUIET_S = 1.5
# The same at the real pace, where five seconds lie between two bars and the last one comes after the close.
REAL_QUIET_S = 15.0
# Wall seconds within which a gateway tells its time, else it hangs and is left.
ANSWER_S = 5.0
LINK_LOST = "the gateway has lost IB's servers and says when they are back; nothing is asked for meanwhile"
RECONNECT_FIRST_S, RECONNECT_MAX_S = 0.5, 10.0


class IbkrSource:
    """The connection to the gateway and what is asked of it."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._session: BrokerSession | None = None
        self._feed: MarketFeed | None = None
        self._requests = Requests(context, NAME, lambda: self._live_session)
        self._history = IbkrHistory(context, NAME, self._requests)
        self._actions = IbkrActions(context, NAME, self._requests)
        self._watched = WatchedHistory(context, NAME, self._requests, lambda: self._live_session)
        self._speed = Speed()
        # A simulated market that runs fast has no ten minutes to wait; one that keeps the rules all the same says so by a refusal.
        self._lines = Lines(
            context, NAME, self._requests, is_paced=lambda: context.settings.mode != "paper" or self._speed.real
        )
        self._ahead = AheadBars()
        """Bars that are ahead of what the gateway told of the time."""
        self._doubted = False
        """Whether one came that stands alone, since the time was asked for."""
        self._put_off = False
        """Whether the last answer was for that reason not used; never twice in a row."""
        self._newest = 0
        """End of the latest five-second bar whose time is believed, ns UTC."""
        self._day: date | None = None
        """Its session."""
        self._heard_at = 0.0
        """When it came, wall seconds of the monotonic clock."""
        self._minutes_due = ""
        self._followed: set[str] = set()
        """Names that have been followed on this connection."""
        self._was_cut_off = False
        self._subscribed = False
        """Whether the universe has been subscribed on this connection."""
        self._side = SideWork()
        self._was_connected = False
        """Then an id in use is ours still: the gateway has not noticed yet that our connection ended."""

    # -- connection ------------------------------------------------------------------------------------------------------------
    async def close(self) -> None:
        """Leave the gateway."""
        await self._side.end()
        await self._leave()
        await self._requests.kept.close()

    async def _leave(self) -> None:
        self._ahead.waiting.clear()
        if self._feed is not None:
            self._feed.close()
            self._feed = None
        if self._session is not None:
            session, self._session = self._session, None
            await session.close()

    async def _connect(self) -> bool:
        """Connect, learn the time and resolve contracts, trying until it works; False when the daemon stops first."""
        context, settings = self._context, self._context.settings
        wait = RECONNECT_FIRST_S
        while not context.stop.is_set():
            session = BrokerSession()
            try:
                await session.connect(
                    settings.gateway_host, settings.gateway_port, settings.data_client_id, settings.account
                )
                self._session = session
                now = await self._time()
                if refused := other_time(settings.mode, now, context.clock.now()):
                    raise BrokerUnavailable(refused)
                self._history.connected(now)
                await self._requests.resolve(session, context.assets())
            except WrongAccount as error:
                raise DaemonExit(str(error)) from error
            except (ClientIdInUse, BrokerUnavailable, RequestFailed) as error:
                if isinstance(error, ClientIdInUse) and not self._was_connected:
                    raise DaemonExit(str(error)) from error
                ours = isinstance(error, ClientIdInUse)
                context.blocked(
                    NAME,
                    "its client id is still in use at the gateway, by our last connection or another program; tried again"
                    if ours
                    else str(error),
                )
                self._session = None
                await session.close()
                if await context.pause(wait):
                    break
                wait = min(2 * wait, RECONNECT_MAX_S)
                continue
            self._was_connected = True
            context.blocked(NAME, NOT_SUBSCRIBED)
            context.log.info("connected", source=NAME, names=len(self._requests.contracts))
            return True
        return False

    @property
    def _live_session(self) -> BrokerSession:
        if self._session is None or not self._session.is_connected:
            raise BrokerUnavailable("the broker connection is down")
        return self._session

    async def _time(self) -> int:
        now = await self._live_session.server_time(ANSWER_S)
        self._context.tell_time(now)
        for bar in self._ahead.decide(now, self._context.targets.CLOCK_BACKWARDS_MAX_S)[0]:
            self._reached(bar.start)
        return now

    # -- history ---------------------------------------------------------------------------------------------------------------
    async def backfill(self) -> None:
        """Daily bars of BACKFILL_YEARS that the topic lacks, or bars of the span that is wanted, oldest session first, as history."""
        if self._context.reread:
            await KeptHistory(self._context, NAME, self._requests).load()
            if self._context.interval == "1d":
                await KeptWatched(self._context, NAME, self._requests, self._watched).load()
            return
        while await self._connect():
            try:
                if self._context.span is None:
                    await self._history.load()
                else:
                    await SpanHistory(self._context, NAME, self._requests).load()
                if self._context.interval == "1d":
                    await self._watched.load()
                return
            except (BrokerUnavailable, ConnectionError) as error:
                self._context.log.warning("connection lost while loading history", source=NAME, reason=str(error))
                await self._leave()

    # -- live ------------------------------------------------------------------------------------------------------------------
    async def follow(self) -> None:
        """Real-time data until the daemon stops."""
        while not self._context.stop.is_set():
            try:
                if self._session is None:
                    if not await self._connect():
                        return
                    await self._history.load()
                await self._stream()
            except (BrokerUnavailable, RequestFailed, ConnectionError) as error:
                if not self._context.stop.is_set():
                    self._context.log.warning("connection lost", source=NAME, reason=str(error))
                    self._context.blocked(NAME, str(error))
            finally:
                self._side.cancel()
                await self._leave()

    async def _stream(self) -> None:
        context = self._context
        session = self._live_session
        self._feed = MarketFeed(session, self._handler(), context.clock.now)
        session.dividends.append(self._actions.told)
        context.resume(NAME, await self._time())
        self._lines.nothing_subscribed()
        self._was_cut_off = False
        self._minutes_due = "start"
        self._subscribed = False
        self._followed = set()
        resubscribed = time.monotonic()
        while not context.stop.is_set():
            await self._look()
            if self._cut_off(session):
                # Its clock goes on, so that the gates close; requests and subscriptions would only fail. What IB kept comes again by
                # itself once it is back, and is given time to.
                resubscribed = time.monotonic()
                if await context.pause(FAST_HEARTBEAT_S if context.settings.mode == "paper" else HEARTBEAT_S):
                    return
                continue
            silent = context.source_age(NAME) > RESUBSCRIBE_AFTER * context.targets.BAR_FRESHNESS_S
            again = session.link.data_lost or (silent and time.monotonic() - resubscribed > RESUBSCRIBE_EVERY_S)
            if again:
                context.log.warning("subscribing again", source=NAME, data_lost=session.link.data_lost, silent=silent)
                session.link.data_lost = False
                context.blocked(NAME, "subscribing again")
                context.gap(NAME)
                self._feed.clear()
                self._lines.nothing_subscribed()
            await self._follow_universe()
            if again:
                await self._time()
                context.blocked(NAME, "")
                self._minutes_due = "resubscribed"
                resubscribed = time.monotonic()
            if self._history.days_due(context.clock.now()):
                self._side.start("days", self._history.load_closed())
            fast = context.settings.mode == "paper" and not self._speed.real
            quiet = time.monotonic() - self._heard_at > (QUIET_S if fast else REAL_QUIET_S)
            if quiet and self._history.rests_due(context.clock.now()):
                self._side.start("minutes", self._history.load_rests())
            self._actions.follow()
            if self._side.idle and self._actions.due():  # whatever else is to be asked comes first
                self._side.start("actions", self._actions.look())
            elif (
                self._side.idle and self._watched.due(now := context.clock.now()) and not self._history.decides_at(now)
            ):
                self._side.start("watched", self._watched.load())
            self._side.check()
            if await context.pause(FAST_HEARTBEAT_S if fast else HEARTBEAT_S):
                return

    async def _look(self) -> None:
        """Ask the gateway for its time, and judge by it what came before."""
        context, newest, asked, self._doubted = self._context, self._newest, time.monotonic(), False
        now = await self._time()
        if self._speed.sample(time.monotonic(), now):
            context.resume(NAME, now)
        context.compare_clock(NAME, ClockSample("gateway", now, self._offset(newest, now, asked)))
        # A bar that came after the question may be ahead of the answer and right: the next answer decides on it.
        self._put_off = self._doubted and not self._put_off
        if not self._put_off:
            context.advance(NAME, context.clock.now())

    def _offset(self, newest: int, now: int, asked: float) -> int:
        """How far (ns) what stamps the data is from the gateway's time `now` (whole seconds), asked for at `asked`: on paper data up to
        `newest`, else this machine's clock.

        Behind the gateway's clock, data is idle; ahead of it, one of the two is wrong. Only bars that arrived before the question can be
        held against the answer: at 300x, a message in between is worth many market seconds.
        """
        if self._context.settings.mode == "paper":
            return max(0, newest - now - SECOND)
        off, took = self._context.clock.now() - now, SECOND + int((time.monotonic() - asked) * SECOND)
        return min(off, 0) or max(0, off - took)

    def _cut_off(self, session: BrokerSession) -> bool:
        """Whether the gateway has lost IB's servers (1100, 2110, until 1101 or 1102); said once, and once when they are back."""
        cut_off = not session.link.servers
        if cut_off != self._was_cut_off:
            self._was_cut_off = cut_off
            self._context.log.warning("link to IB's servers", source=NAME, up=not cut_off)
            back = "" if self._subscribed else "not subscribed yet"
            self._context.blocked(NAME, LINK_LOST if cut_off else back)
            if not cut_off:
                self._context.gap(NAME)
                self._lines.link_back()
        return cut_off

    async def _follow_universe(self) -> None:
        """Subscribe what the universe has and drop what it has no more."""
        assert self._feed is not None
        assets = self._context.assets()
        for symbol in self._requests.forget_changed(assets):
            self._context.log.warning("another contract from now on", source=NAME, symbol=symbol)
            self._feed.unsubscribe(symbol)
            self._followed.discard(symbol)
        if self._requests.to_resolve(assets):
            await self._requests.resolve(self._live_session, assets)
        names = self._requests.names()
        new = set(names) - self._followed
        if self._followed and new:  # on a new connection, what history lacks has been loaded before
            self._history.joined(new)
            self._side.start(f"history of {', '.join(sorted(new))}", self._history.load_names(self._newest))
        self._followed = set(names)
        # The client library queues requests at its own rate. Once the time is told, those before it have reached the gateway.
        changed = await self._lines.follow(self._feed, names, self._time)
        if not self._subscribed or (changed and new):
            self._subscribed = True
            self._context.blocked(NAME, "")

    # -- callbacks -------------------------------------------------------------------------------------------------------------
    def _handler(self) -> BarHandler:
        return BarHandler(self._on_bar, self._on_quote, self._on_trade, self._on_malformed, self._on_refused)

    def _on_refused(self, symbol: str, kind: str, code: int, text: str) -> None:
        assert self._feed is not None
        self._lines.refused(self._feed, symbol, kind, code, text)

    def _on_bar(
        self,
        symbol: str,
        start: int,
        open_: float,
        high: float,
        low: float,
        close: float,
        volume: float,
        wap: float,
        trades: int,
    ) -> None:
        bar = RealtimeBar(NAME, symbol, start, open_, high, low, close, volume, wap, trades)
        allowed = self._context.targets.CLOCK_BACKWARDS_MAX_S
        if not self._ahead.is_ahead(start, self._newest, allowed):
            self._reached(start)
        elif reached := self._ahead.admit(bar, allowed, len(self._requests.contracts)):
            self._reached(max(each.start for each in reached))
        else:
            self._doubted = True
        self._actions.opened(symbol, self._day, open_)
        self._context.take(bar)

    def _reached(self, start: int) -> None:
        """Bars from `start` on are believed: market time has come to their end, as far as the gateway's own answers bear that out.

        Where its clock keeps pace with the machine's, no bar is right that is far ahead of the last answer. Of a simulated market that
        leaps the answer is old, and names that agree are believed.
        """
        end = start + STEP
        if end <= self._newest:
            return
        gap, self._newest, self._heard_at = start - self._newest, end, time.monotonic()
        most = self._ahead.told + int(self._context.targets.CLOCK_BACKWARDS_MAX_S * SECOND)
        self._context.tell_time(min(end, most) if self._speed.real else end)
        if gap > MINUTE:
            # A night, or a leap that the next look at the gateway's clock would tell too late: nobody was silent meanwhile.
            self._day = calendars.session_of(calendars.MARKET_CALENDAR, start)
            self._context.resume(NAME, start)
            self._minutes_due = "gap"
        if self._day is not None:
            self._history.heard(self._day, start, end)
        # What is under way still may end before this: then the next bar asks.
        if (
            self._minutes_due
            and self._day is not None
            and not self._history.decides_about(self._day, start)
            and self._side.start("minutes", self._history.load_minutes(self._day, start))
        ):
            self._minutes_due = ""

    def _on_quote(
        self,
        symbol: str,
        at: int,
        bid: float,
        ask: float,
        bid_size: float,
        ask_size: float,
        last: float,
        volume: float,
        status: str,
        halted: bool,
    ) -> None:
        self._context.take(QuoteTick(NAME, symbol, at, bid, ask, bid_size, ask_size, last, volume, status, halted))

    def _on_trade(self, symbol: str, at: int, price: float, size: float) -> None:
        self._context.take(TradeTick(NAME, symbol, at, price, size))

    def _on_malformed(self, symbol: str, detail: str, raw: bytes) -> None:
        self._context.malformed(NAME, "data.bars", symbol, "MESSAGE_UNREADABLE", detail, raw)


def _missing(settings: Settings) -> str:
    if settings.gateway_port:
        return ""
    return "no gateway is configured; set TRIPLANE_GATEWAY_PORT (7497 for TWS paper, 4002 for IB Gateway paper)"


SOURCE = SourceSpec(NAME, Stage.MARKET, IbkrSource, _missing, watches=True)
