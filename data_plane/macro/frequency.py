"""How often a series comes: its frequency, the period that an observation covers, when the next one is due, and whether it has ended.

FRED dates an observation of a month or longer by its period's first day, but one of a week or two by the day on which it *ends* (WGS10YR,
"Weekly, Ending Friday", carries Fridays), and a day by itself.
Source: https://fred.stlouisfed.org/docs/api/fred/series.html (frequency, title, observation_end), and the real series.
"""

from __future__ import annotations

import calendar
import itertools
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import Enum
from statistics import median
from typing import NamedTuple

WEEKDAYS = tuple(calendar.day_name)
GAPS = 3.0
LEAST_DAYS = 45
"""A shorter silence proves nothing: when the US government was shut in 2025 its series stood still for 43 days."""
# Days from the end of a period to its release where nothing is known of the series: the slowest of the usual ones, so that a
# late release is not taken for the end. A day's rates come the next days; GDP a month, some quarterly accounts three months later.
USUAL_LAG = {"D": 7, "W": 14, "BW": 14, "M": 75, "Q": 135, "SA": 200, "A": 550}


class Kind(Enum):
    """Frequencies of FRED by its own short code, with months (months and longer) or days (shorter) a period."""

    DAILY = ("D", 0, 1)
    WEEKLY = ("W", 0, 7)
    BIWEEKLY = ("BW", 0, 14)
    MONTHLY = ("M", 1, 0)
    QUARTERLY = ("Q", 3, 0)
    SEMIANNUAL = ("SA", 6, 0)
    ANNUAL = ("A", 12, 0)

    def __init__(self, code: str, months: int, days: int) -> None:
        self.code = code
        self.months = months
        self.days = days


_BY_WORD = {
    "daily": Kind.DAILY, "weekly": Kind.WEEKLY, "biweekly": Kind.BIWEEKLY, "monthly": Kind.MONTHLY, "quarterly": Kind.QUARTERLY,
    "semiannual": Kind.SEMIANNUAL, "annual": Kind.ANNUAL,
}  # fmt: skip
_BY_MONTHS = {kind.months: kind for kind in Kind if kind.months}


class Period(NamedTuple):
    """Days that an observation covers, both inclusive."""

    first: date
    last: date


@dataclass(frozen=True, slots=True)
class Frequency:
    """How often observations come.

    `weekends` tells a daily series that has values on Saturdays and Sundays; `ending` is the weekday (0 Monday) on which the weeks
    of a weekly or biweekly series end, None where it is not known or makes no sense.
    """

    kind: Kind
    weekends: bool = False
    ending: int | None = None

    @property
    def usual_days(self) -> float:
        """Calendar days between two observations."""
        return self.kind.days or self.kind.months * 365.25 / 12.0

    def period(self, observation: date) -> Period:
        """The days that an observation of this date covers."""
        if self.kind.months:
            return Period(observation, _months_later(observation, self.kind.months) - timedelta(days=1))
        return Period(observation - timedelta(days=self.kind.days - 1), observation)

    def following(self, observation: date) -> date:
        """Date of the next observation; for business days holidays are not known, so a holiday counts as one."""
        if self.kind.months:
            return _months_later(observation, self.kind.months)
        found = observation + timedelta(days=self.kind.days)
        while self.kind is Kind.DAILY and not self.weekends and found.weekday() >= 5:
            found += timedelta(days=1)
        return found


def from_fred(text: str) -> Frequency | None:
    """FRED's words ("Weekly, Ending Friday", "Daily, 7-Day", "Quarterly, End of Period"); None for "Not Applicable" and others."""
    word, _, rest = text.partition(",")
    kind = _BY_WORD.get(word.strip().lower())
    if kind is None:
        return None
    ending = None
    if kind in (Kind.WEEKLY, Kind.BIWEEKLY):
        named = [place for place, name in enumerate(WEEKDAYS) if re.search(rf"\b{name}\b", rest)]
        ending = named[0] if named else None
    return Frequency(kind, "7-Day" in rest, ending)


def infer(observations: Sequence[date]) -> Frequency | None:
    """Frequency from observation dates alone, in any order; gaps and repeats do no harm. None for fewer than three or no clear pattern.

    Missing values are dates too: leave them in.
    """
    days = sorted(set(observations))
    if len(days) < 3:
        return None
    gaps = [(later - earlier).days for earlier, later in itertools.pairwise(days)]
    usual = median(gaps)
    if all(day.day == 1 for day in days) and usual >= 28:
        months = [_months_between(earlier, later) for earlier, later in itertools.pairwise(days)]
        kind = _BY_MONTHS.get(round(median(months)))
        return None if kind is None or any(step % kind.months for step in months) else Frequency(kind)
    if usual <= 1:
        return Frequency(Kind.DAILY, weekends=any(day.weekday() >= 5 for day in days))
    (weekday, count), *_ = Counter(day.weekday() for day in days).most_common(1)
    for kind in (Kind.WEEKLY, Kind.BIWEEKLY):
        # A holiday may move single dates of the week.
        if usual == kind.days and count >= 0.9 * len(days):
            return Frequency(kind, ending=weekday)
    return None


def release_lag(frequency: Frequency, first_prints: Iterable[tuple[date, date]]) -> float:
    """Median days from a period's last day to its release, of (observation, release date); negative for a preliminary value.

    Raises ValueError when there is not one.
    """
    lags = [(released - frequency.period(observation).last).days for observation, released in first_prints]
    if not lags:
        raise ValueError("no first print is known, so no lag can be told; take the vintages of the series first")
    return median(lags)


def expected_release(frequency: Frequency, newest: date, lag_days: float | None = None) -> date:
    """When the observation after `newest` is due; without a measured lag, the slowest that is usual for the frequency."""
    lag = USUAL_LAG[frequency.kind.code] if lag_days is None else lag_days
    return frequency.period(frequency.following(newest)).last + timedelta(days=round(lag))


def days_overdue(frequency: Frequency, newest: date, today: date, lag_days: float | None = None) -> int:
    """Days since the next observation was due; negative while it is not due yet."""
    return (today - expected_release(frequency, newest, lag_days)).days


def discontinued(
    title: str,
    frequency: Frequency | None,
    newest: date,
    today: date,
    lag_days: float | None = None,
    gaps: float = GAPS,
) -> str:
    """Why a series is taken to have ended, in one sentence, or an empty text.

    Its title says so, or the next observation is overdue by more than `gaps` usual gaps and by more than 45 days. `newest` is the date of
    its last observation (FRED's observation_end).
    """
    if re.search(r"\bDISCONTINUED\b", title):
        return f"its title says DISCONTINUED; its last observation is of {newest}"
    if frequency is None:
        return ""
    overdue = days_overdue(frequency, newest, today, lag_days)
    if overdue <= max(gaps * frequency.usual_days, LEAST_DAYS):
        return ""
    due = expected_release(frequency, newest, lag_days)
    return f"nothing came since the observation of {newest}; the next was due by {due}, {overdue} days ago"


def _months_between(earlier: date, later: date) -> int:
    return (later.year - earlier.year) * 12 + later.month - earlier.month


def _months_later(day: date, months: int) -> date:
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    return date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))
