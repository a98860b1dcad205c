"""Facts, macro series, learned costs, configuration and fitted models: each reaches the intents, from when it is known."""

import math

import numpy as np
import pytest

from tests.strategy_plane.short_run import HOLDS_AT, SHORT, N, decide, outcome, ready, world_of
from tests.strategy_plane.world import (
    ACCOUNT,
    World,
    asset,
    digest_bytes,
    etf,
    fact_record,
    macro_record,
    random_closes,
    universe_of,
    xnys,
)
from triplane.domain.timestamps import DAY, MINUTE, SECOND

# EDGAR and FRED --------------------------------------------------------------------------------------------------------


def test_removing_edgar_holds():
    assert outcome(decide(ready())) == "SOLVED"
    outputs = decide(ready(facts=False))
    assert outcome(outputs) == "HOLD_FACTS_MISSING"
    assert f"{N} of {N}" in outputs["strategy.targets"]["detail"]


def test_removing_fred_changes_the_intents():
    with_bill, without = decide(ready()), decide(ready(macro=False))
    assert outcome(without) == "SOLVED"
    assert with_bill["strategy.intents"]["target_qty"] != without["strategy.intents"]["target_qty"]
    assert "POS:S000:TBILL_MISSING" in without["strategy.signals"]["abstained"]
    assert not any(entry.startswith("POS") for entry in with_bill["strategy.signals"]["abstained"])


def test_another_rate_of_the_bill_changes_the_intents():
    """Not only that it is there: POS is in excess of what the bill pays."""
    plain, high = ready(), ready()
    known = high.close_time(HOLDS_AT) // DAY * DAY
    days = list(range(known - 400 * DAY, known, DAY))
    high.fold("data.macro", macro_record("DTB3", known, days, [9.0] * len(days), "9999-01-01"))
    a, b = decide(plain), decide(high)
    assert outcome(b) == "SOLVED"
    assert a["strategy.signals"]["scores"] != b["strategy.signals"]["scores"]
    assert a["strategy.intents"]["target_qty"] != b["strategy.intents"]["target_qty"]


def test_a_name_without_shares_has_no_cross_sectional_score():
    world = world_of(facts=False)
    for i, symbol in enumerate(world.symbols[1:]):
        world.fold("data.facts", fact_record(symbol, 1e8 * (1 + i), world.close_time(0) - DAY))
    world.warmup(range(HOLDS_AT))
    outputs = decide(world)
    assert outcome(outputs) == "SOLVED"
    signals = outputs["strategy.signals"]
    scores = np.array(signals["scores"]).reshape(3, N)
    assert np.isnan(scores[:2, 0]).all()
    assert np.isfinite(scores[:, 1:]).all()
    assert np.isfinite(scores[2, 0])
    assert signals["abstained"] == ["MOM:S000:FACTS_MISSING", "REV:S000:FACTS_MISSING"]


def test_a_filing_changes_intents_only_from_when_it_was_known():
    """Law L3 at the engine: the same filing known after the barrier changes nothing, known before it does."""
    plain, early = ready(), ready()
    early.fold("data.facts", fact_record("S001", 5e10, early.close_time(HOLDS_AT) - 3 * DAY))
    assert decide(plain)["strategy.intents"]["target_qty"] != decide(early)["strategy.intents"]["target_qty"]


def test_learned_costs_replace_the_initial_ones():
    """What the order plane learned reaches the program: dearer trading, less of it."""
    plain, dear = ready(), ready()
    dear.fold(
        "order.costs",
        {"account": ACCOUNT, "estimate_id": "1", "profiles": ["Standard"], "linear": [0.01], "impact": [2.0]},
    )
    a, b = decide(plain)["strategy.targets"], decide(dear)["strategy.targets"]
    np.testing.assert_array_less(a["cost"], b["cost"])
    assert np.array(b["impact"]) == pytest.approx(2 * np.array(a["impact"]))
    assert b["turnover"] < 0.8 * a["turnover"]


# Configuration ---------------------------------------------------------------------------------------------------------


def test_a_parameter_counts_from_the_barrier_that_names_it():
    one, two = ready(), ready()
    old = two.config_offset
    two.configure({"strategy": {**SHORT["strategy"], "VOL_TARGET": 0.03}})
    new = two.config_offset
    a, b = decide(one), decide(two, config_offset=old)
    assert {**a["strategy.intents"], "account_offset": 0} == {**b["strategy.intents"], "account_offset": 0}
    one.seq += 0
    changed = decide(two, config_offset=new)
    assert changed["strategy.targets"]["volatility"] <= 0.03 + 1e-9
    assert changed["strategy.intents"]["config_hash"] == "hash-1"


def test_a_new_half_life_keeps_the_state_and_decays_from_then_on():
    """State kept: at the barrier of the change nothing that was added before is weighed anew."""
    world = ready()
    before = world.engine.state()["moments"]
    world.configure({"strategy": {**SHORT["strategy"], "VOL_HALF_LIFE": 5.0}})
    decide(world)
    np.testing.assert_equal(world.engine.state()["moments"], before)
    world.live_close(HOLDS_AT)
    decide(world, row=HOLDS_AT + 1)
    after = world.engine.state()["moments"]
    returns = world.closes[HOLDS_AT] / world.closes[HOLDS_AT - 1] - 1
    np.testing.assert_allclose(after["square"], 0.5 ** (1 / 5) * before["square"] + returns**2, rtol=1e-12)


def test_the_universe_can_change_while_it_runs():
    world = ready()
    newcomers = [*universe_of(N)[1:], asset("NEW")]
    world.configure(SHORT, assets=newcomers)
    t = world.close_time(HOLDS_AT) - 1800 * SECOND
    prices = world.closes[HOLDS_AT]
    world.fold("order.account", world.account(t, prices))
    world.fold("data.quotes", {**world.quotes(t, prices), "symbols": [*world.symbols[1:], "NEW"]})
    outputs = world.step(world.barrier("decision", world.sessions[HOLDS_AT], t))
    assert outcome(outputs) == "SOLVED"
    assert outputs["strategy.intents"]["symbols"] == world.symbols[1:]
    assert outputs["strategy.targets"]["held"] == ["NEW:WARMING momentum 0/60 bars"]
    scores = np.array(outputs["strategy.signals"]["scores"]).reshape(3, N)
    assert np.isfinite(scores[:, :-1]).all()


def test_an_empty_universe_of_tradable_names_holds():
    world = World(random_closes(30, 2, 1), xnys("2016-01-04", 30), [etf("A"), etf("B")], targets=SHORT)
    outputs = world.warmup(range(25))
    assert outputs["strategy.signals"]["symbols"] == []
    assert outcome(decide(world, row=25)) == "HOLD_NOTHING_TRADABLE"


# Regime and brakes -----------------------------------------------------------------------------------------------------


def test_a_halved_kill_level_and_a_drawdown_brake():
    plain = decide(ready())
    halved = decide(ready(), account={"kill_level": "halved"})
    assert (halved["strategy.regime"]["brake"], halved["strategy.regime"]["brake_reason"]) == (0.5, "KILL_HALVED")
    assert halved["strategy.targets"]["gross"] <= 0.75 + 1e-6
    drawn = decide(ready(), account={"drawdown": 0.14, "kill_level": "halved"})
    assert drawn["strategy.regime"]["brake"] == pytest.approx(0.1)
    assert drawn["strategy.regime"]["brake_reason"] == "DRAWDOWN"
    assert plain["strategy.regime"]["brake"] == 1.0


def test_a_nav_that_was_unknown_for_a_barrier_brakes_none_of_the_next():
    """Its own is held. What was braked before goes on being released from there."""
    for drawdown, brake in ((0.0, 1.0), (0.14, 0.1)):
        world = ready()
        braked = decide(world, account={"drawdown": drawdown})["strategy.regime"]["brake"]
        assert braked == pytest.approx(brake)
        held = decide(world, row=HOLDS_AT + 1, account={"nav": math.nan, "drawdown": math.nan})
        assert outcome(held) == "HOLD_ACCOUNT_UNKNOWN"
        assert (held["strategy.regime"]["brake"], held["strategy.regime"]["brake_reason"]) == (0.0, "NAV_UNKNOWN")
        after = decide(world, row=HOLDS_AT + 2)
        assert after["strategy.regime"]["brake"] == pytest.approx(min(braked + 0.1, 1.0))


def test_a_fit_is_due_on_schedule_and_comes_back_through_the_log():
    world = world_of()
    world.warmup(range(100))
    assert world.models == []
    outputs = world.warmup([100])
    assert [model["model_id"] for model in world.models] == ["hmm/101"]
    assert outputs["strategy.regime"]["model_id"] == ""
    outputs = world.warmup([101])
    assert outputs["strategy.regime"]["model_id"] == "hmm/101"
    assert len(outputs["strategy.regime"]["posterior"]) == 3
    assert outputs["strategy.regime"]["state"] in ("Calm", "Normal", "Storm")
    assert world.engine.fit_due() is None


def test_fit_due_repeats_its_answer_until_the_next_step():
    world = world_of(fits=False)
    world.warmup(range(101))
    one, two = world.engine.fit_due(), world.engine.fit_due()
    assert one is two is not None
    assert one.features.shape == (100, 1)
    world.warmup([101])
    assert world.engine.fit_due() is None


def test_a_step_may_close_several_sessions():
    """Sessions that piled up give the same state as one barrier each, apart from when the facts were looked at."""
    one, two = world_of(fits=False), world_of(fits=False)
    for world in (one, two):
        world.lookups(60)
    one.warmup(range(60))
    for row in range(60):
        two.fold("data.bars", two.bars(row))
    two.step(two.barrier("warmup", two.sessions[59], two.close_time(59) + 1))
    for name in ("panel", "market", "moments"):
        np.testing.assert_equal(one.engine.state()[name], two.engine.state()[name])


def test_records_the_engine_does_not_read_change_nothing():
    one, two = ready(), ready()
    two.engine.fold("data.trades", 0, 0, {"source": "x"})
    two.fold("data.micro", {})
    two.fold("data.bars", {"interval": "5s", "source": "ibkr", "symbols": ["S000"]})
    two.fold("data.actions", {"symbol": "S000", "kind": "dividend"})
    assert digest_bytes(decide(one)) == digest_bytes(decide(two))


def test_a_split_is_settled_by_the_next_live_bar():
    one, two = ready(), ready()
    for world in (one, two):
        world.decide(HOLDS_AT)
    two.fold(
        "data.actions", {"symbol": "S004", "kind": "split", "ratio": 4.0, "event_time": two.close_time(HOLDS_AT) - DAY}
    )
    two.closes[HOLDS_AT:, 4] /= 4
    one.live_close(HOLDS_AT)
    two.live_close(HOLDS_AT)
    a, b = one.decide(HOLDS_AT + 1), two.decide(HOLDS_AT + 1)
    np.testing.assert_allclose(a["strategy.signals"]["scores"], b["strategy.signals"]["scores"], atol=1e-9)
    qa, qb = (np.array(o["strategy.intents"]["target_qty"]) for o in (a, b))
    assert np.abs(qb[4] - 4 * qa[4]) <= 4
    np.testing.assert_allclose(np.delete(qb, 4), np.delete(qa, 4), atol=1)


def test_a_name_that_joins_late_is_as_warm_as_its_fellows_once_its_history_is_loaded():
    """A row of assets.csv removed and put back, or a new one: the barrier after its history came trades it, with the same scores."""
    closes = random_closes(140, N, 5)
    names = universe_of(N)
    always = World(closes, xnys("2016-01-04", 140), names, targets=SHORT)
    joining = World(closes, xnys("2016-01-04", 140), names, targets=SHORT)
    joining.configure(SHORT, names[:-1])
    for world in (always, joining):
        world.warmup(range(120))
    joining.configure(SHORT, names)
    blocked = decide(joining, row=120)["strategy.intents"]
    assert blocked["held"] == [names[-1].symbol]
    assert blocked["held_codes"] == ["WARMING"]
    decide(always, row=120)
    now = joining.close_time(120) - MINUTE
    for row in range(120):
        joining.fold("data.bars", {**joining.bars(row, columns=[N - 1]), "available_time": now})
    for world in (always, joining):
        world.live_close(120)
    there, joined = decide(always, row=121), decide(joining, row=121)
    assert joined["strategy.intents"]["held"] == there["strategy.intents"]["held"] == []
    for field in ("raw", "specific_vol"):
        expected, found = (np.array(outputs["strategy.signals"][field])[..., N - 1 :: N] for outputs in (there, joined))
        np.testing.assert_allclose(found, expected, rtol=0.02 if field == "specific_vol" else 1e-9, err_msg=field)
