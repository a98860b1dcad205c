"""A small universe with short windows: warmed up in a second, for tests that look at single decisions."""

from copy import deepcopy
from typing import Any

from tests.strategy_plane.world import World, random_closes, universe_of, xnys
from triplane.runtime import snapshots

SHORT = {
    "strategy": {
        "MOM_LOOKBACK": 60, "MOM_LAG": 5, "POS_LOOKBACK": 60, "COV_MIN_OBS": 40, "HMM_MIN_OBS": 100, "HMM_REFIT": 30,
        "IC_MIN_OBS": 500, "IC_PRIOR": 0.08, "IC_HORIZON": 10, "TURNOVER_PEN": 0.0005,
    }
}  # fmt: skip
ROWS, N = 130, 13
HOLDS_AT = 110


def world_of(seed=1, *, targets=SHORT, assets=None, **options):
    """A world of random closes with short windows."""
    assets = assets or universe_of(N)
    return World(random_closes(ROWS, len(assets), seed), xnys("2016-01-04", ROWS), assets, targets=targets, **options)


_WARMED: dict[str, tuple[bytes, dict[str, Any]]] = {}
"""By what a world was made of: its engine's state after the warm-up, and what it counts itself."""


def ready(**options):
    """Warmed up, without regime models, so that a random storm does not brake what a test looks at."""
    options = {"fits": False, **options}
    made_of = repr(sorted(options.items()))
    world = world_of(**options)
    if made_of not in _WARMED:
        world.warmup(range(HOLDS_AT))
        counts = {name: value for name, value in vars(world).items() if name not in ("engine", "closes", "assets")}
        _WARMED[made_of] = snapshots.dumps({}, world.engine.state()), deepcopy(counts)
        return world
    state, counts = _WARMED[made_of]
    world.engine.restore(snapshots.loads(state)[1])
    for name, value in deepcopy(counts).items():
        setattr(world, name, value)
    return world


def decide(world, row=HOLDS_AT, **options):
    """The outputs of a decision at one row."""
    return world.decide(row, **options)


def outcome(outputs):
    """The outcome that both decision records carry."""
    assert outputs["strategy.targets"]["outcome"] == outputs["strategy.intents"]["outcome"]
    return outputs["strategy.intents"]["outcome"]
