"""`triplane status`: what runs, what each plane does, and what blocks each symbol."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any

import typer

from triplane.cli import context
from triplane.cli.holds import Hold, abstentions, behind, closed_gates, divided, holds, when
from triplane.runtime import run_file

if TYPE_CHECKING:
    from triplane.runtime.settings import Settings


ASKED_S = 2.0
"""Wall seconds that a daemon has for its answer."""
DECISIONS = 500
"""How far back the order plane's decisions are looked at: several of each name of a universe of a hundred."""


def daemons(settings: Settings) -> list[dict[str, Any]]:
    """Every daemon that has run on this state directory: its pid, address, and why it is not ready."""
    from triplane.stack import state_file

    snapshot = state_file.read(settings.state_dir)
    kept = snapshot.processes if snapshot is not None and snapshot.alive else ()
    given_up = {each.name: each.detail for each in kept if each.state == "given up"}
    found = []
    run = settings.state_dir / "run"
    for path in sorted(run.glob("*.json")) if run.is_dir() else []:
        running = run_file.read(settings.state_dir, path.stem)
        if running is None:
            continue  # gone between the listing and now, or damaged
        entry = {
            "daemon": path.stem,
            "pid": running.pid,
            "http": running.http,
            "state": "stopped",
            "reason": "",
        }
        if running.alive:
            entry |= asked(running.http, ASKED_S)
        elif path.stem in given_up:
            entry |= {"state": "given up", "reason": given_up[path.stem]}
        found.append(entry)
    return found


def asked(http: str, patience_s: float) -> dict[str, str]:
    """What a daemon that lives says at its address: its `state` (ready, not ready, silent), and the `reason` why not."""
    import httpx

    from triplane.runtime import loopback

    try:
        answer = loopback.get(http + "/readyz", patience_s).json()
        return {"state": "ready" if answer["ready"] else "not ready", "reason": answer["reason"]}
    except (httpx.HTTPError, ValueError) as error:
        late = isinstance(error, httpx.TimeoutException)
        return {"state": "silent", "reason": f"{http} does not answer" + (f" within {patience_s:g} s" if late else "")}


ENDED = ("given up", "restarting", "exited")
"""States of what has no process, and will have one again by its supervisor alone."""


def services(settings: Settings, running: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the supervisor keeps beside the daemons (Kafka, the registry, the simulated market): name, pid, state and why not."""
    from triplane.runtime.process_identity import is_alive
    from triplane.stack import state_file

    snapshot = state_file.read(settings.state_dir)
    if snapshot is None:
        return []
    daemons_ = {each["daemon"] for each in running}
    found = []
    for each in snapshot.processes:
        if each.name not in daemons_:
            lives = bool(each.pid) and is_alive(each.pid, each.started)
            told = lives or each.state == "done" or (snapshot.alive and each.state in ENDED)
            state, reason = (each.state, each.detail) if told else ("stopped", "")
            found.append({"service": each.name, "pid": each.pid, "state": state, "reason": reason})
    return found


def refused_edit(running: list[dict[str, Any]]) -> list[str]:
    """What the control daemon says is wrong with the files as they are now; empty when they are in force or it does not answer."""
    import httpx

    from triplane.runtime import loopback

    for daemon in running:
        if daemon["daemon"] == "control" and daemon["state"] == "ready":
            try:
                problems = loopback.get(daemon["http"] + "/status", 2.0).json()["rejected"]["problems"]
                return [problem["sentence"] for problem in problems]
            except (httpx.HTTPError, ValueError, KeyError):
                return []
    return []


def latest(settings: Settings, counts: Mapping[str, int]) -> dict[str, list[dict[str, Any]]]:
    """The last decodable records of topics with one partition, oldest first; `counts` says how many of each topic.

    Somebody else's records and the markers of their transactions, up to MARGIN of them behind ours, do not hide them.
    """
    from triplane.runtime.kafka_in import TopicReader, partition_name

    probe = TopicReader(settings, list(counts))
    try:
        begin, ends = probe.position(), probe.end_offsets()
    finally:
        probe.close()
    wanted = {partition_name(topic, 0): count + MARGIN for topic, count in counts.items()}
    start = {name: max(begin[name], end - wanted[name]) for name, end in ends.items()}
    reader = TopicReader(settings, list(counts), start)
    found: dict[str, list[dict[str, Any]]] = {topic: [] for topic in counts}
    try:
        for record in reader.read_to(ends, 10):
            if record.value is not None:
                found[record.topic].append(record.value)
    finally:
        reader.close()
    return {topic: records[-counts[topic] :] for topic, records in found.items()}


MARGIN = 10
SLICES = 20
"""Newest slices of bars and quotes whose sources are those of prices."""
NEWEST = (
    "order.account",
    "strategy.barriers",
    "strategy.intents",
    "strategy.targets",
    "strategy.signals",
    "control.config",
    "data.quotes",
)
"""Topics of which the newest record is told from."""


@dataclass(frozen=True, slots=True)
class Told:
    """What the log tells: the newest barrier and account record (empty where there is none), and what blocks each symbol."""

    barrier: dict[str, Any] = field(default_factory=dict)
    account: dict[str, Any] = field(default_factory=dict)
    held: list[Hold] = field(default_factory=list)
    beside: list[str] = field(default_factory=list)
    """A sentence for each closed gate that holds nothing."""
    passed_over: list[str] = field(default_factory=list)
    """A sentence for each record that is none of its topic."""
    abstaining: list[str] = field(default_factory=list)
    """A sentence for each signal that has no score for some names."""
    behind: str = ""
    """That the order plane has not come to the newest quotes yet, in a sentence; empty where it has."""


def found_on_log(settings: Settings) -> Told:
    """What the log tells of the planes at this moment. Raises LogUnavailable."""
    from triplane.runtime.kafka_in import read_all

    recent = {"order.decisions": DECISIONS, "data.bars": SLICES, "data.quotes": SLICES}
    found_last = latest(settings, dict.fromkeys(NEWEST, 1) | recent)

    def newest(topic: str) -> dict[str, Any]:
        return next(reversed(found_last[topic]), {})

    closed, passed_over = closed_gates(read_all(settings, ["data.gates"]))
    market = {each["source"] for topic in ("data.bars", "data.quotes") for each in found_last[topic]}
    holding, beside = divided(closed, market, reference_sources)
    account, barrier = newest("order.account"), newest("strategy.barriers")
    found = holds(
        newest("strategy.intents"),
        newest("strategy.targets"),
        account,
        holding,
        found_last["order.decisions"],
        lambda: next_decision(barrier, newest("control.config")),
    )
    late = behind(newest("data.quotes"), account)
    abstaining = abstentions(newest("strategy.signals"))
    return Told(barrier, account, found, beside, passed_over, abstaining, late)


def reference_sources() -> set[str]:
    """Names of the sources that bring no prices. Loads them all, which takes as long as many a verb."""
    from data_plane.sources import look
    from data_plane.sources.base import Stage

    specs, _ = look()  # of a module that is none the data plane and `triplane doctor` tell
    return {source.name for source in specs if source.stage is Stage.REFERENCE}


def next_decision(barrier: dict[str, Any], config: dict[str, Any]) -> int:
    """When the session after the barrier's decides (ns UTC), by the configuration in force; 0 when that is not known."""
    from triplane.domain import calendars

    try:
        clock = json.loads(config["values"])["strategy"]["REBALANCE"]
        following = calendars.next_session(calendars.MARKET_CALENDAR, date.fromisoformat(barrier["session"]))
        return calendars.decision_time(calendars.MARKET_CALENDAR, following, clock)
    except (KeyError, ValueError):
        return 0


def _market_end(settings: Settings) -> str:
    """That the simulated market of this installation has ended, in a sentence; else an empty text."""
    import asyncio

    from triplane.stack.installation import GOES_ON, market_end

    if not settings.gateway_http:
        return ""
    kept = settings.state_dir.resolve() == context.CANDIDATES[1].resolve()
    advice = "it was a demonstration's; `triplane up` has a market of its own, of 250 sessions" if kept else GOES_ON
    return asyncio.run(market_end(settings.gateway_http, advice))


def kept_kafka(settings: Settings, beside: list[dict[str, Any]]) -> str:
    """What to do about a Kafka that does not answer though the supervisor keeps it running; empty where it keeps none."""
    for each in beside:
        if each["service"] == "kafka" and each["state"] != "stopped":
            return (
                f"Kafka at {settings.bootstrap} does not answer though its process (pid {each['pid']}) lives; `kill -CONT {each['pid']}` if "
                f"somebody stopped it, else see {settings.state_dir / 'logs' / 'kafka.log'}, then `triplane down` and `triplane up`"
            )
    return ""


def unavailable(settings: Settings, beside: list[dict[str, Any]], error: Exception) -> str:
    """Why the log cannot be told from: a Kafka that is silent now, or what reading it came upon."""
    import asyncio

    from triplane.runtime.kafka_probe import SILENT, KafkaProbe

    found = asyncio.run(KafkaProbe(settings, *NEWEST, "order.decisions", "data.gates")())
    return (kept_kafka(settings, beside) if found == SILENT else found) or str(error)


def _because(reason: str) -> str:
    return f" ({reason})" if reason else ""


def status(json_: bool = context.JSON) -> None:
    """What runs, what each plane does, and what blocks each symbol."""
    from triplane.runtime.kafka_in import LogUnavailable

    settings = context.settings()
    running = daemons(settings)
    beside = services(settings, running)
    refused = refused_edit(running)
    lives = any(each["state"] not in ("stopped", "given up") for each in running)
    ended = _market_end(settings) if lives else ""
    problem = ""
    told = Told()
    if settings.bootstrap:
        try:
            told = found_on_log(settings)
        except LogUnavailable as error:
            problem = unavailable(settings, beside, error)
    elif any(each["service"] == "kafka" and each["state"] == "stopping" for each in beside):
        problem = "Kafka is stopping; what is held is not known any more"
    elif any(each["service"] == "kafka" and each["state"] not in ("stopped", "given up") for each in beside):
        problem = "Kafka is starting; what is held is known once it answers"
    else:
        problem = "no Kafka is known here; `triplane up` starts one"
    barrier, account, held = told.barrier, told.account, told.held
    if json_:
        context.print_json(
            {
                "daemons": running,
                "services": beside,
                "barrier": barrier,
                "account": account,
                "blocked": [asdict(hold) for hold in held],
                "abstaining": told.abstaining,
                "beside": told.beside,
                "passed_over": told.passed_over,
                "refused_edit": refused,
                "behind": told.behind,
                "market_ended": ended,
                "problem": problem,
            }
        )
        if not lives:
            raise typer.Exit(1)
        return
    if running:
        context.print_table(
            "Daemons",
            ("daemon", "state", "pid", "address", "why not"),
            [(d["daemon"], d["state"], str(d["pid"]), d["http"], d["reason"]) for d in running],
        )
    if beside:
        print("beside them: " + ", ".join(f"{s['service']} {s['state']}{_because(s['reason'])}" for s in beside))
    if problem:
        print(problem)
    if ended:
        print(ended)
    for sentence in refused:
        print(f"edit refused, nothing changed: {sentence}")
    if barrier:
        print(f"last barrier: {barrier['seq']} ({barrier['kind']}) for {when(barrier['t'])}")
    if account:
        simulated = " (simulated)" if account["simulated"] else ""
        known = math.isfinite(account["nav"])
        drawdown = f"{account['drawdown']:.2%}" if math.isfinite(account["drawdown"]) else "not known"
        nav = f"{account['nav']:,.0f} {account['base_currency']}, drawdown {drawdown}" if known else "not known"
        print(f"account {account['account']}: NAV {nav}{simulated}")
    if told.behind:
        print(told.behind)
    for line in (*held, *told.beside, *told.abstaining, *told.passed_over):
        print(line)
    waiting = [f"{d['daemon']}: {d['reason'] or d['state']}" for d in running if d["state"] != "ready"]
    if waiting and any(hold.plane != "data" for hold in held):
        print(f"that was decided before; now {'; '.join(waiting)}")
    if (barrier or account) and not held:
        print("nothing is held" if not waiting else f"nothing is held by a decision; {'; '.join(waiting)}")
    if not lives:
        print("no daemon runs here; `triplane up` starts them")
        raise typer.Exit(1)
