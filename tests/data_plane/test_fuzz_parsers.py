"""Every parser of what providers send, against bodies that are nearly right: no crash, no hang, no bad record on a clean topic.

Documents are torn in two ways: single values, keys and rows are exchanged for strange ones, and single bytes of the body. What the parsers
hand in goes through the engine, and what the engine publishes is encoded and looked at by rules of its own.
"""

from __future__ import annotations

import copy
import json
import math
import random
import struct
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from data_plane.audit.detector import audit
from data_plane.daemon import sntp
from data_plane.engine import DataEngine
from data_plane.fundamentals import publication
from data_plane.observations import Filing, Frames, Malformed, Vintage
from data_plane.sources.edgar import companyfacts
from data_plane.sources.edgar import frames as edgar_frames
from data_plane.sources.edgar.source import Submissions, ticker_map
from data_plane.sources.fred.answers import parse_observations
from data_plane.sources.http import BodyMalformed, json_object
from data_plane.sources.ibkr import kept as ibkr_kept
from data_plane.sources.ibkr.actions import parse_dividends
from schemas.codec import encode_body
from tests.data_plane.support import assert_conserved, engine
from triplane.broker.historical_bars import DeliveredBar, columns
from triplane.cli import price_files

SHAPE = (KeyError, TypeError, ValueError, AttributeError, OverflowError)
"""What the sources take for a document of another shape."""
NOW = 1_700_000_000_000_000_000
RECORDS = {
    "data.facts": "FactSet",
    "data.fundamentals": "FundamentalSet",
    "data.macro": "MacroVintage",
    "data.quarantine": "QuarantinedRecord",
    "data.gates": "GateState",
}
STRANGE: tuple[Any, ...] = (
    None, True, "", " ", ".", "NaN", "x" * 300, "2020-13-45", "0001-01-01", "9999-12-31", "2018-02-05T25:00:00.000Z",
    -1, 0, 1e308, -1e308, 1e-320, 2**63, -(2**70), 10**400, float("nan"), float("inf"), [], {}, [[]], {"a": {}}, ["x"] * 3,
)  # fmt: skip

ROW = {
    "end": "2017-12-30", "val": 5.1e9, "accn": "0000320193-18-000007", "fy": 2018, "fp": "Q1", "form": "10-Q",
    "filed": "2018-02-02", "frame": "CY2017Q4I",
}  # fmt: skip
FACTS: dict[str, Any] = {
    "cik": 320193,
    "entityName": "A",
    "facts": {
        "dei": {
            "EntityCommonStockSharesOutstanding": {"label": "s", "units": {"shares": [ROW, {**ROW, "val": 5.2e9}]}}
        },
        "us-gaap": {
            "Assets": {"units": {"USD": [ROW, {**ROW, "end": "2016-12-31", "accn": "0000320193-17-000003"}]}},
            "NetIncomeLoss": {"units": {"USD": [{**ROW, "start": "2017-10-01", "val": -3.0}]}},
        },
    },
}
SUBMISSIONS: dict[str, Any] = {
    "cik": "320193",
    "filings": {
        "recent": {
            "accessionNumber": ["0000320193-18-000007", "0000320193-17-000003"],
            "acceptanceDateTime": ["2018-02-01T16:30:00.000Z", "2017-02-01T16:30:00.000Z"],
        },
        "files": [{"name": "CIK0000320193-submissions-001.json", "filingTo": "2015-01-01"}],
    },
}
FRAME: dict[str, Any] = {
    "taxonomy": "us-gaap", "tag": "Assets", "ccp": "CY2017Q4I", "uom": "USD", "label": "Assets", "description": "", "pts": 2,
    "data": [
        {"accn": "0000320193-18-000007", "cik": 320193, "entityName": "A", "loc": "US-CA", "end": "2017-12-30", "val": 5.1e9},
        {"accn": "0000002488-18-000042", "cik": 2488, "entityName": "B", "loc": "US-CA", "start": "2017-10-01", "end": "2017-12-30", "val": -3},
    ],
}  # fmt: skip
TICKERS: dict[str, Any] = {
    "0": {"cik_str": 320193, "ticker": "AAPL", "title": "A"},
    "1": {"cik_str": 2488, "ticker": "AMD"},
}
OBSERVATIONS: list[Any] = [
    {"realtime_start": "2018-01-03", "realtime_end": "9999-12-31", "date": "2018-01-02", "value": "1.42"},
    {"realtime_start": "2018-01-04", "realtime_end": "9999-12-31", "date": "2018-01-03", "value": "."},
    {"realtime_start": "2018-01-04", "realtime_end": "2018-01-09", "date": "2018-01-02", "value": "1.43"},
]


def torn(document: Any, generator: random.Random) -> Any:
    """A copy of a JSON document in which one to three places are something else."""
    document = copy.deepcopy(document)
    for _ in range(generator.randint(1, 3)):
        places = list(_places(document))
        if not places:
            return document
        holder, key = generator.choice(places)
        action = generator.randrange(4)
        if action == 0:
            del holder[key]
        elif action == 1 and isinstance(holder, list):
            holder.append(copy.deepcopy(holder[key]))
        elif action == 2 and isinstance(holder, dict):
            holder[generator.choice(["", "end", "val", "x" * 40])] = holder.pop(key)
        else:
            holder[key] = copy.deepcopy(generator.choice(STRANGE))
    return document


def _places(document: Any) -> list[tuple[Any, Any]]:
    found: list[tuple[Any, Any]] = []
    stack = [document]
    while stack:
        holder = stack.pop()
        keys = list(holder) if isinstance(holder, dict) else range(len(holder)) if isinstance(holder, list) else ()
        for key in keys:
            found.append((holder, key))
            stack.append(holder[key])
    return found


def spoiled(body: bytes, generator: random.Random) -> bytes:
    """A body with some bytes exchanged, cut out or cut off."""
    changed = bytearray(body)
    for _ in range(generator.randint(1, 4)):
        place = generator.randrange(len(changed) or 1)
        action = generator.randrange(4)
        if action == 0:
            changed = changed[:place]
        elif action == 1:
            del changed[place : place + generator.randint(1, 5)]
        elif changed:
            changed[min(place, len(changed) - 1)] = generator.choice(b'0123456789-.eE"{}[],:\\\x00\xff')
    return bytes(changed)


def documents(document: dict[str, Any], generator: random.Random) -> dict[str, Any] | None:
    """A torn document as the HTTP client would hand it on; None when it would refuse the body."""
    if generator.random() < 0.5:
        return torn(document, generator)
    try:
        return json_object("test", "url", spoiled(json.dumps(document).encode(), generator))
    except BodyMalformed:
        return None


def bodies(document: dict[str, Any], generator: random.Random) -> bytes:
    """A torn document or a spoiled body, as bytes; JSON has no NaN and no infinity, so neither do they."""
    if generator.random() < 0.5:
        return json.dumps(torn(document, generator)).replace("NaN", "null").replace("Infinity", "null").encode()
    return spoiled(json.dumps(document).encode(), generator)


def publish(machine: DataEngine, observation: Filing | Vintage | Malformed) -> None:
    """Through the engine; what it publishes must be encodable and sound."""
    if isinstance(observation, Filing) and sum(machine.ledger.received.values()) % 20:
        # What is known after a filing takes ten times as long as all else: one in twenty.
        machine.published.learn(publication.TOPIC, {"fundamental_id": publication.fundamental_id(observation)})
    for output in machine.take(observation):
        encode_body(RECORDS[output.topic], output.record)
        if output.topic == "data.facts":
            _sound_facts(output.record)
        elif output.topic == "data.macro":
            _sound_macro(output.record)


def _sound_facts(record: dict[str, Any]) -> None:
    columns = [record[name] for name in ("concepts", "units", "period_start", "period_end", "values")]
    assert len({len(column) for column in columns}) == 1
    assert record["symbol"]
    assert record["accession"]
    assert 0 < record["available_time"] < 2**63
    for concept, unit, start, end, value in zip(*columns, strict=True):
        assert concept.count(":") == 1
        assert isinstance(unit, str)
        assert math.isfinite(value)
        # A day of slack: the end is a date in the filer's own zone.
        assert start == 0 or start <= end
        assert end <= record["available_time"] + 86_400_000_000_000


def _sound_macro(record: dict[str, Any]) -> None:
    assert len(record["observation_time"]) == len(record["values"]) > 0
    assert record["realtime_start"]
    assert not any(math.isinf(value) for value in record["values"])
    assert 0 < record["available_time"] < 2**63
    assert record["observation_time"] == sorted(record["observation_time"])


@pytest.fixture
def generator(seed: int) -> random.Random:
    return random.Random(seed)


def test_companyfacts(counts: Callable[[int, int], int], generator: random.Random) -> None:
    published = refused = 0
    machine = engine()
    for number in range(counts(1_000, 100_000)):
        if number % 200 == 0:
            assert_conserved(machine)
            machine = engine()
        body = bodies(FACTS, generator)
        try:
            found = companyfacts.parse(f"S{number}", "url", body, {}, date(2010, 1, 1), NOW)
        except (BodyMalformed, *SHAPE):
            refused += 1
            continue
        # The quick way and the one that goes value by value say the same, but of bytes in concepts that nobody wants.
        try:
            document = json_object("test", "url", body)
        except BodyMalformed:
            document = None
        if document is not None:
            slow = companyfacts.parse_facts(f"S{number}", document, {}, date(2010, 1, 1), NOW)
            assert repr(found) == repr(slow)
        for observation in found:
            publish(machine, observation)
            published += isinstance(observation, Filing)
    assert published > counts(1_000, 100_000) / 2
    assert refused


def test_submissions_and_the_ticker_map(counts: Callable[[int, int], int], generator: random.Random) -> None:
    read = 0
    for _ in range(counts(1_000, 100_000)):
        document = documents(SUBMISSIONS, generator)
        if document is not None:
            try:
                parsed = Submissions.parse(document)
            except SHAPE:
                continue
            read += 1
            assert all(isinstance(text, str) for pair in parsed.acceptance.items() for text in pair)
            assert all(isinstance(text, str) for pair in parsed.older for text in pair)
            publish_with(parsed.acceptance)
        document = documents(TICKERS, generator)
        if document is not None:
            try:
                ciks = ticker_map(document)
            except SHAPE:
                continue
            assert all(isinstance(cik, int) for cik in ciks.values())
    assert read > counts(1_000, 100_000) / 10


def publish_with(acceptance: dict[str, str]) -> None:
    """Facts whose filing was accepted at whatever the submissions say."""
    machine = engine()
    for observation in companyfacts.parse_facts("AAPL", FACTS, acceptance, date(2010, 1, 1), NOW):
        publish(machine, observation)
    assert_conserved(machine)


def test_frames(counts: Callable[[int, int], int], generator: random.Random) -> None:
    """Whatever a frame says, nothing of it is published."""
    looked = told = 0
    concept = edgar_frames.Concept("us-gaap", "Assets", "USD")
    machine = engine(["S"])
    for number in range(counts(1_000, 100_000)):
        if number % 200 == 0:
            assert_conserved(machine)
            machine = engine(["S"])
        try:
            found = edgar_frames.parse(concept, "CY2017Q4I", "url", bodies(FRAME, generator), {320193, 2488})
        except (BodyMalformed, *SHAPE, RecursionError):
            continue
        looked += 1
        for cik, rows in found.rows.items():
            for output in machine.take(Frames("edgar", "S", cik, NOW, tuple(rows))):
                encode_body(RECORDS[output.topic], output.record)
                assert output.topic in ("data.quarantine", "data.gates")
                told += output.topic == "data.quarantine"
    assert looked > counts(1_000, 100_000) / 4
    assert told > looked / 20


def test_kept_answers_of_ibkr(counts: Callable[[int, int], int], generator: random.Random) -> None:
    """A body on a disk may be anything, and so may each bar in it."""
    batch = ibkr_kept.Batch(ibkr_kept.Asked("1 day", "2 D", ""), NOW)
    rows = [
        DeliveredBar(day, 10.0, 11.0, 9.0, 10.5, 1e6, 10.4, 99) for day in ("2018-01-18", "2018-01-19T14:30:00+00:00")
    ]
    for name in ("KO", "PEP"):
        batch.add(name, {"symbol": name, "sec_type": "STK", "con_id": 0}, 7, rows)
    ((request, body),) = batch.responses()
    document = json.loads(body)
    found = 0
    for _ in range(counts(1_000, 100_000)):
        try:
            answers = ibkr_kept.read(request, bodies(document, generator)).answers
            bars = [columns(answer.bars) for answer in answers.values()]
        except SHAPE:
            continue
        found += 1
        assert all(each.starts.shape == each.trades.shape == each.values.shape[:1] for each in bars)
    assert found > counts(1_000, 100_000) / 20


def test_macro_observations(counts: Callable[[int, int], int], generator: random.Random) -> None:
    published = 0
    machine = engine()
    for number in range(counts(1_000, 100_000)):
        if number % 200 == 0:
            assert_conserved(machine)
            machine = engine()
        document = documents({"observations": OBSERVATIONS}, generator)
        rows = document.get("observations") if document is not None else None
        if not isinstance(rows, list):
            continue
        for observation in parse_observations(f"S{number}", rows, NOW):
            publish(machine, observation)
            published += isinstance(observation, Vintage)
    assert published > counts(1_000, 100_000) / 2


def test_answers_of_a_time_server(counts: Callable[[int, int], int], generator: random.Random) -> None:
    sent = NOW
    good = bytearray(sntp.PACKET.size)
    good[0], good[1] = 0x24, 2
    struct.pack_into(
        ">QQQ", good, sntp.PACKET.size - 24, sntp._to_stamp(sent), sntp._to_stamp(sent), sntp._to_stamp(sent)
    )
    assert abs(sntp.offset(bytes(good), sent, sent)) < 1000
    judged = 0
    for _ in range(counts(10_000, 100_000)):
        answer = bytearray(good)
        for _ in range(generator.randint(1, 4)):
            answer[generator.randrange(len(answer))] = generator.randrange(256)
        if generator.random() < 0.1:
            answer = answer[: generator.randrange(len(answer))]
        try:
            found = sntp.offset(bytes(answer), sent, sent)
        except sntp.SntpError:
            continue
        judged += 1
        assert isinstance(found, int)
    assert judged


def test_messages_on_dividends(counts: Callable[[int, int], int], generator: random.Random) -> None:
    read = 0
    for _ in range(counts(5_000, 100_000)):
        text = spoiled(b"0.83,0.92,20130219,0.23", generator).decode("latin-1")
        try:
            found = parse_dividends(text)
        except ValueError:
            continue
        read += 1
        assert found is None or (0.0 < found.amount < math.inf and isinstance(found.ex_date, date))
    assert read


def test_price_files(counts: Callable[[int, int], int], generator: random.Random, tmp_path: Path) -> None:
    lines = ["Date,Open,High,Low,Close,Adj Close,Volume,Dividends,Stock Splits"]
    lines += [f"2024-01-{day:02d},10,11,9,10.5,10.4,1000,0,{2 if day == 9 else 0}" for day in range(1, 20)]
    body = "\n".join(lines).encode()
    path = tmp_path / "a.csv"
    read = 0
    for _ in range(counts(150, 20_000)):
        path.write_bytes(spoiled(body, generator))
        try:
            for named in price_files.read(path):
                result = audit(named.series)
                read += 1
                assert len(result.mended) == len(named.labels)
        except price_files.UnreadableError:
            continue
    assert read
