"""The gateway's own journal: one JSON object a line, appended before any client is told, for counting and for restarts.

Kinds: `start` (what run this is), `order` (every placeOrder received, whatever becomes of it), `ack` (accepted, with everything that
is needed to restore it), `refused`, `cancel_request`, `execution`, `correction`, `ended`, `clock` (market time reached), `pace` (the
decision time around which the clock is slow), `control` (started or paused), `fault`. Each has `ns`, the market time; each that concerns
an order has `orderRef`. Lines are flushed to the system, not to the disk: a killed gateway loses none, a crashed machine may lose the
last ones.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

JOURNAL_NAME: Final = "gateway-journal.jsonl"


class JournalError(RuntimeError):
    """A journal that cannot be used."""


@dataclass(slots=True)
class RefCount:
    """What reached the gateway under one orderRef. `messages` counts placeOrder messages, `orders` those that were not modifies."""

    messages: int = 0
    orders: int = 0
    acks: int = 0
    refused: int = 0
    cancels: int = 0
    executions: int = 0
    filled: float = 0.0


@dataclass(slots=True)
class Journal:
    """Appends lines and counts by orderRef."""

    path: Path | None
    counts: dict[str, RefCount] = field(default_factory=dict)
    kinds: dict[str, int] = field(default_factory=dict)
    _file: Any = None

    def open(self) -> list[dict[str, Any]]:
        """Start appending; returns the lines that are already there. A torn last line, as a kill leaves it, is cut off."""
        if self.path is None:
            return []
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lines = list(_read(self.path)) if self.path.exists() else []
        for line in lines:
            self._count(line)
        self._file = self.path.open("a", encoding="utf-8")
        return lines

    def append(self, kind: str, ns: int, **fields: Any) -> None:
        """Write one line; it is with the operating system when this returns."""
        line = {"kind": kind, "ns": ns, **fields}
        self._count(line)
        if self._file is not None:
            self._file.write(json.dumps(line, separators=(",", ":")) + "\n")
            self._file.flush()

    def close(self) -> None:
        """Stop appending."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def by_ref(self) -> dict[str, dict[str, Any]]:
        """Counts of every orderRef, as plain values."""
        return {ref: asdict(count) for ref, count in sorted(self.counts.items())}

    def _count(self, line: dict[str, Any]) -> None:
        kind = line["kind"]
        self.kinds[kind] = self.kinds.get(kind, 0) + 1
        ref = line.get("orderRef")
        if ref is None:
            return
        count = self.counts.setdefault(ref, RefCount())
        match kind:
            case "order":
                count.messages += 1
                count.orders += 0 if line["modify"] else 1
            case "ack":
                count.acks += 1
            case "refused":
                count.refused += 1
            case "cancel_request":
                count.cancels += 1
            case "execution":
                count.executions += 1
                count.filled += line["execution"]["quantity"]


def _read(path: Path) -> Iterator[dict[str, Any]]:
    with path.open("rb+") as file:
        number = 0
        while True:
            begin = file.tell()
            raw = file.readline()
            if not raw:
                return
            number += 1
            if not raw.endswith(b"\n"):
                file.truncate(begin)
                return
            try:
                yield json.loads(raw)
            except (ValueError, RecursionError):
                raise JournalError(f"{path} line {number} is not JSON; move the file away to start afresh") from None
