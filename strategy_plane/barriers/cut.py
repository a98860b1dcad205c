"""The cut: which records a barrier sees, and in which order. Pure.

Records arrive per partition in offset order, partitions interleaved in any way. A barrier names an end offset per partition. It
sees every record below its end offset that became available before the barrier's time and that no earlier barrier saw, ordered
by (available_time, topic rank, partition, offset). The others below the end offset stay pending. So the result depends on the
log and the barriers alone, never on how the log was read.

- `control.config` is seen by offset: its available_time is the wall clock's, the market's may be years away.
- The first record per identity, in offset order within its partition, is the record: equal repeats are dropped.
- A record that cannot be decoded, or that repeats an identity with other bytes, is named in the barrier's `skipped` and never
  folded.
- A record that is ready only after an earlier barrier's time is folded all the same, flagged late.
- Identities of fast topics are kept for HORIZON of market time; a record of such a topic that is older is dropped and counted.

A snapshot holds no records: it holds the offsets below the cut that are still pending, and reading resumes at the first of them.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Final, NamedTuple, Protocol

import numpy as np

from schemas.catalogue import Catalogue
from triplane.domain.timestamps import DAY

CONFIG: Final = "control.config"
FAST_TOPICS: Final = frozenset({"data.quotes", "data.micro", "order.account"})
HORIZON: Final = 10 * DAY


class CutError(RuntimeError):
    """The log contradicts a barrier; the message says where and what to do."""


class Record(Protocol):
    """One record of the log as it arrives; `value` is None when it could not be decoded, `error` then says why."""

    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def value(self) -> dict[str, Any] | None: ...
    @property
    def error(self) -> str: ...
    @property
    def body(self) -> bytes: ...


class Visible(NamedTuple):
    """A record that a barrier sees. `late`: it was available before an earlier barrier's time."""

    topic: str
    partition: int
    offset: int
    value: dict[str, Any]
    late: bool


@dataclass(slots=True)
class _Entry:
    available: int
    offset: int
    value: dict[str, Any] | None
    identity: int
    body: int
    fast: bool


@dataclass(slots=True)
class _Partition:
    name: str
    topic: str
    number: int
    rank: int
    position: int = 0  # next offset to arrive
    cut: int = 0  # end offset of the last barrier taken
    inbox: deque[_Entry] = field(default_factory=deque)  # arrived at or above `cut`
    awaited: set[int] = field(default_factory=set)  # pending offsets of a snapshot that have not arrived again
    first: dict[int, tuple[int, int]] = field(default_factory=dict)  # identity -> (offset, body) of its first record
    fast: deque[tuple[int, int]] = field(default_factory=deque)  # (available, identity) of what `first` may forget


_Pending = tuple[int, int, int, int, dict[str, Any], bool]  # available, rank, partition, offset, value, late


class Assembler:
    """Buffers arriving records and hands out what each barrier sees. `partitions` are all barrier-input partitions."""

    def __init__(self, partitions: Iterable[str], catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        found = []
        for name in partitions:
            topic, _, number = name.rpartition("-")
            found.append(_Partition(name, topic, int(number), catalogue[topic].rank))
        found.sort(key=lambda part: (part.rank, part.number))
        self._partitions = {part.name: part for part in found}
        self._by_rank = {part.rank: part.topic for part in found}
        self._pending: list[_Pending] = []
        self._t = 0
        self.duplicates = 0
        self.late = 0
        self.expired = 0

    # Arrival -----------------------------------------------------------------------------------------------------------

    def arrive(self, record: Record) -> bool:
        """Take a record; False when it arrived before (a reader may repeat itself after a rebalance)."""
        name = f"{record.topic}-{record.partition}"
        part = self._partitions[name]
        if record.offset < part.position:
            return False
        part.position = record.offset + 1
        entry = self._entry(record)
        if record.offset >= part.cut:
            part.inbox.append(entry)
        elif record.offset in part.awaited:
            part.awaited.discard(record.offset)
            assert entry.value is not None
            heapq.heappush(self._pending, (entry.available, part.rank, part.number, entry.offset, entry.value, False))
        return True

    def _entry(self, record: Record) -> _Entry:
        value = record.value
        if value is None:
            return _Entry(0, record.offset, None, 0, 0, False)
        identity = self._catalogue[record.topic].identify(value)
        fast = record.topic in FAST_TOPICS or (record.topic == "data.bars" and value["interval"] != "1d")
        return _Entry(
            int(value["available_time"]),
            record.offset,
            value,
            _digest(repr(identity).encode()),
            _digest(record.body),
            fast,
        )

    def advance(self, positions: Mapping[str, int]) -> None:
        """Tell that nothing more arrives below these offsets: what lies between is transaction markers or was never written."""
        for name, position in positions.items():
            part = self._partitions[name]
            part.position = max(part.position, position)

    def positions(self) -> dict[str, int]:
        """Next offset to arrive, per partition."""
        return {name: part.position for name, part in self._partitions.items()}

    def behind(self, cut: Mapping[str, int]) -> list[str]:
        """Partitions of `cut` whose records have not all arrived; empty when the cut can be taken."""
        return [name for name, end in cut.items() if self._known(name).position < end]

    def _known(self, name: str) -> _Partition:
        try:
            return self._partitions[name]
        except KeyError:
            raise CutError(
                f"the barrier names partition {name}, which this worker does not read; restart it so that it sees the topic's partitions"
            ) from None

    # Barriers ----------------------------------------------------------------------------------------------------------

    def examine(self, cut: Mapping[str, int]) -> list[str]:
        """Records below `cut` that must be skipped, as `topic-partition@offset` in rank order. The cut must have arrived."""
        skipped = []
        for name, part in self._partitions.items():
            end = cut.get(name, part.cut)
            new: dict[int, tuple[int, int]] = {}
            for entry in part.inbox:
                if entry.offset >= end:
                    break
                if entry.value is None:
                    skipped.append(f"{name}@{entry.offset}")
                    continue
                first = part.first.get(entry.identity) or new.get(entry.identity)
                if first is None:
                    new[entry.identity] = (entry.offset, entry.body)
                elif first[1] != entry.body:
                    skipped.append(f"{name}@{entry.offset}")
        return skipped

    def take(self, barrier: Mapping[str, Any]) -> list[Visible]:
        """Records that `barrier` sees, in fold order; they are not handed out again. The cut must have arrived.

        Raises CutError when the cut has not arrived, runs backwards, or contradicts what was read.
        """
        cut, t = barrier["cut"], int(barrier["t"])
        behind = self.behind(cut)
        if behind:
            raise CutError(
                f"barrier {barrier['seq']}: {behind[0]} has been read to {self._partitions[behind[0]].position} only"
            )
        skipped = set(barrier["skipped"])
        visible: list[_Pending] = []
        for name, part in self._partitions.items():
            self._admit(part, int(cut.get(name, part.cut)), t, skipped, int(barrier["seq"]), visible)
        while self._pending and self._pending[0][0] < t:
            visible.append(heapq.heappop(self._pending))
        visible.sort()  # offsets are unique within their partition: the values are never compared
        self._t = t
        self._forget()
        self.late += sum(item[5] for item in visible)
        return [
            Visible(self._by_rank[rank], number, offset, value, late)
            for _, rank, number, offset, value, late in visible
        ]

    def _admit(self, part: _Partition, end: int, t: int, skipped: set[str], seq: int, visible: list[_Pending]) -> None:
        """Move what lies below `end` out of the inbox: to what is visible at `t`, as configurations always are, or to what is pending.

        A decision waits for this, with hundreds of records: it does per record what has to be done and no more.
        """
        if end < part.cut:
            raise CutError(
                f"barrier {seq}: cut of {part.name} runs back from {part.cut} to {end}; the barrier log is damaged"
            )
        part.cut = end
        inbox, firsts, rank, number, before = part.inbox, part.first, part.rank, part.number, self._t
        at_once = part.topic == CONFIG
        while inbox and inbox[0].offset < end:
            entry = inbox.popleft()
            if skipped and f"{part.name}@{entry.offset}" in skipped:
                continue
            if entry.value is None:
                raise CutError(
                    f"barrier {seq} counts {part.name}@{entry.offset} as readable and it cannot be decoded here; "
                    "bring this worker to the release of the one that wrote the barrier"
                )
            available, offset = entry.available, entry.offset
            if entry.fast and available < before - HORIZON:
                self.expired += 1
                continue
            first = firsts.setdefault(entry.identity, (offset, entry.body))
            if first[0] != offset:
                if first[1] != entry.body:
                    raise CutError(
                        f"{part.name}@{entry.offset} repeats the identity of offset {first[0]} with other bytes and barrier {seq} "
                        "does not skip it: its writer is not deterministic; run `triplane replay --verify`"
                    )
                self.duplicates += 1
                continue
            if entry.fast:
                part.fast.append((available, entry.identity))
            if at_once:
                visible.append((available, rank, number, offset, entry.value, False))
            elif available < t:
                visible.append((available, rank, number, offset, entry.value, available < before))
            else:
                heapq.heappush(self._pending, (available, rank, number, offset, entry.value, available < before))

    def _forget(self) -> None:
        limit = self._t - HORIZON
        for part in self._partitions.values():
            while part.fast and part.fast[0][0] < limit:
                part.first.pop(part.fast.popleft()[1], None)

    @property
    def pending(self) -> int:
        """Records below the cut that wait for their time."""
        return len(self._pending)

    @property
    def buffered(self) -> int:
        """Records above the cut."""
        return sum(len(part.inbox) for part in self._partitions.values())

    def cut_of(self, name: str) -> int:
        """Where the newest cut of an input partition ends, exclusive."""
        return self._partitions[name].cut

    # Snapshot ----------------------------------------------------------------------------------------------------------

    def resume_offsets(self) -> dict[str, int]:
        """Per partition the offset to read from after restoring `state()`. Configurations are always read from the start."""
        result = {}
        pending = self._pending_offsets()
        for name, part in self._partitions.items():
            result[name] = 0 if part.topic == CONFIG else min(pending.get(name, [part.cut]))
        return result

    def _pending_offsets(self) -> dict[str, list[int]]:
        result: dict[str, list[int]] = {}
        for _, rank, number, offset, _, _ in self._pending:
            result.setdefault(f"{self._by_rank[rank]}-{number}", []).append(offset)
        for name, part in self._partitions.items():
            if part.awaited:
                result.setdefault(name, []).extend(part.awaited)
        return {name: sorted(offsets) for name, offsets in result.items()}

    def state(self) -> dict[str, Any]:
        """State after the last barrier taken, for a snapshot; records that arrived above its cut are not part of it."""
        pending = self._pending_offsets()
        parts = {}
        for name, part in self._partitions.items():
            fast = dict.fromkeys(identity for _, identity in part.fast)
            parts[name] = {
                "cut": part.cut,
                "pending": pending.get(name, []),
                "identities": _table([(key, *first) for key, first in part.first.items() if key not in fast]),
                "fast": _table([(key, *part.first[key], at) for at, key in part.fast if key in part.first], 4),
            }
        return {"t": self._t, "duplicates": self.duplicates, "late": self.late, "expired": self.expired, "parts": parts}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over a state; reading must then start at `resume_offsets()`. Raises CutError for unknown partitions."""
        self._t = int(state["t"])
        self.duplicates, self.late, self.expired = int(state["duplicates"]), int(state["late"]), int(state["expired"])
        self._pending.clear()
        for name, saved in state["parts"].items():
            part = self._known(name)
            part.cut = int(saved["cut"])
            part.inbox.clear()
            part.awaited = {int(offset) for offset in saved["pending"]}
            part.first = {int(key): (int(offset), int(body)) for key, offset, body in saved["identities"].tolist()}
            part.fast = deque()
            for key, offset, body, at in saved["fast"].tolist():
                part.first[int(key)] = (int(offset), int(body))
                part.fast.append((int(at), int(key)))
        for name, offset in self.resume_offsets().items():
            self._partitions[name].position = offset


def _digest(data: bytes) -> int:
    """63-bit digest that fits an int64: two different identities of a topic share one with probability below 1e-9."""
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "big") >> 1


def _table(rows: Sequence[tuple[int, ...]], width: int = 3) -> np.ndarray:
    return np.array(rows, dtype=np.int64).reshape(-1, width)
