"""Whether a contract id is, at the broker, of the name whose row carries it.

IB trades what the id says, whatever symbol stands beside it: a wrong con_id in assets.csv would buy another instrument and book it
under this name. So an order with an id leaves only once the broker has confirmed it; without one the broker resolves the symbol.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from triplane.broker import contracts
from triplane.broker.contracts import ContractUnknown
from triplane.broker.session import BrokerSession, BrokerUnavailable, RequestFailed
from triplane.domain.assets import Asset

AT_ONCE = 20
"""Questions between two heartbeats: an answer takes a real gateway some tenths of a second."""
TIMEOUT_S = 4.0
AGAIN_S = 60.0
"""Wall seconds after which a refused id is asked for again: while IB's security definition farm is away, it knows no contract."""


class ContractCheck:
    """One per broker link. `rows` yields the assets in force; the service sets it once it knows them."""

    def __init__(self, session: BrokerSession, log: Any) -> None:
        self._session, self._log = session, log
        self.rows: Callable[[], Iterable[Asset]] = tuple
        self._found: dict[tuple[str, int], str] = {}
        self._again: dict[tuple[str, int], float] = {}
        """When a refused id is asked for again, seconds of the monotonic clock."""

    def refusal(self, asset: Asset, con_id: int) -> str:
        """Why an order under this id must not leave, or an empty string."""
        unconfirmed = f"the broker has not confirmed yet that contract id {con_id} is {asset.broker_symbol}"
        return self._found.get((asset.broker_symbol, con_id), unconfirmed) if con_id else ""

    async def ask(self) -> None:
        """Ask the broker about ids that it was not asked about, or refused a while ago. An answer that does not come is waited for
        at the next call.
        """
        now = time.monotonic()
        news: Mapping[tuple[str, int], Asset] = {
            key: asset
            for asset in self.rows()
            if asset.con_id
            and (
                (key := (asset.broker_symbol, asset.con_id)) not in self._found or self._again.get(key, now + 1) <= now
            )
        }
        await asyncio.gather(*(self._ask(key, asset) for key, asset in list(news.items())[:AT_ONCE]))

    async def _ask(self, key: tuple[str, int], asset: Asset) -> None:
        try:
            await contracts.resolve(self._session, contracts.make_contract(**contracts.terms_of(asset)), TIMEOUT_S)
        except ContractUnknown as error:
            if self._found.get(key) != str(error):
                self._log.error("no order in this contract leaves", symbol=asset.symbol, reason=str(error))
            self._found[key] = str(error)
            self._again[key] = time.monotonic() + AGAIN_S
        except (BrokerUnavailable, RequestFailed):
            return
        else:
            self._found[key] = ""
            self._again.pop(key, None)
            self._log.info("contract confirmed", symbol=asset.symbol, con_id=asset.con_id)
