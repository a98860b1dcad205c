"""A small universe with short windows: warmed up in a second, for tests that look at single decisions."""

from tests.strategy_plane.world import World, random_closes, universe_of, xnys

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


def ready(**options):
    """Warmed up, without regime models, so that a random storm does not brake what a test looks at."""
    world = world_of(**{"fits": False, **options})
    world.warmup(range(HOLDS_AT))
    return world


def decide(world, row=HOLDS_AT, **options):
    """The outputs of a decision at one row."""
    return world.decide(row, **options)


def outcome(outputs):
    """The outcome that both decision records carry."""
    assert outputs["strategy.targets"]["outcome"] == outputs["strategy.intents"]["outcome"]
    return outputs["strategy.intents"]["outcome"]
