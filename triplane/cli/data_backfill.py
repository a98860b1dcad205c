"""`triplane data backfill` and `triplane data reparse`: history into the log, from a provider or from its kept responses.

Both run the Data Plane's own pieces in this process and hold its lock meanwhile: one producer a state directory.
"""

from __future__ import annotations

import contextlib
import difflib
import os
import sys
import time
from collections.abc import Coroutine, Iterator, Sequence
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import typer

from triplane.cli import context

if TYPE_CHECKING:
    from filelock import FileLock
    from rich.progress import Progress

    from data_plane.daemon.absent_names import Absent
    from data_plane.daemon.backfill_job import Job, Result
    from data_plane.sources.base import SourceSpec
    from data_plane.sources.span import Span
    from triplane.runtime.settings import Settings

DAY = ["%Y-%m-%d"]
FIRST_DAY, LAST_DAY = date(1900, 1, 1), date(2199, 12, 31)
INTERRUPTED = 130
PLAIN_EVERY_S = 2.0
"""Wall seconds between two lines of progress where there is no terminal."""
TOLD = 5
"""Names told of, of those that sessions lack."""

SOURCE = typer.Option(..., "--source", help="edgar, fred, ibkr, or another that is registered.")
INTERVAL = typer.Option("1d", "--interval", help="Bars to load: 1d or 1m; market data only.")


def add_to(app: typer.Typer) -> None:
    """Offer the verbs in the group of the data plane."""
    app.command("backfill")(backfill)
    app.command("reparse")(reparse)


def backfill(
    source: str = SOURCE,
    start: datetime = typer.Option(..., "--from", formats=DAY, help="First day (YYYY-MM-DD)."),
    end: datetime = typer.Option(..., "--to", formats=DAY, help="Last day, included."),
    interval: str = INTERVAL,
    json_: bool = context.JSON,
) -> None:
    """Load what the log lacks of a span from a provider: filings by their acceptance, macro vintages by their release, bars by session.

    The data plane must be stopped meanwhile. Ctrl-C, or a kill, at any moment loses nothing: the same line goes on, and once all is there it
    publishes nothing.
    """
    spec = _source(source)
    from data_plane.daemon.backfill_job import Job

    _check_interval(spec, interval)
    span = _span(start.date(), end.date())
    left_out = _left_out(spec, span, datetime.now(UTC).date())
    found = context.connected_settings()
    missing = spec.missing(found)
    if missing:
        raise context.CommandError(f"{spec.name} cannot be asked: {missing}")
    _run(found, Job(spec, span, interval), json_, left_out)


def reparse(
    source: str = SOURCE,
    start: datetime | None = typer.Option(
        None, "--from", formats=DAY, help="First day; without it the first that was kept."
    ),
    end: datetime | None = typer.Option(None, "--to", formats=DAY, help="Last day, included; without it the last."),
    interval: str = INTERVAL,
    json_: bool = context.JSON,
) -> None:
    """Read a provider's kept responses again and publish what the log lacks: after a parser was put right, without asking anybody.

    What is on the log already stays as it is. The data plane must be stopped meanwhile.
    """
    spec = _source(source)
    from data_plane.daemon.backfill_job import Job
    from data_plane.sources.archive import INDEX

    _check_interval(spec, interval)
    span = _span(start.date() if start else FIRST_DAY, end.date() if end else LAST_DAY)
    found = context.connected_settings()
    index = found.state_dir / "responses" / spec.name / INDEX
    if not index.is_file():
        raise context.CommandError(f"no response of {spec.name} is kept here: {index} does not exist")
    _run(found, Job(spec, span, interval, reread=True), json_)


def _source(name: str) -> SourceSpec:
    from triplane.runtime import numerics

    numerics.pin()  # before anything imports numpy
    from data_plane.sources import registered
    from triplane.runtime.exit_codes import DaemonExit

    try:
        known = {spec.name: spec for spec in registered()}
    except DaemonExit as error:
        raise context.CommandError(str(error)) from error
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name.lower(), known, n=1)
    meant = f"did you mean {near[0]}? " if near else ""
    raise context.CommandError(f"there is no source {name!r}; {meant}known are {', '.join(sorted(known))}", 2)


def _check_interval(spec: SourceSpec, interval: str) -> None:
    if interval not in ("1d", "1m"):
        raise context.CommandError(f"--interval {interval} is neither 1d nor 1m", 2)
    if interval == "1m" and spec.name != "ibkr":
        raise context.CommandError(f"--interval is for bars; {spec.name} has none", 2)


def _span(start: date, end: date) -> Span:
    from data_plane.sources.span import Span

    if start > end:
        raise context.CommandError(f"--from {start} is after --to {end}; exchange them", 2)
    if start < FIRST_DAY:
        raise context.CommandError(f"--from {start} is before anything that a provider has; begin at {FIRST_DAY}", 2)
    return Span(start, end)


def _left_out(spec: SourceSpec, span: Span, today: date) -> str:
    """Which days of a span cannot be asked for, as can be told without the provider: a sentence, or nothing. Raises where all of it is."""
    from data_plane.sources.base import Stage
    from triplane.domain import calendars

    market, nothing = spec.stage is Stage.MARKET, f"nothing of {span.start} to {span.end} can be asked for"
    if market and span.end < calendars.FIRST_DAY:
        raise context.CommandError(
            f"{nothing}: the calendar of sessions begins on {calendars.FIRST_DAY}; name a later --to", 2
        )
    if span.start > today:
        raise context.CommandError(f"{nothing}: today is {today} (UTC); name an earlier --from", 2)
    # A source of market data says so itself, by the market's time.
    return "" if market or span.end <= today else f"left out of the span: days after {today} (UTC), which is today"


# -- the run -------------------------------------------------------------------------------------------------------------------
def _run(settings: Settings, job: Job, json_: bool, left_out: str = "") -> None:
    from triplane.runtime import calendar_cache, garbage

    garbage.postpone()
    held = _lock(settings)
    calendar_cache.install()
    results: list[Result] = []
    try:
        with Told(job.source.name) as report:
            if left_out:
                report.note(left_out)
            lingering = _in_a_loop(settings, _load(settings, job, report, results))
    finally:
        held.release()
    (result,) = results
    code = _tell(job, result, json_)
    if lingering:  # a library's thread, which waits for a broker that does not answer
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    if code:
        raise typer.Exit(code)


def _in_a_loop(settings: Settings, work: Coroutine[Any, Any, None]) -> bool:
    """Run it; whether something would keep the process from ending. Raises what it raises, as one sentence where it has one."""
    from data_plane.sources.span import NothingToAskError
    from triplane.runtime.configuration import ConfigError
    from triplane.runtime.event_loop import EventLoop
    from triplane.runtime.exit_codes import DaemonExit
    from triplane.runtime.kafka_in import LogUnavailable
    from triplane.runtime.kafka_out import DeliveryError

    loop = EventLoop()
    try:
        loop.run(work)
    except (DaemonExit, ConfigError, DeliveryError) as error:
        raise context.CommandError(str(error)) from error
    except NothingToAskError as error:
        raise context.CommandError(str(error), 2) from error
    except LogUnavailable as error:
        if absent := _absent_topics(settings):
            raise context.CommandError(absent) from error
        raise
    return loop.lingering


def _absent_topics(settings: Settings) -> str:
    """Which topic that a run needs is not on the log, in a sentence; empty where all are, or Kafka does not say."""
    from confluent_kafka import KafkaException

    from data_plane.daemon import recovery
    from data_plane.daemon.configuration import TOPIC
    from triplane.runtime.kafka_admin import ANSWER_S, admin_client
    from triplane.runtime.readable_topics import missing

    needed = [settings.topic(topic) for topic in (TOPIC, *recovery.TOPICS)]
    try:
        there = admin_client(settings).list_topics(timeout=ANSWER_S).topics
    except KafkaException:
        return ""
    absent = [topic for topic in needed if topic not in there]
    if len(absent) == len(needed):
        prefix = f" with the prefix {settings.topic_prefix}" if settings.topic_prefix else ""
        return f"none of the planes' topics{prefix} is on this log yet; `triplane topics create` makes them"
    return missing(absent[0]) if absent else ""


async def _load(settings: Settings, job: Job, report: Told, results: list[Result]) -> None:
    import asyncio

    from data_plane.daemon.backfill import Backfill
    from triplane.runtime.interruption import when_asked_to_end

    # The IB client's event library asks the policy, not the running loop.
    asyncio.set_event_loop(asyncio.get_running_loop())
    stop = asyncio.Event()
    when_asked_to_end(stop.set)
    results.append(await Backfill(settings, job, report).run(stop))


def _lock(settings: Settings) -> FileLock:
    from triplane.runtime import daemon, run_file
    from triplane.runtime.exit_codes import DaemonExit

    try:
        return daemon.lock(settings, "data")
    except DaemonExit:
        running = run_file.read(settings.state_dir, "data")
        who = f"the data plane (pid {running.pid})" if running is not None and running.alive else "another run"
        raise context.CommandError(
            f"{who} publishes from {settings.state_dir}, and two would publish the same side by side; stop it first "
            "(`triplane down`; a log of its own is started again with `triplane kafka up`)"
        ) from None


# -- what people see -----------------------------------------------------------------------------------------------------------
class Told:
    """Progress on stderr: a bar on a terminal, else a line now and then."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._bar: Progress | None = None
        self._task: Any = None
        self._told_at = -PLAIN_EVERY_S

    def __enter__(self) -> Told:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self._bar = Progress(*columns, TextColumn("{task.fields[what]}"), console=Console(stderr=True))
            self._bar.start()
            self._task = self._bar.add_task(self._name, total=None, what="reading the log")
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def progress(self, done: int, of: int, what: str) -> None:
        """So many of so many, and what was the last."""
        if self._bar is not None:
            self._bar.update(self._task, completed=done, total=of, what=what)
            return
        now = time.monotonic()
        if done == of or now - self._told_at >= PLAIN_EVERY_S:
            self._told_at = now
            self._say(f"{self._name}: looked at {done} of {of} ({what})")

    def note(self, line: str) -> None:
        """A sentence for people."""
        if self._bar is not None:
            self._bar.console.print(line, markup=False, highlight=False)
        else:
            self._say(line)

    @staticmethod
    def _say(line: str) -> None:
        with contextlib.suppress(OSError):  # whoever read it is gone; the run is not for them
            print(line, file=sys.stderr, flush=True)


def _tell(job: Job, result: Result, json_: bool) -> int:
    """Say what was done; the exit code."""
    code = INTERRUPTED if result.interrupted else 1 if result.problem else 0
    if json_:
        context.print_json(_as_json(job, result))
    else:
        for line in _lines(job, result):
            print(line)
    if result.interrupted:
        waiting = sum(count.in_flight for count in result.sources.values())
        loaded = "what was loaded is on the log" if not waiting else f"{waiting} observations wait on disk for Kafka"
        print(f"stopped; {loaded}, and the same line again goes on from there", file=sys.stderr)
    elif result.problem:
        print(f"triplane: {result.problem}", file=sys.stderr)
    return code


def _lines(job: Job, result: Result) -> Iterator[str]:
    for name, count in result.sources.items():
        dropped = f", {sum(count.dropped.values())} dropped" if count.dropped else ""
        waiting = f", {count.in_flight} on their way" if count.in_flight else ""
        yield (
            f"{name}: {count.received} received, {count.published} published, {count.quarantined} quarantined, "
            f"{count.deduplicated} on the log already{dropped}{waiting}"
        )
        if count.quarantined:
            yield f"`triplane quarantine list --source {name}` says why"
    if not result.new and not result.problem and not result.interrupted:
        yield "nothing new"
    yield from _absent(result.absent)
    if result.fundamentals_owed:
        yield "the data plane makes the fundamentals of these filings at its next look at the source, as far back as BACKFILL_YEARS reaches"


def _absent(absent: Sequence[Absent]) -> Iterator[str]:
    """What the span's sessions lack of single names, and what can be done about it: a slice is published once."""
    for taken_out, why in (
        (True, "is in quarantine: `triplane quarantine release` adds one, `drop` says that it is not missed"),
        (False, "never came: a slice is published once, and another run does not ask for these"),
    ):
        of = [each for each in absent if bool(each.quarantine_id) == taken_out]
        if of:
            some = ", ".join(f"{each.symbol} {each.session}" for each in of[:TOLD])
            more = f" and {len(of) - TOLD} more" if len(of) > TOLD else ""
            sessions = len({each.session for each in of})
            yield f"{sessions} session{'s' * (sessions > 1)} of the span lack{'s' * (sessions == 1)} a name ({some}{more}) whose bar {why}"


def _as_json(job: Job, result: Result) -> dict[str, Any]:
    span = job.span
    return {
        "source": job.source.name,
        "from": span.start,
        "to": span.end,
        "interval": job.interval,
        "from_responses": job.reread,
        "complete": not result.problem and not result.interrupted,
        "problem": result.problem or None,
        "absent": [each._asdict() for each in result.absent],
        "sources": {
            name: {
                "received": count.received,
                "published": count.published,
                "quarantined": count.quarantined,
                "deduplicated": count.deduplicated,
                "dropped": dict(count.dropped),
                "in_flight": count.in_flight,
                "difference": result.differences.get(name, 0),
            }
            for name, count in result.sources.items()
        },
    }
