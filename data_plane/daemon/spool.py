"""A bounded file of records that could not be sent, in order: [4-byte length, header JSON, 4-byte length, Avro in wire format]*.

Every append is written through to the operating system, so a killed process loses nothing that was spooled; a power failure may.
A torn last entry is cut off when the file is opened.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import NamedTuple

from data_plane.outputs import Output
from schemas import catalogue, codec
from schemas.codec import CodecError

_LENGTH = struct.Struct(">I")


class Spooled(NamedTuple):
    """A record with the wall time at which it was first to be sent, ns."""

    output: Output
    ingest_time: int


class Spool:
    """First in, first out. `max_bytes` bounds the file; what does not fit is refused."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        self._path = path
        self.max_bytes = max_bytes
        self._codec = codec.load()
        self._topics = catalogue.load()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a+b", buffering=0)
        self._read = 0
        self.waiting: list[tuple[str, int]] = []
        """(source, units) of each entry that has not been taken, oldest first."""
        self._size = self._recover()

    def _recover(self) -> int:
        """Index the entries left by an earlier run and cut off a torn or unreadable end."""
        good = 0
        while (entry := self._entry(good)) is not None:
            item, good = entry
            self.waiting.append((item.output.source, item.output.units))
        self._file.truncate(good)
        return good

    def _entry(self, at: int) -> tuple[Spooled, int] | None:
        """The entry at a position and where the next one begins; None at the end or at something unreadable."""
        self._file.seek(at)
        parts = []
        for _ in range(2):
            head = self._file.read(_LENGTH.size)
            if head is None or len(head) < _LENGTH.size:
                return None
            length = _LENGTH.unpack(head)[0]
            part = self._file.read(length)
            if part is None or len(part) < length:
                return None
            parts.append(part)
        try:
            header = json.loads(parts[0])
            topic = header["topic"]
            record = self._codec.decode(self._topics[topic].record, parts[1])
            item = Spooled(Output(topic, record, header["source"], header["units"]), header["ingest_time"])
        except (ValueError, KeyError, TypeError, CodecError):
            return None
        return item, self._file.tell()

    def __len__(self) -> int:
        return len(self.waiting)

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return self._size

    def append(self, output: Output, ingest_time: int) -> bool:
        """Add a record, whole or not at all; False when it does not fit, be it that the disk is full. Raises CodecError for a record
        that its schema does not allow."""
        header = json.dumps(
            {"topic": output.topic, "source": output.source, "units": output.units, "ingest_time": ingest_time}
        ).encode()
        body = self._codec.encode(self._topics[output.topic].record, output.record)
        entry = _LENGTH.pack(len(header)) + header + _LENGTH.pack(len(body)) + body
        if self._size + len(entry) > self.max_bytes:
            return False
        try:
            fits = self._file.write(entry) == len(entry)
        except OSError:
            fits = False
        if not fits:
            self._file.truncate(self._size)  # half an entry would hide all that come after it
            return False
        self._size += len(entry)
        self.waiting.append((output.source, output.units))
        return True

    def peek(self) -> Spooled | None:
        """The oldest record that has not been taken, or None."""
        entry = self._entry(self._read) if self.waiting else None
        return entry[0] if entry else None

    def pop(self) -> None:
        """Take the oldest record. It stays on disk until `forget_taken`."""
        entry = self._entry(self._read)
        if self.waiting and entry is not None:
            self._read = entry[1]
            del self.waiting[0]

    def contents(self) -> list[Output]:
        """Every record that has not been taken, oldest first."""
        found, at = [], self._read
        while (entry := self._entry(at)) is not None:
            found.append(entry[0].output)
            at = entry[1]
        return found

    def forget_taken(self) -> None:
        """Everything that was taken has arrived: an empty spool's file becomes empty."""
        if not self.waiting and self._size:
            self._file.truncate(0)
            self._size = self._read = 0

    def close(self) -> None:
        """Close the file; what waits is found again by the next run."""
        self._file.close()
