"""Probabilistic Sharpe ratio and minimum track record length.

Source: D. Bailey, M. Lopez de Prado (2012), "The Sharpe Ratio Efficient Frontier", Journal of Risk 15(2). All Sharpe ratios here are
per observation (not annualised); kurtosis is the plain one, 3 for a normal distribution.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import NormalDist

_NORMAL = NormalDist()


def sharpe_sd(sharpe: float, observations: int, skew: float = 0.0, kurtosis: float = 3.0) -> float:
    """Standard deviation of the estimated Sharpe ratio: sqrt((1 - skew SR + (kurt - 1)/4 SR^2) / (n - 1)); paper, eq. 8.

    Raises ValueError below two observations. The bracket is positive for every distribution (kurt >= 1 + skew^2); rounding is
    guarded by a floor at zero.
    """
    if observations < 2:
        raise ValueError(f"{observations} observations are too few for a Sharpe ratio; at least 2 are needed")
    variance = 1.0 - skew * sharpe + (kurtosis - 1.0) / 4.0 * sharpe * sharpe
    return math.sqrt(max(variance, 0.0) / (observations - 1))


def psr(sharpe: float, benchmark: float, observations: int, skew: float = 0.0, kurtosis: float = 3.0) -> float:
    """Probability that the true Sharpe ratio exceeds `benchmark`; paper, eq. 9. In [0, 1]."""
    sd = sharpe_sd(sharpe, observations, skew, kurtosis)
    if sd == 0.0:
        return 1.0 if sharpe > benchmark else 0.0 if sharpe < benchmark else 0.5
    return _NORMAL.cdf((sharpe - benchmark) / sd)


def minimum_track_record(
    sharpe: float, benchmark: float, confidence: float, skew: float = 0.0, kurtosis: float = 3.0
) -> float:
    """Observations after which `sharpe` exceeds `benchmark` with `confidence`; infinite when it does not exceed it. Paper, eq. 11."""
    if not sharpe > benchmark:
        return math.inf
    variance = 1.0 - skew * sharpe + (kurtosis - 1.0) / 4.0 * sharpe * sharpe
    return 1.0 + variance * (_NORMAL.inv_cdf(confidence) / (sharpe - benchmark)) ** 2


@dataclass(slots=True)
class Moments:
    """Running count, mean and central power sums of returns (fractions), so that a track record needs no list.

    Update formulas: P. Pebay (2008), "Formulas for Robust, One-Pass Parallel Computation of Covariances and Arbitrary-Order
    Statistical Moments", Sandia report SAND2008-6212.
    """

    n: int = 0
    mean: float = 0.0
    m2: float = 0.0
    m3: float = 0.0
    m4: float = 0.0

    def add(self, value: float) -> None:
        """Take one return; a value that is not finite raises ValueError."""
        if not math.isfinite(value):
            raise ValueError(f"return {value!r} is not a finite number; leave the session out")
        before = self.n
        self.n += 1
        delta = value - self.mean
        step = delta / self.n
        square = step * step
        term = delta * step * before
        self.mean += step
        self.m4 += term * square * (self.n * self.n - 3 * self.n + 3) + 6.0 * square * self.m2 - 4.0 * step * self.m3
        self.m3 += term * step * (self.n - 2) - 3.0 * step * self.m2
        self.m2 += term

    @property
    def sd(self) -> float:
        """Sample standard deviation (n - 1); 0 below two returns."""
        return math.sqrt(self.m2 / (self.n - 1)) if self.n > 1 else 0.0

    @property
    def skew(self) -> float:
        """Skewness; 0 when returns do not vary."""
        return math.sqrt(self.n) * self.m3 / self.m2**1.5 if self.m2 > 0.0 else 0.0

    @property
    def kurtosis(self) -> float:
        """Kurtosis (3 for a normal); 3 when returns do not vary."""
        return self.n * self.m4 / (self.m2 * self.m2) if self.m2 > 0.0 else 3.0

    @property
    def sharpe(self) -> float:
        """Mean over standard deviation per observation; 0 when returns do not vary."""
        sd = self.sd
        return self.mean / sd if sd > 0.0 else 0.0

    def psr(self, benchmark: float) -> float:
        """PSR of the returns so far against `benchmark` (per observation)."""
        return psr(self.sharpe, benchmark, self.n, self.skew, self.kurtosis)


def moments(returns: Iterable[float]) -> Moments:
    """Moments of a whole series."""
    result = Moments()
    for value in returns:
        result.add(value)
    return result
