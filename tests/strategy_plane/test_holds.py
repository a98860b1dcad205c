"""What holds a barrier or a name, and what each hold says."""

import re

import numpy as np
import pytest

from schemas import codec
from strategy_plane.engine import StrategyEngine
from tests.strategy_plane.short_run import HOLDS_AT, ROWS, SHORT, N, decide, outcome, ready, world_of
from tests.strategy_plane.world import (
    ACCOUNT,
    World,
    asset,
    digest_bytes,
    etf,
    random_closes,
    universe_of,
    xnys,
)

# What holds ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "code", "word"),
    [
        ({"skipped": ["data.bars-0@7"]}, "HOLD_SKIPPED_RECORD", "data.bars-0@7"),
        ({"missing": ["data.bars-0"]}, "HOLD_DATA_MISSING", "data.bars-0"),
        ({"config_offset": 99}, "HOLD_CONFIG_MISSING", "control daemon"),
        ({"account": {"reconciled": False}}, "HOLD_ACCOUNT_UNKNOWN", "reconciled"),
        ({"account": {"nav": float("nan")}}, "HOLD_ACCOUNT_UNKNOWN", "its net asset value is nan"),
        (
            {"account": {"nav": float("nan"), "symbols": ["GONE"], "position": [5.0], "unmarked": ["GONE"]}},
            "HOLD_ACCOUNT_UNKNOWN",
            "GONE (which has no row in assets.csv) held without a fresh mark",
        ),
        ({"account": {"kill_level": "stopped", "kill_reason": "KILL_PNL"}}, "HOLD_KILLED", "KILL_PNL"),
        ({"quotes": {"status": ["delayed"] * N}}, "HOLD_UNIVERSE_MISSING", f"{N} of {N} (DATA_DELAYED {N})"),
        ({"account": {"excluded": [f"S{i:03d}" for i in range(N)]}}, "HOLD_NOTHING_TRADABLE", "FOREIGN_POSITION"),
    ],
)
def test_holds(options, code, word):
    world = ready()
    outputs = decide(world, **options)
    assert outcome(outputs) == code
    intents = outputs["strategy.intents"]
    assert word in outputs["strategy.targets"]["detail"]
    assert intents["symbols"] == intents["target_qty"] == []
    assert intents["barrier_sha"] == f"{world.seq:064x}"
    digest_bytes(outputs)


def test_without_any_account_the_barrier_holds():
    world = ready()
    outputs = world.step(world.barrier("decision", world.sessions[HOLDS_AT], world.close_time(HOLDS_AT)))
    assert outcome(outputs) == "HOLD_ACCOUNT_UNKNOWN"
    assert "not told" in outputs["strategy.targets"]["detail"]
    assert outputs["strategy.intents"]["account_offset"] == -1


def test_before_any_configuration_a_warmup_is_empty_and_a_decision_holds():
    engine = StrategyEngine(ACCOUNT)
    barrier = {**codec.defaults("Barrier"), "kind": "warmup", "seq": 1}
    assert engine.step(barrier, "0") == []
    outputs = engine.step({**barrier, "kind": "decision", "seq": 2, "t": 5}, "1")
    assert [o.record["outcome"] for o in outputs] == ["HOLD_CONFIG_MISSING"] * 2
    digest_bytes(outputs)


def test_bars_that_come_before_the_first_configuration_are_kept():
    direct, late = world_of(), world_of()
    late.engine = StrategyEngine(ACCOUNT)
    config = direct.fold_log[0][1]
    for row in range(20):
        for world in (direct, late):
            world.lookups(row)
            world.fold("data.bars", world.bars(row))
    late.engine.fold("control.config", 0, 0, config)
    barrier = direct.barrier("warmup", direct.sessions[19], direct.close_time(19) + 1)
    assert digest_bytes(direct.engine.step(barrier, "s")) == digest_bytes(late.engine.step(barrier, "s"))


def test_too_little_history_holds_and_says_for_how_long_still():
    world = world_of()
    world.warmup(range(50))
    outputs = decide(world, row=50)
    assert outcome(outputs) == "HOLD_WARMING"
    assert outputs["strategy.targets"]["held"][0] == "S000:WARMING momentum 50/60 bars"


def test_a_late_listing_is_held_while_the_others_trade():
    world = world_of()
    world.closes[:70, 3] = np.nan
    world.warmup(range(HOLDS_AT))
    outputs = decide(world)
    assert outcome(outputs) == "SOLVED"
    assert outputs["strategy.targets"]["held"] == ["S003:WARMING momentum 40/60 bars"]
    assert "S003" not in outputs["strategy.intents"]["symbols"]


def test_a_missing_session_holds_every_name():
    world = ready()
    outputs = decide(world, row=HOLDS_AT + 2)
    assert outcome(outputs) == "HOLD_UNIVERSE_MISSING"
    assert "BARS_STALE last daily bar is 2 sessions old" in outputs["strategy.targets"]["held"][0]


def test_a_closed_gate_of_the_source_holds_everything_and_of_a_name_that_name():
    world = ready()
    world.fold("data.gates", {"gate": "freshness", "source": "ibkr", "scope": "S002", "open": False, "code": "OLD"})
    outputs = decide(world)
    assert outcome(outputs) == "SOLVED"
    assert outputs["strategy.targets"]["held"] == ["S002:GATE_CLOSED freshness"]
    world.fold("data.gates", {"gate": "completeness", "source": "ibkr", "scope": "main", "open": False, "code": "FEW"})
    assert outcome(decide(world)) == "HOLD_GATE_CLOSED"


def test_a_position_without_any_price_holds():
    world = ready(assets=[*universe_of(N - 1), etf("FUND")])
    world.closes[:, -1] = np.nan
    world = World(world.closes, world.sessions, world.assets, targets=SHORT)
    world.warmup(range(HOLDS_AT))
    bid = {"bid": [*(world.closes[HOLDS_AT][:-1] - 0.01).tolist(), float("nan")]}
    held = {"symbols": ["FUND"], "position": [10.0], "mark": [float("nan")]}
    outputs = decide(world, quotes=bid, account=held)
    assert outcome(outputs) == "HOLD_UNIVERSE_MISSING"
    assert "FUND" in outputs["strategy.targets"]["detail"]
    marked = decide(world, quotes=bid, account={**held, "mark": [5.0]})
    assert outcome(marked) == "SOLVED"


def test_positions_outside_the_tradable_names_use_up_the_limits():
    world = ready(assets=[*universe_of(N - 1), etf("FUND")])
    price = world.closes[HOLDS_AT, -1]
    held = {"symbols": ["FUND"], "position": [round(1.2e6 / price)], "mark": [price]}
    free, used = decide(world), decide(world, account=held)
    assert used["strategy.targets"]["gross"] <= 0.3 + 1e-6 < free["strategy.targets"]["gross"]


def test_an_infeasible_program_holds():
    world = ready()
    world.configure({"strategy": {**SHORT["strategy"], "ADV_CAP": 1e-9}})
    position = {"symbols": ["S000"], "position": [20000.0], "mark": [100.0]}
    outputs = decide(world, account=position)
    assert outcome(outputs) == "HOLD_INFEASIBLE"
    detail = outputs["strategy.targets"]["detail"]
    assert "the book as it stands exceeds" in detail
    assert "VOL by" in detail
    assert "cannot be traded" not in detail  # only the participation cap is in the way


def test_a_frozen_position_that_makes_the_program_infeasible_is_named():
    world = ready()
    price = world.closes[HOLDS_AT, 0]
    frozen = {
        "symbols": ["S000"],
        "position": [round(-0.9e6 / price)],
        "mark": [price],
        "held": ["S000:SHORT_RECALLED"],
    }
    outputs = decide(world, account=frozen)
    assert outcome(outputs) == "HOLD_INFEASIBLE"
    detail = outputs["strategy.targets"]["detail"]
    assert re.search(r"exceeds .*NET by 0\.\d{4}.*; cannot be traded: S000 -0\.\d{4} of NAV$", detail), detail


def test_lots_too_large_for_the_limits_hold():
    assets = [asset(f"S{i:03d}", lot_size=30.0, min_order=30.0) for i in range(6)]
    world = World(random_closes(ROWS, 6, 3), xnys("2016-01-04", ROWS), assets, targets=SHORT)
    world.warmup(range(HOLDS_AT))
    world.configure({"strategy": {**SHORT["strategy"], "NET_LIM": 0.0, "VOL_TARGET": 0.3, "NO_TRADE_BAND": 0.0}})
    # a held name's odd exposure cannot be met by lots of 30
    price = world.closes[HOLDS_AT, 0]
    held = {"symbols": ["S000"], "position": [37.0], "mark": [price], "held": ["S000:SHORT_RECALLED"]}
    outputs = decide(world, account=held)
    assert outcome(outputs) == "HOLD_ROUNDING"
