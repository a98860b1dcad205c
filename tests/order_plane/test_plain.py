"""Plain forms of dataclasses come back as they were."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from order_plane import plain
from order_plane.ledger.order_state import State


@dataclass(slots=True)
class Inner:
    state: State = State.UNKNOWN
    pair: tuple[int, float] = (1, 2.0)


@dataclass(slots=True)
class Outer:
    inner: Inner = field(default_factory=Inner)
    maybe: Inner | None = None
    by_name: dict[str, Inner] = field(default_factory=dict)
    many: list[tuple[int, float]] = field(default_factory=list)
    row: tuple[str, ...] = ()
    raw: bytes = b""
    anything: dict[str, Any] = field(default_factory=dict)


def test_there_and_back():
    value = Outer(
        Inner(State.FILLED, (3, 4.5)), Inner(), {"b": Inner(), "a": Inner(State.HELD)}, [(1, 2.0)], ("x", "y"), b"\x00\xff",
        {"list": [1, {"blob": b"\x01"}], "text": "t"},
    )  # fmt: skip
    back = plain.load(Outer, json.loads(json.dumps(plain.dump(value))))
    assert back == value
    assert list(back.by_name) == ["b", "a"]
    assert plain.load(Outer, {}) == Outer()
