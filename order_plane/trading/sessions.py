"""The session that holds an instant, remembered between questions: most questions fall into the session of the last one."""

from __future__ import annotations

from collections.abc import Iterable

from triplane.domain.calendars import session_close, session_of, session_open


class Sessions:
    """Exchange sessions by calendar; a cache of pure answers, so never part of engine state."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[int, int]] = {}

    def of(self, calendar: str, now: int) -> tuple[int, int] | None:
        """Open and close (ns UTC) of the session that holds `now`, early closes included; None between sessions."""
        last = self._last.get(calendar)
        if last is not None and last[0] <= now <= last[1]:
            return last
        day = session_of(calendar, now)
        if day is None:
            return None
        self._last[calendar] = (session_open(calendar, day), session_close(calendar, day))
        return self._last[calendar]

    def warm(self, calendars: Iterable[str]) -> None:
        """Load calendars before the first order needs them: the first question takes more than a second."""
        for calendar in calendars:
            session_of(calendar, 0 if calendar == "" else 1_500_000_000_000_000_000)
