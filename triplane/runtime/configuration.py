"""targets.yaml and assets.csv as one checked, hashed, versioned whole: what `control.config` carries.

The hash is SHA-256 over the parsed parameters, the assets, and the versions of the calendar and time zone data, as canonical JSON;
comments, spelling and column order of the files do not count. Planes read versions from the topic with `from_record`; only the
control daemon and commands that check files read the files.
"""

from __future__ import annotations

import errno
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from triplane.domain.assets import AssetsError, Universe
from triplane.domain.calendars import CALENDAR_VERSION, TZDATA_VERSION
from triplane.domain.edited_file import read_bytes
from triplane.domain.problems import Problem, ProblemsError, undecodable
from triplane.domain.targets import Targets
from triplane.domain.targets.consistency import conflicts
from triplane.domain.targets.reading import read

AHEAD_MOST = 1 << 20
"""By so much a version's number may be above its offset: every version takes a record, so a higher one was made up. Counted from the
offset, what follows it always has room."""


class ConfigError(ProblemsError):
    """What is wrong with targets.yaml and assets.csv, one sentence a problem."""


@dataclass(frozen=True, slots=True)
class Config:
    """One version of the configuration. `seq` and `offset` are those of its record on control.config; 0 and -1 from files."""

    targets: Targets
    universe: Universe
    hash: str
    seq: int = 0
    offset: int = -1
    prev_hash: str = ""
    calendar_version: str = CALENDAR_VERSION
    tzdata_version: str = TZDATA_VERSION


def canonical_json(value: Any) -> str:
    """JSON with sorted keys, no spaces and the shortest decimal form of each float; equal values give equal text."""
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value + 0.0 if isinstance(value, float) else value  # + 0.0: -0.0 and 0.0 are one value


def values_json(targets: Targets) -> str:
    """ConfigVersion.values."""
    return canonical_json(targets.model_dump())


def assets_json(universe: Universe) -> str:
    """ConfigVersion.assets; rows stay in file order, which is the order of symbols everywhere."""
    return canonical_json(universe.canonical())


def hash_of(values: str, assets: str, calendar_version: str, tzdata_version: str) -> str:
    """SHA-256 (hex) over the canonical parts of a version, so that a record is checked as it was written."""
    versions = f'"calendar_version":{json.dumps(calendar_version)},"tzdata_version":{json.dumps(tzdata_version)}'
    return hashlib.sha256(f'{{"assets":{assets},{versions},"values":{values}}}'.encode()).hexdigest()


def make(targets: Targets, universe: Universe) -> Config:
    """A configuration from its parsed parts, hashed with this installation's calendar and time zone data."""
    return Config(
        targets, universe, hash_of(values_json(targets), assets_json(universe), CALENDAR_VERSION, TZDATA_VERSION)
    )


def parse(
    targets_text: str, assets_text: str, targets_name: str = "targets.yaml", assets_name: str = "assets.csv"
) -> Config:
    """Check both texts, alone and against each other. ConfigError has every problem of both."""
    reading = read(targets_text, targets_name)
    problems = list(reading.problems)
    universe: Universe | None = None
    try:
        universe = Universe.parse(assets_text, assets_name)
    except AssetsError as error:
        problems.extend(error.problems)
    if reading.targets is not None:
        calendars = {asset.calendar for asset in universe.tradable} if universe else set()
        for conflict in conflicts(reading.targets, calendars):
            line = reading.lines[conflict.parameter]
            problems.append(
                Problem(targets_name, line, conflict.parameter, reading.spelled[conflict.parameter], conflict.allowed)
            )
    if problems or reading.targets is None or universe is None:
        raise ConfigError(problems)
    return make(reading.targets, universe)


def decode_text(data: bytes, name: str) -> str:
    """UTF-8 text of a file, with or without a byte-order mark and with any line ends; ConfigError names the bad byte's line."""
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        raise ConfigError([undecodable(name, data, error)]) from None


def read_file(path: Path | str) -> str:
    """Text of a configuration file; ConfigError when it cannot be read."""
    file = Path(path)
    try:
        data = read_bytes(file)
    except OSError as error:
        reason = error.strerror or str(error)
        remedy = "put the configuration there" if error.errno in (errno.EINVAL, errno.EFBIG) else "restore the file"
        sentence = f"cannot be read from {file.parent.absolute()} ({reason}); {remedy}"
        if isinstance(error, FileNotFoundError):
            sentence = f"is not in {file.parent.absolute()}; restore it, or start where it is (TRIPLANE_TARGETS_PATH and TRIPLANE_ASSETS_PATH name others)"
        if isinstance(error, IsADirectoryError):
            sentence = f"{file.absolute()} is a directory; name the file in it"
        raise ConfigError([Problem(file.name or str(file), 0, "", "", sentence)]) from None
    return decode_text(data, file.name)


def load_files(targets_path: Path | str, assets_path: Path | str) -> Config:
    """The configuration in two files. ConfigError has every problem of both: file, line, parameter, value, allowed range."""
    texts: list[str] = []
    problems: list[Problem] = []
    for path in (targets_path, assets_path):
        try:
            texts.append(read_file(path))
        except ConfigError as error:
            problems.extend(error.problems)
    if problems:
        raise ConfigError(problems)
    return parse(texts[0], texts[1], Path(targets_path).name, Path(assets_path).name)


def to_record(config: Config, previous: Mapping[str, Any] | None, *, actor: str, event_time: int) -> dict[str, Any]:
    """The ConfigVersion record that makes `config` the version after the record `previous` (None: the first).

    `event_time` is wall time, ns UTC. available_time stays 0: a version is known from its offset on control.config, named by
    barriers, and a wall time there would count as market time and end every barrier's wait.
    """
    record: dict[str, Any] = {
        "event_time": event_time,
        "available_time": 0,
        "seq": previous["seq"] + 1 if previous else 1,
        "prev_hash": previous["hash"] if previous else "",
        "hash": config.hash,
        "values": values_json(config.targets),
        "assets": assets_json(config.universe),
        "calendar_version": config.calendar_version,
        "tzdata_version": config.tzdata_version,
        "actor": actor,
        "changes": [],
    }
    return {**record, "changes": changes(previous, record)} if previous else record


def numbered(record: Mapping[str, Any], offset: int) -> bool:
    """Whether a ConfigVersion at `offset` of control.config has a number that a control daemon may have given it."""
    return 1 <= int(record["seq"]) <= offset + AHEAD_MOST


def from_record(record: Mapping[str, Any], offset: int = -1) -> Config:
    """The configuration of a ConfigVersion record. ConfigError when its hash does not fit or this code cannot read its values.

    Parameters added since the record was written take their default; one that is gone is refused, since its meaning is lost.
    """
    name = f"control.config version {record['seq']}"
    if not numbered(record, offset):
        raise ConfigError(
            [Problem(name, 0, "seq", "", "no installation counts like this (1, 2, 3); another writer made it up")]
        )
    parts = (record["values"], record["assets"], record["calendar_version"], record["tzdata_version"])
    if hash_of(*parts) != record["hash"]:
        raise ConfigError(
            [Problem(name, 0, "hash", record["hash"], "does not fit the values; the record was altered, publish anew")]
        )
    try:
        targets = Targets.model_validate_json(record["values"], strict=True)
        rows = json.loads(record["assets"])
        if not isinstance(rows, list) or not rows:
            raise ValueError("assets: is no list of rows")
        universe = Universe.from_canonical(rows)
    except (ValidationError, ValueError, RecursionError) as error:
        detail = (
            "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
            if isinstance(error, ValidationError)
            else str(error)
        )
        raise ConfigError(
            [Problem(name, 0, "", "", f"was written by another release ({detail}); run that release to read it")]
        ) from None
    made = Config(targets, universe, record["hash"], record["seq"], offset)
    return replace(
        made,
        prev_hash=record["prev_hash"],
        calendar_version=record["calendar_version"],
        tzdata_version=record["tzdata_version"],
    )


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What differs between two ConfigVersion records, one sentence each; none exactly when their hashes are equal.

    `strategy.VOL_TARGET: 0.1 -> 0.07`, `assets.XOM: removed`. Reads the records' JSON, so versions of any release compare; what
    from_record would refuse counts as empty.
    """
    before, after = _groups(old["values"]), _groups(new["values"])
    found: list[str] = []
    for group in sorted(before.keys() | after.keys()):
        found += _differences(group, before.get(group, {}), after.get(group, {}))
    was, now = _rows(old["assets"]), _rows(new["assets"])
    for symbol in sorted(was.keys() | now.keys()):
        if symbol not in now:
            found.append(f"assets.{symbol}: removed")
        elif symbol not in was:
            found.append(f"assets.{symbol}: added")
        else:
            found += _differences(f"assets.{symbol}", was[symbol], now[symbol])
    if [symbol for symbol in was if symbol in now] != [symbol for symbol in now if symbol in was]:
        found.append(f"assets: order {' '.join(was)} -> {' '.join(now)}")
    for key in ("calendar_version", "tzdata_version"):
        if old[key] != new[key]:
            found.append(f"{key}: {old[key]} -> {new[key]}")
    return found


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _groups(text: str) -> dict[str, Mapping[str, Any]]:
    groups = _parsed(text)
    return {name: each for name, each in groups.items() if isinstance(each, dict)} if isinstance(groups, dict) else {}


def _rows(text: str) -> dict[str, Mapping[str, Any]]:
    rows = _parsed(text)
    known = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    return {row["symbol"]: row for row in known if isinstance(row.get("symbol"), str)}


def _differences(prefix: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    found = []
    for name in sorted(before.keys() | after.keys()):
        if name not in after:
            found.append(f"{prefix}.{name}: {_short(before[name])} -> removed")
        elif name not in before:
            found.append(f"{prefix}.{name}: added -> {_short(after[name])}")
        elif before[name] != after[name]:
            found.append(f"{prefix}.{name}: {_short(before[name])} -> {_short(after[name])}")
    return found


def _short(value: Any) -> str:
    return value if isinstance(value, str) and value else json.dumps(value)
