"""PSR and minimum track record reproduce the numbers of Bailey and Lopez de Prado (2012); moments agree with their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest

from triplane.domain.psr import Moments, minimum_track_record, moments, psr, sharpe_sd


def test_psr_of_the_papers_hedge_fund():
    # 24 monthly returns, Sharpe 0.458 a month (1.59 a year): 98.2 % under normality, 91.3 % with skewness -2.448 and kurtosis 10.164
    assert psr(0.458, 0.0, 24) == pytest.approx(0.982, abs=5e-4)
    assert psr(0.458, 0.0, 24, -2.448, 10.164) == pytest.approx(0.913, abs=5e-4)


@pytest.mark.parametrize(
    ("per_year", "skew", "kurtosis", "years"),
    [(250, 0.0, 3.0, 2.73), (52, 0.0, 3.0, 2.83), (12, 0.0, 3.0, 3.24), (12, -0.72, 5.78, 4.99)],
)
def test_minimum_track_record_of_the_paper(per_year, skew, kurtosis, years):
    # Annualised Sharpe 2 shown to exceed 1 at 95 %
    root = math.sqrt(per_year)
    assert minimum_track_record(2 / root, 1 / root, 0.95, skew, kurtosis) / per_year == pytest.approx(years, abs=6e-3)


def test_psr_at_the_minimum_track_record_is_the_confidence():
    n = minimum_track_record(0.1, 0.03, 0.95, -1.0, 6.0)
    assert psr(0.1, 0.03, round(n), -1.0, 6.0) == pytest.approx(0.95, abs=1e-3)


def test_edges():
    assert minimum_track_record(0.1, 0.1, 0.95) == math.inf
    with pytest.raises(ValueError, match="at least 2"):
        sharpe_sd(0.1, 1)
    # A two-point distribution with all mass above the benchmark has no sampling error left
    assert psr(1.0, 0.5, 10, skew=2.0, kurtosis=5.0) == 1.0
    assert psr(1.0, 1.5, 10, skew=2.0, kurtosis=5.0) == 0.0
    assert psr(1.0, 1.0, 10, skew=2.0, kurtosis=5.0) == 0.5


def test_running_moments_are_the_moments():
    returns = np.random.default_rng(3).standard_t(5, 700) * 0.01 + 0.0004
    m = moments(returns.tolist())
    centred = returns - returns.mean()
    assert m.mean == pytest.approx(returns.mean(), rel=1e-12)
    assert m.sd == pytest.approx(returns.std(ddof=1), rel=1e-12)
    assert m.skew == pytest.approx((centred**3).mean() / (centred**2).mean() ** 1.5, rel=1e-10)
    assert m.kurtosis == pytest.approx((centred**4).mean() / (centred**2).mean() ** 2, rel=1e-10)
    assert m.psr(0.0) == psr(m.sharpe, 0.0, 700, m.skew, m.kurtosis)


def test_moments_of_nothing_and_of_constants():
    assert Moments().sd == 0.0
    flat = moments([0.01, 0.01])
    assert (flat.sharpe, flat.skew, flat.kurtosis) == (0.0, 0.0, 3.0)
    with pytest.raises(ValueError, match="finite"):
        flat.add(math.nan)


def test_false_trips_of_monthly_and_daily_judgement():
    """Why the kill level is expanding and judged monthly: a book with a true Sharpe of 1, two years, level 0.2."""
    rng = np.random.default_rng(11)
    books, days = 300, 504
    daily = monthly = 0
    for _ in range(books):
        returns = rng.normal(1.0 / math.sqrt(252.0), 1.0, days) * 0.01
        m = Moments()
        tripped_daily = tripped_monthly = False
        for day, value in enumerate(returns.tolist(), start=1):
            m.add(value)
            if day >= 63 and not tripped_daily:
                window = returns[day - 63 : day]
                tripped_daily = psr(window.mean() / window.std(ddof=1), 0.0, 63) < 0.2
            if day >= 252 and day % 21 == 0:
                tripped_monthly = tripped_monthly or m.psr(0.0) < 0.2
        daily += tripped_daily
        monthly += tripped_monthly
    assert daily / books > 0.75
    assert monthly / books < 0.12
