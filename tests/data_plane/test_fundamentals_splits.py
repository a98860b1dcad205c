"""Values a share and counts of shares on one basis, by given splits or by what was restated."""

from __future__ import annotations

import pytest

from data_plane.fundamentals import shares
from data_plane.fundamentals.evaluation import Basis
from data_plane.fundamentals.shares import ShareBasis, Split, SplitError
from data_plane.observations import Filing
from tests.data_plane.fundamentals_support import (
    company,
    day,
    filing,
    usd,
    value,
)

# Splits


def test_a_share_basis_multiplies_what_lies_between() -> None:
    basis = ShareBasis((Split(10, 2), Split(20, 3)), (10, 18), "given")
    assert basis.factor(5, 9) == 1
    assert basis.factor(5, 10) == 2
    assert basis.factor(5, 25) == 6
    assert basis.factor(12, 25) == 3
    assert basis.factor(19, 25) == 1
    assert basis.factor(19, 19) == pytest.approx(1 / 3), "counted in shares that do not trade yet"
    assert shares.rebase(12.0, "USD/shares", 3) == 4
    assert shares.rebase(12.0, "shares", 3) == 36
    assert shares.rebase(12.0, "USD", 3) == 12


def per_share(accession: str, available: str, eps: float, count: float, form: str = "10-K") -> Filing:
    """EPS and share counts of 2022."""
    year = ("2022-01-01", "2022-12-31")
    return filing(
        accession,
        available,
        form,
        [
            ("EarningsPerShareDiluted", "USD/shares", *year, eps),
            ("EarningsPerShareBasic", "USD/shares", *year, eps),
            ("WeightedAverageNumberOfDilutedSharesOutstanding", "shares", *year, count),
            usd("NetIncomeLoss", *year, 100),
        ],
    )


def test_a_split_read_from_a_restatement() -> None:
    made = company(per_share("a", "2023-02-01", 4.00, 25.0), per_share("b", "2023-08-01", 1.00, 100.0, "10-Q"))
    basis = made.at(day("2023-08-01")).reported.share_basis
    assert basis.splits == (Split(day("2023-08-01"), 4),)
    assert not made.at(day("2023-07-31")).reported.share_basis.splits
    assert value(made, "2023-08-01", "eps_diluted", Basis.YEAR).value == 1.0


def test_a_reverse_split_and_one_seen_once_only() -> None:
    made = company(
        per_share("a", "2023-02-01", 0.20, 1000.0),
        per_share("b", "2023-08-01", 2.00, 100.0, "10-Q"),
        per_share("c", "2023-11-01", 2.00, 100.0, "10-Q"),
    )
    assert [split.ratio for split in made.at(day("2023-12-01")).reported.share_basis.splits] == [pytest.approx(0.1)]


@pytest.mark.parametrize(
    ("eps", "count"),
    [
        (3.0, 25.0),  # earnings corrected, not the shares
        (4.0, 100.0),  # shares corrected, not the earnings
        (2.0, 25.0),  # half the earnings alone
        (0.02, 5000.0),  # too small a value to tell a ratio
        (4.0, 25_000.0),  # a count in another scale
        (3.92, 25.5),  # shares corrected by 2 %, and so the earnings a share
    ],
)
def test_what_is_no_split(eps: float, count: float) -> None:
    made = company(per_share("a", "2023-02-01", 4.0, 25.0), per_share("b", "2023-08-01", eps, count, "10-K/A"))
    assert not made.at(day("2023-08-01")).reported.share_basis.splits


@pytest.mark.parametrize("ratio", [1.1, 5.88])
def test_an_unusual_ratio_is_that_of_the_counts(ratio: float) -> None:
    eps, count = round(4.0 / ratio, 2), 25e6 * ratio
    made = company(per_share("a", "2023-02-01", 4.0, 25e6), per_share("b", "2023-08-01", eps, count, "10-Q"))
    assert [split.ratio for split in made.at(day("2023-08-01")).reported.share_basis.splits] == [pytest.approx(ratio)]


def test_a_ratio_that_most_changes_do_not_have_is_no_split() -> None:
    year = ("2022-01-01", "2022-12-31")
    others = ("IncrementalCommonShares", "TreasuryStockShares", "CommonStockSharesIssued", "PreferredStockSharesIssued")
    old, new = per_share("a", "2023-02-01", 4.0, 25.0), per_share("b", "2023-08-01", 1.0, 100.0, "10-Q")
    rows = [
        [(concept, "shares", *year, 50.0 * (place + 5) ** power) for place, concept in enumerate(others)]
        for power in (1, 2)
    ]
    made = company(old, new, filing("a", "2023-02-01", "10-K", rows[0]), filing("b", "2023-08-01", "10-Q", rows[1]))
    assert not made.at(day("2023-08-01")).reported.share_basis.splits


def test_earnings_alone_make_no_split() -> None:
    year = ("2022-01-01", "2022-12-31")
    concepts = ("EarningsPerShareDiluted", "EarningsPerShareBasic", "IncomeLossFromContinuingOperationsPerDilutedShare")
    made = company(
        *(
            filing(accession, available, "10-K", [(concept, "USD/shares", *year, eps) for concept in concepts])
            for accession, available, eps in (("a", "2023-02-01", 4.0), ("b", "2023-08-01", 2.0))
        )
    )
    assert not made.at(day("2023-08-01")).reported.share_basis.splits


def test_a_count_in_another_scale_is_left_out() -> None:
    concept = "WeightedAverageNumberOfDilutedSharesOutstanding"
    years = [(concept, "shares", f"{year}-01-01", f"{year}-12-31", 25e6) for year in (2019, 2020, 2021)]
    made = company(
        filing("o", "2022-02-01", "10-K", years),
        per_share("a", "2023-02-01", 4.0, 25e6),
        per_share("b", "2023-08-01", 4.0, 25.0, "10-K/A"),
    )
    found = value(made, "2023-08-01", "shares_diluted", Basis.YEAR)
    assert (found.value, found.available) == (25e6, day("2023-02-01"))


def test_given_splits_and_a_filing_ahead_of_the_ex_date() -> None:
    old, new = per_share("a", "2023-02-01", 4.00, 25.0), per_share("b", "2023-08-01", 1.00, 100.0, "10-Q")
    split = Split(day("2023-08-20"), 4)
    made = company(old, new, per_share("c", "2023-11-01", 1.00, 100.0, "10-Q"), splits=[split])
    # From 1 August the filings count in new shares; the market does from the 20th.
    for time, expected in (("2023-07-31", 4.0), ("2023-08-01", 4.0), ("2023-08-20", 1.0), ("2023-11-01", 1.0)):
        assert value(made, time, "eps_diluted", Basis.YEAR).value == expected
    assert not made.at(day("2023-11-01")).reported.share_basis.notes
    assert made.at(day("2023-07-31")).reported.share_basis.books == (split.time,), "not known before the filing"
    (note,) = company(old, new, splits=[]).at(day("2023-08-01")).reported.share_basis.notes
    assert "b restates 3 facts by 4:1" in note
    with pytest.raises(SplitError, match="positive number"):
        company(old, splits=[Split(1, 0)]).at(day("2023-08-01"))


def test_reverse_splits_are_told_as_such() -> None:
    old, new = per_share("a", "2023-02-01", 0.40, 250.0), per_share("b", "2023-08-01", 4.00, 25.0, "10-Q")
    (note,) = company(old, new).at(day("2023-08-01")).reported.share_basis.notes
    assert "split 1:10" in note
