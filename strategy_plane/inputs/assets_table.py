"""The universe as arrays: one element an asset, in assets.csv's order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from strategy_plane.inputs.window import Array
from triplane.domain.assets import Universe
from triplane.domain.calendars import MARKET_CALENDAR


@dataclass(frozen=True, slots=True, eq=False)
class AssetsTable:
    """Columns of assets.csv that the engine computes with, each N; `tradable` are the columns of names it may trade, n."""

    symbols: list[str]
    groups: frozenset[str]
    class_codes: list[str]  # why the class is not traded; empty when it is
    tradable: NDArray[np.int64]
    members: NDArray[np.bool_]
    sectors: NDArray[np.int64]  # number of the sector, -1 when none
    multiplier: Array
    risk_weight: Array
    lot_size: Array
    min_order: Array
    shortable: NDArray[np.bool_]
    con_ids: list[int]
    cost_profiles: list[str]
    currencies: list[str]
    calendar: str

    @classmethod
    def of(cls, universe: Universe) -> AssetsTable:
        """Table of a universe."""
        assets = universe.assets
        codes = [asset.untradable_code() or "" for asset in assets]
        members = np.array([code == "" for code in codes], dtype=bool)
        names = sorted({asset.sector for asset in assets if asset.sector})
        numbers = {name: number for number, name in enumerate(names)}
        traded = [asset for asset, code in zip(assets, codes, strict=True) if code == ""]
        return cls(
            symbols=[asset.symbol for asset in assets],
            groups=frozenset(asset.group for asset in assets),
            class_codes=codes,
            tradable=np.flatnonzero(members),
            members=members,
            sectors=np.array([numbers.get(asset.sector, -1) for asset in assets], dtype=np.int64),
            multiplier=np.array([asset.multiplier for asset in assets]),
            risk_weight=np.array([asset.risk_weight for asset in assets]),
            lot_size=np.array([asset.lot_size for asset in assets]),
            min_order=np.array([asset.min_order for asset in assets]),
            shortable=np.array([asset.shortable for asset in assets], dtype=bool),
            con_ids=[asset.con_id for asset in assets],
            cost_profiles=[asset.cost_profile for asset in assets],
            currencies=[asset.currency for asset in assets],
            calendar=traded[0].calendar if traded else MARKET_CALENDAR,
        )
