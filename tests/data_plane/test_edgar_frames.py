"""SEC's frames: rows of real ones agree with what is read from companyfacts; what one lacks or says otherwise is found, told, and never published."""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from data_plane.engine import DataEngine
from data_plane.observations import Fact, Filing, FramedFact, Frames, Malformed, Observation
from data_plane.outputs import Output
from data_plane.sources.edgar import EdgarSource, companyfacts
from data_plane.sources.edgar import frames as edgar_frames
from data_plane.sources.edgar import source as edgar
from data_plane.sources.edgar.frames import Concept
from data_plane.sources.span import Span
from tests.data_plane.counted_providers import CountedProviders, counted_providers
from tests.data_plane.release_support import decide
from tests.data_plane.support import Bench, assert_conserved, bad, config, day_open, gate_changes, records, run
from triplane.domain.targets.data import DataTargets
from triplane.runtime.settings import Settings

REAL = {
    "dei/EntityCommonStockSharesOutstanding/shares",
    "us-gaap/Assets/USD",
    "us-gaap/NetIncomeLoss/USD",
    "us-gaap/EarningsPerShareDiluted/USD-per-shares",
}
SHARES = "dei/EntityCommonStockSharesOutstanding/shares"
SINCE = date(2019, 1, 1)
NOW = day_open("2018-06-01")


# -- periods and bodies --------------------------------------------------------------------------------------------------------
def test_periods_are_those_that_ended_within_two_days() -> None:
    days = (date(2017, 9, 30), date(2018, 3, 30))
    assert edgar_frames.periods(True, *days) == ["CY2017Q3I", "CY2017Q4I"]
    assert edgar_frames.periods(False, *days) == ["CY2017Q3", "CY2017Q4", "CY2017"]
    assert edgar_frames.periods(True, date(1993, 1, 1), date(2009, 3, 31)) == ["CY2009Q1I"]
    assert edgar_frames.is_instant("us-gaap:Assets")
    assert edgar_frames.is_instant("dei:EntityCommonStockSharesOutstanding")
    assert not edgar_frames.is_instant("us-gaap:NetIncomeLoss")


def frame(concept: str, period: str, rows: list[dict[str, Any]]) -> bytes:
    """A body in SEC's shape."""
    taxonomy, tag, unit = concept.split("/")
    head = {
        "taxonomy": taxonomy,
        "tag": tag,
        "ccp": period,
        "uom": unit,
        "label": tag,
        "description": "",
        "pts": len(rows),
    }
    return json.dumps({**head, "data": rows}).encode()


ROW = {"accn": "a-1", "cik": 7, "entityName": "A", "loc": "US-NY", "end": "2017-12-31", "val": 5}
ASSETS = Concept("us-gaap", "Assets", "USD")


def test_a_row_that_cannot_be_read_leaves_the_others_alone() -> None:
    rows = [ROW, {**ROW, "val": "many"}, {**ROW, "cik": 8, "end": "2017-13-31"}, {**ROW, "cik": 9, "val": None}]
    looked = edgar_frames.parse(ASSETS, "CY2017Q4I", "url", frame("us-gaap/Assets/USD", "CY2017Q4I", rows), {7, 8})
    ((cik, (found,)),) = looked.rows.items()
    assert (cik, found.accession, found.fact.value, looked.unreadable) == (7, "a-1", 5.0, 3)
    assert json.loads(looked.first)["val"] == "many"


def test_another_frame_than_was_asked_for_is_refused() -> None:
    body = frame("us-gaap/Assets/USD", "CY2017Q3I", [ROW])
    with pytest.raises(ValueError, match="us-gaap/Assets/USD/CY2017Q4I was asked for"):
        edgar_frames.parse(ASSETS, "CY2017Q4I", "url", body, {7})


# -- real filings --------------------------------------------------------------------------------------------------------------
def real_frames(documents: dict[str, dict[str, Any]]) -> dict[tuple[str, str], bytes]:
    """Frames of real filings: companyfacts marks the rows that SEC's frames have by the frame's name."""
    rows: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for document in documents.values():
        for concept in sorted(REAL):
            taxonomy, tag, unit = concept.split("/")
            units = document["facts"].get(taxonomy, {}).get(tag, {}).get("units", {})
            for row in units.get(unit.replace("-per-", "/"), []):
                if "frame" in row and date.fromisoformat(row["end"]) >= SINCE:
                    kept = {name: row[name] for name in ("accn", "start", "end", "val") if name in row}
                    rows[concept, row["frame"]].append(
                        {**kept, "cik": int(document["cik"]), "entityName": "", "loc": ""}
                    )
    return {key: frame(*key, found) for key, found in rows.items()}


@pytest.fixture(scope="module")
def real(shared_data: Path) -> dict[str, dict[str, Any]]:
    """Documents of companies by the name that they are given here."""
    names = ("0000002488", "0000320193", "0001318605", "0001640147")
    folder = shared_data / "sec" / "companyfacts"
    found = {f"C{cik}": json.loads(gzip.decompress((folder / f"CIK{cik}.json.gz").read_bytes())) for cik in names}
    for document in found.values():  # of the other concepts nothing is compared, and they take long to judge
        wanted = {tuple(concept.split("/")[:2]) for concept in REAL}
        document["facts"] = {
            taxonomy: {tag: body for tag, body in tags.items() if (taxonomy, tag) in wanted}
            for taxonomy, tags in document["facts"].items()
        }
    return found


def looks(frames: dict[tuple[str, str], bytes], documents: dict[str, dict[str, Any]]) -> Iterator[Frames]:
    """What each name has in all frames."""
    numbers = {int(document["cik"]): symbol for symbol, document in documents.items()}
    rows: dict[int, list[FramedFact]] = defaultdict(list)
    for (concept, period), body in sorted(frames.items()):
        looked = edgar_frames.parse(Concept(*concept.split("/")), period, "url", body, numbers)
        assert not looked.unreadable
        for cik, found in looked.rows.items():
            rows[cik] += found
    for cik, symbol in numbers.items():
        yield Frames("edgar", symbol, cik, 1_800_000_000_000_000_000, tuple(rows[cik]))


def machine(names: list[str]) -> DataEngine:
    return DataEngine("main", names, DataTargets(), "hash-1", fundamentals=False)


def handed_in(documents: dict[str, dict[str, Any]]) -> list[Observation]:
    return [
        filing
        for symbol, document in documents.items()
        for filing in companyfacts.parse(symbol, "", json.dumps(document).encode(), {}, SINCE, 0)
    ]


def test_real_frames_agree_with_real_filings_and_a_fault_in_either_is_found(real: dict[str, dict[str, Any]]) -> None:
    frames = real_frames(real)
    plane = machine(list(real))
    before = run(plane, handed_in(real))
    assert records(before, "data.facts")
    compared = list(looks(frames, real))
    assert sum(len(look.rows) for look in compared) > 250
    assert not run(plane, compared)
    assert_conserved(plane)
    # After a restart all is known from the topics, what the gates took out included.
    again = machine(list(real))
    for topic in ("data.facts", "data.quarantine"):
        again.remember(topic, records(before, topic))
    assert not run(again, compared)
    # One fact is not read, one filing not at all, one value is read wrong.
    apple, tesla, amd = "C0000320193", "C0001318605", "C0000002488"
    filings = [each for each in handed_in(real) if isinstance(each, Filing)]
    (lacks,) = (
        row
        for look in compared
        if look.symbol == apple
        for row in look.rows
        if row.frame == "us-gaap/Assets/USD/CY2022Q1I"
    )
    (wrong,) = (
        row
        for look in compared
        if look.symbol == amd
        for row in look.rows
        if row.frame == "us-gaap/Assets/USD/CY2022Q1I"
    )
    gone = {row.accession for look in compared if look.symbol == tesla for row in look.rows[-1:]}
    spoiled: list[Observation] = []
    for each in filings:
        facts = each.facts
        if each.symbol == apple and each.accession == lacks.accession:
            facts = tuple(fact for fact in facts if fact[:5] != lacks.fact[:5])
        if each.symbol == amd:
            facts = tuple(
                fact._replace(value=fact.value * 1.01) if fact[:4] == wrong.fact[:4] else fact for fact in facts
            )
        if each.accession not in gone:
            spoiled.append(replace(each, facts=facts))
    plane = machine(list(real))
    run(plane, spoiled)
    outputs = run(plane, compared)
    expected = [(tesla, "FACT_LACKING")] * sum(row.accession in gone for look in compared for row in look.rows)
    expected += [(apple, "FACT_LACKING"), (amd, "FACT_DIFFERS")]
    # What went with the filing was said by the one before it, too: the record has it, and the frame's filing has not.
    assert sorted(name for name, _ in bad(outputs)) == sorted(name for name, _ in expected)
    assert {(apple, "FACT_LACKING"), (amd, "FACT_DIFFERS")} < set(bad(outputs))
    assert {scope for _, scope, _, _ in gate_changes(outputs)} == {apple, tesla, amd}
    assert not records(outputs, "data.facts")
    assert_conserved(plane)


# -- findings ------------------------------------------------------------------------------------------------------------------
@pytest.fixture
async def here() -> AsyncIterator[CountedProviders]:
    async with counted_providers() as providers:
        yield providers


def source(
    providers: CountedProviders, span: Span | None = None, responses: Path | None = None, reread: bool = False
) -> tuple[Bench, EdgarSource]:
    """Of two names, at once."""
    settings = Settings(edgar_url=providers.url, edgar_files_url=providers.url, user_agent="tests t@example.com")
    bench = Bench(settings, config(BACKFILL_YEARS=0.1, EDGAR_FRAMES=SHARES), NOW)
    bench.context.assets = lambda: [  # type: ignore[method-assign]
        asset for asset in bench.config.universe.tradable if asset.symbol in ("AAPL", "AMD")
    ]
    bench.context.span, bench.context.responses, bench.context.reread = span, responses, reread
    return bench, EdgarSource(bench.context)


async def looked(providers: CountedProviders, plane: DataEngine) -> list[Output]:
    """What a look at the filings, and one at the frames after it, bring."""
    bench, edgars = source(providers)
    await edgars.backfill()
    await edgars._check()
    await edgars.close()
    assert {up for _, up, _ in bench.states} == {True}
    return run(plane, bench.taken)


def without(document: dict[str, Any] | None, accession: str) -> dict[str, Any]:
    """Companyfacts without a filing."""
    assert document is not None
    units = document["facts"]["dei"]["EntityCommonStockSharesOutstanding"]["units"]
    units["shares"] = [row for row in units["shares"] if row["accn"] != accession]
    return document


async def test_a_filing_that_companyfacts_lacks_is_told_until_it_is_there(
    here: CountedProviders, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told once, and the gate is closed meanwhile. Nothing of the frame is published; a person may not let it out either."""
    monkeypatch.setattr(edgar, "MARGIN_DAYS", 500)
    (accession,) = (r.accession for r in here.content._reports if (r.symbol, r.filed[:7]) == ("AAPL", "2017-11"))

    async def lacking(request: web.Request) -> web.Response | None:
        facts = request.path.endswith("companyfacts/CIK0000320193.json")
        return web.json_response(without(here.content.company_facts(320193), accession)) if facts else None

    here.intervene = lacking
    plane = machine(["AAPL", "AMD"])
    outputs = await looked(here, plane)
    assert bad(outputs) == [("AAPL", "FACT_LACKING")]
    assert gate_changes(outputs) == [("fact_completeness", "AAPL", False, "FACT_LACKING")]
    (record,) = records(outputs, "data.quarantine")
    assert accession in record["detail"]
    assert json.loads(record["raw"])["frame"].startswith("dei/EntityCommonStockSharesOutstanding/shares/CY2017Q3I")
    facts = records(outputs, "data.facts")
    assert accession not in {each["accession"] for each in facts}
    assert_conserved(plane)

    decision, _ = decide(plane, record)
    assert (decision["action"], "does not tell since when" in decision["detail"]) == ("refused", True)
    assert not await looked(here, plane)
    here.intervene = None
    repaired = await looked(here, plane)
    assert [each["accession"] for each in records(repaired, "data.facts")] == [accession]
    assert gate_changes(repaired) == [("fact_completeness", "AAPL", True, "")]
    assert_conserved(plane)


@pytest.mark.parametrize("answer", ["html", "another", "torn", "row"])
async def test_a_frame_that_cannot_be_read_is_told(here: CountedProviders, answer: str) -> None:
    async def strange(request: web.Request) -> web.Response | None:
        if not request.path.startswith("/api/xbrl/frames/us-gaap/Assets/USD/CY2018Q1I"):
            return None
        bodies = {
            "html": b"<html>",
            "another": frame("us-gaap/Liabilities/USD", "CY2018Q1I", [ROW]),
            "torn": b'{"taxonomy": "us-gaap", "data": 3}',
            "row": frame("us-gaap/Assets/USD", "CY2018Q1I", [ROW, {"accn": 3}]),
        }
        return web.Response(body=bodies[answer])

    here.intervene = strange
    bench, edgars = source(here)
    bench.config = config(EDGAR_FRAMES="us-gaap/Assets/USD")
    await edgars._frames.look({"AAPL": 320193}, {"AAPL": set()}, date(2018, 1, 1), date(2018, 5, 1))
    await edgars.close()
    codes = {"html": "BODY_MALFORMED", "row": "FRAME_UNREADABLE"}
    *malformed, frames = bench.taken
    assert [each.code for each in malformed if isinstance(each, Malformed)] == [codes.get(answer, "BODY_SHAPE")]
    # What could not be read may have had the row that closed a gate.
    assert isinstance(frames, Frames)
    assert (frames.rows, frames.whole) == ((), False)


async def test_kept_frames_are_held_against_filings_that_are_read_again(here: CountedProviders, tmp_path: Path) -> None:
    """Without a request; of filings that were accepted outside the span nothing is said to lack."""
    span = Span(date(2016, 6, 1), date(2018, 3, 31))
    found = []
    for reread in (False, True):
        bench, edgars = source(here, span, tmp_path, reread)
        asked = len(here.requests)
        await edgars.backfill()
        await edgars.close()
        assert (len(here.requests) == asked) == reread
        frames = [each for each in bench.taken if isinstance(each, Frames)]
        assert {each.symbol for each in frames} == {"AAPL", "AMD"}
        filed = {(each.symbol, each.accession) for each in bench.taken if isinstance(each, Filing)}
        assert {(each.symbol, row.accession) for each in frames for row in each.rows} <= filed
        assert all(each.rows for each in frames)
        found.append((filed, [(each.symbol, each.rows) for each in frames]))
    assert found[0] == found[1]


def test_what_a_person_dropped_is_told_no_more() -> None:
    """Where the frame is wrong. Another row of the name is."""
    plane = machine(["AAA"])
    rows = [
        FramedFact(f"us-gaap/Assets/USD/CY2017Q{number}I", "a-1", Fact("us-gaap:Assets", "USD", 0, number, 5.0, 0, ""))
        for number in (1, 2)
    ]
    one, both = (Frames("edgar", "AAA", 7, NOW, tuple(rows[:count])) for count in (1, 2))
    (record,) = records(run(plane, [one]), "data.quarantine")
    assert not run(plane, [replace(one, rows=(), whole=False)])
    assert decide(plane, record, drop=True)[0]["action"] == "dropped"
    assert gate_changes(run(plane, [one])) == [("fact_completeness", "AAA", True, "")]
    assert bad(run(plane, [both])) == [("AAA", "FACT_LACKING")]
    assert_conserved(plane)
