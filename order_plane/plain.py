"""Dataclasses to plain JSON-able values and back, by their type annotations, for snapshots of engine state.

Handles what engine state is made of: dataclasses, dict with string keys, list, tuple, optional, string enums, bytes and scalars.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from enum import Enum
from functools import cache
from typing import Any, TypeVar

T = TypeVar("T")


def dump(value: Any) -> Any:
    """Plain form of a value; dictionaries keep their order, since folds depend on it."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: dump(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, bytes):
        return {"hex": value.hex()}
    if isinstance(value, Mapping):
        return {key: dump(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [dump(item) for item in value]
    return value


@cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def load(kind: Any, value: Any) -> Any:
    """The inverse of `dump` for a value of type `kind`. Fields that the plain form lacks take their default."""
    origin = typing.get_origin(kind)
    if origin in (typing.Union, types.UnionType):
        if value is None:
            return None
        return load(next(option for option in typing.get_args(kind) if option is not type(None)), value)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        hints = _hints(kind)
        return kind(**{name: load(hints[name], item) for name, item in value.items()})
    if origin in (dict, Mapping):
        item_kind = typing.get_args(kind)[1]
        return {key: load(item_kind, item) for key, item in value.items()}
    if origin is list:
        return [load(typing.get_args(kind)[0], item) for item in value]
    if origin is tuple:
        kinds = typing.get_args(kind)
        if len(kinds) == 2 and kinds[1] is Ellipsis:
            return tuple(load(kinds[0], item) for item in value)
        return tuple(load(item_kind, item) for item_kind, item in zip(kinds, value, strict=True))
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind(value)
    if isinstance(value, Mapping) and value.keys() == {"hex"}:
        return bytes.fromhex(value["hex"])
    if kind is dict or kind is Any or kind is object:
        return _plain_any(value)
    return value


def _plain_any(value: Any) -> Any:
    if isinstance(value, Mapping):
        return bytes.fromhex(value["hex"]) if value.keys() == {"hex"} else {k: _plain_any(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_plain_any(item) for item in value]
    return value
