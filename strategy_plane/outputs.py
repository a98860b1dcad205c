"""What a step gives: records for topics, and what factors, signals and regime were at it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from strategy_plane.inputs.assets_table import AssetsTable
from strategy_plane.inputs.window import Array
from strategy_plane.plain import plain
from strategy_plane.risk.brakes import Brake
from strategy_plane.risk.regime import Regime
from strategy_plane.signals.cross_section import FACTORS, SIGNALS, Signals


@dataclass(frozen=True, slots=True)
class Output:
    """A record to append: `topic` is the logical name, `record` the value of that topic's Avro record."""

    topic: str
    record: dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """What one step computed for all N names, before any decision."""

    signals: Signals
    scores: Array  # K x N orthogonal
    ic: Array
    ic_se: Array
    weights: Array
    alpha: Array
    specific_vol: Array  # over the horizon
    cost_share: float


def described(barrier: Mapping[str, Any], view: View, table: AssetsTable, regime: Regime, brake: Brake) -> list[Output]:
    """Factors, signals and regime of the tradable names."""
    columns = table.tradable
    symbols = [table.symbols[column] for column in columns]
    head = {"event_time": int(barrier["t"]), "available_time": int(barrier["t"]), "seq": int(barrier["seq"])}
    factors = {
        **head,
        "factors": list(FACTORS),
        "symbols": symbols,
        "exposures": plain(view.signals.exposures[:, columns]),
    }
    signal = {
        **head,
        "signals": list(SIGNALS),
        "symbols": symbols,
        "raw": plain(view.signals.raw[:, columns]),
        "scores": plain(view.scores[:, columns]),
        "ic": plain(view.ic),
        "ic_se": plain(view.ic_se),
        "weights": plain(view.weights),
        "alpha": plain(view.alpha[columns]),
        "specific_vol": plain(view.specific_vol[columns]),
        "abstained": view.signals.abstained(table),
    }
    model = regime.model
    state = {
        **head,
        "model_id": model.model_id if model is not None else "",
        "state": regime.name,
        "posterior": plain(regime.posterior) if regime.posterior is not None else [],
        "volatility": plain(model.volatility) if model is not None else [],
        "brake": brake.value,
        "brake_reason": brake.reason,
    }
    return [
        Output("strategy.factors", factors),
        Output("strategy.signals", signal),
        Output("strategy.regime", state),
    ]
