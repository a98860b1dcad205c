"""The control plane's decisions, pure: file contents in, the next version or every problem out; requests in, commands out.

The service owns files, Kafka and time. A version is in force only once `took` has been called with its record as read back from
the log, so an edit that could not be published has changed nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from triplane.control.commands import Refused, normalised
from triplane.domain.problems import Problem
from triplane.runtime.configuration import (
    Config,
    ConfigError,
    decode_text,
    from_record,
    numbered,
    parse,
    to_record,
)

MOST_TOLD: Final = 100
"""Problems of a refused edit that the terminal, the log and the status show."""


@dataclass(frozen=True, slots=True)
class Contents:
    """Bytes of both files as they were read together, and their names for problems. None: the file could not be read, and why."""

    targets: bytes | None
    assets: bytes | None
    targets_name: str = "targets.yaml"
    assets_name: str = "assets.csv"
    targets_error: str = ""
    assets_error: str = ""

    @property
    def digest(self) -> str:
        """Identity of the contents: the same digest is the same edit."""
        digest = hashlib.sha256()
        for data, error in ((self.targets, self.targets_error), (self.assets, self.assets_error)):
            part = error.encode() if data is None else data
            digest.update(f"{data is None}{len(part)}:".encode())
            digest.update(part)
        return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Accepted:
    """An edit to publish: the ConfigVersion record that follows the version in force."""

    config: Config
    record: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Unchanged:
    """The files say what is in force already (an edit of comments, or one taken back)."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """Nothing changes, because of these."""

    problems: tuple[Problem, ...]


class ControlEngine:
    """State: the last version on the log, and the commands seen, by id."""

    def __init__(self) -> None:
        self.last: dict[str, Any] | None = None
        """The ConfigVersion record in force; None before the first."""
        self.offset = -1
        """Its offset on control.config."""
        self.seq = 0
        """The highest number that a record on the log has, be it one that no plane takes; absurd ones left out."""
        self.commands: dict[str, dict[str, Any]] = {}

    def took(self, record: Mapping[str, Any], offset: int) -> bool:
        """Take a ConfigVersion as read from the log. The first record of a `seq` that can be read is the version, as it is to the planes;
        False for a later one.

        Raises ConfigError for one that no plane can read: it uses up its number, and the version before stays in force.
        """
        if self.last is not None and record["seq"] <= self.last["seq"]:
            return False
        if numbered(record, offset):
            self.seq = max(self.seq, record["seq"])
        from_record(record, offset)
        self.last, self.offset = dict(record), offset
        return True

    def took_command(self, record: Mapping[str, Any]) -> None:
        """Take a Command as read from the log; the first record of an id is the command."""
        self.commands.setdefault(record["command_id"], dict(record))

    def judge(self, contents: Contents, *, actor: str, event_time: int) -> Accepted | Unchanged | Rejected:
        """What the files' contents mean for the version in force. Changes no state. `event_time` is wall time, ns UTC."""
        try:
            config = _config(contents)
        except ConfigError as error:
            return Rejected(_told(error.problems))
        if self.last is not None and self.last["hash"] == config.hash:
            return Unchanged()
        record = to_record(config, self.last, actor=actor, event_time=event_time)
        return Accepted(config, record | {"seq": self.seq + 1})

    def command(self, request: Mapping[str, Any], *, command_id: str, event_time: int) -> tuple[dict[str, Any], bool]:
        """The Command record for a request and whether it is new; a repeat of a known id gives the record of the first time.

        `command_id` is used when the request brings none. Raises Refused with one sentence: an unknown command or argument, a
        missing actor or reason, or an id that was used for something else.
        """
        wanted = normalised(request)
        identity = wanted.pop("command_id") or command_id
        known = self.commands.get(identity)
        if known is not None:
            if any(known[key] != value for key, value in wanted.items()):
                raise Refused(f"command_id {identity} was used for another command; send a new id", conflict=True)
            return known, False
        return {"event_time": event_time, "available_time": 0, "command_id": identity, **wanted}, True


def _told(problems: tuple[Problem, ...]) -> tuple[Problem, ...]:
    """The first problems, and how many there are beyond them: a file that is something else has one in each of its lines."""
    left = len(problems) - MOST_TOLD
    if left <= 0:
        return problems
    more = Problem(
        problems[MOST_TOLD].file, 0, "", "", f"{left} more problems follow; restore the file, or mend these first"
    )
    return (*problems[:MOST_TOLD], more)


def _config(contents: Contents) -> Config:
    problems: list[Problem] = []
    texts: list[str] = []
    for data, name, error in (
        (contents.targets, contents.targets_name, contents.targets_error),
        (contents.assets, contents.assets_name, contents.assets_error),
    ):
        if data is None:
            problems.append(Problem(name, 0, "", "", f"cannot be read ({error}); restore the file"))
            continue
        try:
            texts.append(decode_text(data, name))
        except ConfigError as undecodable:
            problems.extend(undecodable.problems)
    if problems:
        raise ConfigError(problems)
    return parse(texts[0], texts[1], contents.targets_name, contents.assets_name)
