"""The whole system in one run under kills and stops, and every verb that a user lives with afterwards.

Nothing is lost, and the replay of the log is the log. The undisturbed run is `make demo`, which judges itself.
"""

from __future__ import annotations

import os
import random
import re
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from tests.cli.command import ROOT
from tests.conftest import SEED, drawn
from tests.integration.demonstrations import PLANES, SHORT_HISTORY, Demo, marked
from tests.waiting import eventually, wait

pytestmark = [pytest.mark.integration, pytest.mark.chaos, pytest.mark.timeout(600)]
KILLED = (*PLANES, "gateway")
# How long a plane waits for Kafka to acknowledge (the strategy plane's REQUEST_TIMEOUT_MS, in s; the others wait longer).
KAFKA_PATIENCE_S = 60


@dataclass(frozen=True)
class Plan:
    """What is done to a run: how long it is, who is killed in turn, who is stopped and for how many seconds."""

    seed: int
    sessions: int
    killed: list[str]
    rounds: int
    stopped: str
    stopped_s: int


@pytest.fixture(scope="module")
def plan(request: pytest.FixtureRequest, counts: Callable[[int, int], int]) -> Plan:
    seed = drawn(request)
    killed = random.Random(seed).sample(KILLED, counts(2, len(KILLED)))
    stopped = random.Random(seed + 1).choice(("data", "strategy", "order"))
    return Plan(seed, counts(6, 30), killed, counts(1, 3), stopped, counts(5, 60))


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory, plan: Plan) -> Iterator[Demo]:
    """A short run that is disturbed while the market trades, has passed its verdict and is kept running.

    It goes at a sixth of the usual pace, so that the market still trades when a killed plane is back, on a busy machine, too.
    """
    line = ["--json", "--keep", "--no-registry", "--speed", "50", "--sessions", str(plan.sessions)]
    with Demo(tmp_path_factory.mktemp("kept"), *line, years=SHORT_HISTORY) as demo:
        demo.until(lambda: demo.gateway().get("sessions_done", 0) >= 1, 240, "the first session's end")
        for plane in plan.killed * plan.rounds:
            pid = demo.another(plane)
            assert not demo.gateway().get("finished"), f"the market ended before every plane was killed: {demo.err}"
            os.kill(pid, signal.SIGKILL)
            demo.another(plane, than=pid)
        pid = demo.another(plan.stopped)
        os.kill(pid, signal.SIGSTOP)
        wait(plan.stopped_s)
        os.kill(pid, signal.SIGCONT)
        demo.outcome(300)
        yield demo


def test_killed_and_stopped_planes_lose_nothing(
    kept: Demo, plan: Plan, record_property: Callable[[str, object], None]
) -> None:
    """Each plane and the gateway are SIGKILLed while the market trades, one is stopped and continued; the run ends whole and replays equal."""
    record_property(SEED, plan.seed)
    outcome = kept.outcome(1)
    assert outcome["problems"] == [], kept.words()
    assert re.fullmatch(r"identical [0-9a-f]{64}", outcome["verdict"])
    assert outcome["passed"] is True
    assert outcome["killed"] == ""
    assert outcome["unsettled"] is False
    restarts = {plane: kept.err.count(f"{plane}: restarting: {plane} was ended by SIGKILL") for plane in plan.killed}
    assert restarts == dict.fromkeys(plan.killed, plan.rounds), kept.err
    # What Kafka had not acknowledged when the plane was stopped may be out of time when it goes on: it says so and starts again.
    out_of_time = re.findall(rf"{plan.stopped}: restarting: {plan.stopped} ended with code 69: .+; again in", kept.err)
    assert len(out_of_time) <= (plan.stopped_s >= KAFKA_PATIENCE_S), kept.err
    restarts[plan.stopped] = restarts.get(plan.stopped, 0) + len(out_of_time)
    assert {plane: times for plane, times in restarts.items() if times} == outcome["restarts"], kept.err
    # A session that passes as a whole while nobody observes it is not decided and is named; every other one is, once.
    assert plan.sessions - 2 * plan.rounds <= outcome["decision_barriers"] <= plan.sessions
    assert outcome["sessions"] == outcome["decision_barriers"]
    assert len(outcome["missed"]) == plan.sessions - outcome["decision_barriers"]
    assert "Traceback" not in kept.words()


def test_everything_is_accounted_for(kept: Demo, plan: Plan) -> None:
    outcome = kept.outcome(1)
    assert outcome["warmup_barriers"] > 252 * (SHORT_HISTORY - 0.1)
    # A decision that a kill left without its data is held: it has no intents, and neither has the first.
    assert outcome["intents"] >= 20 * (outcome["decision_barriers"] - 1 - 2 * plan.rounds)
    assert outcome["orders"] > 0
    # How many depends on the machine: an order that comes late in its session expires with it, and is accounted for as that.
    assert outcome["fills"] > 0
    assert outcome["simulated"] is True
    assert 0 < outcome["fill_rate"] <= 1
    assert outcome["commission"] > 0
    assert len(outcome["latency_s"]) == 3
    assert 0 < outcome["latency_s"][0] <= outcome["latency_s"][1] <= outcome["latency_s"][2]
    received = outcome["received"]
    assert (
        received["received"]
        == received["published"] + received["quarantined"] + received["deduplicated"] + received["dropped"]
    )


def test_the_gates_caught_what_the_market_injected(kept: Demo, plan: Plan) -> None:
    """What falls into a time in which a killed plane or gateway is away is not there to be caught."""
    found = {each["fault"]: each for each in kept.outcome(1)["faults"]}
    assert set(found) == {"restated fact of AAPL", "bad print of KO", "silent PFE", "skewed clock"}
    assert found["restated fact of AAPL"]["code"].startswith("FACT_")
    if not {"data", "gateway"} & {*plan.killed, *kept.outcome(1)["restarts"]}:
        codes = {each["gate"]: each["code"] for each in found.values()}
        assert codes["price_sanity"] == "UNIT_100X"
        assert codes["freshness"] == "DATA_STALE"
        assert codes["clock"].startswith("CLOCK_")
        assert all(each["reopened"] for each in found.values())
        assert [each["quarantined"] for each in found.values() if each["gate"] in ("price_sanity", "fact_sanity")] == [
            1,
            1,
        ]


def test_the_edit_half_way_was_taken_at_a_barrier_and_moved_weights(kept: Demo) -> None:
    edit = kept.outcome(1)["edit"]
    assert edit["change"] == "VOL_TARGET 0.1 -> 0.06"
    assert edit["old"] != edit["new"]
    assert edit["barrier"] > 0
    assert any(abs(after - before) > 1e-4 for _, before, after in edit["moved"])
    history = kept.verb("config", "history", "--json").json
    assert [version["hash"] for version in history] == [edit["old"], edit["new"]]
    assert "VOL_TARGET" in kept.verb("config", "diff").out


def test_the_replay_verb_gives_the_same_hash(kept: Demo) -> None:
    ran = kept.verb("replay", "--verify", "--json")
    assert ran.code == 0, ran
    assert ran.json["holds"] is True
    then, now = kept.outcome(1)["topics"], {topic["topic"]: topic for topic in ran.json["topics"]}
    # What is kept runs on: the order plane reconciles once a minute. Where nothing was added, nothing has changed.
    same = [name for name in now if now[name]["records"] == then[name]["records"]]
    assert {name for name in now if name.startswith("strategy.")} | {"order.fills", "order.decisions"} <= set(same)
    assert {name: now[name]["sha"] for name in same} == {name: then[name]["sha256"] for name in same}
    if set(same) == set(now):
        assert ran.json["sha256"] == kept.outcome(1)["sha256"]
    assert {topic["topic"] for topic in ran.json["topics"]} >= {"strategy.intents", "order.decisions", "order.fills"}
    assert all(topic["identical"] for topic in ran.json["topics"])


def test_explain_gives_the_whole_chain_of_a_traded_name(kept: Demo) -> None:
    names = [line.split(",")[0] for line in (ROOT / "assets.csv").read_text().splitlines()[1:21]]
    account = kept.verb("status", "--json").json["account"]
    traded = next(name for name in account["symbols"] if name in names)
    found = kept.verb("explain", traded, "--json").json
    assert found["symbol"] == traded
    assert found["barrier"]["kind"] == "decision"
    assert {signal_["signal"] for signal_ in found["signals"]} >= {"momentum", "reversal"} or len(found["signals"]) >= 2
    assert found["target"]["outcome"] == "SOLVED"
    assert found["decisions"]
    text = kept.verb("explain", traded)
    assert text.code == 0
    assert found["verdict"] in text.out
    unknown = kept.verb("explain", "NOPE")
    assert unknown.code == 1
    assert "NOPE is not in the universe" in unknown.sentence


def test_status_and_doctor_find_every_daemon_ready(kept: Demo) -> None:
    found = kept.verb("status", "--json").json
    assert {each["daemon"]: each["state"] for each in found["daemons"]} == dict.fromkeys(PLANES, "ready")
    assert found["problem"] == ""
    assert found["barrier"]["kind"] == "decision"
    assert found["account"]["reconciled"] is True
    # What this release does not trade is named, not ignored.
    for symbol in ("SPY", "MES", "EUR.USD", "BTC.USD"):
        assert any(hold["symbol"] == symbol and "CLASS_NOT_TRADED" in hold["reason"] for hold in found["blocked"]), (
            found["blocked"]
        )
    findings = kept.verb("doctor", "--json").json
    assert [f for f in findings if f["state"] == "problem"] == []
    assert {f["what"] for f in findings if f["found"].startswith("ready on")} == set(PLANES)


def test_topics_are_as_the_catalogue_says(kept: Demo) -> None:
    assert kept.verb("topics", "diff").code == 0
    assert kept.verb("kafka", "status", "--json").json["differences"] == []


def test_a_second_run_on_the_same_directory_is_refused_and_disturbs_nothing(kept: Demo) -> None:
    before = {name: each["pid"] for name, each in kept.processes().items()}
    again = kept.verb("demo", "--directory", str(kept.directory), "--sessions", "2", "--plain")
    assert again.code == 1
    assert "already up" in again.sentence
    assert {name: each["pid"] for name, each in kept.processes().items()} == before
    assert kept.process.poll() is None


def test_ctrl_c_ends_a_kept_run_well(kept: Demo) -> None:
    """The last test of the kept run: a passed run that is kept ends with code 0, and nothing of it stays."""
    assert len(marked(kept.mark)) >= 8
    kept.interrupt()
    assert kept.end() == 0
    eventually(lambda: not marked(kept.mark), 5, "every process is gone")
    after = kept.verb("status")
    assert "no Kafka is known here" in after.out
    assert "Traceback" not in kept.out + kept.err + after.err
