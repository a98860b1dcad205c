"""Each parameter of the Data Plane changes an output: a scenario per parameter, run with its default and with another value."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest
from pydantic import SecretStr

from data_plane.daemon.outlet import Outlet
from data_plane.daemon.spool import Spool
from data_plane.engine import DataEngine
from data_plane.gates.clock import ClockSample
from data_plane.observations import Chain, CorporateAction, Fact, Filing, Vintage
from data_plane.outputs import Output
from data_plane.sources.archive import ResponseArchive
from data_plane.sources.edgar import source as edgar
from data_plane.sources.fred import source as fred
from data_plane.sources.ibkr import source as ibkr
from data_plane.sources.ibkr.kept import Asked, Batch
from data_plane.sources.ibkr.pacing import Pacing, Wish
from data_plane.sources.span import Span
from tests.data_plane.counted_providers import counted_providers
from tests.data_plane.support import (
    STEP,
    Bench,
    bar,
    config,
    daily,
    day_close,
    day_open,
    engine,
    gate_changes,
    quote,
    records,
    run,
)
from triplane.broker.contracts import terms_of
from triplane.broker.historical_bars import DeliveredBar
from triplane.domain.targets.data import DataTargets
from triplane.domain.timestamps import SECOND
from triplane.runtime.settings import Settings

NAMES = ("AAA", "BBB", "CCC")


def steps(machine: DataEngine, *numbers: int, price: float = 100.0, names: tuple[str, ...] = NAMES) -> list[Output]:
    return run(machine, [bar(name, number, price) for number in numbers for name in names])


def bar_freshness(targets: DataTargets) -> object:
    machine = DataEngine("main", NAMES, targets, "h")
    steps(machine, 0)
    return gate_changes(steps(machine, *range(1, 15), names=("AAA", "BBB")))


def quote_freshness(targets: DataTargets) -> object:
    machine = DataEngine("main", NAMES, targets, "h")
    run(machine, [quote("AAA", day_open()), *(bar(name, 0) for name in NAMES)])
    outputs = [
        o
        for step in range(1, 12)
        for o in run(machine, [quote("BBB", day_open() + step * STEP), *(bar(n, step) for n in NAMES)])
    ]
    return gate_changes(outputs)


def quote_slice(targets: DataTargets) -> object:
    machine = DataEngine("main", NAMES, targets, "h")
    outputs = [
        o
        for step in range(8)
        for o in run(machine, [quote("AAA", day_open() + step * STEP), *(bar(n, step) for n in NAMES)])
    ]
    return [record["event_time"] for record in records(outputs, "data.quotes")]


def micro_slice(targets: DataTargets) -> object:
    machine = DataEngine("main", NAMES, targets, "h")
    outputs: list[Output] = []
    for number in range(3):
        outputs += run(machine, [quote("AAA", day_open() + number * SECOND)])
        outputs += machine.advance("ibkr", day_open() + number * SECOND)
    return [record["event_time"] for record in records(outputs, "data.micro")]


def clock_skew(targets: DataTargets) -> object:
    return gate_changes(
        DataEngine("main", NAMES, targets, "h").compare_clock("ibkr", ClockSample("ntp", 1, 7 * SECOND), day_open())
    )


def completeness(targets: DataTargets) -> object:
    machine = DataEngine("main", NAMES, targets, "h")
    return gate_changes(steps(machine, 0, 1, names=("AAA", "BBB")))


def bar_jump(targets: DataTargets) -> object:
    machine = DataEngine("main", NAMES, targets, "h")
    steps(machine, 0)
    return records(steps(machine, 1, price=120.0), "data.bars")[0]["symbols"]


def daily_jump(targets: DataTargets) -> object:
    machine = DataEngine("main", NAMES, targets, "h")
    machine.take(daily("2018-01-18", dict.fromkeys(NAMES, 100.0)))
    return records(machine.take(daily("2018-01-19", dict.fromkeys(NAMES, 150.0))), "data.bars")[0]["symbols"]


def bar_gap(targets: DataTargets) -> object:
    machine = DataEngine("main", NAMES, targets, "h")
    machine.take(daily("2018-01-12", dict.fromkeys(NAMES, 100.0)))
    return records(machine.take(daily("2018-01-19", dict.fromkeys(NAMES, 1.0))), "data.bars")[0]["symbols"]


def frozen(targets: DataTargets) -> object:
    machine = DataEngine("main", NAMES, targets, "h")
    outputs = []
    for step in range(12):
        flat = bar("AAA", step, 100.0, high=100.0, low=100.0, volume=100.0 + step)
        outputs += run(machine, [flat, *(bar(name, step, 100.0 + step / 100) for name in NAMES[1:])])
    return gate_changes(outputs)


def cross_source(targets: DataTargets) -> object:
    machine = DataEngine("main", NAMES, targets, "h")
    machine.take(daily("2018-01-18", dict.fromkeys(NAMES, 100.0)))
    return gate_changes(machine.take(daily("2018-01-18", dict.fromkeys(NAMES, 102.0), source="other")))


def split_ratio(targets: DataTargets) -> object:
    action = CorporateAction("ibkr", "AAA", "split", "2018-01-19", day_open(), ratio=50.0)
    return records(DataEngine("main", NAMES, targets, "h").take(action), "data.actions")


def clock_backwards(targets: DataTargets) -> object:
    machine = DataEngine("main", NAMES, targets, "h")
    return gate_changes(steps(machine, 20, 0))


def balance(targets: DataTargets) -> object:
    pairs = (("us-gaap:Assets", 1000.0), ("us-gaap:LiabilitiesAndStockholdersEquity", 1010.0))
    facts = tuple(Fact(concept, "USD", 0, 1, value, 2017, "FY") for concept, value in pairs)
    filing = Filing("edgar", "AAA", 1, "1", "10-K", "2018-01-19", "", 10**18, facts)
    return records(DataEngine("main", NAMES, targets, "h").take(filing), "data.facts")


def spread(targets: DataTargets) -> object:
    machine = DataEngine("main", NAMES, targets, "h")
    outputs = run(machine, [quote("AAA", day_open(), 99.0, 102.0), *(bar(n, 0) for n in NAMES)])
    return records(outputs, "data.quotes")[0]["symbols"]


def fact_jump(targets: DataTargets) -> object:
    machine = DataEngine("main", NAMES, targets, "h")

    def filing(accession: str, value: float) -> Filing:
        fact = Fact("dei:EntityCommonStockSharesOutstanding", "shares", 0, 1, value, 2017, "FY")
        return Filing("edgar", "AAA", 1, accession, "10-K", "2018-01-19", "", 10**18, (fact,))

    machine.take(filing("1", 1e6))
    return records(machine.take(filing("2", 1e7)), "data.facts")


def macro_jump(targets: DataTargets) -> object:
    vintage = Vintage("fred", "DTB3", "Percent", "2018-01-19", 10**18, False, ((1, 1.4), (2, 4.4)))
    return records(DataEngine("main", NAMES, targets, "h").take(vintage), "data.macro")


def macro_revision(targets: DataTargets) -> object:
    machine = DataEngine("main", NAMES, targets, "h")
    first = tuple((day, 100.0 * 1.01**day) for day in range(12))
    machine.take(Vintage("fred", "GDP", "Billions of Dollars", "2018-01-18", 10**18, True, first))
    revised = Vintage(
        "fred", "GDP", "Billions of Dollars", "2018-01-19", 10**18, False, ((3, 115.0),)
    )  # 7.5 usual changes off
    return records(machine.take(revised), "data.macro")


def gate_reopen(targets: DataTargets) -> object:
    machine = DataEngine("main", NAMES, targets, "h")
    machine.compare_clock("ibkr", "no time", 1)
    return [len(machine.compare_clock("ibkr", ClockSample("ntp", 1, 0), 2)) for _ in range(4)]


def backfill_years(targets: DataTargets) -> object:
    bench = Bench(Settings(), config(**targets.model_dump()), day_close())
    source = ibkr.IbkrSource(bench.context)
    return source._history._missing_sessions(day_close())[0]


async def futures_roll(targets: DataTargets) -> object:
    """Until when each contract is held, of a chain of two as kept answers have it."""
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Settings(), config(**targets.model_dump()), day_close())
        bench.context.responses, bench.context.reread = Path(folder), True
        bench.context.span = Span(date(2017, 11, 1), date(2018, 1, 19))
        (asset,) = (asset for asset in bench.context.watched() if asset.symbol == "MES")
        archive = ResponseArchive(Path(folder), "ibkr")
        batch = Batch(Asked("1 day", "60 D", ""), day_close())
        for name, month, expiry in (("MESZ2017", "201712", "20171215"), ("MESH2018", "201803", "20180316")):
            terms = terms_of(asset) | {"local_symbol": name, "month": month, "expiry": expiry}
            batch.add(name, terms, int(month), [DeliveredBar("2017-11-10", 2.0, 2.0, 2.0, 2.0, 9.0, 2.0, 3)])
        for request, body in batch.responses():
            archive.store(request, day_close(), body)
        source = ibkr.IbkrSource(bench.context)
        await source.backfill()
        (chain,) = (each for each in bench.taken if isinstance(each, Chain))
        return [each.last for each in chain.held]


def historical_requests(targets: DataTargets) -> object:
    pacing = Pacing()
    for number in range(40):
        pacing.sent(float(number), Wish(number, "SMART", "TRADES", "5 secs", 5.0))
    return pacing.delay(40.0, Wish("other", "SMART", "TRADES", "5 secs", 5.0), targets.HISTORICAL_REQUESTS)


def action_requests(targets: DataTargets) -> object:
    """Wall seconds from one look for corporate actions to the next."""
    bench = Bench(Settings(), config(**targets.model_dump()), day_open())
    return ibkr.IbkrSource(bench.context)._actions.pause


def line_plan(targets: DataTargets) -> object:
    """Whom twenty lines (unless said otherwise) carry at the first look, and in how long everybody has had a turn."""
    lines = {"MARKET_DATA_LINES": 20, "STREAM_FIRST": "XOM,KO"} | targets.model_dump(exclude_unset=True)
    bench = Bench(Settings(), config(**lines), day_open())
    return ibkr.IbkrSource(bench.context)._lines._plan([asset.symbol for asset in bench.context.assets()])


def edgar_rate(targets: DataTargets) -> object:
    return edgar.EdgarSource(Bench(Settings(), config(**targets.model_dump()), 0).context)._policy().rate


def fred_rate(targets: DataTargets) -> object:
    return fred.FredSource(Bench(Settings(), config(**targets.model_dump()), 0).context)._policy().rate


def tries(targets: DataTargets) -> object:
    return edgar.EdgarSource(Bench(Settings(), config(**targets.model_dump()), 0).context)._policy().tries


def backoff(targets: DataTargets) -> object:
    return fred.FredSource(Bench(Settings(), config(**targets.model_dump()), 0).context)._policy().backoff_s


async def _first_pause(source: edgar.EdgarSource | fred.FredSource, bench: Bench) -> float:
    waits: list[float] = []

    async def until_due(interval_s: Callable[[DataTargets], float]) -> bool:
        waits.append(interval_s(bench.context.targets))
        return True

    bench.context.until_due = until_due  # type: ignore[method-assign]
    await source.follow()
    return waits[0]


async def edgar_poll(targets: DataTargets) -> object:
    bench = Bench(Settings(), config(**targets.model_dump()), 0)
    return await _first_pause(edgar.EdgarSource(bench.context), bench)


async def fred_poll(targets: DataTargets) -> object:
    bench = Bench(Settings(), config(**targets.model_dump()), 0)
    return await _first_pause(fred.FredSource(bench.context), bench)


async def fred_series(targets: DataTargets) -> object:
    bench = Bench(Settings(fred_api_key=SecretStr("k")), config(**targets.model_dump()), day_open())
    source = fred.FredSource(bench.context)
    asked: list[str] = []

    async def get(url: str, params: dict[str, str]) -> dict[str, object]:
        asked.append(params["series_id"])
        entry = {"title": "", "units": "", "frequency": "Daily", "observation_end": "2018-01-19"}
        return {"seriess": [entry], "vintage_dates": [], "observations": [], "count": 0}

    source._http.get = get  # type: ignore[method-assign, assignment]
    await source.backfill()
    return asked


async def spool_max(targets: DataTargets, tmp_path: Path) -> object:
    """Kafka's queue is always full: what fits on disk waits, the rest is dropped."""

    class Full:
        def send(self, *arguments: object, **options: object) -> object:
            raise BufferError

        def close(self, timeout_s: float = 5.0) -> None:
            return

    dropped: list[Output] = []
    spool = Spool(tmp_path / f"spool-{targets.SPOOL_MAX_MB}.bin", int(targets.SPOOL_MAX_MB * 1_000_000))
    outlet = Outlet(Full(), spool, dropped.append)  # type: ignore[arg-type]
    raw = bytes(400_000)
    for number in range(8):
        record = {"quarantine_id": str(number), "source": "ibkr", "topic": "data.bars", "raw": raw}
        outlet.put(Output("data.quarantine", record, "ibkr", 1))
    outlet.close()
    return len(dropped)


async def frames(targets: DataTargets) -> object:
    """Of which concepts frames are asked for."""
    async with counted_providers() as providers:
        settings = Settings(edgar_url=providers.url, user_agent="t")
        bench = Bench(settings, config(**targets.model_dump()), day_open("2018-01-02"))
        source = edgar.EdgarSource(bench.context)
        await source._frames.look({}, {}, date(2017, 7, 1), date(2017, 12, 31))
        await source.close()
        return providers.requests


SCENARIOS: dict[str, tuple[Callable[..., object], object]] = {
    "BACKFILL_YEARS": (backfill_years, 1.0),
    "BAR_FRESHNESS_S": (bar_freshness, 300.0),
    "QUOTE_FRESHNESS_S": (quote_freshness, 300.0),
    "QUOTE_SLICE_S": (quote_slice, 15.0),
    "MICRO_SLICE_S": (micro_slice, 60.0),
    "CLOCK_SKEW_MAX_S": (clock_skew, 10.0),
    "COMPLETENESS_MIN": (completeness, 0.5),
    "BAR_JUMP_MAX": (bar_jump, 0.3),
    "DAILY_JUMP_MAX": (daily_jump, 0.2),
    "BAR_GAP_SESSIONS": (bar_gap, 3),
    "SPREAD_MAX": (spread, 0.01),
    "FUTURES_ROLL_DAYS": (futures_roll, 8),
    "FROZEN_BARS": (frozen, 5),
    "CROSS_SOURCE_MAX": (cross_source, 0.05),
    "SPLIT_RATIO_MAX": (split_ratio, 20.0),
    "CLOCK_BACKWARDS_MAX_S": (clock_backwards, 600.0),
    "BALANCE_MAX": (balance, 0.05),
    "FACT_JUMP_MAX": (fact_jump, 5.0),
    "MACRO_JUMP_MAX": (macro_jump, 1.0),
    "MACRO_REVISION_MAX": (macro_revision, 10.0),
    "GATE_REOPEN_SLICES": (gate_reopen, 3),
    "HISTORICAL_REQUESTS": (historical_requests, 20),
    "ACTION_REQUESTS": (action_requests, 60),
    "MARKET_DATA_LINES": (line_plan, 30),
    "TICK_BY_TICK_LINES": (line_plan, 1),
    "STREAM_FIRST": (line_plan, "WMT"),
    "ROTATION_S": (line_plan, 20.0),
    "ROTATION_ROUND_S": (line_plan, 20.0),
    "EDGAR_REQUESTS_PER_S": (edgar_rate, 2.0),
    "FRED_REQUESTS_PER_MIN": (fred_rate, 30.0),
    "SOURCE_RETRIES": (tries, 2),
    "SOURCE_BACKOFF_S": (backoff, 3.0),
    "EDGAR_POLL_S": (edgar_poll, 60.0),
    "EDGAR_FRAMES": (frames, "us-gaap/Assets/USD"),
    "FRED_POLL_S": (fred_poll, 60.0),
    "FRED_SERIES": (fred_series, "DTB3,DGS10"),
    "SPOOL_MAX_MB": (spool_max, 1.0),
}


@pytest.mark.parametrize("name", list(DataTargets.model_fields))
async def test_every_parameter_changes_an_output(name: str, tmp_path: Path) -> None:
    assert name in SCENARIOS, f"data.{name} has no scenario: write one, or remove the parameter"
    scenario, changed = SCENARIOS[name]
    results = []
    for targets in (DataTargets(), DataTargets(**{name: changed})):
        result = scenario(targets, tmp_path) if scenario is spool_max else scenario(targets)
        results.append(await result if hasattr(result, "__await__") else result)
    assert results[0] != results[1]


def test_no_scenario_outlives_its_parameter() -> None:
    assert set(SCENARIOS) == set(DataTargets.model_fields)


def test_history_reaches_back_as_far_as_asked() -> None:
    bench = Bench(Settings(), config(BACKFILL_YEARS=3.0), day_close())
    missing = ibkr.IbkrSource(bench.context)._history._missing_sessions(day_close())
    assert missing[0] <= date(2015, 1, 27)
    assert missing[-1] == date(2018, 1, 19)
    assert engine().names == NAMES
