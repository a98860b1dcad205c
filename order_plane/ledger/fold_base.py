"""What every part of the fold shares: the state, the configuration in force, the broker's names, and notes to the engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from order_plane.codes import Code
from order_plane.ledger import fills
from order_plane.ledger.book import Execution
from order_plane.ledger.child_order import Order
from order_plane.ledger.state import (
    EngineState,
    Parent,
)
from triplane.domain.assets import Asset, Universe
from triplane.domain.names import share_name
from triplane.domain.targets import Targets
from triplane.runtime.configuration import Config, from_record

Event = Mapping[str, Any]
DAY_NS = 24 * 3_600 * 1_000_000_000
_DEFAULTS = Targets()


@dataclass(frozen=True, slots=True)
class Note:
    """Something to react to. `record` is a FillRecord to write; `code` what to tell; `order` the order concerned."""

    code: Code
    detail: str = ""
    symbol: str = ""
    order: Order | None = None
    record: dict[str, Any] | None = None
    alert: bool = False
    snapshot: bool = False
    order_id: int = 0
    numbers: dict[str, float] = field(default_factory=dict)


class FoldBase:
    """State of one account and the configuration that it is read with."""

    def __init__(self, account: str, *, simulated: bool) -> None:
        self.account = account
        self.simulated = simulated
        self.state = EngineState()
        self.config: Config | None = None
        self._by_con_id: dict[int, Asset] = {}
        self._by_broker_symbol: dict[str, str] = {}

    @property
    def targets(self) -> Targets:
        """Parameters in force; the defaults before the first configuration (no order leaves until there is one)."""
        return self.config.targets if self.config is not None else _DEFAULTS

    @property
    def universe(self) -> Universe | None:
        """Assets in force."""
        return self.config.universe if self.config is not None else None

    def use_config(self) -> None:
        """Parse the configuration in force again, after a restore."""
        kept = self.state.config
        self._set_config(from_record(kept.record, kept.offset) if kept is not None else None)

    def _set_config(self, config: Config | None) -> None:
        self.config = config
        assets = config.universe.assets if config is not None else ()
        self._by_con_id = {asset.con_id: asset for asset in assets if asset.con_id and asset.sec_type != "STK"}
        self._by_broker_symbol = {
            share_name(asset.broker_symbol, asset.currency): asset.symbol for asset in assets if asset.sec_type == "STK"
        }

    def symbol_of(self, name: str, con_id: int) -> str:
        """Our symbol of the broker's (name, contract id; `reports.name_of`); the broker's own name when we do not know the contract.

        What the broker says it is decides: an id in assets.csv that is another instrument's would book that one under this name.
        """
        asset = self._by_con_id.get(con_id)
        if asset is not None and name.startswith(asset.broker_symbol):
            return asset.symbol
        return self._by_broker_symbol.get(name, name)

    def multiplier(self, symbol: str) -> float:
        """Units of the underlying per unit; 1 for names that are not ours."""
        universe = self.universe
        return universe[symbol].multiplier if universe is not None and symbol in universe else 1.0

    def _remember_fill(self, fill: dict[str, Any]) -> dict[str, Any]:
        self.state.fills[fill["fill_id"]] = fill
        return fill

    def recent_fills(self) -> list[dict[str, Any]]:
        """Fills of the last day of market time: written again at start-up, since a crash may have lost their delivery."""
        return [f for f in self.state.fills.values() if f["available_time"] >= self.state.market_time - DAY_NS]

    def executions_of(self, parent: Parent) -> list[Execution]:
        """Executions of a parent, oldest first."""
        return fills.parent_executions(self.state, parent)
