"""`triplane status`: what runs, what each plane does, and what blocks each symbol."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import typer

from triplane.cli import context

if TYPE_CHECKING:
    from triplane.runtime.settings import Settings


EVERYTHING = "*"
"""What a hold of the whole account names in order.account."""


def daemons(settings: Settings) -> list[dict[str, Any]]:
    """Every daemon that has run on this state directory: its pid, address, and why it is not ready."""
    import httpx

    from triplane.runtime import loopback
    from triplane.runtime.process_identity import is_alive

    found = []
    run = settings.state_dir / "run"
    for path in sorted(run.glob("*.json")) if run.is_dir() else []:
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue  # gone or half written between the listing and now
        entry = {
            "daemon": path.stem,
            "pid": document["pid"],
            "http": document["http"],
            "state": "stopped",
            "reason": "",
        }
        if is_alive(document["pid"], document["started"]):
            try:
                answer = loopback.get(document["http"] + "/readyz", 2.0).json()
                entry["state"] = "ready" if answer["ready"] else "not ready"
                entry["reason"] = answer["reason"]
            except (httpx.HTTPError, ValueError) as error:
                entry["state"], entry["reason"] = "silent", type(error).__name__
        found.append(entry)
    return found


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
            state = each.state if lives or each.state == "done" else "stopped"
            found.append(
                {"service": each.name, "pid": each.pid, "state": state, "reason": each.detail if lives else ""}
            )
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


def latest(settings: Settings, topic: str, count: int = 1) -> list[dict[str, Any]]:
    """The last decodable records of a topic with one partition, oldest first."""
    from triplane.runtime.kafka_in import TopicReader

    probe = TopicReader(settings, [topic], "end")
    try:
        ends = probe.end_offsets()
    finally:
        probe.close()
    reader = TopicReader(settings, [topic], {name: max(0, end - count) for name, end in ends.items()})
    try:
        return [record.value for record in reader.read_to(ends, 10) if record.value is not None]
    finally:
        reader.close()


def blocked(
    intents: dict[str, Any], targets: dict[str, Any], account: dict[str, Any], gates: list[dict[str, Any]]
) -> dict[str, list[str]]:
    """What blocks each symbol, by symbol; the whole account's holds under the empty symbol. Inputs may be empty."""
    reasons: dict[str, list[str]] = {}

    def add(symbol: str, reason: str) -> None:
        if reason not in reasons.setdefault(symbol, []):
            reasons[symbol].append(reason)

    if intents and intents["outcome"] != "SOLVED":
        add("", f"{intents['outcome']}: {targets.get('detail', '')}".rstrip(": "))
    for entry in targets.get("held", []):
        symbol, _, reason = entry.partition(":")
        add(symbol, reason)
    for symbol, code in zip(intents.get("held", []), intents.get("held_codes", []), strict=False):
        if not any(reason.startswith(code) for reason in reasons.get(symbol, [])):
            add(symbol, code)
    for entry in account.get("held", []):
        symbol, _, code = entry.partition(":")
        add("" if symbol == EVERYTHING else symbol, code)
    for symbol in account.get("excluded", []):
        add(symbol, "FOREIGN_POSITION")
    if account and not math.isfinite(account["nav"]):
        unmarked = ", ".join(account["unmarked"])
        why = f"{unmarked} has had no quote since the order plane started, or lost its row of assets.csv"
        add("", f"NAV_UNKNOWN: {why if unmarked else 'the broker has not told the cash yet'}")
    if account and not account["reconciled"]:
        add("", "NOT_RECONCILED: no order leaves before a reconciliation has passed")
    if account.get("kill_level", "none") not in ("", "none"):
        add("", f"KILL_SWITCH {account['kill_level']}: {account['kill_reason']}; `triplane kill rearm` lifts it")
    for gate in gates:
        add(
            gate["scope"] if gate["scope"] not in ("", "all") else "",
            f"gate {gate['gate']} of {gate['source']} closed since {_when(gate['event_time'])}: {gate['code']} {gate['detail']}".strip(),
        )
    return reasons


def found_on_log(settings: Settings) -> tuple[dict[str, Any], dict[str, Any], dict[str, list[str]]]:
    """The newest barrier and account record (empty where there is none), and what blocks each symbol. Raises LogUnavailable."""
    from triplane.runtime.kafka_in import read_all

    def newest(topic: str) -> dict[str, Any]:
        return next(iter(latest(settings, topic)), {})

    gates: dict[tuple[str, str, str], dict[str, Any]] = {}
    for record in read_all(settings, ["data.gates"]):
        if record.value is not None:
            gates[(record.value["gate"], record.value["source"], record.value["scope"])] = record.value
    closed = [gate for gate in gates.values() if not gate["open"]]
    account = newest("order.account")
    held = blocked(newest("strategy.intents"), newest("strategy.targets"), account, closed)
    return newest("strategy.barriers"), account, held


def _when(time: int) -> str:
    """A market time (ns UTC) for people."""
    from triplane.domain.timestamps import NEW_YORK, to_datetime

    return f"{to_datetime(time, NEW_YORK):%Y-%m-%d %H:%M} New York"


def _because(reason: str) -> str:
    return f" ({reason})" if reason else ""


def status(json_: bool = context.JSON) -> None:
    """What runs, what each plane does, and what blocks each symbol."""
    from triplane.runtime.kafka_in import LogUnavailable

    settings = context.settings()
    running = daemons(settings)
    beside = services(settings, running)
    refused = refused_edit(running)
    problem = ""
    barrier: dict[str, Any] = {}
    account: dict[str, Any] = {}
    reasons: dict[str, list[str]] = {}
    if settings.bootstrap:
        try:
            barrier, account, reasons = found_on_log(settings)
        except LogUnavailable as error:
            problem = str(error)
    elif any(each["service"] == "kafka" and each["state"] != "stopped" for each in beside):
        problem = "Kafka is starting; what is held is known once it answers"
    else:
        problem = "no Kafka is known here; `triplane up` starts one"
    if json_:
        context.print_json(
            {
                "daemons": running,
                "services": beside,
                "barrier": barrier,
                "account": account,
                "blocked": reasons,
                "refused_edit": refused,
                "problem": problem,
            }
        )
        if not running:
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
    for sentence in refused:
        print(f"edit refused, nothing changed: {sentence}")
    if barrier:
        print(f"last barrier: {barrier['seq']} ({barrier['kind']}) for {_when(barrier['t'])}")
    if account:
        simulated = " (simulated)" if account["simulated"] else ""
        known = math.isfinite(account["nav"])
        nav = (
            f"{account['nav']:,.0f} {account['base_currency']}, drawdown {account['drawdown']:.2%}"
            if known
            else "not known"
        )
        print(f"account {account['account']}: NAV {nav}{simulated}")
    for symbol in sorted(reasons):
        for reason in reasons[symbol]:
            print(f"{symbol} held: {reason}" if symbol else f"everything held: {reason}")
    waiting = [f"{d['daemon']}: {d['reason'] or d['state']}" for d in running if d["state"] != "ready"]
    if reasons and waiting:
        print(f"that was decided before; now {'; '.join(waiting)}")
    if (barrier or account) and not reasons:
        print("nothing is held" if not waiting else f"nothing is held by a decision; {'; '.join(waiting)}")
    if not running:
        print("no daemon runs here; `triplane up` starts them")
        raise typer.Exit(1)
