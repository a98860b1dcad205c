"""What the IBKR source asks of the gateway: contracts and historical bars, by symbol, within IB's pacing rules."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

import numpy as np

from data_plane.observations import BAR_COLUMNS
from data_plane.sources.base import Context
from data_plane.sources.ibkr.chunks import STEPS, Request
from data_plane.sources.ibkr.kept import Asked, Batch, KeptBars
from data_plane.sources.ibkr.pacing import Pacing, Wish, is_refusal
from triplane.broker import contracts
from triplane.broker.contracts import ContractUnknown, make_contract, terms_of
from triplane.broker.historical_bars import HistoricalBars
from triplane.broker.market_data import history
from triplane.broker.session import BrokerSession, BrokerUnavailable, RequestFailed
from triplane.broker.what_to_show import shown
from triplane.domain.assets import Asset
from triplane.domain.timestamps import from_datetime

# IB answers 50 historical requests at once (pacing.OPEN_REQUESTS); a third of that leaves room for other clients of the gateway.
CONCURRENT_REQUESTS = 16
# By how much a request may be late on its way to IB, wall seconds, so that it meets the next one nearer than it was sent.
MARGIN_S = 0.5
# How often a request of small bars is sent anew that IB refuses for its pace: 15 s, 30 s, ... wall time in between.
PACING_TRIES = 8
# Wall seconds after which a contract that the broker did not know is asked for again: while IB's security definition farm is
# away, it knows none.
CONTRACT_AGAIN_S = 60.0
# Number of trades in a cell without a bar (an unknown number is -1).
ABSENT = -2


class Requests:
    """Contracts that were resolved, kept over reconnects, and requests that are under way."""

    def __init__(self, context: Context, source: str, live: Callable[[], BrokerSession]) -> None:
        self._context = context
        self._source = source
        self._live = live
        """The session of the moment; raises BrokerUnavailable when there is none."""
        self.pacing = Pacing(margin_s=MARGIN_S)
        self._slots = asyncio.Semaphore(CONCURRENT_REQUESTS)
        self.contracts: dict[str, Any] = {}
        self._asked: dict[str, dict[str, Any]] = {}
        """What the row of each name said when its contract was asked for."""
        self._refused: dict[str, float] = {}
        """Names that the broker did not know, and when that was (seconds of the monotonic clock)."""
        self.refusals: dict[str, str] = {}
        """Why the newest request for bars of a name brought no answer; no data at all is one."""
        self.left_out: dict[str, str] = {}
        """The same of every request that was in vain twice: names that a span lacks."""
        self.kept = KeptBars(context, source)

    async def resolve(self, session: BrokerSession, assets: Sequence[Asset]) -> None:
        """Contract ids of the assets that have none yet; a name that the broker does not know is left out and said."""

        async def one(asset: Asset) -> None:
            self._asked[asset.symbol] = terms_of(asset)
            wanted = make_contract(**terms_of(asset))
            try:
                async with self._slots:
                    if asset.symbol not in self._context.config().universe:
                        return  # an edit took it out meanwhile
                    info = await contracts.resolve(session, wanted)
            except ContractUnknown as error:
                self._refused[asset.symbol] = time.monotonic()
                self._context.log.error("no contract", source=self._source, symbol=asset.symbol, reason=str(error))
                self._context.contract_state(self._source, asset.symbol, str(error))
                return
            wanted.conId = info.con_id
            self.contracts[asset.symbol] = wanted
            self._refused.pop(asset.symbol, None)
            self._context.contract_state(self._source, asset.symbol, "")

        await asyncio.gather(*(one(asset) for asset in assets if asset.symbol not in self.contracts))

    def adopt(self, name: str, contract: Any, terms: dict[str, Any]) -> None:
        """Take a contract that is known already, as one of a future's chain is, under a name; `terms` say which it is."""
        self.contracts[name], self._asked[name] = contract, terms

    def forget_changed(self, assets: Sequence[Asset]) -> list[str]:
        """Forget contracts whose row now says something else of them (con_id, exchange, ...); returns their symbols."""
        changed = [a.symbol for a in assets if a.symbol in self._asked and self._asked[a.symbol] != terms_of(a)]
        for symbol in changed:
            self.contracts.pop(symbol, None)
            self._refused.pop(symbol, None)
        return changed

    def to_resolve(self, assets: Sequence[Asset]) -> bool:
        """Whether a name has no contract and is to be asked for (again)."""
        due = time.monotonic() - CONTRACT_AGAIN_S
        return any(a.symbol not in self.contracts and self._refused.get(a.symbol, due) <= due for a in assets)

    def names(self) -> list[str]:
        """Symbols of the universe that have a contract, in its order."""
        return [asset.symbol for asset in self._context.assets() if asset.symbol in self.contracts]

    async def bars(
        self, bar_size: str, duration: str, only: Collection[str] | None = None, end: str = "", show: str = ""
    ) -> dict[str, HistoricalBars]:
        """Bars of each name of the universe, or of those in `only` that have a contract, up to `end` (as IB spells it, empty: now), of its
        type's whatToShow or of another (`show`); a name whose request the broker refuses is left out and said.

        A request for anything but daily bars of the universe that is not answered leaves its name out, too: no decision waits for it, and
        the stream that it would end is what all decisions need. Raises BrokerUnavailable.
        """
        session = self._live()
        names = self.names()
        if only is not None:
            watched = (name for name in sorted(only) if name in self.contracts and name not in names)
            names = [*(name for name in names if name in only), *watched]
        with self.kept.batch(Asked(bar_size, duration, end, show)) as batch:
            asking = (self._bars(session, name, batch) for name in names)
            found = await asyncio.gather(*asking)
        return {name: bars for name, bars in zip(names, found, strict=True) if bars is not None and len(bars.starts)}

    async def _bars(self, session: BrokerSession, name: str, batch: Batch) -> HistoricalBars | None:
        contract, (bar_size, duration, end, show) = self.contracts[name], batch.asked
        what = shown(contract.secType)
        terms = (bar_size, duration, end, what.regular_hours)
        wish = Wish(contract.conId, contract.exchange, show or what.bars, terms, float(STEPS[bar_size].bar_s))
        for tries_left in reversed(range(PACING_TRIES)):
            await self._turn(wish)
            try:
                bars = await history(
                    session,
                    contract,
                    bar_size=bar_size,
                    duration=duration,
                    end=end,
                    show=show,
                    keep=partial(batch.add, name, self._asked[name], contract.conId),
                )
                if wish.small:
                    self.pacing.answered()
                self.refusals.pop(name, None)
                return bars
            except (RequestFailed, BrokerUnavailable) as error:
                awaited = bar_size == "1 day" and name in self.names()
                if isinstance(error, BrokerUnavailable) and (awaited or not session.is_connected):
                    raise
                paced = isinstance(error, RequestFailed) and is_refusal(error.code, str(error))
                if paced and wish.small and tries_left:
                    wait = self.pacing.refused(time.monotonic())
                    self._context.log.warning("too fast for IB", source=self._source, symbol=name, wait_s=wait)
                    continue
                self.refusals[name] = str(error)
                self._context.log.warning("no bars", source=self._source, symbol=name, reason=str(error))
                return None
            finally:
                self._slots.release()
        return None

    async def _turn(self, wish: Wish) -> None:
        """Returns with a slot once the request may be sent. Who waits for IB's rules holds none meanwhile."""
        while True:
            await self._slots.acquire()
            wait = self.pacing.delay(time.monotonic(), wish, self._context.targets.HISTORICAL_REQUESTS)
            if wait <= 0:
                self.pacing.sent(time.monotonic(), wish)
                return
            self._slots.release()
            await asyncio.sleep(wait)

    async def chunk(self, request: Request, only: Collection[str] | None = None) -> dict[str, HistoricalBars]:
        """What a planned request wants of each name (`chunks.plan`), and nothing beside; else as `bars`."""
        found = await self.bars(request.bar_size, request.duration, only, request.ends)
        low, high = request.start, request.end
        if request.bar_size == "1 day":  # stamped with the midnight of its date
            low, high = (
                from_datetime(datetime(d.year, d.month, d.day, tzinfo=UTC)) for d in (request.first, request.last)
            )
            high += 1
        cut = {name: bars.between(low, high) for name, bars in found.items()}
        return {name: bars for name, bars in cut.items() if len(bars.starts)}

    def streaming(self, symbol: str) -> Wish:
        """A new subscription of five-second bars, which IB counts among the requests of small bars."""
        contract = self.contracts[symbol]
        return Wish(contract.conId, contract.exchange, shown(contract.secType).bars, "real time", 5.0)


Pivoted = tuple[list[int], tuple[str, ...], Any, Any]


def pivot(rows: Mapping[str, HistoricalBars]) -> Pivoted:
    """Bars by name as (starts ascending, names, values (T, N, 6) with NaN, trades (T, N) with ABSENT, where a name has no bar)."""
    names = tuple(rows)
    starts = np.unique(np.concatenate([bars.starts for bars in rows.values()])) if rows else np.zeros(0, dtype=np.int64)
    values = np.full((len(starts), len(names), len(BAR_COLUMNS)), np.nan)
    trades = np.full((len(starts), len(names)), ABSENT, dtype=np.int64)
    for column, bars in enumerate(rows.values()):
        places = np.searchsorted(starts, bars.starts)
        values[places, column] = bars.values
        trades[places, column] = bars.trades
    return starts.tolist(), names, values, trades
