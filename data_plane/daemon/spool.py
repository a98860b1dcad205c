"""A bounded file of records that could not be sent, in order: [4-byte length, header JSON with a CRC-32, 4-byte length, Avro]*.

Every append is written through to the operating system, so a killed process loses nothing that was spooled; a power failure may.
What a disk damaged, or a process that died left half written, is left out when the file is opened and the rest is taken up; the file as
it was found is kept beside it.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import shutil
import struct
import time
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from data_plane.outputs import Output
from schemas import catalogue, codec
from schemas.codec import CodecError
from triplane.runtime import exit_codes
from triplane.runtime.exit_codes import DaemonExit

_LENGTH = struct.Struct(">I")
_BEGIN: Final = b'{"topic": '
"""How the header of every entry begins."""


def _checksum(about: Mapping[str, object], body: bytes) -> int:
    """CRC-32 of an entry: a flipped bit in a body would be another record, and no worse Avro."""
    return zlib.crc32(body, zlib.crc32(json.dumps(about).encode()))


class Spooled(NamedTuple):
    """A record with the wall time at which it was first to be sent, ns."""

    output: Output
    ingest_time: int


class Damage(NamedTuple):
    """Bytes of a spool that are no entry, and where the file is kept that has them."""

    size: int
    kept: Path


class Spool:
    """First in, first out. `max_bytes` bounds the file; what does not fit is refused."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        self._path = path
        self.max_bytes = max_bytes
        self._codec = codec.load()
        self._topics = catalogue.load()
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(OSError):  # of a run that was killed while it wrote
            path.with_name(f".{path.name}.tmp").unlink(missing_ok=True)
        self._file = path.open("a+b", buffering=0)
        self._read = 0
        self._next: tuple[Spooled, int] | None = None  # what stands at `_read` and where it ends, once it was looked at
        self.waiting: list[tuple[str, int]] = []
        """(source, units) of each entry that has not been taken, oldest first."""
        self.damage: Damage | None = None
        """What was found damaged when the file was opened."""
        self._size = self._recover()

    def _recover(self) -> int:
        """Index the entries left by an earlier run and set a file aside that has anything else in it."""
        whole: list[tuple[int, int]] = []
        at, damaged = 0, 0
        size = self._file.seek(0, 2)
        while at < size:
            if (entry := self._entry(at)) is not None:
                self.waiting.append((entry[0].output.source, entry[0].output.units))
                whole.append((at, entry[1]))
                at = entry[1]
                continue
            following = self._next_entry(at)
            damaged += (size if following is None else following) - at
            at = size if following is None else following
        if damaged:
            self._set_aside(whole, damaged)
        return self._file.seek(0, 2)

    def _next_entry(self, after: int) -> int | None:
        """Where the first whole entry behind a place begins."""
        with mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            at = after
            while (at := data.find(_BEGIN, at + 1)) >= 0:
                if at - _LENGTH.size > after and self._entry(at - _LENGTH.size) is not None:
                    return at - _LENGTH.size
        return None

    def _set_aside(self, whole: list[tuple[int, int]], damaged: int) -> None:
        """Begin a new file with the entries that can be read; whenever this is cut short, all of them are still in the file of that name."""
        kept = self._path.with_name(f"{self._path.name}.damaged-{time.time_ns()}")
        new = self._path.with_name(f".{self._path.name}.tmp")
        try:
            with new.open("wb") as file:
                for start, end in whole:
                    self._file.seek(start)
                    file.write(self._file.read(end - start) or b"")
        except OSError:
            new.unlink(missing_ok=True)
            raise
        try:
            kept.hardlink_to(self._path)
        except OSError:  # not every file system has links
            shutil.copyfile(self._path, kept)
        new.replace(self._path)
        self._file.close()
        self._file = self._path.open("a+b", buffering=0)
        self.damage = Damage(damaged, kept)

    def _entry(self, at: int) -> tuple[Spooled, int] | None:
        """The entry at a position and where the next one begins; None at the end or at something unreadable."""
        size = self._file.seek(0, os.SEEK_END)
        self._file.seek(at)
        parts = []
        for _ in range(2):
            head = self._file.read(_LENGTH.size)
            if head is None or len(head) < _LENGTH.size:
                return None
            length = _LENGTH.unpack(head)[0]
            if length > size:  # no length at all, and more than there may be memory for
                return None
            part = self._file.read(length)
            if part is None or len(part) < length:
                return None
            parts.append(part)
        try:
            header = json.loads(parts[0])
            if header.pop("crc") != _checksum(header, parts[1]):
                return None
            topic = header["topic"]
            record = self._codec.decode(self._topics[topic].record, parts[1])
            item = Spooled(Output(topic, record, header["source"], header["units"]), header["ingest_time"])
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, CodecError):
            return None
        return item, self._file.tell()

    def __len__(self) -> int:
        return len(self.waiting)

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return self._size

    def _encoded(self, output: Output, ingest_time: int) -> bytes:
        about = {
            "topic": output.topic, "source": output.source, "units": output.units, "ingest_time": ingest_time
        }  # fmt: skip
        body = self._codec.encode(self._topics[output.topic].record, output.record)
        header = json.dumps(about | {"crc": _checksum(about, body)}).encode()
        return _LENGTH.pack(len(header)) + header + _LENGTH.pack(len(body)) + body

    def prepend(self, items: Sequence[Spooled]) -> list[Spooled]:
        """Put records before all others, in their order; those that do not fit `max_bytes`.

        What was taken must have arrived or be among them: the file begins anew with them. Raises CodecError like `append`, and OSError
        where there is no room for the new file beside the old one; all is as it was then.
        """
        if not items and not self._read:
            return []
        room, kept, refused = self.max_bytes - (self._size - self._read), list[Spooled](), list[Spooled]()
        new = self._path.with_name(f".{self._path.name}.tmp")
        try:
            with new.open("wb") as file:
                for item in items:
                    entry = self._encoded(*item)
                    if len(entry) > room:
                        refused.append(item)
                        continue
                    file.write(entry)
                    room -= len(entry)
                    kept.append(item)
                self._file.seek(self._read)
                shutil.copyfileobj(self._file, file)
            handle = new.open("a+b", buffering=0)
            new.replace(self._path)
        except BaseException:
            with contextlib.suppress(OSError):
                new.unlink(missing_ok=True)
            raise
        self._file.close()
        self._file = handle
        self._size, self._read, self._next = self._file.seek(0, 2), 0, None
        self.waiting[:0] = [(item.output.source, item.output.units) for item in kept]
        return refused

    def append(self, output: Output, ingest_time: int) -> bool:
        """Add a record, whole or not at all; False when it does not fit, be it that the disk is full. Raises CodecError for a record
        that its schema does not allow."""
        entry = self._encoded(output, ingest_time)
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
        """The oldest record that has not been taken, or None. Raises DaemonExit where it cannot be read any more."""
        if self._next is None and self.waiting:
            self._next = self._entry(self._read)
            if self._next is None:
                raise DaemonExit(
                    f"the spool {self._path} was damaged at byte {self._read} while this plane ran; the next start takes up what is whole",
                    exit_codes.UNAVAILABLE,
                )
        return self._next[0] if self._next else None

    def pop(self) -> Spooled | None:
        """Take the oldest record, or None where there is none. It stays on disk until `forget_taken`."""
        item = self.peek()
        if self._next is not None:
            self._read = self._next[1]
            self._next = None
            del self.waiting[0]
        return item

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
