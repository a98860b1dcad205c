"""How far kept answers reach: no session is made of a part of the universe, and a name that was listed later holds up none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_plane.daemon.reporting import told_log
from data_plane.observations import Bars
from data_plane.sources.archive import ResponseArchive
from data_plane.sources.ibkr import IbkrSource
from data_plane.sources.ibkr.kept import Asked, Batch
from data_plane.sources.ibkr.reach import MARGIN, Reach
from data_plane.sources.span import Span
from tests.data_plane.ibkr_rig import Rig
from tests.data_plane.support import assert_conserved, day_close
from triplane.broker.contracts import terms_of
from triplane.broker.historical_bars import DeliveredBar, HistoricalBars
from triplane.domain import calendars
from triplane.domain.timestamps import DAY, midnight, to_datetime
from triplane.runtime.settings import Settings

DAYS = calendars.sessions("XNYS", date(2017, 1, 3), date(2018, 1, 17))
AT = day_close("2018-01-17") + 1


def bars_of(days: Sequence[date]) -> HistoricalBars:
    starts = np.array([midnight(day) for day in days], dtype=np.int64)
    return HistoricalBars(starts, np.ones((len(days), 6)), np.ones(len(days), dtype=np.int64))


LOOKS = st.lists(
    st.tuples(st.integers(1, 259), st.integers(1, 200), st.sets(st.sampled_from("ABCD"), min_size=1)),
    min_size=1,
    max_size=6,
)


@given(LOOKS, st.fixed_dictionaries({name: st.integers(0, 260) for name in "ABCD"}), st.integers(-1, 1))
@settings(max_examples=100, deadline=None)
def test_what_lacks_of_a_whole_session_was_not_traded(
    looks: list[tuple[int, int, set[str]]], listed: dict[str, int], rounding: int
) -> None:
    """IB gives a session more or less than it was asked for. What each name traded is known: everything from its listing on."""
    reach, rows = Reach(), dict[str, set[int]]()
    for last, count, names in looks:
        first = max(last - count + 1 - rounding, 0)
        answers = {name: bars_of(DAYS[max(first, listed[name]) : last + 1]) for name in names}
        end = to_datetime(midnight(DAYS[last]) + DAY).strftime("%Y%m%d-%H:%M:%S")
        reach.add(Asked("1 day", f"{count} D", end), AT, AT, answers)
        for name in names:
            rows.setdefault(name, set()).update(range(max(first, listed[name]), last + 1))
    found = reach.sort_out(DAYS, "ABCD", {name: bars_of([DAYS[n] for n in sorted(of)]) for name, of in rows.items()})
    told = {day for of in rows.values() for day in (DAYS[n] for n in of)}
    assert sorted(found.whole + found.partial) == sorted(told)
    assert bool(found.partial) == bool(found.unknown)
    for day in found.whole:
        place = DAYS.index(day)
        for name in "ABCD":
            assert place in rows.get(name, ()) or place < listed[name]
    for day in found.partial:
        assert any(DAYS.index(day) not in rows.get(name, ()) for name in found.unknown)


def keep(
    bench: Rig, archive: ResponseArchive, duration: str, bars: Mapping[str, Sequence[date]], end: str = ""
) -> None:
    """Store an answer of some names."""
    batch = Batch(Asked("1 day", duration, end), AT)
    terms = {asset.symbol: terms_of(asset) for asset in bench.context.assets()}
    for name, days in bars.items():
        batch.add(name, terms[name], 7, [DeliveredBar(str(day), 1.0, 1.0, 1.0, 1.0, 9.0, 1.0, 3) for day in days])
    for request, body in batch.responses():
        archive.store(request, AT, body)


async def reread(responses: Path) -> tuple[Rig, list[str]]:
    """A bench that has read what was kept, and what it was told."""
    bench, notes = Rig(Settings(gateway_port=9)), list[str]()
    bench.context.responses, bench.context.reread = responses, True
    bench.context.span = Span(DAYS[0], DAYS[-1])
    bench.context.log = told_log(lambda line, _: notes.append(line))
    source = IbkrSource(bench.context)
    await source.backfill()
    await source.close()
    assert_conserved(bench.engine)
    return bench, notes


async def test_a_name_that_joined_makes_no_session_alone(tmp_path: Path) -> None:
    """It was asked for a longer span than the others. KO was listed within theirs."""
    bench, archive = Rig(Settings(gateway_port=9)), ResponseArchive(tmp_path, "ibkr")
    others, listed = DAYS[-100:], DAYS[-60:]
    keep(bench, archive, "100 D", {"AAPL": others, "KO": listed, "XOM": others})
    keep(bench, archive, "1 Y", {"AMD": DAYS[-250:]})
    bench, notes = await reread(tmp_path)
    slices = [each for each in bench.taken if isinstance(each, Bars)]
    assert [each.session for each in slices] == [str(day) for day in others]
    assert [len(each.symbols) for each in slices] == [3] * 40 + [4] * 60
    (note,) = notes
    first, last = DAYS[-250], DAYS[-101]
    assert note.startswith(f"150 sessions ({first} to {last}) left out, where nothing kept tells of AAPL, XOM: ")
    assert f"`triplane data backfill --source ibkr --from {first} --to {last}`" in note
    # What the others lack was asked for in the meantime.
    end = to_datetime(midnight(last) + DAY).strftime("%Y%m%d-%H:%M:%S")
    keep(bench, archive, "150 D", {"AAPL": DAYS[-250:-100], "XOM": DAYS[-250:-100]}, end)
    bench, notes = await reread(tmp_path)
    assert [len(each.symbols) for each in bench.taken if isinstance(each, Bars)] == [3] * 190 + [4] * 60
    assert not notes


async def test_a_name_on_the_topic_of_which_nothing_is_kept_is_waited_for(tmp_path: Path) -> None:
    archive = ResponseArchive(tmp_path, "ibkr")
    keep(Rig(Settings(gateway_port=9)), archive, "3 D", {"AAPL": DAYS[-3:], "KO": DAYS[-3:]})
    bench, _ = await reread(tmp_path)
    (record,) = [record for record in bench.slices("1d") if record["session"] == str(DAYS[-3])]
    again = Rig(Settings(gateway_port=9))
    columns = {name: [*each, each[0]] for name, each in record.items() if isinstance(each, list)}
    again.engine.published.learn("data.bars", {**record, **columns, "symbols": ["AAPL", "KO", "XOM"]})
    notes = list[str]()
    again.context.responses, again.context.reread, again.context.span = tmp_path, True, Span(DAYS[0], DAYS[-1])
    again.context.log = told_log(lambda line, _: notes.append(line))
    await IbkrSource(again.context).backfill()
    assert not again.taken
    assert notes[0].startswith(f"2 sessions ({DAYS[-2]} to {DAYS[-1]}) left out, where nothing kept tells of XOM: ")


@pytest.mark.parametrize(
    ("duration", "reaches"),
    [("100 D", 100), ("1 Y", 252), ("2 W", 10), ("1 M", 21), ("3600 S", 0), ("soon", 0)],
)
def test_a_day_without_a_bar_counts_as_far_as_was_asked_for(duration: str, reaches: int) -> None:
    """AAPL was asked for alone and traded on the newest days only; MARGIN is as much as IB may give less."""
    reach = Reach()
    newest, all_days = bars_of(DAYS[-2:]), bars_of(DAYS)
    reach.add(Asked("1 day", duration, ""), AT, AT, {"AAPL": newest, "KO": newest})
    # An older answer's first bar is the name's first: that nothing was before the newer one's tells nothing.
    reach.add(Asked("1 day", "1 D", "20170104-00:00:00"), AT, AT, {"AAPL": bars_of(DAYS[:1])})
    found = reach.sort_out(DAYS, ["AAPL"], {"AAPL": newest, "KO": all_days})
    known = len(DAYS) - len(found.partial)
    assert max(reaches - MARGIN // DAY, 2) <= known <= max(reaches, 2) + 1
