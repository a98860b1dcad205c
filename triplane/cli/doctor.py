"""`triplane doctor`: what is wrong with this installation, and what to do about it."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from triplane.cli import context
from triplane.cli.doctor_kafka import examine_broker_software, examine_kafka
from triplane.cli.finding import Finding
from triplane.cli.remedies import remedy_of

if TYPE_CHECKING:
    from triplane.domain.problems import Problem
    from triplane.runtime.settings import Settings

DISK_LOW = 5 * 2**30
PATIENCE_S = 5.0
"""Wall seconds that a daemon has for its second answer: on a busy machine a healthy one may be late with its first."""


def _python(_: Settings) -> Iterator[Finding]:
    import sys

    version = ".".join(map(str, sys.version_info[:3]))
    fine = (3, 11) <= sys.version_info[:2] < (3, 14)
    yield Finding("ok" if fine else "problem", "Python", version, "" if fine else "install Python 3.11, 3.12 or 3.13")
    clients = [name for name in ("ib_insync", "ib_async") if importlib.util.find_spec(name)]
    if len(clients) == 1:
        yield Finding("ok", "broker client", clients[0])
    else:
        yield Finding(
            "problem",
            "broker client",
            " and ".join(clients) or "none",
            "install exactly one of the extras ib-insync and ib-async",
        )


def _numerics(_: Settings) -> Iterator[Finding]:
    from triplane.runtime import numerics

    missing = [name for name, value in numerics.required_pins().items() if os.environ.get(name) != value]
    # The daemons pin themselves; what matters is that numpy obeys the pins it is given.
    if missing:
        yield Finding("ok", "numeric pins", "set by each daemon for itself")
    else:
        yield Finding("ok", "numeric pins", numerics.fingerprint())


def _variables(_: Settings) -> Iterator[Finding]:
    from triplane.runtime.unknown_variables import unknown_variables

    for unknown in unknown_variables():
        yield Finding("warning", "variable", str(unknown), "correct or unset it, in the environment or in .env")


def _files(settings: Settings) -> Iterator[Finding]:
    from triplane.domain.problems import ProblemsError
    from triplane.runtime.configuration import load_files

    try:
        config = load_files(settings.targets_path, settings.assets_path)
    except ProblemsError as error:
        for problem in error.problems:
            yield Finding("problem", "configuration", str(problem), _edit_remedy(settings, problem))
    except OSError as error:
        yield Finding(
            "problem", "configuration", str(error), "run from the folder that holds targets.yaml and assets.csv"
        )
    else:
        yield Finding("ok", "configuration", f"{len(config.universe.assets)} assets, hash {config.hash[:12]}")


def _edit_remedy(settings: Settings, problem: Problem) -> str:
    if problem.line:
        return "correct that line; nothing else changes until then"
    if problem.file == settings.targets_path.name and not settings.targets_path.exists():
        return "copy it from the repository, or let `python -m triplane.control.document` write one with the defaults"
    if problem.file == settings.assets_path.name and not settings.assets_path.exists():
        return "copy it from the repository; `triplane assets add SYMBOL` adds rows to it later"
    return "correct that file; nothing else changes until then"


def _schemas(_: Settings) -> Iterator[Finding]:
    from schemas import codec

    try:
        codec.load()
    except codec.LockError as error:
        yield Finding("problem", "registry lock", str(error), "run `triplane schemas lock` and commit the result")
    else:
        yield Finding("ok", "registry lock", f"{len(codec.load_versions())} schema versions")


def _sources(_: Settings) -> Iterator[Finding]:
    from data_plane.sources import look

    specs, problems = look()
    for problem in problems:
        found, mend = problem.rsplit("; ", 1)
        yield Finding("problem", "source", found, f"{mend}: until then the data plane does not start")
    if not problems:
        yield Finding("ok", "sources", ", ".join(spec.name for spec in specs))


def _disk(settings: Settings) -> Iterator[Finding]:
    base = settings.state_dir if settings.state_dir.exists() else settings.state_dir.absolute().parent
    while not base.exists():
        base = base.parent
    free = shutil.disk_usage(base).free
    low = free < DISK_LOW
    yield Finding(
        "problem" if low else "ok",
        "disk",
        f"{free / 2**30:.0f} GiB free",
        "make room: below 5 GiB Kafka may stop" if low else "",
    )
    if not os.access(base, os.W_OK):
        yield Finding("problem", "state directory", str(base), "make it writable or set TRIPLANE_STATE_DIR")


def _daemons(settings: Settings) -> Iterator[Finding]:
    from triplane.cli.status import asked, daemons
    from triplane.runtime.process_identity import is_stopped

    for each in daemons(settings):
        name, late = each["daemon"], each["state"] == "silent"
        stopped = late and is_stopped(each["pid"])
        if late and not stopped:
            each |= asked(each["http"], PATIENCE_S)
        state = each["state"]
        if state == "ready" and late:
            yield Finding(
                "warning",
                name,
                f"ready on {each['http']}, but its first answer was late",
                "where that lasts, see what else takes this machine's CPU",
            )
        elif state == "ready":
            yield Finding("ok", name, f"ready on {each['http']}")
        elif state == "not ready":
            yield Finding("warning", name, f"not ready: {each['reason']}", "see `triplane status`")
        elif stopped:
            yield Finding(
                "problem",
                name,
                f"pid {each['pid']} is stopped and does not answer on {each['http']}",
                f"continue it (`kill -CONT {each['pid']}`) or end it (`kill -KILL {each['pid']}`), then it is restarted",
            )
        elif state == "silent":
            yield Finding(
                "problem",
                name,
                f"pid {each['pid']} runs, and was asked twice: {each['reason']}",
                f"it hangs or is very slow: see this machine's load and {settings.state_dir / 'logs'}; where it stays so, "
                f"end it (`kill -KILL {each['pid']}`), then it is restarted",
            )
        elif state == "given up":
            yield Finding(
                "problem", name, f"given up: {each['reason']}", "mend that, then `triplane down` and `triplane up`"
            )
        else:
            yield Finding(
                "warning",
                name,
                "is not running",
                f"`triplane up` starts it; its log is under {settings.state_dir / 'logs'}",
            )
    if os.path.lexists(settings.state_dir / "KILL"):  # a link to nowhere holds as well
        yield Finding(
            "warning",
            "kill switch",
            "tripped",
            "`triplane kill status` says why; `triplane kill rearm --actor NAME --reason WHY` lifts it",
        )


def _gateway(settings: Settings) -> Iterator[Finding]:
    from order_plane.daemon import modes
    from triplane.runtime.exit_codes import DaemonExit

    simulated = not settings.gateway_port and settings.mode == "paper"
    try:
        modes.check(settings, simulated=simulated)
    except DaemonExit as error:
        found, _, remedy = str(error).partition("; ")
        yield Finding("problem", "mode, account and port", found, remedy or "correct the TRIPLANE_ variables")
        return
    if simulated:
        yield Finding("ok", "IB gateway", "none is named: `triplane up` trades on its simulated market")
        return
    yield Finding("ok", "mode, account and port", f"{settings.mode}, {settings.account}, {settings.gateway_port}")
    try:
        socket.create_connection((settings.gateway_host, settings.gateway_port), timeout=2).close()
    except OSError as error:
        yield Finding(
            "problem",
            "IB gateway",
            f"{settings.gateway_host}:{settings.gateway_port}: {error.strerror or error}",
            "start TWS or IB Gateway with API access on that port, or correct TRIPLANE_GATEWAY_PORT",
        )
        return
    problem, remedy = asyncio.run(_log_in(settings))
    if problem:
        yield Finding("problem", "IB gateway", problem, remedy)
    else:
        yield Finding("ok", "IB gateway", f"{settings.gateway_host}:{settings.gateway_port} has {settings.account}")


async def _log_in(settings: Settings) -> tuple[str, str]:
    """What a client meets at the gateway, with its remedy; empty when it answers, manages the account alone and lives now."""
    from triplane.broker.present_time import other_time
    from triplane.broker.session import BrokerError, BrokerSession, BrokerUnavailable

    session = BrokerSession()
    try:
        await session.connect(
            settings.gateway_host, settings.gateway_port, settings.kill_client_id + 2, settings.account, 5.0
        )
        refused = other_time(settings.mode, await session.server_time(), time.time_ns())
    except BrokerError as error:
        if isinstance(error, BrokerUnavailable):  # which has its own remedy
            found, _, remedy = str(error).partition("; ")
            return found, remedy
        return str(error), "log in to that account there, or correct TRIPLANE_ACCOUNT"
    finally:
        await session.close()
    return refused, "name a gateway of the present in TRIPLANE_GATEWAY_PORT, or set TRIPLANE_MODE=paper"


def _trading(settings: Settings) -> Iterator[Finding]:
    """What holds everything at this moment, as the log tells it."""
    from schemas.codec import LockError
    from triplane.cli.status import found_on_log
    from triplane.runtime.kafka_in import LogUnavailable

    if not settings.bootstrap:
        return
    try:
        told = found_on_log(settings)
    except (LogUnavailable, LockError):
        return  # said of Kafka, or of the schemas' lock, itself
    everything = [hold.reason for hold in told.held if not hold.symbol]
    for reason in everything:
        yield Finding("warning", "trading", f"everything is held: {reason}", remedy_of(reason))
    for sentence in told.beside:
        remedy = "do what it asks for, or see its provider and what the data plane's log says of it"
        yield Finding("warning", "source", sentence, remedy)
    for hold in told.held:
        if "CONTRACT_UNKNOWN" in hold.reason:
            remedy = "correct its row of assets.csv (symbol, con_id, exchange, currency), or remove it"
            yield Finding("warning", "trading", f"{hold.symbol}: {hold.reason}", remedy)
    if told.account and not everything:
        yield Finding("ok", "trading", "nothing holds the whole account")


def _providers(settings: Settings) -> Iterator[Finding]:
    from triplane.runtime.key_file import KeyMissing, fred_key

    if not settings.gateway_port and settings.mode == "paper":
        return  # the simulated market has providers of its own
    if settings.edgar_url.endswith("sec.gov") and not settings.user_agent:
        yield Finding(
            "warning",
            "EDGAR",
            "no User-Agent is set, so the SEC is not asked: without shares outstanding everything is held (HOLD_FACTS_MISSING)",
            "set TRIPLANE_USER_AGENT='Your Name you@example.com', which the SEC asks for",
        )
    if settings.fred_url.endswith("stlouisfed.org"):
        try:
            fred_key(settings)
        except KeyMissing as error:
            cause, _, remedy = str(error).rpartition("; ")
            yield Finding(
                "warning",
                "FRED",
                f"{cause}: the T-bill is not known, POS abstains, and the other signals trade without it",
                remedy,
            )


CHECKS: tuple[Callable[[Settings], Iterator[Finding]], ...] = (
    _python,
    _numerics,
    _variables,
    _files,
    _schemas,
    _sources,
    examine_broker_software,
    examine_kafka,
    _gateway,
    _providers,
    _daemons,
    _trading,
    _disk,
)


def examine(settings: Settings) -> list[Finding]:
    """All findings; a check that fails itself is a problem of its own."""
    findings: list[Finding] = []
    for check in CHECKS:
        try:
            findings += list(check(settings))
        except Exception as error:  # one broken check must not hide the others
            findings.append(
                Finding(
                    "problem", check.__name__.strip("_"), f"{type(error).__name__}: {error}", "report this with --debug"
                )
            )
    return findings


def doctor(json_: bool = context.JSON) -> None:
    """What is wrong with this installation, and what to do about it; exits 1 when something is."""
    findings = examine(context.settings())
    if json_:
        context.print_json([asdict(finding) for finding in findings])
    else:
        from rich.console import Console
        from rich.markup import escape

        console = Console(highlight=False)
        marks = {"ok": "[green]✓[/]", "warning": "[yellow]![/]", "problem": "[red]✗[/]"}
        for finding in findings:
            console.print(f"{marks[finding.state]} {finding.what}: {escape(finding.found)}", soft_wrap=True)
            if finding.remedy:
                console.print(f"    → {escape(finding.remedy)}", soft_wrap=True)
    if any(finding.state == "problem" for finding in findings):
        raise typer.Exit(1)
