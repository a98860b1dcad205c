"""Processes, configuration and observations for the Data Plane's tests."""

from __future__ import annotations

import asyncio
import math
import os
import re
import tempfile
import time
import zipfile
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import structlog

from data_plane.engine import DataEngine
from data_plane.observations import Bars, Fact, Filing, Observation, QuoteTick, RealtimeBar, units
from data_plane.outputs import Output
from data_plane.published import PublishedIndex
from data_plane.sources.base import Context
from tests.prefork import Forked
from tests.waiting import eventually
from triplane.domain.assets import Universe
from triplane.domain.calendars import next_session, session_close, session_open
from triplane.domain.targets import Targets
from triplane.domain.targets.data import DataTargets
from triplane.domain.targets.strategy import StrategyTargets
from triplane.domain.timestamps import DAY as DAY_NS
from triplane.domain.timestamps import SECOND
from triplane.runtime import configuration
from triplane.runtime.clock import StreamClock
from triplane.runtime.configuration import Config
from triplane.runtime.kafka_out import TopicWriter
from triplane.runtime.settings import Settings

REPOSITORY = Path(__file__).resolve().parents[2]
STEP = 5 * SECOND
DAY = "2018-01-19"


def day_open(day: str = DAY) -> int:
    """Open of an XNYS session, ns."""
    return session_open("XNYS", date.fromisoformat(day))


def day_close(day: str = DAY) -> int:
    """Close of an XNYS session, ns."""
    return session_close("XNYS", date.fromisoformat(day))


def universe() -> Universe:
    """The demonstration's assets."""
    return Universe.load(REPOSITORY / "assets.csv")


def config(**data: object) -> Config:
    """A configuration of the demonstration's assets with changed Data Plane parameters; `rebalance` is when it decides."""
    rebalance = str(data.pop("rebalance", "15:30"))
    targets = Targets(data=DataTargets(**data), strategy=StrategyTargets(REBALANCE=rebalance))
    return configuration.make(targets, universe())


def engine(names: Sequence[str] = ("AAA", "BBB", "CCC"), **data: object) -> DataEngine:
    """An engine over a few names."""
    return DataEngine("main", names, DataTargets(**data), "hash-1")


def bar(
    symbol: str, step: int, price: float = 100.0, *, day: str = DAY, source: str = "ibkr", **change: float
) -> RealtimeBar:
    """A quiet five-second bar, `step` intervals after the open."""
    values = {
        "open": price,
        "high": price * 1.001,
        "low": price * 0.999,
        "close": price,
        "volume": 1000.0,
        "wap": price,
    } | change
    return RealtimeBar(source, symbol, day_open(day) + step * STEP, *values.values(), trades=10)  # type: ignore[misc, arg-type]


def quote(symbol: str, time: int, bid: float = 99.99, ask: float = 100.01, status: str = "live") -> QuoteTick:
    """A one-tick-wide quote."""
    return QuoteTick("ibkr", symbol, time, bid, ask, 200.0, 300.0, 100.0, 1e6, status, False)


def daily(
    day: str, closes: dict[str, float], *, history: bool = True, source: str = "ibkr", **change: dict[str, float]
) -> Bars:
    """A daily slice with the given closes; `change` replaces single columns by name (open, high, low, volume).

    No two days have the same volume: a day that repeats the last one is a fault.
    """
    names = tuple(closes)
    usual = 1e6 + day_close(day) // DAY_NS % 1000
    columns = []
    for column in ("open", "high", "low", "close", "volume", "wap"):
        spread = {"high": 1.01, "low": 0.99}.get(column, 1.0)
        columns.append(
            [change.get(column, {}).get(name, usual if column == "volume" else closes[name] * spread) for name in names]
        )
    close = day_close(day)
    return Bars(
        source,
        "1d",
        day,
        close,
        close,
        names,
        np.array(columns).T.reshape(len(names), 6),
        np.full(len(names), 5),
        history,
    )


def run(machine: DataEngine, observations: Sequence[Observation]) -> list[Output]:
    """All outputs of the observations, in order."""
    return [output for item in observations for output in machine.take(item)]


def records(outputs: Sequence[Output], topic: str) -> list[dict[str, Any]]:
    """Records of one topic."""
    return [output.record for output in outputs if output.topic == topic]


def gate_changes(outputs: Sequence[Output]) -> list[tuple[str, str, bool, str]]:
    """(gate, scope, open, code) of every change."""
    return [(r["gate"], r["scope"], r["open"], r["code"]) for r in records(outputs, "data.gates")]


def bad(outputs: Sequence[Output]) -> list[tuple[str, str]]:
    """(name, code) of everything quarantined."""
    return [(record["symbol"], record["code"]) for record in records(outputs, "data.quarantine")]


def sessions(first: str, count: int) -> list[str]:
    """XNYS sessions from `first` on."""
    days = [date.fromisoformat(first)]
    while len(days) < count:
        days.append(next_session("XNYS", days[-1]))
    return [day.isoformat() for day in days]


def lean_rows(path: Path) -> list[list[str]]:
    """Cells of a zipped file of QuantConnect's Lean."""
    with zipfile.ZipFile(path) as archive:
        return [line.split(",") for line in archive.read(archive.namelist()[0]).decode().splitlines() if line]


def assert_conserved(machine: DataEngine) -> None:
    """Law L10 holds in the engine."""
    difference = machine.ledger.difference(machine.pending())
    assert set(difference.values()) <= {0}, (difference, machine.ledger)


def assert_outputs_counted(machine: DataEngine, outputs: Sequence[Output]) -> None:
    """What the ledger says was published and quarantined is what the records carry."""
    published = sum(
        _rows(output)
        for output in outputs
        if output.topic.startswith("data.")
        and output.topic not in ("data.quarantine", "data.gates", "data.quotes", "data.micro")
    )
    quotes = sum(output.units for output in outputs if output.topic == "data.quotes")
    assert published + quotes == sum(machine.ledger.published.values())
    assert len(records(outputs, "data.quarantine")) == sum(machine.ledger.quarantined.values())


def _rows(output: Output) -> int:
    for column in ("concepts", "observation_time", "symbols"):
        if column in output.record:
            return len(output.record[column])
    return 0


def received(observations: Sequence[Observation]) -> int:
    """Observations that went in."""
    return sum(units(item) for item in observations)


NAN = math.nan


# -- processes -----------------------------------------------------------------------------------------------------------------
class ProvidersProcess:
    """The provider server as a real process on a free port."""

    def __init__(self, *flags: str) -> None:
        with tempfile.TemporaryDirectory() as folder:
            log = Path(folder) / "providers.log"
            log.touch()
            self.process = Forked("triplane.paper.providers", "--port", "0", *flags, log=log, cwd=REPOSITORY)
            address = re.compile(r"http://\S+(?=\s)")
            eventually(
                lambda: bool(address.search(log.read_text())) or self.process.poll() is not None, 60, "it serves"
            )
            said = log.read_text()
        found = address.search(said)
        assert found, f"the provider server did not start: {said!r}"
        self.url = found[0]

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait(10)


class DataProcess:
    """`python -m data_plane` as a real process."""

    def __init__(self, settings: Settings, **environment: str) -> None:
        values = {
            "TRIPLANE_BOOTSTRAP": settings.bootstrap,
            "TRIPLANE_TOPIC_PREFIX": settings.topic_prefix,
            "TRIPLANE_STATE_DIR": str(settings.state_dir),
            "TRIPLANE_ACCOUNT": settings.account,
            "TRIPLANE_USER_AGENT": "tests tests@example.com",
            "TRIPLANE_FRED_API_KEY": "key",
            **environment,
        }
        self.state = settings.state_dir
        self.log = settings.state_dir / f"data-{time.monotonic_ns()}.log"
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.process = Forked("data_plane", log=self.log, cwd=REPOSITORY, env={**os.environ, **values})

    @property
    def http(self) -> str:
        """Where it serves; AssertionError while it does not yet."""
        import json

        path = self.state / "run" / "data.json"
        assert path.exists(), "the daemon does not serve yet"
        document = json.loads(path.read_text())
        assert document["pid"] == self.process.pid, "the daemon does not serve yet"
        return str(document["http"])

    def stop(self, timeout: float = 20.0) -> tuple[int, str]:
        """SIGTERM; (exit code, stderr)."""
        self.process.terminate()
        code = self.process.wait(timeout)
        return code, self.log.read_text()

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait(10)


def publish_config(
    settings: Settings, made: Config, seq: int = 1, previous: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Write a configuration version as the control daemon would; returns its record."""
    record = configuration.to_record(made, previous, actor="test", event_time=1)
    record["seq"] = seq
    writer = TopicWriter(settings, "control")
    writer.send("control.config", record)
    writer.flush(10)
    writer.close()
    return record


# -- sources without a daemon --------------------------------------------------------------------------------------------------
class Bench:
    """A Context that keeps what a source hands in."""

    def __init__(self, settings: Settings, made: Config, now: int) -> None:
        self.taken: list[Observation] = []
        self.states: list[tuple[str, bool, str]] = []
        self.config = made
        self.clock = StreamClock(now)
        known = asyncio.Event()
        known.set()

        async def turn(stage: object) -> None:
            return

        nothing: Callable[..., None] = lambda *arguments: None  # noqa: E731
        self.context = Context(
            settings=settings,
            config=lambda: self.config,
            clock=self.clock,
            published=PublishedIndex(),
            take=self.taken.append,
            turn=turn,
            tell_time=nothing,
            time_known=known,
            resume=nothing,
            advance=nothing,
            source_age=lambda source: 0.0,
            compare_clock=nothing,
            source_state=lambda name, up, why: self.states.append((name, up, why)),
            contract_state=nothing,
            covered=nothing,
            blocked=nothing,
            log=structlog.get_logger(),
        )


def filing(accession: str, *values: float, available: int = 10**18) -> Filing:
    """A filing of one fact a value, all of concepts that are held against their history."""
    concepts = ("Liabilities", "NetIncomeLoss", "EarningsPerShareDiluted", "Revenues")
    facts = tuple(
        Fact(f"us-gaap:{concept}", "shares", 0, 10**17, value, 2017, "FY")
        for concept, value in zip(concepts, values, strict=False)
    )
    return Filing("edgar", "AAA", 7, accession, "10-K", "2018-01-19", "", available, facts)
