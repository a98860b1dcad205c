"""What a backfill is asked for, whom it tells, and what it says in the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from data_plane.daemon.absent_names import Absent
from data_plane.sources.base import SourceSpec
from data_plane.sources.span import Span


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be loaded. `reread`: from the kept responses, without a request to anybody."""

    source: SourceSpec
    span: Span
    interval: str = "1d"
    reread: bool = False


@dataclass(frozen=True, slots=True)
class Count:
    """Observations of one source, by where they went (law L10)."""

    received: int
    published: int
    quarantined: int
    deduplicated: int
    dropped: Mapping[str, int]
    in_flight: int


@dataclass(slots=True)
class Result:
    """What a run did. `problem` is empty when it came to its end."""

    sources: dict[str, Count] = field(default_factory=dict)
    problem: str = ""
    interrupted: bool = False
    differences: dict[str, int] = field(default_factory=dict)
    fundamentals_owed: bool = False
    """Facts were published, of which the daemon is to make fundamentals."""

    absent: list[Absent] = field(default_factory=list)
    """What sessions of the span have their daily slice without."""

    @property
    def new(self) -> int:
        """Observations that were put on the log."""
        return sum(count.published + count.quarantined for count in self.sources.values())


class Report(Protocol):
    """Who is told of a run."""

    def progress(self, done: int, of: int, what: str) -> None:
        """So many of so many are loaded, and what was the last."""
        ...

    def note(self, line: str) -> None:
        """A sentence for people."""
        ...
