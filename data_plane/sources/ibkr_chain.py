"""A future's chain as IB describes it, for `data_plane.futures`."""

from __future__ import annotations

from datetime import datetime

from data_plane.futures import FutureContract, Held, schedule
from triplane.broker import contracts
from triplane.broker.contracts import ContractInfo
from triplane.broker.session import BrokerSession
from triplane.domain.assets import Asset
from triplane.domain.timestamps import to_datetime


def future_contract(info: ContractInfo) -> FutureContract:
    """A contract of a chain. IB gives the day of the last trade, at times with an hour behind it; the month is that of delivery, which
    of energies is not the month of the last trade, so it is taken from IB's own field."""
    last_trade = datetime.strptime(info.expiry[:8], "%Y%m%d").date()  # noqa: DTZ007 - a day
    return FutureContract(info.con_id, info.local_symbol, info.trading_class, info.contract_month, last_trade)


async def rolls(session: BrokerSession, asset: Asset, days: int, start: int) -> list[Held]:
    """Which contract of the asset's chain is held when, from `start` (ns UTC) on, each left `days` business days before it has to
    be.

    Raises ContractUnknown, BrokerUnavailable and RequestFailed, and ValueError for a trading class whose notices are not known.
    """
    chain = [future_contract(info) for info in await contracts.chain(session, asset)]
    return schedule(chain, days, asset.calendar, to_datetime(start).date())
