"""Interactive Brokers' answers to requests for bars, kept as the client library delivered them (`archive.py`).

One response is what one look asked of up to NAMES names: each with its contract, what was shown of it, and the bars before anything of ours has
read them. Its request is the look: bar size, duration, end (where that is open, the market day of the asking) and the first of the
names. With the bars stands the market time of the asking: what had not ended then is not whole. They are written beside the work; nothing
waits for them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from data_plane.sources.archive import DamagedArchiveError, ResponseArchive, Stored
from data_plane.sources.base import Context
from triplane.broker.historical_bars import DeliveredBar
from triplane.broker.what_to_show import shown
from triplane.domain.timestamps import NEW_YORK, to_datetime

NAMES: Final = 64
"""Of one response: a body of some megabytes at most."""
CLOSE_S: Final = 3.0
"""Wall seconds in which what waits is written at the end."""


class Asked(NamedTuple):
    """What was asked of each name, as IB spells it; `end` is empty for now, `show` for what its type is loaded as (`what_to_show.py`)."""

    bar_size: str
    duration: str
    end: str
    show: str = ""


class Answer(NamedTuple):
    """One name's: `terms` are those of its row (`contracts.terms_of`), `con_id` is the contract that the broker found for them."""

    terms: Mapping[str, Any]
    con_id: int
    bars: Sequence[DeliveredBar]


@dataclass(frozen=True, slots=True)
class Batch:
    """Answers of one look by name; `at` is the market time of the asking, ns UTC."""

    asked: Asked
    at: int
    answers: dict[str, Answer] = field(default_factory=dict)

    def add(self, name: str, terms: Mapping[str, Any], con_id: int, bars: Sequence[DeliveredBar]) -> None:
        """Take an answer; one without bars tells nothing."""
        if bars:
            self.answers[name] = Answer(terms, con_id, bars)

    @property
    def day(self) -> str:
        """YYYYMMDD of the end, or of the asking."""
        return self.asked.end[:8] or to_datetime(self.at, NEW_YORK).strftime("%Y%m%d")

    def responses(self) -> Iterator[tuple[str, bytes]]:
        """(request, body) of each NAMES names."""
        names = sorted(self.answers)
        for first in range(0, len(names), NAMES):
            some = names[first : first + NAMES]
            request = {**self.asked._asdict(), "day": self.day, "from": some[0]}
            answers = {name: _document(self.answers[name], self.asked.show) for name in some}
            document = {"at": self.at, "answers": answers}
            yield json.dumps(request, sort_keys=True), json.dumps(document, separators=(",", ":")).encode()


def _document(answer: Answer, show: str) -> dict[str, Any]:
    what = shown(answer.terms.get("sec_type", ""))
    about = {"contract": dict(answer.terms), "con_id": answer.con_id, "what_to_show": show or what.bars}
    return {**about, "regular_hours": what.regular_hours, "bars": answer.bars}


def read(request: str, body: bytes) -> Batch:
    """A response as the batch that it is of. Raises ValueError, KeyError, TypeError or AttributeError for anything else."""
    asked, document = json.loads(request), json.loads(body)
    batch = Batch(Asked(asked["bar_size"], asked["duration"], asked["end"], asked["show"]), int(document["at"]))
    for name, each in document["answers"].items():
        bars = [DeliveredBar(*row) for row in each["bars"]]
        batch.add(name, dict(each["contract"]), int(each["con_id"]), bars)
    return batch


class KeptBars:
    """The answers of one source."""

    def __init__(self, context: Context, source: str) -> None:
        self._context = context
        self._source = source
        self._archive: ResponseArchive | None = context.archive(source)
        self._writing = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    @contextlib.contextmanager
    def batch(self, asked: Asked) -> Iterator[Batch]:
        """A look that begins; what has been answered when it ends, however it ends, is kept."""
        batch = Batch(asked, self._context.clock.now())
        try:
            yield batch
        finally:
            if batch.answers and self._archive is not None:
                task = asyncio.create_task(self._write(self._archive, batch))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _write(self, archive: ResponseArchive, batch: Batch) -> None:
        def store() -> None:
            for request, body in batch.responses():
                archive.store(request, time.time_ns(), body)

        async with self._writing:
            try:
                await asyncio.to_thread(store)
            except OSError as error:
                self._context.log.warning("a response is not kept", source=self._source, reason=str(error))

    async def close(self) -> None:
        """Wait until what was answered is on disk, CLOSE_S at most."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSE_S)

    def looks(self, bar_size: str) -> list[tuple[str, list[Stored]]]:
        """Kept responses to requests for bars as they are loaded, of a size, newest first, by the day of their request; days ascending.

        Those asked for another `show` are not: adjusted closes are no prices.
        """
        found: dict[str, list[Stored]] = {}
        for key in self._archive.requests() if self._archive is not None else ():
            with contextlib.suppress(ValueError, KeyError, TypeError):  # another's request
                request = json.loads(key)
                if request["bar_size"] == bar_size and not request["show"] and self._archive is not None:
                    found.setdefault(str(request["day"]), []).extend(self._archive.kept(key))
                    for sentence in self._archive.lost(key):
                        self._context.incomplete(self._source, sentence)
        return [(day, sorted(kept, key=lambda each: each.at, reverse=True)) for day, kept in sorted(found.items())]

    def load(self, stored: Stored) -> Batch | None:
        """A kept response; None, said, for one that is damaged."""
        assert self._archive is not None
        try:
            return read(stored.key, self._archive.body(stored))
        except (OSError, DamagedArchiveError, ValueError, KeyError, TypeError, AttributeError) as error:
            self._context.log.warning("a kept response is passed over", source=self._source, reason=str(error))
            self._context.incomplete(self._source, str(error))
            return None
