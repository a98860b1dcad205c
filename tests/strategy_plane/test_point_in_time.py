"""Facts and macro as known (law L3): a restated fact and a revised vintage count from when the world could know them."""

import gzip
import json
from datetime import date

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategy_plane.inputs.point_in_time import (
    SHARES_CONCEPTS,
    FactBook,
    MacroBook,
    risk_free,
    session_rate,
    tbill_code,
)
from tests.strategy_plane.world import fact_record, macro_record
from triplane.domain.timestamps import DAY, to_datetime


def test_shares_change_only_when_known():
    book = FactBook()
    assert np.isnan(book.shares(["A"])[0]).all()
    book.fold(fact_record("A", 100.0, 10 * DAY, end=8 * DAY))
    book.fold(fact_record("A", 120.0, 40 * DAY, end=38 * DAY))
    assert book.shares(["A", "B"])[0][0] == 120.0
    assert book.shares(["A", "B"])[1].tolist() == [38 * DAY, 0]


def test_a_restatement_of_the_newest_period_replaces_it_and_of_an_older_one_does_not():
    book = FactBook()
    book.fold(fact_record("A", 100.0, 10 * DAY, end=8 * DAY))
    book.fold(fact_record("A", 110.0, 20 * DAY, end=8 * DAY))
    assert book.shares(["A"])[0] == [110.0]
    book.fold(fact_record("A", 5.0, 30 * DAY, end=2 * DAY))
    assert book.shares(["A"])[0] == [110.0]


def test_the_newest_date_wins_between_concepts_and_the_cover_page_on_a_tie():
    book = FactBook()
    book.fold(fact_record("A", 100.0, 10 * DAY, end=8 * DAY, concept=SHARES_CONCEPTS[1]))
    assert book.shares(["A"])[0] == [100.0]
    book.fold(fact_record("A", 101.0, 10 * DAY, end=8 * DAY, concept=SHARES_CONCEPTS[0]))
    assert book.shares(["A"])[0] == [101.0]
    book.fold(fact_record("A", 102.0, 11 * DAY, end=9 * DAY, concept=SHARES_CONCEPTS[1]))
    assert book.shares(["A"])[0] == [102.0]


@pytest.mark.parametrize(
    "change",
    [
        {"values": [float("nan")]}, {"values": [0.0]}, {"values": [-5.0]}, {"units": ["USD"]},
        {"concepts": ["us-gaap:Assets"]}, {"period_end": [11 * DAY]},
    ],
)  # fmt: skip
def test_values_that_are_no_shares_are_left_out(change):
    book = FactBook()
    book.fold(fact_record("A", 100.0, 10 * DAY, end=8 * DAY) | change)
    assert np.isnan(book.shares(["A"])[0]).all()


def test_several_classes_of_one_filing_count_with_the_largest():
    record = fact_record("A", 100.0, 10 * DAY, end=8 * DAY)
    for name in ("concepts", "units", "period_end"):
        record[name] = record[name] * 2
    record["values"] = [100.0, 300.0]
    book = FactBook()
    book.fold(record)
    assert book.shares(["A"])[0] == [300.0]


def test_a_split_restates_older_counts():
    book = FactBook()
    book.fold(fact_record("A", 100.0, 10 * DAY, end=8 * DAY))
    book.split("A", 11 * DAY, 7.0)
    book.split("A", 8 * DAY, 7.0)
    book.split("B", 11 * DAY, 7.0)
    assert book.shares(["A"])[0] == [700.0]


@given(st.integers(1, 60), st.integers(0, 60), st.integers(0, 60), st.integers(1, 60), st.booleans(), st.booleans())
def test_a_count_is_in_the_same_units_whether_it_or_its_split_is_told_first(known, end, filed, split, late, restart):
    """As of a day before the ex-date, it is in old units where it was filed before that day, and in new ones from it on."""
    day = to_datetime(filed * DAY).date().isoformat()
    record = fact_record("A", 100.0, max(known, end) * DAY, end=end * DAY) | {"filed": day}
    book = FactBook()
    steps = [lambda: book.fold(record), lambda: book.split("A", split * DAY, 2.0)]
    for step in reversed(steps) if late else steps:
        step()
        if restart:
            book = FactBook.restored(book.state())
    assert book.shares(["A"])[0] == [200.0 if end < split and filed < split else 100.0]


@pytest.mark.parametrize("restart", [False, True])
def test_a_count_that_comes_out_of_quarantine_replaces_no_later_filing_s(restart):
    """A 10-K's count was taken out, its 10-K/A's was not; then a person lets the first one out."""
    original = fact_record("A", 5.0e9, 60 * DAY, end=8 * DAY) | {"filed": "1970-02-01", "fact_id": "A/1+x"}
    amended = fact_record("A", 5.1e9, 50 * DAY, end=8 * DAY) | {
        "filed": "1970-02-14",
        "acceptance": "1970-02-14T16:01:00",
    }
    earlier = amended | {"acceptance": "1970-02-14T09:01:00", "values": [5.2e9], "fact_id": "A/0+x"}
    book = FactBook()
    book.fold(amended)
    if restart:
        book = FactBook.restored(book.state())
    book.fold(original)
    book.fold(earlier)
    assert book.shares(["A"])[0] == [5.1e9]
    book.fold(fact_record("A", 5.3e9, 70 * DAY, end=8 * DAY) | {"filed": ""})  # of a day that nobody told
    assert book.shares(["A"])[0] == [5.3e9]
    other = FactBook()  # where nothing else is known, it counts
    other.fold(original)
    assert other.shares(["A"])[0] == [5.0e9]


@pytest.mark.parametrize("restart", [False, True])
def test_a_count_that_comes_after_a_split_which_it_was_filed_before_is_restated(restart):
    book = FactBook()
    book.split("A", 40 * DAY, 2.0)
    if restart:
        book = FactBook.restored(book.state())
    book.fold(fact_record("A", 100.0, 60 * DAY, end=38 * DAY) | {"filed": "1970-02-09"})
    assert book.shares(["A"])[0] == [200.0]
    book.fold(fact_record("A", 201.0, 61 * DAY, end=38 * DAY) | {"filed": "1970-02-10"})  # of the ex-date itself
    assert book.shares(["A"])[0] == [201.0]
    book.fold(fact_record("A", 202.0, 62 * DAY, end=40 * DAY) | {"filed": "1970-02-09"})
    assert book.shares(["A"])[0] == [202.0]


def vintages():
    """Random vintages of 6 observations: (vintage day, observation, value), in the order in which they became known."""
    entry = st.tuples(st.integers(1, 60), st.integers(0, 5), st.one_of(st.just(float("nan")), st.floats(0.01, 9)))
    return st.lists(entry, max_size=30).map(lambda rows: sorted(rows, key=lambda row: row[0]))


def as_record(row):
    vintage, observation, value = row
    return macro_record("DTB3", vintage * DAY, [observation * 10 * DAY], [value], f"2020-{vintage:03d}")


@given(vintages(), st.integers(0, 60))
@settings(deadline=None)
def test_a_series_at_t_is_the_newest_vintage_known_by_t(rows, t):
    """Law L3: what is known at t is computed naively from all rows with vintage <= t, and equals a book that saw no more."""
    known: dict[int, float] = {}
    book = MacroBook()
    for row in rows:
        if row[0] <= t:
            book.fold(as_record(row))
            known[row[1] * 10 * DAY] = row[2]
    expected = sorted((time, value) for time, value in known.items() if np.isfinite(value))
    times, values = book.observations("DTB3")
    assert times.tolist() == [time for time, _ in expected]
    assert values.tolist() == [value for _, value in expected]


def test_an_older_vintage_that_comes_late_does_not_undo_a_newer_one():
    book = MacroBook()
    book.fold(macro_record("DTB3", 20 * DAY, [0], [2.0], "2020-01-20"))
    book.fold(macro_record("DTB3", 30 * DAY, [0], [1.0], "2020-01-10"))
    assert book.observations("DTB3")[1].tolist() == [2.0]


def test_risk_free_takes_the_newest_observation_on_or_before_each_session():
    book = MacroBook()
    assert np.isnan(risk_free(book, "X", np.array([0.0]))).all()
    book.fold(macro_record("X", 99 * DAY, [10 * DAY, 20 * DAY], [2.52, 5.04], "2020"))
    book.fold({"values": [], "series": "X", "realtime_start": "", "observation_time": []})
    rates = risk_free(book, "X", np.array([5.0, 10.0, 19.0, 20.0, 40.0]) * DAY)
    assert rates == pytest.approx([1e-4, 1e-4, 1e-4, 2e-4, 2e-4])


def test_a_discount_rate_becomes_a_bond_equivalent_yield():
    # Treasury's example: a 26-week bill at a discount of 0.145 % yields 0.147 %
    assert session_rate("DTB6", np.array([0.145])) * 252 == pytest.approx([0.00147], abs=5e-6)
    assert session_rate("DGS3MO", np.array([2.52])) == pytest.approx([1e-4])


def test_tbill_codes():
    times = np.array([10 * DAY])
    assert tbill_code(np.array([], dtype=np.int64), 5, 60) == "TBILL_MISSING"
    assert tbill_code(times, 70 * DAY, 60) == ""
    assert tbill_code(times, 70 * DAY + 1, 60) == "TBILL_STALE"


def test_state_continues_exactly():
    facts, macro = FactBook(), MacroBook()
    facts.fold(fact_record("A", 100.0, 10 * DAY, end=8 * DAY))
    macro.fold(macro_record("X", 9 * DAY, [3 * DAY, 1 * DAY], [1.0, float("nan")], "2020-01-01"))
    facts2, macro2 = FactBook.restored(facts.state()), MacroBook.restored(macro.state())
    for book in (facts, facts2):
        book.fold(fact_record("A", 90.0, 12 * DAY, end=8 * DAY))
    for series in (macro, macro2):
        series.fold(macro_record("X", 9 * DAY, [3 * DAY], [7.0], "2019-01-01"))
    assert facts.state() == facts2.state()
    np.testing.assert_equal(macro.state(), macro2.state())


def test_apple_s_shares_as_known_on_real_filings(shared_data):
    """Real companyfacts: at each filing date the book knows the newest reported cover-page count, never a later filing's."""
    path = shared_data / "sec" / "companyfacts" / "CIK0000320193.json.gz"
    facts = json.loads(gzip.decompress(path.read_bytes()))["facts"]
    rows = facts["dei"]["EntityCommonStockSharesOutstanding"]["units"]["shares"]
    rows = sorted(rows, key=lambda row: (row["filed"], row["end"]))

    def ns(text):
        return (date.fromisoformat(text) - date(1970, 1, 1)).days * DAY

    book = FactBook()
    for k, row in enumerate(rows):
        book.fold(fact_record("AAPL", float(row["val"]), ns(row["filed"]), end=ns(row["end"])))
        best_end = max(r["end"] for r in rows[: k + 1])
        newest = [r for r in rows[: k + 1] if r["end"] == best_end][-1]
        value, end = book.shares(["AAPL"])
        assert (value[0], end[0]) == (float(newest["val"]), ns(best_end))
    assert len(rows) > 30


def test_an_older_vintage_does_not_fill_what_a_newer_one_left_blank_however_often_it_was_asked_for():
    """A state restored from a snapshot was never asked, and must tell the same."""
    book = MacroBook()
    for day, value, vintage in ((10, 2.0, "2016-06-19"), (11, np.nan, "2016-06-20"), (11, 5.0, "2016-06-18")):
        book.fold(macro_record("DTB3", 20 * DAY, [day * DAY], [value], vintage))
        assert book.observations("DTB3")[0].tolist() == [10 * DAY]
    assert MacroBook.restored(book.state()).observations("DTB3")[0].tolist() == [10 * DAY]


def test_observations_are_the_same_however_often_they_were_asked_for() -> None:
    rng = np.random.default_rng(20180205)
    for _ in range(60):
        often, once, last = MacroBook(), MacroBook(), 0
        for _ in range(20):
            kind = rng.integers(4)  # the next days, a revision, a blank, days in no order
            first = last + 1 if kind != 1 else int(rng.integers(1, last + 2))
            times = list(range(first, first + int(rng.integers(1, 4))))
            last = max(last, times[-1])
            if kind == 3:
                times.reverse()
            values = [np.nan if kind == 2 and rng.random() < 0.5 else float(rng.normal()) for _ in times]
            record = {
                "series": "DTB3", "observation_time": times, "values": values,
                "realtime_start": f"2018-01-{int(rng.integers(1, 20)):02d}",
            }  # fmt: skip
            often.fold(record)
            once.fold(record)
            often.observations("DTB3")
        for asked, fresh in zip(often.observations("DTB3"), once.observations("DTB3"), strict=True):
            assert asked.dtype == fresh.dtype
            np.testing.assert_array_equal(asked, fresh)
