"""Frames and fields of the TWS wire protocol.

A frame is a 4-byte big-endian length and a UTF-8 body; a body is fields that each end with NUL, the first being the message id.
Everything travels as text: bool as 1 or 0, "unset" as the empty string.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Sequence
from typing import Final

SERVER_VERSION: Final = 176  # the highest that ib_insync 0.9.86, ib_async 2.1 and the official client all speak alike
MAX_FRAME: Final = 1 << 20
UNSET_DOUBLE: Final = 1.7976931348623157e308
UNSET_INT: Final = 2147483647
LENGTH: Final = struct.Struct(">I")
Field = str | int | float | bool | None


class WireError(ValueError):
    """Bytes that are not the protocol, or a message with a field missing or not of its type."""


def frame(*fields: Field) -> bytes:
    """One framed message."""
    # Text and whole numbers, which most fields are, are not worth a call each: twenty thousand messages make a session.
    told = [field if isinstance(field, str) else str(field) if type(field) is int else text(field) for field in fields]
    told.append("")
    body = "\0".join(told).encode()
    return LENGTH.pack(len(body)) + body


def text(field: Field) -> str:
    """A field as it travels."""
    if isinstance(field, float):
        return str(int(field)) if field.is_integer() and abs(field) < 1e15 else repr(field)
    if isinstance(field, str):
        return field
    if field is None:
        return ""
    if isinstance(field, bool):
        return "1" if field else "0"
    return repr(field)


def split(body: bytes) -> list[str]:
    """Fields of a message body; a body that does not end with NUL or is not UTF-8 raises WireError."""
    if not body.endswith(b"\0"):
        raise WireError("a message does not end with NUL")
    try:
        return body.decode()[:-1].split("\0")
    except UnicodeDecodeError:
        raise WireError("a message is not UTF-8") from None


async def read_body(reader: asyncio.StreamReader) -> bytes:
    """The next frame's body. Raises IncompleteReadError at the end of the stream and WireError for an impossible length."""
    (size,) = LENGTH.unpack(await reader.readexactly(4))
    if not 0 < size <= MAX_FRAME:
        raise WireError(f"a frame claims {size} bytes")
    return await reader.readexactly(size)


def parse_versions(hello: bytes) -> tuple[int, int]:
    """Lowest and highest server version that the client speaks, from `v157..176[ options]`."""
    words = hello.decode("ascii", "replace").split(" ", 1)[0]
    low, dots, high = words.removeprefix("v").partition("..")
    try:
        return int(low), int(high) if dots else int(low)
    except ValueError:
        raise WireError(f"the client's hello {hello[:40]!r} names no versions") from None


class Fields:
    """Reads fields of one message in order; a missing or malformed one raises WireError with its name."""

    __slots__ = ("_at", "_items")

    def __init__(self, items: Sequence[str]) -> None:
        self._items = items
        self._at = 0

    def word(self, name: str) -> str:
        """The next field."""
        if self._at >= len(self._items):
            raise WireError(f"the message ends before {name}")
        self._at += 1
        return self._items[self._at - 1]

    def whole(self, name: str, default: int = 0) -> int:
        """The next field as a whole number; `default` when it is empty."""
        item = self.word(name)
        try:
            return int(item) if item else default
        except ValueError:
            raise WireError(f"{name} is {item!r}, not a whole number") from None

    def number(self, name: str, default: float = 0.0) -> float:
        """The next field as a number; `default` when it is empty."""
        item = self.word(name)
        try:
            return float(item) if item else default
        except ValueError:
            raise WireError(f"{name} is {item!r}, not a number") from None

    def flag(self, name: str) -> bool:
        """The next field as a flag; empty is false."""
        return self.whole(name) != 0

    def take(self, names: Sequence[str]) -> dict[str, str]:
        """The next fields by name."""
        return {name: self.word(name) for name in names}

    def skip(self, count: int, name: str) -> None:
        """Pass over `count` fields."""
        for _ in range(count):
            self.word(name)

    @property
    def left(self) -> int:
        """Fields that were not read yet."""
        return len(self._items) - self._at
