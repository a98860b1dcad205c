"""A stretch of days that history is loaded for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date


class NothingToAskError(ValueError):
    """No provider can be asked for anything of a span; the text is one sentence that says why."""


@dataclass(frozen=True, slots=True)
class Span:
    """From `start` to `end`, both days included. What a day means is the source's: a filing's acceptance (New York), a vintage's release, a
    session."""

    start: date
    end: date

    def holds(self, day: date) -> bool:
        """Whether a day is in it."""
        return self.start <= day <= self.end
