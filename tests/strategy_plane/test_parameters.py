"""Every parameter of the Strategy Plane changes an output: the engine runs with the default and with another value.

A field without a scenario fails. Parameters of the sequencer never reach the engine; tests/strategy_plane/test_sequencer.py covers
exactly SEQUENCER_PARAMETERS.
"""

from copy import deepcopy
from functools import cache
from typing import Any

import numpy as np
import pytest

from tests.strategy_plane.world import World, random_closes, universe_of, xnys
from triplane.domain.targets import StrategyTargets
from triplane.runtime import snapshots

SEQUENCER_PARAMETERS = ("REBALANCE", "BARRIER_WAIT_S", "BARRIER_LATE_S")

# Short lookbacks, so that a scenario is a second and not a minute; every other parameter stands at its default.
BASE: dict[str, Any] = {
    "MOM_LOOKBACK": 60, "MOM_LAG": 5, "POS_LOOKBACK": 60, "COV_MIN_OBS": 40, "HMM_MIN_OBS": 100, "HMM_REFIT": 10,
    "IC_MIN_OBS": 20, "IC_HORIZON": 10, "IC_PRIOR": 0.08, "NO_TRADE_BAND": 0.002,
}  # fmt: skip

# parameter -> (other value, topic, field in which the change must show)
SCENARIOS: dict[str, tuple[Any, str, str]] = {
    "INTENT_VALID_S": (60.0, "strategy.intents", "valid_until"),
    "UNIVERSE_MISSING_MAX": (0.1, "strategy.intents", "outcome"),
    "MOM_LOOKBACK": (80, "strategy.signals", "raw"),
    "MOM_LAG": (10, "strategy.signals", "raw"),
    "MOM_H": (20.0, "strategy.signals", "raw"),
    "REV_LOOKBACK": (10, "strategy.signals", "raw"),
    "REV_H": (2.0, "strategy.signals", "raw"),
    "POS_LOOKBACK": (80, "strategy.signals", "raw"),
    "POS_CAP": (0.5, "strategy.signals", "raw"),
    "WINSOR_Z": (1.0, "strategy.signals", "scores"),
    "SECTOR_MIN_NAMES": (4, "strategy.signals", "scores"),
    "FACTS_STALE_DAYS": (30.0, "strategy.intents", "outcome"),
    "TBILL_SERIES": ("DGS3MO", "strategy.intents", "target_qty"),
    "TBILL_STALE_DAYS": (1.0, "strategy.signals", "abstained"),
    "IC_HORIZON": (5, "strategy.signals", "specific_vol"),
    "IC_HALF_LIFE": (10.0, "strategy.signals", "ic"),
    "IC_MIN_OBS": (1000, "strategy.signals", "ic"),
    "IC_PRIOR": (0.03, "strategy.signals", "ic"),
    "IC_PRIOR_SD": (0.2, "strategy.signals", "ic"),
    "ORTHO_HALF_LIFE": (10.0, "strategy.signals", "scores"),
    "ORTHO_SHRINK": (0.9, "strategy.signals", "scores"),
    "VOL_HALF_LIFE": (10.0, "strategy.intents", "sigma_daily"),
    "CORR_HALF_LIFE": (40.0, "strategy.factors", "exposures"),
    "COV_MIN_OBS": (1000, "strategy.targets", "held"),
    "EIGEN_FLOOR": (0.1, "strategy.targets", "target"),
    "HMM_STATES": (2, "strategy.regime", "posterior"),
    "HMM_MIN_OBS": (112, "strategy.regime", "model_id"),
    "HMM_REFIT": (6, "strategy.regime", "model_id"),
    "HMM_ITER": (5, "strategy.regime", "posterior"),
    "HMM_HYSTERESIS": (0.0, "strategy.regime", "state"),
    "STORM_BRAKE": (0.7, "strategy.regime", "brake"),
    "DRAWDOWN_BRAKE_START": (0.1, "strategy.regime", "brake"),
    "BRAKE_RELEASE": (1.0, "strategy.regime", "brake"),
    "VOL_TARGET": (0.05, "strategy.intents", "target_qty"),
    "RISK_AVERSION": (100.0, "strategy.intents", "target_qty"),
    "TURNOVER_PEN": (0.02, "strategy.intents", "target_qty"),
    "BOX_LIM": (0.05, "strategy.intents", "target_qty"),
    "GROSS_LIM": (0.5, "strategy.intents", "target_qty"),
    "NET_LIM": (0.01, "strategy.intents", "target_qty"),
    "LAMBDA_INIT": (0.01, "strategy.targets", "cost"),
    "IMPACT_Y_INIT": (3.0, "strategy.targets", "impact"),
    "NO_TRADE_BAND": (0.03, "strategy.intents", "target_qty"),
    "ADV_CAP": (1e-5, "strategy.intents", "target_qty"),
    "SOLVER_ITER": (5, "strategy.intents", "outcome"),
    "SOLVER_TOL": (1e-3, "strategy.intents", "target_qty"),
}


# Markets on which a parameter shows; the others show on the plain one.
MARKETS = {"EIGEN_FLOOR": "twins", "HMM_HYSTERESIS": "restless"}


# What shows only where it was so from the start.
FROM_THE_START = {"HMM_HYSTERESIS"}


@cache
def closes(market: str) -> np.ndarray:
    """Calm closes with two wild stretches. `twins`: half the names move as one; `restless`: in between is neither calm nor wild."""
    rng = np.random.default_rng(8)
    rows = np.arange(130)
    prices = random_closes(130, 13, 5)
    wild = 0.05 * ((rows >= 80) & (rows < 86) | (rows >= 121))
    if market == "restless":
        wild += 0.015 * ((rows >= 100) & (rows < 118))
    prices = prices * np.exp(np.cumsum(rng.normal(0, 1, 130) * wild))[:, None]
    if market == "twins":
        prices[:, 1:7] = prices[:, :1] * np.exp(np.cumsum(rng.normal(0, 0.001, (130, 6)), axis=0))
    return prices


WARM = 110
"""Sessions before the first decision."""


class Warm:
    """A world after its warm-up, again and again: what the engine restores and what the world counts."""

    def __init__(self, market: str, targets: dict[str, Any]) -> None:
        self._world = World(closes(market), xnys("2016-01-04", 130), universe_of(13), targets={"strategy": targets})
        self.outputs = [self._world.warmup([row]) for row in range(WARM)]
        self._state = snapshots.dumps({}, self._world.engine.state())
        kept = ("position", "seq", "offsets", "config_offset", "models", "published")
        self._counts = deepcopy({name: getattr(self._world, name) for name in kept})

    def world(self, targets: dict[str, Any] | None = None) -> World:
        """The world as it was then, with an edit of its configuration."""
        self._world.engine.restore(snapshots.loads(self._state)[1])
        for name, value in deepcopy(self._counts).items():
            setattr(self._world, name, value)
        if targets is not None:
            self._world.configure({"strategy": targets})
        return self._world


@cache
def warm(market: str) -> Warm:
    return Warm(market, BASE)


def run(market: str, name: str = "", value: Any = None) -> list[dict[str, dict[str, Any]]]:
    """Outputs of warmup and 16 decisions: a drawdown that passes, a session with two stale quotes, and a storm at the end.

    The parameter is edited before the first decision, as a user does who edits a running system, or is another from the start on.
    """
    targets = {**BASE, name: value} if name else None
    if name in FROM_THE_START:
        assert targets is not None
        begun = Warm(market, targets)
        world, outputs = begun.world(), list(begun.outputs)
    else:
        world, outputs = warm(market).world(targets), list(warm(market).outputs)
    for row in range(WARM, WARM + 16):
        drawdown = 0.08 if row in (112, 113) else 0.0
        age = [100.0 if row == 118 and i < 2 else 1.0 for i in range(13)]
        t = world.close_time(row) - 1800 * 10**9
        times = [t - round(a * 1e9) for a in age]
        outputs.append(world.decide(row, fill=True, account={"drawdown": drawdown}, quotes={"quote_time": times}))
        world.live_close(row)
    return outputs


@cache
def default(market: str) -> list[dict[str, dict[str, Any]]]:
    return run(market)


def values(outputs: list[dict[str, dict[str, Any]]], topic: str, field: str) -> list[Any]:
    return [repr(output[topic][field]) for output in outputs if topic in output]


def test_the_default_run_trades():
    """A scenario proves nothing on a run that holds."""
    outcomes = [output["strategy.intents"]["outcome"] for output in default("plain") if "strategy.intents" in output]
    assert outcomes == ["SOLVED"] * 16
    assert {output["strategy.regime"]["state"] for output in default("plain")} >= {"", "Storm"}


@pytest.mark.parametrize("name", [name for name in StrategyTargets.model_fields if name not in SEQUENCER_PARAMETERS])
def test_every_parameter_changes_an_output(name):
    assert name in SCENARIOS, f"{name} has no scenario; add one, or remove the parameter"
    value, topic, field = SCENARIOS[name]
    assert value != BASE.get(name, StrategyTargets.model_fields[name].default)
    market = MARKETS.get(name, "plain")
    assert values(run(market, name, value), topic, field) != values(default(market), topic, field)


def test_scenarios_name_existing_parameters():
    assert set(SCENARIOS) | set(SEQUENCER_PARAMETERS) == set(StrategyTargets.model_fields)
