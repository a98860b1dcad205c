"""When the world could know: acceptance times of filings and release dates of macro series, read so that nothing is known too early.

EDGAR prints acceptance times that end in "Z". For many filers they are US Eastern wall time all the same, for some they are true UTC,
and some mix. EDGAR accepts filings 06:00-22:00 Eastern, so a reading outside those hours is impossible; where both readings are
possible (or neither is), the later one is taken. Eastern is always the later reading.
Source: measured on real submissions files (quant.md section 1); https://www.sec.gov/submit-filings/filer-support-resources/how-do-i-guides/determine-status-my-filing
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from typing import NamedTuple

from triplane.domain import calendars
from triplane.domain.timestamps import NEW_YORK, at, from_datetime

OPENS, CLOSES = time(6, 0), time(22, 0)
EDGAR_BEGAN, LAST_YEAR = 1993, 2200


class Acceptance(NamedTuple):
    """An acceptance time as ns UTC, and how the text was read: `eastern` or `utc`, and whether only that reading was possible."""

    time: int
    reading: str
    certain: bool


def _possible(moment: datetime) -> bool:
    return OPENS <= moment.astimezone(NEW_YORK).time() < CLOSES


def read_acceptance(text: str) -> Acceptance:
    """An `acceptanceDateTime` such as 2017-11-03T08:01:37.000Z. Raises ValueError when it is no time, or none of EDGAR's (1993 on)."""
    stamp = datetime.fromisoformat(text.strip().removesuffix("Z"))
    if not EDGAR_BEGAN <= stamp.year <= LAST_YEAR:
        raise ValueError(f"nothing was accepted in the year {stamp.year}")
    if stamp.tzinfo is not None:  # an explicit offset needs no guess
        return Acceptance(from_datetime(stamp), "utc", True)
    eastern, utc = stamp.replace(tzinfo=NEW_YORK), stamp.replace(tzinfo=UTC)
    if not _possible(eastern) and _possible(utc):
        return Acceptance(from_datetime(utc), "utc", True)
    return Acceptance(from_datetime(eastern), "eastern", not _possible(utc) and _possible(eastern))


def open_after(day: date) -> int:
    """The next session's open after a date, ns UTC; for dates before the calendar, the first session's."""
    return calendars.session_open(
        calendars.MARKET_CALENDAR, calendars.next_session(calendars.MARKET_CALENDAR, max(day, calendars.FIRST_DAY))
    )


def filing_available(filed: date, acceptance: str) -> int:
    """When a filing can be used, ns UTC: from its acceptance, but what was accepted after 17:30 and carries the next filing date is
    not disseminated before that day's 06:00 Eastern; without an acceptance time, from the next session's open after `filed`."""
    if not acceptance:
        return open_after(filed)
    return max(read_acceptance(acceptance).time, at(filed, OPENS))


def release_available(realtime_start: date) -> int:
    """When a macro value can be used: FRED tells the date of its release and not the hour, so from the next session's open."""
    return open_after(realtime_start)
