"""Interactive Brokers' daily bars of assets of assets.csv that this release does not trade: funds, futures, currencies, crypto.

Each along its own calendar, after its newest session on the topic; a future as the contracts of its chain, from ten sessions before the roll
into each to its last trade, with the schedule by which they follow each other. Asked for at the start and once sessions have closed since, when
nothing else is to be asked and no decision is near: none waits for them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, timedelta
from typing import Final

from data_plane.futures import Held, contract_name
from data_plane.observations import Bars, Chain
from data_plane.sources.base import Context
from data_plane.sources.ibkr.chain import rolls
from data_plane.sources.ibkr.chunks import plan, published_spans
from data_plane.sources.ibkr.requests import ABSENT, Requests, pivot
from triplane.broker import contracts
from triplane.broker.contracts import ContractUnknown, make_contract, terms_of
from triplane.broker.historical_bars import HistoricalBars
from triplane.broker.session import BrokerSession, BrokerUnavailable, RequestFailed
from triplane.domain import calendars
from triplane.domain.assets import Asset
from triplane.domain.timestamps import midnight, to_datetime

Window = tuple[date, date]
"""First and last session of which a name's bars are wanted."""
NEXT_BEFORE: Final = 10
"""Sessions before a roll from which the next contract's bars are loaded as well: one of them has a close of both."""
AGAIN_S, AGAIN_MAX_S = 60.0, 3600.0
"""Wall seconds after which a bar that the broker does not have yet is asked for again: doubled each time."""
SLICES_AT_ONCE: Final = 5
"""Handed in between two looks at the event loop."""


class WatchedHistory:
    """Loads what the topic lacks; use one for all connections."""

    def __init__(self, context: Context, source: str, requests: Requests, live: Callable[[], BrokerSession]) -> None:
        self._context = context
        self._source = source
        self._requests = requests
        self._live = live
        self._assets: list[Asset] = []
        """Those of the last look."""
        self._next = 0
        """The next close after that look, ns UTC."""
        self._wait, self._looked_at = AGAIN_S, 0.0
        self._done, self._of = 0, 0
        """Sessions of all assets that this load has asked for, and that it will."""
        self._told: dict[str, str] = {}
        """Why a name could not be loaded, as it was said last."""
        self._lacks = False
        """Whether a session had closed then that the broker had no bar of."""

    def due(self, now: int) -> bool:
        """Whether a session has closed since the last look, or it is time for another one; `now` is market time, ns UTC."""
        assets = self._context.watched()
        if not assets:
            return False
        again = self._lacks and time.monotonic() - self._looked_at > self._wait
        return again or now >= self._next or assets != self._assets

    async def load(self) -> None:
        """Sessions that have closed and the topic lacks: of the span that is wanted, else after the newest of each asset.

        What the broker refuses is said and left out. Raises BrokerUnavailable.
        """
        context = self._context
        now, self._assets = context.clock.now(), context.watched()
        self._looked_at = time.monotonic()
        self._requests.forget_changed(self._assets)
        lacks = False
        wanted = [(asset, sessions) for asset in self._assets if (sessions := self.sessions(asset, now))]
        self._done, self._of = 0, sum(len(sessions) for _, sessions in wanted)
        for asset, sessions in wanted:
            await self._load(asset, sessions, now)
            lacks |= context.span is None and bool(self.sessions(asset, now))
        closes = [self._next_close(asset.calendar, now) for asset in self._assets]
        new = bool(closes) and min(closes) > self._next
        self._next = min(closes, default=0)
        self._wait = AGAIN_S if new else min(2 * self._wait, AGAIN_MAX_S)
        self._lacks = lacks

    def sessions(self, asset: Asset, now: int) -> list[date]:
        """Sessions of the asset's calendar that are over and wanted, oldest first."""
        context, calendar = self._context, asset.calendar
        today = to_datetime(now).date()
        if context.span is not None:
            first, last = context.span.start, min(context.span.end, today)
        else:
            first, last = today - timedelta(days=int(365 * context.targets.BACKFILL_YEARS)), today
        first, last = max(first, calendars.FIRST_DAY), min(last, calendars.LAST_DAY)
        days = calendars.sessions(calendar, first, last) if first <= last else []
        have = context.published.daily_sessions(self._source, asset.symbol)
        newest = max(have, default="") if context.span is None else ""
        return [
            day
            for day in days
            if day.isoformat() not in have
            and day.isoformat() > newest
            and calendars.session_close(calendar, day) <= now
        ]

    @staticmethod
    def _next_close(calendar: str, now: int) -> int:
        day = to_datetime(now).date() - timedelta(days=1)
        while (close := calendars.session_close(calendar, day := calendars.next_session(calendar, day))) <= now:
            pass
        return close

    async def _load(self, asset: Asset, sessions: Sequence[date], now: int) -> None:
        context, calendar = self._context, asset.calendar
        try:
            # From where the series begins: a roll whose day has passed, unsaid, is among them.
            begun = min(context.published.daily_sessions(self._source, asset.symbol), default="9999-12-31")
            held = await self._contracts(asset, min(sessions[0], date.fromisoformat(begun)))
        except (ContractUnknown, RequestFailed, BrokerUnavailable, ValueError) as error:
            if not self._live().is_connected:
                raise
            self._refused(asset.symbol, str(error), unknown=isinstance(error, ContractUnknown))
            return
        self._told.pop(asset.symbol, None)
        start = calendars.session_open(calendar, sessions[0])
        end = calendars.session_close(calendar, sessions[-1])
        have = published_spans(context.published, self._source, asset.symbol, "1d", calendar)
        for request in plan("1 day", start, end, calendar, have):
            await context.room()
            windows = (
                windows_of(held, asset, request.first, request.last)
                if held
                else {asset.symbol: (request.first, request.last)}
            )
            windows = {name: window for name, window in windows.items() if name in self._requests.contracts}
            rows = await self._requests.chunk(request, list(windows))
            # A slice is published once: who was refused is asked for once more.
            refused = [name for name in windows if name in self._requests.refusals]
            rows |= await self._requests.chunk(request, refused) if refused else {}
            for name in windows:
                if why := self._requests.refusals.pop(name, ""):
                    self._refused(name, why)
            asked = [day for day in sessions if request.first <= day <= request.last]
            await self.hand_in(asset, asked, windows, rows, now)
            for name in rows:
                self._told.pop(name, None)
            self._done += len(asked)
            context.progress(self._done, self._of, f"{asset.symbol} {request.last}")
            if len(sessions) > 1:
                context.log.info("loaded", source=self._source, symbol=asset.symbol, until=request.last.isoformat())

    async def hand_in(
        self,
        asset: Asset,
        sessions: Iterable[date],
        windows: Mapping[str, Window],
        rows: Mapping[str, HistoricalBars],
        asked: int,
    ) -> None:
        """Hand in what was found of some sessions, a slice each: of each name in its window. `asked` is the market time of the asking, ns UTC."""
        days = {midnight(day): day for day in sessions}
        starts, names, values, trades = pivot(rows)
        for count, begins in enumerate(starts):
            if (day := days.get(begins)) is None:
                continue
            there = (trades[count] != ABSENT).tolist()
            places = [
                place
                for place, name in enumerate(names)
                if there[place] and windows[name][0] <= day <= windows[name][1]
            ]
            if not places:
                continue
            close = calendars.session_close(asset.calendar, day)
            about = (self._source, "1d", day.isoformat(), close, self._available(close))
            bars = (tuple(names[place] for place in places), values[count, places], trades[count, places])
            self._context.take(Bars(*about, *bars, True, asked, asset.symbol))
            if count % SLICES_AT_ONCE == 0:
                await asyncio.sleep(0)

    async def _contracts(self, asset: Asset, first: date) -> list[Held]:
        """See to it that the asset's contracts are known; of a future, who is held when from `first` on, else nothing."""
        session = self._live()
        if asset.sec_type != "FUT":
            if asset.symbol not in self._requests.contracts:
                wanted = make_contract(**terms_of(asset))
                wanted.conId = (await contracts.resolve(session, wanted)).con_id
                self._requests.adopt(asset.symbol, wanted, terms_of(asset))
            return []
        start = calendars.session_open(asset.calendar, first)
        held = await rolls(session, asset, self._context.targets.FUTURES_ROLL_DAYS, start)
        for each in held:
            contract = each.contract
            terms = terms_of(asset) | {
                "con_id": contract.con_id,
                "local_symbol": contract.local_symbol,
                "expiry": f"{contract.last_trade:%Y%m%d}",
                "trading_class": contract.trading_class,
            }
            made = make_contract(**terms)
            made.includeExpired = True
            name = contract_name(asset.symbol, contract.month)
            self._requests.adopt(name, made, terms | {"month": contract.month})
        self._context.take(Chain(self._source, asset.symbol, self._context.clock.now(), tuple(held)))
        return held

    def _refused(self, name: str, why: str, *, unknown: bool = False) -> None:
        """Say, once while it stays the same, that a name cannot be loaded; `unknown`: for there is no such contract."""
        self._context.incomplete(self._source, f"{name}: {why}")
        if self._told.get(name) != why:
            self._told[name] = why
            log = self._context.log
            (log.error if unknown else log.warning)(
                "no contract" if unknown else "no bars", source=self._source, symbol=name, reason=why
            )

    def _available(self, close: int) -> int:
        """When a bar could be known to a decision: what closed before the newest one that the plane can have fed was not known to it."""
        context = self._context
        decided = max(context.decided, context.published.latest_bars(self._source, context.settings.group, "5s"))
        return close if close > decided else max(context.clock.now(), decided + 1)


def windows_of(held: Sequence[Held], asset: Asset, first: date, last: date) -> dict[str, Window]:
    """From which to which session the contracts' bars are wanted of those from `first` to `last`, by name: to the last trade, for another
    rule may roll later."""
    windows = {}
    for place, each in enumerate(held):
        begin = each.first
        if place:
            before = held[place - 1]
            begin = calendars.sessions(asset.calendar, before.first, before.last)[-NEXT_BEFORE:][0]
        if begin <= last and each.contract.last_trade >= first:
            windows[contract_name(asset.symbol, each.contract.month)] = (begin, each.contract.last_trade)
    return windows
