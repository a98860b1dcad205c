"""Kept answers about assets that are not traded, read again: the sessions of each that the topic lacks, and the chain of a future as far
as its contracts were asked for. No gateway is asked."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta

from data_plane.futures import FutureContract, contract_name, schedule
from data_plane.observations import Chain
from data_plane.sources.base import Context
from data_plane.sources.ibkr.kept import Answer, Batch
from data_plane.sources.ibkr.kept_rows import KeptRows, plain_terms
from data_plane.sources.ibkr.requests import Requests
from data_plane.sources.ibkr.watched import WatchedHistory, windows_of
from triplane.domain import calendars
from triplane.domain.assets import Asset
from triplane.domain.timestamps import midnight, to_datetime

CHAINED = ("con_id", "expiry")
"""What the terms of a chain's contract say otherwise than its row, beside what the row leaves empty."""


class KeptWatched:
    """One reading; `watched` hands in."""

    def __init__(self, context: Context, source: str, requests: Requests, watched: WatchedHistory) -> None:
        self._context = context
        self._source = source
        self._watched = watched
        self._rows = KeptRows(context, source, requests.kept)
        self._terms = {asset.symbol: plain_terms(asset) for asset in context.watched()}
        self._of: dict[str, Asset] = {}
        """Whose name each is that has an answer."""
        self._chains: dict[str, dict[str, FutureContract]] = {}

    async def load(self) -> None:
        """Daily bars, oldest first, asset by asset."""
        context = self._context
        rows, asked = await self._rows.newest(self._rows.daily(), self._ours, self._limit)
        for asset in context.watched():
            found = {name: bars for name, bars in rows.items() if self._of[name] == asset}
            sessions = self._watched.sessions(asset, context.clock.now())
            if not found or not sessions:
                continue
            windows = {asset.symbol: (sessions[0], sessions[-1])}
            if asset.sec_type == "FUT":
                chain = list(self._chains[asset.symbol].values())
                start = to_datetime(int(min(bars.starts[0] for bars in found.values()))).date()
                held = schedule(chain, context.targets.FUTURES_ROLL_DAYS, asset.calendar, start)
                windows = windows_of(held, asset, sessions[0], sessions[-1])
                context.take(Chain(self._source, asset.symbol, context.clock.now(), tuple(held)))
                found = {name: bars for name, bars in found.items() if name in windows}
            await self._watched.hand_in(asset, sessions, windows, found, asked)

    def _ours(self, name: str, answer: Answer) -> bool:
        for asset in self._context.watched():
            terms = self._terms[asset.symbol]
            if asset.sec_type != "FUT":
                fits = name == asset.symbol and answer.terms == terms
            else:
                row = {key: value for key, value in terms.items() if key not in CHAINED and value != ""}
                same = {key: answer.terms.get(key) for key in row}
                fits = same == row and self._chained(asset, name, answer)
            if fits:
                self._of[name] = asset
                return True
        return False

    def _chained(self, asset: Asset, name: str, answer: Answer) -> bool:
        """Whether an answer is of a contract of the asset's chain, which is then noted."""
        terms, chain = answer.terms, self._chains.setdefault(asset.symbol, {})
        try:
            last_trade = date.fromisoformat(str(terms["expiry"]))
            month = str(terms["month"])
            if contract_name(asset.symbol, month) != name:
                return False
        except (KeyError, ValueError):
            return False
        about = (answer.con_id, str(terms["local_symbol"]), str(terms["trading_class"]), month)
        chain[name] = FutureContract(*about, last_trade)
        return True

    def _limit(self, batch: Batch) -> Callable[[str], int]:
        """Bars that start before this (ns UTC) had ended when the batch was asked for, by the calendar of the name's asset."""
        known: dict[str, int] = {}

        def of_name(name: str) -> int:
            calendar = self._of[name].calendar
            if calendar not in known:
                day: date = to_datetime(batch.at).date() + timedelta(days=2)
                while calendars.session_close(calendar, day := calendars.previous_session(calendar, day)) > batch.at:
                    pass
                known[calendar] = midnight(calendars.next_session(calendar, day))
            return known[calendar]

        return of_name
