"""FRED-MD's codes by hand, against the definitions written out, and against the line in its real files."""

from __future__ import annotations

import gzip
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from data_plane.macro import fred_md
from data_plane.macro.transformations import CODES, outliers, transform, transform_panel

NAN = math.nan
FILES = ("2021-08.csv.gz", "2023-01_current.csv.gz")


def panel(shared_data: Path, name: str) -> fred_md.Panel:
    with gzip.open(shared_data / "fred" / "fred_md" / name, "rt", encoding="utf-8") as file:
        return fred_md.parse(file.read())


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (1, [100.0, 110.0, 99.0, 99.0]),
        (2, [NAN, 10.0, -11.0, 0.0]),
        (3, [NAN, NAN, -21.0, 11.0]),
        (4, [4.605170, 4.700480, 4.595120, 4.595120]),
        (5, [NAN, 0.0953102, -0.1053605, 0.0]),
        (6, [NAN, NAN, -0.2006707, 0.1053605]),
        (7, [NAN, NAN, -0.2, 0.1]),  # growth of +10 %, -10 %, 0 %
    ],
)
def test_each_code_by_hand(code: int, expected: list[float]) -> None:
    np.testing.assert_allclose(transform(np.array([100.0, 110.0, 99.0, 99.0]), code), expected, rtol=1e-5, atol=1e-12)


def test_a_code_that_is_none_is_refused() -> None:
    for code in (0, 8):
        with pytest.raises(ValueError, match=f"transformation code {code} is none of FRED-MD's; use 1 to 7"):
            transform(np.ones(3), code)
    with pytest.raises(ValueError, match=r"shape \(3, 2\) need one code a column, not 1"):
        transform_panel(np.ones((3, 2)), [1])


def test_what_is_missing_or_not_positive_costs_no_more_than_the_code_reaches() -> None:
    levels = np.array([1.0, 2.0, NAN, 4.0, 5.0, 6.0, 0.0, 8.0, 9.0, 10.0, 11.0])
    missing = {code: np.flatnonzero(np.isnan(transform(levels, code))).tolist() for code in CODES}
    assert missing == {
        1: [2],
        2: [0, 2, 3],
        3: [0, 1, 2, 3, 4],
        4: [2, 6],
        5: [0, 2, 3, 6, 7],
        6: [0, 1, 2, 3, 4, 6, 7, 8],
        7: [0, 1, 2, 3, 4, 7, 8],  # from zero nothing grows by a percentage; to zero is -100 %
    }
    assert not np.isinf(transform(levels, 7)).any()


levels_ = hnp.arrays(np.float64, st.integers(0, 12), elements=st.floats(0.5, 1e6) | st.sampled_from([NAN, 0.0, -3.0]))


@settings(deadline=None)
@given(levels_, st.sampled_from(list(CODES)))
def test_the_definitions_written_out(x: np.ndarray, code: int) -> None:
    def log(place: int) -> float:
        return math.log(x[place]) if x[place] > 0 else NAN

    def growth(place: int) -> float:
        return x[place] / x[place - 1] - 1 if x[place - 1] != 0 else NAN

    def value(t: int) -> float:
        reach = {1: 0, 2: 1, 3: 2, 4: 0, 5: 1, 6: 2, 7: 2}[code]
        if t < reach:
            return NAN
        return {
            1: lambda: x[t],
            2: lambda: x[t] - x[t - 1],
            3: lambda: (x[t] - x[t - 1]) - (x[t - 1] - x[t - 2]),
            4: lambda: log(t),
            5: lambda: log(t) - log(t - 1),
            6: lambda: (log(t) - log(t - 1)) - (log(t - 1) - log(t - 2)),
            7: lambda: growth(t) - growth(t - 1),
        }[code]()

    before = x.copy()
    np.testing.assert_allclose(transform(x, code), [value(t) for t in range(len(x))], rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(x, before)  # what came in is left alone


@settings(deadline=None)
@given(
    hnp.arrays(np.float64, (9, 5), elements=st.floats(0.5, 100)),
    st.lists(st.sampled_from(list(CODES)), min_size=5, max_size=5),
)
def test_a_panel_is_its_columns(x: np.ndarray, codes: list[int]) -> None:
    columns = [transform(x[:, place], code) for place, code in enumerate(codes)]
    np.testing.assert_array_equal(transform_panel(x, codes), np.stack(columns, axis=1))


def test_outliers_are_ten_ranges_off_the_median() -> None:
    # Of 0..7 and a large value the quartiles by midpoints are 1.75 and 6.25, the median 4: the bound is 4 + 45.
    x = np.arange(9.0)
    for far, out in ((49.0, False), (49.1, True)):
        assert outliers(np.r_[x[:8], far]).tolist() == [False] * 8 + [out]
    # Of a small value and 0..7 they are 0.75 and 5.25, the median 3: the bound is 3 - 45.
    for far, out in ((-42.0, False), (-42.1, True)):
        assert outliers(np.r_[x[:8], far]).tolist() == [False] * 8 + [out]
    both = np.stack([np.r_[x, NAN, 1e6], np.full(11, NAN)], axis=1)
    assert np.argwhere(outliers(both)).tolist() == [[10, 0]]
    # A column that hardly ever moves: any move is out, as in the authors' program.
    assert outliers(np.array([0.0] * 20 + [1.0])).sum() == 1


# -- the table and the files ---------------------------------------------------------------------------------------------------
def test_the_table_holds_known_codes() -> None:
    codes = fred_md.codes()
    assert set(codes.values()) <= set(CODES)
    assert len(codes) == 128
    assert {name: codes[name] for name in ("INDPRO", "UNRATE", "HOUST", "CPIAUCSL", "NONBORRES", "GS10", "BAA")} == {
        "INDPRO": 5,
        "UNRATE": 2,
        "HOUST": 4,
        "CPIAUCSL": 6,
        "NONBORRES": 7,
        "GS10": 2,
        "BAA": 2,
    }


GOOD = "sasdate,A,B\nTransform:,1,5\n1/1/1959,1.5,\n2/1/1959,2,3e2\n,,\n"


def test_a_file_is_read_and_a_broken_one_names_its_line() -> None:
    made = fred_md.parse(GOOD)
    assert (made.names, made.codes) == (("A", "B"), (1, 5))
    assert [day.isoformat() for day in made.dates] == ["1959-01-01", "1959-02-01"]
    np.testing.assert_array_equal(made.levels, [[1.5, NAN], [2.0, 300.0]])
    for text, sentence in (
        ("", "no FRED-MD file"),
        ("date,A\nTransform:,1\n", "must begin with 'sasdate' and 'Transform:'"),
        (GOOD.replace(":,1", ":,one"), "line 2 of a FRED-MD file holds codes"),
        (GOOD.replace("2/1/1959", "1959"), "line 4 of a FRED-MD file cannot be read"),
        (GOOD.replace("1.5", "."), "line 3 of a FRED-MD file cannot be read"),
        (GOOD.replace(",3e2", ""), "line 4 has 1 values for 2 series"),
        (GOOD.replace(":,1,5", ":,1"), "1 codes for 2 series"),
    ):
        with pytest.raises(ValueError, match=sentence):
            fred_md.parse(text)


@pytest.mark.parametrize("name", FILES)
def test_the_table_equals_the_line_in_the_real_files(shared_data: Path, name: str) -> None:
    real = panel(shared_data, name)
    assert len(real.names) == 127
    table = fred_md.codes()
    assert {series: table[series] for series in real.names} == dict(zip(real.names, real.codes, strict=True))


def test_real_months_transformed_by_hand(shared_data: Path) -> None:
    real = panel(shared_data, FILES[1])
    assert (real.dates[0].isoformat(), real.dates[-1].isoformat(), len(real.dates)) == ("1959-01-01", "2022-12-01", 768)
    moved = transform_panel(real.levels, real.codes)
    place = {series: column for column, series in enumerate(real.names)}
    # Real personal income 17776.251 in November and 17806.643 in December 2022: log change 0.0017082.
    assert moved[-1, place["RPI"]] == pytest.approx(math.log(17806.643 / 17776.251), abs=1e-12)
    assert moved[-1, place["RPI"]] == pytest.approx(0.0017082, abs=1e-7)
    # Two lags at the most are lost, and nothing that was there beyond them.
    assert np.isfinite(moved[2:, place["INDPRO"]]).all()
    marked = outliers(moved)
    share = float(marked.sum() / np.isfinite(moved).sum())
    assert 0.0005 < share < 0.005
    # The months of the shutdown are among them, in what was shut.
    april = real.dates.index(real.dates[0].replace(year=2020, month=4))
    assert all(marked[april, place[series]] for series in ("PAYEMS", "UNRATE", "INDPRO", "CE16OV"))
