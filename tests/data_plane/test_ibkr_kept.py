"""IBKR's kept answers: written as delivered, read again without a gateway, whole bars alone and the newest of each."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_plane.observations import Bars, Malformed
from data_plane.sources.archive import INDEX, ResponseArchive
from data_plane.sources.ibkr import IbkrSource
from data_plane.sources.ibkr.kept import NAMES, Answer, Asked, Batch, KeptBars, read
from data_plane.sources.span import Span
from tests.broker.gateways import GatewayProcess
from tests.data_plane.ibkr_rig import Rig, rig
from tests.data_plane.support import assert_conserved, day_close, day_open
from triplane.broker.contracts import terms_of
from triplane.broker.historical_bars import DeliveredBar, columns
from triplane.broker.what_to_show import ADJUSTED
from triplane.domain.timestamps import MINUTE
from triplane.runtime.settings import Settings

SPAN = Span(date(2017, 1, 1), date(2018, 12, 31))
NUMBERS = st.floats(allow_nan=True, allow_infinity=True)
ROWS = st.lists(
    st.builds(DeliveredBar, st.dates().map(str), *[NUMBERS] * 6, st.integers(-1, 2**40)), min_size=1, max_size=4
)


@given(
    st.dictionaries(st.text(min_size=1, max_size=4), ROWS, max_size=5),
    st.integers(0, 2**62),
    st.sampled_from(["", "20180119-21:00:00"]),
)
@settings(max_examples=50, deadline=None)
def test_what_was_delivered_is_read_again_as_it_was(found: dict[str, list[DeliveredBar]], at: int, end: str) -> None:
    batch = Batch(Asked("1 day", "5 D", end), at)
    for name, bars in found.items():
        batch.add(name, {"sec_type": "STK", "con_id": 0}, 7, bars)
    answers: dict[str, Answer] = {}
    for request, body in batch.responses():
        again = read(request, body)
        assert (again.asked, again.at, again.day) == (batch.asked, at, batch.day)
        answers |= again.answers
    assert repr(dict(sorted(answers.items()))) == repr(dict(sorted(batch.answers.items())))  # NaN is not itself


def test_a_look_at_many_names_is_several_responses() -> None:
    batch = Batch(Asked("1 day", "5 D", ""), day_open())
    for number in range(NAMES + 1):
        batch.add(f"N{number:03}", {"sec_type": "STK"}, number, [flat("2018-01-18", 1.0)])
    assert [len(read(*each).answers) for each in batch.responses()] == [NAMES, 1]
    assert len({request for request, _ in batch.responses()}) == 2


def flat(day: str, price: float) -> DeliveredBar:
    """A bar of one price."""
    return DeliveredBar(day, price, price, price, price, 100.0 + price, price, 3)


def kept(
    bench: Rig, archive: ResponseArchive, at: int, closes: Mapping[str, float], show: str = "", **change: Any
) -> None:
    """Store an answer of KO's daily closes, as of a market time."""
    asset = next(asset for asset in bench.context.assets() if asset.symbol == "KO")
    batch = Batch(Asked("1 day", f"{len(closes)} D", "", show), at)
    rows = [flat(day, price) for day, price in closes.items()]
    batch.add("KO", terms_of(asset) | change, 7, rows)
    for request, body in batch.responses():
        archive.store(request, at, body)


def again(responses: Path, interval: str = "1d") -> Rig:
    """A bench that reads what was kept; there is no gateway."""
    bench = Rig(Settings(gateway_port=9))
    bench.context.responses, bench.context.reread = responses, True
    bench.context.span, bench.context.interval = SPAN, interval
    return bench


async def reread(bench: Rig) -> list[Bars]:
    source = IbkrSource(bench.context)
    await source.backfill()
    await source.close()
    assert bench.states[-1] == ("ibkr", True, "")
    assert_conserved(bench.engine)
    return [each for each in bench.taken if isinstance(each, Bars) and not each.watched]


async def test_whole_bars_of_the_newest_answer_count(tmp_path: Path) -> None:
    """Of the day that was running only the first part had been told; another contract's answer is not the name's."""
    bench, archive = again(tmp_path), ResponseArchive(tmp_path, "ibkr")
    kept(bench, archive, day_close("2018-01-17") + 1, {"2018-01-16": 47.0, "2018-01-17": 48.0})
    kept(bench, archive, day_close("2018-01-18") - 1, {"2018-01-17": 48.5, "2018-01-18": 1.0})
    kept(bench, archive, day_close("2018-01-19"), {"2018-01-19": 2.0}, exchange="LSE")
    # Adjusted closes are no prices.
    kept(bench, archive, day_close("2018-01-19"), {"2018-01-17": 4.0, "2018-01-19": 4.0}, show=ADJUSTED)
    # An answer that rust has eaten is passed over.
    kept(bench, archive, day_close("2018-01-18"), {"2018-01-17": 3.0, "2018-01-18": 3.0, "2018-01-19": 3.0})
    (damaged,) = archive.kept(max(archive.requests(), key=lambda key: "3 D" in key))
    archive._path(damaged.sha256).write_bytes(b"rust")
    found = await reread(again(tmp_path))
    assert [(each.session, each.values[0, 3], each.history) for each in found] == [
        ("2018-01-16", 47.0, True),
        ("2018-01-17", 48.5, True),
    ]
    assert all(each.available_time == each.event_time == day_close(each.session) for each in found)


async def test_a_date_that_is_none_is_quarantined_and_the_rest_is_read(tmp_path: Path) -> None:
    bench, archive = again(tmp_path), ResponseArchive(tmp_path, "ibkr")
    kept(bench, archive, day_close("2018-01-17"), {"2018-01-17": 48.0})
    kept(bench, archive, day_close("2018-01-18"), {"2018-01-18": 48.0, "soon": 48.0})
    bench = again(tmp_path)
    assert [each.session for each in await reread(bench)] == ["2018-01-17"]
    assert [each.code for each in bench.taken if isinstance(each, Malformed)] == ["BARS_UNREADABLE"]


async def test_a_disk_that_refuses_is_told_and_the_data_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "ibkr").mkdir()
    (tmp_path / "ibkr" / "bodies").write_text("no folder")
    bench = Rig(Settings())
    bench.context.responses = tmp_path
    answers = KeptBars(bench.context, "ibkr")
    with answers.batch(Asked("1 day", "1 D", "")) as batch:
        batch.add("KO", {"sec_type": "STK"}, 7, [flat("2018-01-18", 48.0)])
    await answers.close()
    assert "a response is not kept" in caplog.text + capsys.readouterr().out
    assert not answers.looks("1 day")


def test_a_moment_needs_its_offset() -> None:
    moment = datetime(2018, 1, 19, 14, 30, tzinfo=UTC)
    found = columns([flat("2018-01-19", 1.0), flat(moment.isoformat(), 1.0)])
    assert found.starts[1] - found.starts[0] == (14 * 60 + 30) * MINUTE
    with pytest.raises(ValueError, match="a bar is dated '2018-01-19T14:30:00'"):
        columns([flat("2018-01-19T14:30:00", 1.0)])
    assert math.isnan(columns([flat("2018-01-19", 1.0)._replace(average=-1.0)]).values[0, 5])


async def test_what_a_gateway_answered_is_handed_in_again_without_one(gateway: GatewayProcess, tmp_path: Path) -> None:
    """The same slices, daily and of one minute, into an engine that has none; a second time there is nothing to hand in."""
    first = rig(gateway)
    first.context.responses = tmp_path
    source = IbkrSource(first.context)
    await source.backfill()
    await asyncio.to_thread(gateway.advance, to="2018-01-19T15:25")
    await source._time()
    await source._history.load_minutes(date(2018, 1, 19), day_open("2018-01-19") + 60 * MINUTE)
    await source.close()
    assert (tmp_path / "ibkr" / INDEX).is_file()
    for interval in ("1d", "1m"):
        wanted = [
            each for each in first.taken if isinstance(each, Bars) and (each.interval, each.watched) == (interval, "")
        ]
        assert len(wanted) > 30
        bench = again(tmp_path, interval)
        bench.context.tell_time(day_close("2018-01-19"))  # the session of the minutes is over
        found = [told(each) for each in await reread(bench)]
        # IB's durations reach back a little further than was wanted.
        assert found[-len(wanted) :] == [told(each) for each in wanted]
        assert len(found) < len(wanted) + 4
        slices = len(bench.slices(interval))
        await reread(bench)
        assert len(bench.slices(interval)) == slices == len(found)


def told(bars: Bars) -> tuple[Any, ...]:
    rows = dict(zip(bars.symbols, zip(bars.values.tolist(), bars.trades.tolist(), strict=True), strict=True))
    return bars.interval, bars.session, bars.event_time, bars.available_time, repr(sorted(rows.items()))
