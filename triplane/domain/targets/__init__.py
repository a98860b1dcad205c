"""targets.yaml as typed models: every number that a person tunes, grouped by plane."""

from __future__ import annotations

from pydantic import Field

from triplane.domain.targets.data import DataTargets
from triplane.domain.targets.order import OrderTargets
from triplane.domain.targets.parameter import Section
from triplane.domain.targets.strategy import StrategyTargets


class Targets(Section):
    """The whole of targets.yaml. Values are frozen: a change is a new object, accepted by the control daemon."""

    data: DataTargets = Field(default_factory=DataTargets)
    strategy: StrategyTargets = Field(default_factory=StrategyTargets)
    order: OrderTargets = Field(default_factory=OrderTargets)


__all__ = ["DataTargets", "OrderTargets", "StrategyTargets", "Targets"]
