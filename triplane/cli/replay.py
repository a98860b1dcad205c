"""`triplane replay --verify`: the recorded topics through the same engines."""

from __future__ import annotations

import time
from dataclasses import asdict

import typer

from triplane.cli import context

SETTLE_S = 2.0
"""Wall seconds within which a running plane has written what follows from an event that is on the log."""


def replay(
    verify: bool = typer.Option(False, "--verify", help="Required: compare every output with the log, byte by byte."),
    json_: bool = context.JSON,
    quiet: bool = typer.Option(False, "--quiet", help="Print the verdict only."),
) -> None:
    """Run the recorded topics through the same engines again; exits 1 when an output differs."""
    from triplane.runtime import numerics

    numerics.ensure_pinned()
    if not verify:
        raise context.CommandError(
            "say what to do with the recording: --verify compares it with the engines of this release", 2
        )
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from triplane.replay import recording, verification
    from triplane.runtime import calendar_cache

    calendar_cache.install()
    started = time.perf_counter()
    console = Console(stderr=True)
    found = recording.read(context.connected_settings(), settle_s=SETTLE_S)
    total = sum(found.counts().values())
    loaded = time.perf_counter() - started
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=quiet or json_ or not console.is_terminal, transient=True) as bar:
        tasks: dict[str, int] = {}

        def progress(name: str, done: int, of: int) -> None:
            if name not in tasks:
                tasks[name] = bar.add_task(f"{name} engine", total=of)
            bar.update(tasks[name], completed=done)  # type: ignore[arg-type]

        verdict = verification.verify(found, progress)
    if json_:
        context.print_json(
            {
                "verdict": str(verdict),
                "holds": verdict.holds,
                "sha256": verdict.sha,
                "records": total,
                "topics": [asdict(topic) for topic in verdict.topics],
            }
        )
    else:
        if not quiet:
            rows = [(t.topic, t.records, t.sha, "identical" if t.identical else "differs") for t in verdict.topics]
            context.print_table(
                f"{total:,} records read in {loaded:.1f} s", ("topic", "records", "sha256", "verdict"), rows
            )
            for topic in verdict.topics:
                for note in topic.notes:
                    print(f"{topic.topic}: {note}")
        print(verdict)
    if not verdict.holds:
        raise typer.Exit(1)
