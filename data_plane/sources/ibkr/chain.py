"""A future's chain as IB describes it, for `data_plane.futures`."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from data_plane.futures import FutureContract, Held, schedule
from triplane.broker import contracts
from triplane.broker.contracts import ContractInfo
from triplane.broker.session import BrokerSession
from triplane.domain import calendars
from triplane.domain.assets import Asset
from triplane.domain.timestamps import to_datetime


def future_contract(info: ContractInfo) -> FutureContract:
    """A contract of a chain. IB gives the day of the last trade, at times with an hour behind it; the month is that of delivery, which
    of energies is not the month of the last trade, so it is taken from IB's own field."""
    last_trade = datetime.strptime(info.expiry[:8], "%Y%m%d").date()  # noqa: DTZ007 - a day
    return FutureContract(info.con_id, info.local_symbol, info.trading_class, info.contract_month, last_trade)


async def rolls(session: BrokerSession, asset: Asset, days: int, start: int) -> list[Held]:
    """Which contract of the asset's chain is held when, from `start` (ns UTC) on, each left `days` business days before it has to
    be. The oldest that IB still knows is held no longer than the one after it: what came before was held in one that is gone.

    Raises ContractUnknown, BrokerUnavailable and RequestFailed, and ValueError for a trading class whose notices are not known.
    """
    chain = [future_contract(info) for info in await contracts.chain(session, asset)]
    held = schedule(chain, days, asset.calendar, to_datetime(start).date())
    if len(held) > 1 and held[0].contract == min(chain, key=lambda each: (each.last_trade, each.month)):
        usual = len(calendars.sessions(asset.calendar, held[1].first, held[1].last))
        days_held = calendars.sessions(asset.calendar, held[0].first, held[0].last)
        held[0] = replace(held[0], first=days_held[-usual:][0])
    return held
