"""`triplane demo`: the whole system once, around the crash of 2018-02-05."""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from triplane.cli import context, listener

if TYPE_CHECKING:
    from triplane.cli.demo_outcome import Outcome
    from triplane.cli.demonstration import Demonstration

START = "2018-01-22"
INTERRUPTED = 130
SHOWN = 20
"""Problems that the summary lists."""
"""Exit code after Ctrl-C, as shells have it."""


def demo(
    keep: bool = typer.Option(False, "--keep", help="Leave everything running afterwards; Ctrl-C stops it."),
    sessions: int = typer.Option(20, "--sessions", min=2, max=60, help="Sessions to trade."),
    seed: int = typer.Option(7, "--seed", help="Seed of the simulated market."),
    speed: float = typer.Option(
        300.0, "--speed", min=1, max=300, help="Fastest market clock near decisions, times real time."
    ),
    registry: bool = typer.Option(True, help="Start the schema registry too."),
    faults: bool = typer.Option(True, help="Let the market inject faults for the gates to catch."),
    plain: bool = typer.Option(False, "--plain", help="Print lines instead of the live view."),
    directory: Path = typer.Option(
        Path(".triplane/demo"), "--directory", help="Where the run keeps its files; emptied first."
    ),
    json_: bool = context.JSON,
) -> None:
    """Three planes trade a simulated market over a real Kafka, then the replay of the log must match. Exits 1 when it does not."""
    from triplane.runtime import numerics

    numerics.ensure_pinned()
    import asyncio

    from triplane.cli.demo_faults import MarketFaults
    from triplane.cli.demonstration import Demonstration
    from triplane.runtime import calendar_cache
    from triplane.runtime.unknown_variables import unknown_variables
    from triplane.stack.installation import PaperMarket

    calendar_cache.install()
    started = time.perf_counter()
    lines: list[str] = []
    screen = Screen()

    def say(line: str) -> None:
        lines.append(f"{time.perf_counter() - started:6.1f} s  {line}")
        if not screen.live:
            print(lines[-1], file=sys.stderr if json_ else sys.stdout, flush=True)

    for unknown in unknown_variables():
        say(f"note: {unknown}")
    market = PaperMarket(START, sessions, seed, speed)
    demonstration = Demonstration(
        directory, market, Path("targets.yaml"), Path("assets.csv"), say, MarketFaults() if faults else None
    )
    live = not plain and not json_ and sys.stdout.isatty()
    with listener.needed("triplane demo"):
        outcome = asyncio.run(_run(demonstration, live, screen, keep, registry, lines, say, json_))
    if outcome is None:
        raise typer.Exit(INTERRUPTED)
    if not outcome.passed:
        raise typer.Exit(1)


@dataclass(slots=True)
class Screen:
    """Whether the live view has the terminal now: lines go into it then, and below one another otherwise."""

    live: bool = False


async def _run(
    demonstration: Demonstration,
    live: bool,
    screen: Screen,
    keep: bool,
    registry: bool,
    lines: list[str],
    say: Callable[[str], None],
    json_: bool,
) -> Outcome | None:
    import asyncio

    from rich.console import Console
    from rich.live import Live

    from triplane.cli.live_view import LiveView
    from triplane.runtime.interruption import when_asked_to_end

    console = Console()
    task = asyncio.current_task()
    assert task is not None
    interrupted = False
    outcome: Outcome | None = None

    def interrupt() -> None:
        nonlocal interrupted
        if not interrupted:  # a second Ctrl-C must not cut the winding down short
            interrupted = True
            task.cancel()

    when_asked_to_end(interrupt)
    try:
        await demonstration.up(registry)
        assert demonstration.follower is not None
        follower = demonstration.follower
        if live:
            screen.live = True
            with contextlib.ExitStack() as shown:
                shown.callback(setattr, screen, "live", False)
                before = len(lines)  # those are on the terminal already, and those of the run are once the view is gone
                shown.callback(lambda: print("".join(f"{line}\n" for line in lines[before:]), end="", flush=True))
                view = shown.enter_context(Live(console=console, refresh_per_second=8, transient=True))

                def redraw() -> None:
                    gateway = demonstration.gateway
                    running = int(gateway.get("sessions_done", 0)) + bool(gateway.get("session_open"))
                    progress = f"session {running}/{demonstration.market.sessions}"
                    view.update(LiveView(follower.state, demonstration.processes, progress, lines[before:]))

                await demonstration.trade(redraw)
        else:

            def narrate() -> None:
                while follower.state.told:
                    say(str(follower.state.told.popleft()))

            await demonstration.trade(narrate)
            follower.state.close_session()
            narrate()
        say("the market has closed; reading the log and replaying it")
        outcome = await demonstration.judge(keep)
        report(outcome, json_)
        if keep:
            sys.stdout.flush()
            people = sys.stderr if json_ else sys.stdout
            for name, address in demonstration.addresses():
                print(f"{name:16} {address}", file=people)
            print(kept(outcome.passed), file=people, flush=True)
            await demonstration.stay()
        return outcome
    except asyncio.CancelledError:
        with contextlib.suppress(OSError):  # its terminal was closed
            print("stopped", file=sys.stderr)
        return outcome  # kept running after its verdict: Ctrl-C is how it ends
    finally:
        await demonstration.down()


def kept(passed: bool) -> str:
    """What is said of a run that goes on after its verdict."""
    failed = (
        ""
        if passed
        else "the demonstration FAILED, as the summary says; it stays up for --keep alone, and its exit code will be 1. "
    )
    return (
        f"{failed}running until Ctrl-C, though the simulated market has ended: look around with `triplane status`, `triplane explain AAPL`, "
        "`triplane replay --verify` (another hash than above once the account's minutes have lengthened the log); `triplane up` has a "
        "market of 250 sessions"
    )


def report(outcome: Outcome, json_: bool) -> None:
    """Print the summary."""
    from triplane.cli import demo_faults
    from triplane.cli.demo_outcome import DROPPED, under_way

    summary, verdict, edit = outcome.summary, outcome.verdict, outcome.edit
    if json_:
        context.print_json(
            {
                **summary.as_dict(),
                "received": outcome.received,
                "restarts": outcome.restarts,
                "killed": outcome.killed,
                "truth": outcome.truth,
                "missed": outcome.missed,
                "edit": {
                    "change": edit.change,
                    "old": edit.old_hash,
                    "new": edit.new_hash,
                    "barrier": edit.barrier,
                    "moved": edit.moved,
                },
                "faults": [
                    {
                        "fault": each.injection.what,
                        "gate": each.injection.gate,
                        "code": each.code,
                        "quarantined": each.quarantined,
                        "reopened": each.reopened,
                    }
                    for each in outcome.caught
                ],
                "verdict": str(verdict),
                "sha256": verdict.sha,
                "topics": {topic.topic: {"records": topic.records, "sha256": topic.sha} for topic in verdict.topics},
                "late": outcome.late,
                "undecided": outcome.undecided,
                "unsettled": outcome.unsettled,
                "problems": outcome.problems,
                "seconds": outcome.seconds,
                "passed": outcome.passed,
            }
        )
        return

    def share(value: float) -> str:
        return "-" if math.isnan(value) else f"{value:.1%}"

    def bp(value: float) -> str:
        return "-" if math.isnan(value) else f"{value * 1e4:.2f} bp"

    def counts(of: dict[str, int]) -> str:
        return ", ".join(f"{code} {count}" for code, count in of.items())

    received = outcome.received
    p50, p95, p99 = (f"{value * 1000:.1f}" for value in summary.latency_s)
    truth = outcome.truth
    codes = {key.removeprefix(DROPPED): round(value) for key, value in received.items() if key.startswith(DROPPED)}
    dropped = f" ({counts(codes)})" if codes else ""
    rows = [
        (
            "records",
            f"{received.get('received', 0):,.0f} in, {received.get('published', 0):,.0f} published, {received.get('quarantined', 0):,.0f} quarantined, {received.get('deduplicated', 0):,.0f} repeated, {received.get('dropped', 0):,.0f} dropped{dropped}"
            + (f", {on_the_way:,.0f} under way" if (on_the_way := under_way(received)) else "")
            + (", since the data plane was started again" if "data" in outcome.restarts else ""),
        ),
        (
            "barriers",
            f"{summary.warmup_barriers:,} warm-up, {summary.decision_barriers} decisions in {summary.sessions} session{'' if summary.sessions == 1 else 's'}"
            + (f"; none in {', '.join(outcome.missed)}" if outcome.missed else ""),
        ),
        (
            "intents",
            f"{summary.intents:,}" + (f"; holds {counts(summary.holds)}" if summary.holds else ""),
        ),
        (
            "orders / fills",
            f"{summary.orders:,} / {summary.fills:,}; {share(summary.fill_rate)} of what was ordered is filled"
            + (f"; {summary.refused:,} refused by the broker" if summary.refused else ""),
        ),
        (
            "decided",
            (counts(summary.decisions) or "nothing")
            + (f"; without an intent {counts(summary.without_intent)}" if summary.without_intent else "")
            + (f"; later {counts(summary.later_decisions)}" if summary.later_decisions else ""),
        ),
        (
            "PnL",
            f"{summary.pnl:+,.0f} ({summary.pnl / summary.nav_start:+.2%}) of NAV {summary.nav_start:,.0f}; drawdown {summary.max_drawdown:.2%}; commissions {summary.commission:,.0f}",
        ),
        ("turnover", f"{summary.turnover:.2f} x NAV"),
        (
            "cost",
            f"realised {bp(summary.realised_cost)}; learned {bp(summary.learned_linear)} + {summary.learned_impact:.2f} σ√(q/adv) from {summary.learned_from} parents"
            + (
                f"; true half spread {bp(truth.get('half_spread', math.nan))}, Y {truth.get('impact_y', math.nan):.2f}"
                if truth
                else ""
            ),
        ),
        (
            "data -> order",
            f"p50 {p50} ms, p95 {p95} ms, p99 {p99} ms over {summary.latencies} orders sent at the intent"
            if summary.latencies
            else "no order was sent at the intent",
        ),
        (
            "configuration",
            edit.told,
        ),
        (
            "weights moved",
            (", ".join(f"{s} {a:+.1%} -> {b:+.1%}" for s, a, b in edit.moved) or "none")
            + (f"; the brake went {edit.brake[0]:g} -> {edit.brake[1]:g} at the same barrier" if edit.brake else ""),
        ),
        *([("faults caught", demo_faults.told(outcome.caught))] if outcome.caught else []),
        ("restarts", ", ".join(f"{name} {count}" for name, count in outcome.restarts.items()) or "none"),
        ("time", ", ".join(f"{name} {seconds:.1f} s" for name, seconds in outcome.seconds.items())),
        ("replay", str(verdict)),
    ]
    print()
    print("Summary. The market, its fills and the PnL are SIMULATED around real closes.")
    for name, text in rows:
        print(f"  {name:15} {text}")
    if outcome.late:
        print(f"  NOTE            {outcome.late}")
    if outcome.undecided:
        print(f"  NOTE            {outcome.undecided}")
    if outcome.unsettled:
        print(
            "  NOTE            the planes still wrote when the log was taken; what came later is not in these numbers"
        )
    if outcome.killed:
        print(f"  NOTE            the kill switch is tripped: {outcome.killed}; nothing was traded from then on")
    for problem in outcome.problems[:SHOWN]:
        print(f"  PROBLEM         {problem}")
    if len(outcome.problems) > SHOWN:
        print(f"  PROBLEM         and {len(outcome.problems) - SHOWN} more; --json has all of them")
    print(f"  {'passed' if outcome.passed else 'FAILED'}")
