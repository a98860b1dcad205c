"""The audit on made histories, where the fault and its bars are known exactly."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_plane.audit import findings as kinds
from data_plane.audit.detector import audit
from data_plane.audit.findings import Finding
from data_plane.audit.scoring import repaired, truth
from data_plane.audit.series import DAY_NS, PriceSeries, usual_move
from data_plane.observations import CLOSE, HIGH, LOW, OPEN, VOLUME

BARS = 250


def made(
    seed: int, bars: int = BARS, volatility: float = 0.012, shocks: dict[int, float] | None = None, tails: int = 0
) -> PriceSeries:
    """A random walk, opens between closes and ranges around both; `shocks` are log returns of single bars that stay.

    Returns are normal, so that a test with any seed is exact; `tails` (degrees of freedom) makes them as fat as real ones.
    """
    random = np.random.default_rng(seed)
    returns = volatility * (
        random.standard_t(tails, bars) / np.sqrt(tails / (tails - 2)) if tails else random.normal(size=bars)
    )
    for place, size in (shocks or {}).items():
        returns[place] = size
    close = 50.0 * np.exp(np.cumsum(returns))
    opening = np.r_[50.0, close[:-1]] * np.exp(returns * random.uniform(0.2, 0.8, bars))
    high = np.maximum(opening, close) * np.exp(np.abs(random.normal(0, volatility / 2, bars)))
    low = np.minimum(opening, close) * np.exp(-np.abs(random.normal(0, volatility / 2, bars)))
    zeros = np.zeros(bars)
    times = (np.arange(bars) + 19_000) * DAY_NS
    volume = random.uniform(5e5, 2e6, bars)
    return PriceSeries(times, np.stack([opening, high, low, close], axis=1), volume, close.copy(), zeros, zeros)


def with_dividends(series: PriceSeries, paid: dict[int, float], taken: dict[int, float] | None = None) -> PriceSeries:
    """Pay dividends (shares of the price before): the price falls by them, and the adjusted closes contain `taken` (else all)."""
    prices, dividends = series.prices.copy(), np.zeros(len(series))
    for place, share in sorted(paid.items()):
        dividends[place] = share * prices[place - 1, CLOSE]
        prices[place:] *= 1.0 - share
    adjusted = prices[:, CLOSE].copy()
    for place, share in (paid if taken is None else taken).items():
        adjusted[:place] *= 1.0 - share
    return replace(series, prices=prices, dividends=dividends, adjusted=adjusted)


def kinds_of(series: PriceSeries) -> list[tuple[str, int]]:
    return [(finding.kind, finding.place) for finding in audit(series).findings]


@given(seed=st.integers(0, 2**32 - 1), volatility=st.sampled_from([0.006, 0.012, 0.03]))
@settings(max_examples=60, deadline=None)
def test_a_history_without_faults_raises_none(seed: int, volatility: float) -> None:
    series = made(seed, volatility=volatility)
    assert kinds_of(series) == []
    paying = with_dividends(series, {40: 0.008, 100: 0.012, 160: 0.01, 220: 0.03})
    assert kinds_of(paying) == []


def test_fat_tails_alone_raise_next_to_nothing() -> None:
    found = sum(len(kinds_of(made(seed, bars=1000, tails=4))) for seed in range(100))
    assert found <= 0.0005 * 100 * 1000


@given(seed=st.integers(0, 2**32 - 1), first=st.integers(1, 200), length=st.integers(1, 30), up=st.booleans())
@settings(max_examples=60, deadline=None)
def test_a_stretch_in_the_wrong_unit_is_found_to_the_bar_and_mended(
    seed: int, first: int, length: int, up: bool
) -> None:
    series = made(seed)
    broken = series.scaled(slice(first, first + length), 100.0 if up else 0.01, volume=False)
    result = audit(broken)
    assert [(f.kind, f.first, f.last) for f in result.findings] == [(kinds.UNIT_100X, first, first + length - 1)]
    np.testing.assert_allclose(result.mended.prices, series.prices)
    assert truth(broken, series) is not None


@given(
    seed=st.integers(0, 2**32 - 1),
    ratio=st.sampled_from([0.1, 0.25, 0.5, 2.0, 3.0, 7.0, 20.0]),
    late=st.integers(-5, 5),
    twice=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_bars_left_out_of_a_split_are_found_and_mended(seed: int, ratio: float, late: int, twice: bool) -> None:
    series = made(seed)
    place = 150
    splits = np.zeros(len(series))
    splits[place] = ratio
    series = replace(series, splits=splits)
    assert kinds_of(series) == []
    wrong = 1.0 / ratio if twice else ratio
    broken = series.scaled(slice(0, place + late), wrong, volume=True)
    result = audit(broken)
    expected = kinds.SPLIT_APPLIED_TWICE if twice else kinds.SPLIT_NOT_APPLIED
    assert [(f.kind, f.first, f.last) for f in result.findings] == [(expected, 0, place + late - 1)]
    np.testing.assert_allclose(result.mended.prices, series.prices)
    np.testing.assert_allclose(result.mended.volume, series.volume)


@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.sampled_from([-0.9, -0.5, -0.3, 0.4, 0.9]),
    news=st.sampled_from([5.0, 12.0]),
)
@settings(max_examples=60, deadline=None)
def test_a_crash_or_a_takeover_is_no_fault(seed: int, size: float, news: float) -> None:
    series = made(seed, shocks={120: size})
    volume = series.volume.copy()
    volume[120] *= news
    assert kinds_of(replace(series, volume=volume)) == []


def test_a_split_without_a_record_shows_by_its_ratio_and_its_quiet_turnover() -> None:
    series = made(3, shocks={120: 0.004})
    raw = series.scaled(slice(0, 120), 4.0, volume=True)
    assert kinds_of(raw) == [(kinds.SPLIT_NOT_RECORDED, 120)]
    # Of no split's ratio: told, and no fault.
    odd = series.scaled(slice(0, 120), 3.4, volume=True)
    assert kinds_of(odd) == []
    assert [note.kind for note in audit(odd).notes] == [kinds.LEVEL_SHIFT]


@given(seed=st.integers(0, 2**32 - 1), place=st.integers(5, 240), size=st.sampled_from([-0.3, -0.15, 0.15, 0.3]))
@settings(max_examples=60, deadline=None)
def test_a_row_of_another_day_is_found(seed: int, place: int, size: float) -> None:
    series = made(seed, volatility=0.008)
    assert kinds_of(series.scaled(slice(place, place + 1), float(np.exp(size)), volume=False)) == [
        (kinds.PRICE_SPIKE, place)
    ]


@pytest.mark.parametrize(
    ("column", "factor", "kind"),
    [
        (HIGH, 0.7, kinds.PRICE_IMPOSSIBLE),
        (LOW, 1.4, kinds.PRICE_IMPOSSIBLE),
        (CLOSE, 0.5, kinds.PRICE_IMPOSSIBLE),
        (OPEN, -1.0, kinds.PRICE_IMPOSSIBLE),
        (CLOSE, np.nan, kinds.PRICE_IMPOSSIBLE),
        (LOW, 0.0, kinds.PRICE_IMPOSSIBLE),
        (HIGH, 3.0, kinds.PRICE_SPIKE),
        (LOW, 0.2, kinds.PRICE_SPIKE),
        (LOW, 0.01, kinds.UNIT_100X),
    ],
)
def test_one_price_of_a_bar_that_cannot_be_is_found(column: int, factor: float, kind: str) -> None:
    series = made(7)
    prices = series.prices.copy()
    prices[80, column] *= factor
    assert kinds_of(replace(series, prices=prices)) == [(kind, 80)]


def test_a_wick_that_may_be_real_is_a_note() -> None:
    series = made(7)
    prices = series.prices.copy()
    prices[80, LOW] *= 0.6
    result = audit(replace(series, prices=prices))
    assert result.findings == ()
    assert [(note.kind, note.place) for note in result.notes] == [(kinds.PRICE_STRAY, 80)]


def test_marks_at_which_nobody_traded_are_notes_and_stay_as_they_came() -> None:
    series = made(9).scaled(slice(100, 104), 0.01, volume=False)
    volume = series.volume.copy()
    volume[100:104] = 0.0
    result = audit(replace(series, volume=volume))
    assert result.findings == ()
    assert [(note.kind, note.first, note.last) for note in result.notes] == [(kinds.UNIT_100X, 100, 103)]
    np.testing.assert_allclose(result.mended.prices, series.prices)


def test_negative_volume_is_impossible() -> None:
    series = made(9)
    volume = series.volume.copy()
    volume[33] = -1.0
    findings = audit(replace(series, volume=volume)).notes + audit(replace(series, volume=volume)).findings
    assert [(finding.kind, finding.place) for finding in findings] == [(kinds.PRICE_IMPOSSIBLE, 33)]


@pytest.mark.parametrize("traded", [True, False])
@pytest.mark.parametrize("column", [HIGH, VOLUME])
def test_what_contradicts_itself_is_a_fault_in_a_mark_as_well(column: int, traded: bool) -> None:
    """High and low exchanged half a per cent around one price, within a usual move and among bars that trade there; less than no volume."""
    series = made(9)
    prices, volume = series.prices.copy(), series.volume.copy()
    volume[33] = 1e6 if traded else 0.0
    if column == HIGH:
        prices[33] = prices[32, CLOSE] * np.array([1.0, 0.995, 1.005, 1.0])
    else:
        volume[33] = -1.0
    result = audit(replace(series, prices=prices, volume=volume))
    assert [(finding.kind, finding.place) for finding in result.findings] == [(kinds.PRICE_IMPOSSIBLE, 33)]
    assert ("HIGH_BELOW_LOW" if column == HIGH else "VOLUME_NEGATIVE") in result.findings[0].detail


# -- dividends ------------------------------------------------------------------------------------------------------------------
PAID = {40: 0.03, 100: 0.025, 160: 0.03, 220: 0.028}


def test_a_dividend_that_the_adjusted_closes_lack_is_found_and_mended() -> None:
    series = with_dividends(made(11), PAID)
    broken = with_dividends(made(11), PAID, {place: share for place, share in PAID.items() if place != 160})
    result = audit(broken)
    assert [(f.kind, f.place) for f in result.findings] == [(kinds.DIVIDEND_NOT_ADJUSTED, 160)]
    assert result.mended.adjusted is not None
    assert series.adjusted is not None
    np.testing.assert_allclose(result.mended.adjusted, series.adjusted)


def test_adjusted_closes_with_a_hundredth_of_each_dividend_are_found_and_mended() -> None:
    series = with_dividends(made(12), PAID)
    broken = with_dividends(made(12), PAID, {place: share / 100 for place, share in PAID.items()})
    result = audit(broken)
    assert [(f.kind, f.place) for f in result.findings] == [(kinds.DIVIDEND_MISADJUSTED, place) for place in PAID]
    assert result.mended.adjusted is not None
    assert series.adjusted is not None
    np.testing.assert_allclose(result.mended.adjusted, series.adjusted)


def test_records_of_a_hundredfold_beside_right_adjusted_closes_are_found_and_mended() -> None:
    series = with_dividends(made(13), dict.fromkeys(PAID, 0.003))
    result = audit(replace(series, dividends=series.dividends * 100))
    assert [(f.kind, f.place) for f in result.findings] == [(kinds.DIVIDEND_AMOUNT, place) for place in PAID]
    np.testing.assert_allclose(result.mended.dividends, series.dividends)


def test_one_payment_of_a_hundredfold_that_is_in_record_and_adjustment_shows_by_the_price() -> None:
    series = with_dividends(made(14), {100: 0.004})
    dividends, adjusted = series.dividends * 100, series.close.copy()
    adjusted[:100] *= 1.0 - 0.4
    result = audit(replace(series, dividends=dividends, adjusted=adjusted))
    assert [(f.kind, f.place) for f in result.findings] == [(kinds.DIVIDEND_AMOUNT, 100)]
    np.testing.assert_allclose(result.mended.dividends, series.dividends)
    assert result.mended.adjusted is not None
    assert series.adjusted is not None
    np.testing.assert_allclose(result.mended.adjusted, series.adjusted)


def test_payments_of_a_hundredth_show_when_the_price_falls_by_more_again_and_again() -> None:
    places = range(20, 240, 20)
    series = with_dividends(made(15, volatility=0.006), dict.fromkeys(places, 0.02))
    small = dict.fromkeys(places, 0.0002)
    adjusted = series.close.copy()
    for place, share in small.items():
        adjusted[:place] *= 1.0 - share
    result = audit(replace(series, dividends=series.dividends / 100, adjusted=adjusted))
    assert [(f.kind, f.place) for f in result.findings] == [(kinds.DIVIDEND_AMOUNT, place) for place in places]
    np.testing.assert_allclose(result.mended.dividends, series.dividends)


def test_small_payments_that_are_small_stay() -> None:
    """A share of 0.01 % of the price a quarter is paid by some; the price says nothing of it."""
    places = range(20, 240, 20)
    wrong = 0
    for seed in range(40):
        wrong += bool(kinds_of(with_dividends(made(seed), dict.fromkeys(places, 0.0001))))
    assert wrong <= 1


def test_a_dividend_in_old_shares_on_the_day_of_a_split_is_found_and_mended() -> None:
    series = with_dividends(made(16), {100: 0.01})
    splits, dividends = np.zeros(len(series)), series.dividends.copy()
    splits[100] = 5.0
    dividends[100] *= 5.0
    result = audit(replace(series, splits=splits, dividends=dividends))
    assert [(f.kind, f.place) for f in result.findings] == [(kinds.DIVIDEND_AMOUNT, 100)]
    np.testing.assert_allclose(result.mended.dividends, series.dividends)


def test_one_dividend_on_record_twice_is_found() -> None:
    series = with_dividends(made(17, volatility=0.008), {100: 0.07})
    dividends = series.dividends.copy()
    dividends[102] = dividends[100] * 1.05
    assert series.adjusted is not None
    adjusted = series.adjusted.copy()
    adjusted[:102] *= 1.0 - dividends[102] / series.close[101]
    result = audit(replace(series, dividends=dividends, adjusted=adjusted))
    assert [(f.kind, f.place) for f in result.findings] == [(kinds.DIVIDEND_REPEATED, 102)]
    assert result.mended.adjusted is not None
    np.testing.assert_allclose(result.mended.adjusted, series.adjusted)


def test_a_dividend_a_day_early_is_found_and_left_to_a_person() -> None:
    series = with_dividends(made(18, volatility=0.008), {100: 0.12})
    dividends = np.zeros(len(series))
    dividends[99] = series.dividends[100]
    adjusted = series.close.copy()
    adjusted[:99] *= 1.0 - dividends[99] / series.close[98]
    result = audit(replace(series, dividends=dividends, adjusted=adjusted))
    assert [(f.kind, f.place, f.repair) for f in result.findings] == [(kinds.DIVIDEND_DATE, 99, "")]


def test_amounts_are_judged_by_the_price_alone_without_adjusted_closes() -> None:
    series = with_dividends(made(19), {100: 0.004})
    assert kinds_of(replace(series, adjusted=None)) == []
    result = audit(replace(series, adjusted=None, dividends=series.dividends * 100))
    assert [(f.kind, f.place) for f in result.findings] == [(kinds.DIVIDEND_AMOUNT, 100)]
    assert result.mended.adjusted is None


@pytest.mark.parametrize("tail", [1, 2, 4])
@pytest.mark.parametrize("factor", [100.0, 0.01])
def test_the_last_bars_on_a_new_level_are_named_and_nothing_is_repaired(tail: int, factor: float) -> None:
    """The commonest case of a live system: which side is wrong shows only later."""
    series = made(21).scaled(slice(BARS - tail, BARS), factor, volume=False)
    result = audit(series)
    assert [(f.kind, f.first, f.last, f.repair) for f in result.findings] == [
        (kinds.UNIT_100X, BARS - tail, BARS - 1, "")
    ]
    np.testing.assert_array_equal(result.mended.prices, series.prices)


@pytest.mark.parametrize("volatility", [0.008, 0.012, 0.02])
@pytest.mark.parametrize(("size", "ratio"), [(0.5, 2.0), (1 / 3, 3.0), (0.8, 1.25)])
def test_a_crash_by_a_splits_ratio_far_from_the_split_is_a_crash(volatility: float, size: float, ratio: float) -> None:
    for seed in range(10):
        series = made(seed, volatility=volatility, shocks={100: float(np.log(size))})
        splits, volume = np.zeros(BARS), series.volume.copy()
        splits[220] = ratio
        volume[100] *= 8.0
        assert kinds_of(replace(series, splits=splits, volume=volume)) == [], seed


@pytest.mark.parametrize(("size", "ratio"), [(0.8, 1.25), (0.67, 1.5), (0.5, 2.0)])
def test_a_crash_on_news_near_a_split_is_a_crash(size: float, ratio: float) -> None:
    for seed in range(10):
        series = made(seed, shocks={100: float(np.log(size))})
        splits, volume = np.zeros(BARS), series.volume.copy()
        splits[106] = ratio
        volume[100] *= 12.0
        assert kinds_of(replace(series, splits=splits, volume=volume)) == [], seed


def test_a_small_step_beside_a_split_is_told_and_not_repaired() -> None:
    """Whether it was the split or a day's move nobody can tell from the prices."""
    series = made(5, shocks={100: float(np.log(0.8))})
    splits = np.zeros(BARS)
    splits[104] = 1.25
    result = audit(replace(series, splits=splits))
    assert [(f.kind, f.repair) for f in result.findings] == [(kinds.SPLIT_NOT_APPLIED, "")]
    np.testing.assert_array_equal(result.mended.prices, series.prices)


def test_a_fault_of_the_adjusted_closes_alone_leaves_the_prices_alone() -> None:
    series = made(22)
    assert series.adjusted is not None
    adjusted = series.adjusted.copy()
    adjusted[100:110] *= 100.0
    result = audit(replace(series, adjusted=adjusted))
    (finding,) = result.findings
    assert (finding.kind, finding.first, finding.last, finding.repair) == (kinds.UNIT_100X, 100, 109, "")
    assert "adjusted closes alone" in finding.detail
    np.testing.assert_array_equal(result.mended.prices, series.prices)
    prices = series.prices.copy()
    prices[100:110] *= 100.0
    (finding,) = audit(replace(series, prices=prices)).findings
    assert (finding.kind, finding.first, finding.last, finding.repair) == (kinds.UNIT_100X, 100, 109, "")


@pytest.mark.parametrize("adjusted", ["none", "nan", "zero"])
def test_a_history_without_volume_or_adjusted_closes_is_judged_all_the_same(adjusted: str) -> None:
    series = made(23).scaled(slice(100, 110), 100.0, volume=False)
    column = {"none": None, "nan": np.full(BARS, np.nan), "zero": np.zeros(BARS)}[adjusted]
    bare = replace(series, volume=np.zeros(BARS), adjusted=column)
    assert kinds_of(bare) == [(kinds.UNIT_100X, 100)]
    assert kinds_of(made(23).scaled(slice(80, 81), 1.4, volume=False)) == [(kinds.PRICE_SPIKE, 80)]
    spiked = replace(made(23).scaled(slice(80, 81), 1.4, volume=False), volume=np.zeros(BARS))
    assert kinds_of(spiked) == [(kinds.PRICE_SPIKE, 80)]


def test_without_volume_a_level_that_halves_is_no_split() -> None:
    series = replace(made(24, shocks={120: float(np.log(0.5))}), volume=np.zeros(BARS))
    assert kinds_of(series) == []
    assert [note.kind for note in audit(series).notes] == [kinds.LEVEL_SHIFT]


def test_a_column_of_splits_of_one_is_a_column_without_splits() -> None:
    series = replace(made(3).scaled(slice(0, 120), 4.0, volume=True), splits=np.ones(BARS))
    assert kinds_of(series) == [(kinds.SPLIT_NOT_RECORDED, 120)]


def test_weekly_payments_are_no_repetitions() -> None:
    paid = dict.fromkeys(range(7, 240, 7), 0.003)  # seven days apart, as the made days have no weekends
    assert kinds_of(with_dividends(made(25), paid)) == []


@pytest.mark.parametrize(("price", "share"), [(50.0, 0.004), (20.0, 0.005), (5.0, 0.01)])
def test_closes_that_are_rounded_to_cents_contain_their_dividends(price: float, share: float) -> None:
    for seed in range(10):
        series = with_dividends(made(seed), dict.fromkeys(range(20, 240, 20), share))
        scale = price / series.close[0]
        assert series.adjusted is not None
        rounded = replace(
            series,
            prices=np.round(series.prices * scale, 2),
            adjusted=np.round(series.adjusted * scale, 2),
            dividends=series.dividends * scale,
        )
        assert [kind for kind, _ in kinds_of(rounded) if kind.startswith("DIVIDEND")] == [], seed


def test_adjustment_by_reinvestment_is_an_adjustment() -> None:
    for seed in range(10):
        paid = dict.fromkeys(range(20, 240, 40), 0.03)
        series = with_dividends(made(seed, volatility=0.03), paid)
        adjusted = series.close.copy()
        for place in paid:
            adjusted[:place] /= 1.0 + series.dividends[place] / series.close[place]
        assert [k for k, _ in kinds_of(replace(series, adjusted=adjusted)) if k == kinds.DIVIDEND_MISADJUSTED] == []


def test_a_close_of_zero_before_a_dividend_is_no_crash() -> None:
    series = made(26)
    prices, dividends = series.prices.copy(), np.zeros(BARS)
    prices[99], dividends[100] = 0.0, 0.5
    for adjusted in (None, series.adjusted):
        found = kinds_of(replace(series, prices=prices, dividends=dividends, adjusted=adjusted))
        assert (kinds.PRICE_IMPOSSIBLE, 99) in found


def test_a_history_of_closes_alone_has_spikes_all_the_same() -> None:
    close = made(27).close[:, None].repeat(4, axis=1)
    close[80] *= 1.4
    assert kinds_of(replace(made(27), prices=close, adjusted=None)) == [(kinds.PRICE_SPIKE, 80)]


def test_many_splits_are_searched_in_good_time() -> None:
    import time

    series = made(28, bars=3000, volatility=0.06)
    splits = np.zeros(3000)
    splits[10::15] = 2.0
    began = time.process_time()
    audit(replace(series, splits=splits))
    assert time.process_time() - began < 10.0


# -- the truth -------------------------------------------------------------------------------------------------------------------
def test_the_class_of_a_fault_is_read_off_the_twin() -> None:
    series = made(29)
    splits = np.zeros(BARS)
    splits[50] = 2.0
    split = replace(series, splits=splits)

    def fault(broken: PriceSeries, twin: PriceSeries) -> str:
        true = truth(broken, twin)
        assert true is not None
        return true.fault

    assert fault(split.scaled(slice(100, 110), 100.0, volume=False), split) == "unit"
    assert fault(split.scaled(slice(0, 45), 2.0, volume=True), split) == "split"
    assert fault(series.scaled(slice(80, 81), 1.4, volume=False), series) == "price"
    prices = series.prices.copy()
    prices[80, LOW] *= 0.2
    assert fault(replace(series, prices=prices), series) == "price"
    assert fault(replace(series, dividends=np.ones(BARS)), series) == "dividend"


@pytest.mark.parametrize(
    ("first", "last", "right"), [(100, 109, True), (101, 109, False), (100, 108, False), (99, 109, False)]
)
def test_a_repair_is_right_when_just_the_wrong_bars_are_mended(first: int, last: int, right: bool) -> None:
    series = made(31)
    broken = series.scaled(slice(100, 110), 100.0, volume=False)
    mended = broken.scaled(slice(first, last + 1), 0.01, volume=False)
    finding = Finding(kinds.UNIT_100X, first, first, last, "", "prices x 0.01", 0.01)
    assert (repaired([finding], mended, series) == [finding]) is right
    assert repaired([replace(finding, repair="")], mended, series) == []


def test_the_amount_of_a_mended_payment_must_be_the_twins() -> None:
    series = with_dividends(made(32), PAID)
    finding = Finding(kinds.DIVIDEND_AMOUNT, 100, 100, 100, "", "dividend 1")
    assert repaired([finding], series, series) == [finding]
    assert repaired([finding], replace(series, dividends=series.dividends * 1.02), series) == []
    assert series.adjusted is not None
    lower = series.adjusted.copy()
    lower[:100] *= 1.002
    assert repaired([finding], replace(series, adjusted=lower), series) == []


# -- the scale ------------------------------------------------------------------------------------------------------------------
def test_the_usual_move_is_the_standard_deviation_whatever_one_bar_did() -> None:
    returns = np.random.default_rng(5).normal(0, 0.02, 4000)
    calm = usual_move(returns)
    returns[2000] = 3.0
    assert np.median(calm) == pytest.approx(0.02, rel=0.05)
    assert np.abs(usual_move(returns) / calm - 1.0).max() < 0.25


def test_the_usual_move_of_a_name_seldom_seen_is_that_of_the_bars_in_which_it_moved() -> None:
    returns = np.zeros(1000)
    returns[5::7] = np.random.default_rng(6).normal(0, 0.03, len(returns[5::7]))
    assert np.median(usual_move(returns)) == pytest.approx(0.03, rel=0.25)
    assert (usual_move(np.zeros(10)) == 0.02).all()


@pytest.mark.parametrize("bars", [1, 2, 3, 5])
def test_a_handful_of_bars_is_audited_without_complaint(bars: int) -> None:
    assert kinds_of(made(1, bars=bars)) == []


def test_a_twin_with_other_bars_is_refused() -> None:
    with pytest.raises(ValueError, match="other bars"):
        truth(made(1), made(1, bars=BARS - 1))
    assert truth(made(1), made(1)) is None
