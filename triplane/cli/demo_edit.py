"""The edit of a demonstration half way: what it writes, which version of the configuration has it, and which barrier took it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from triplane.cli.demo_directory import DemoError
from triplane.runtime import atomic_file

if TYPE_CHECKING:
    from triplane.replay.recording import Recording

EDITED = "VOL_TARGET"
EDIT_TO = ("0.06", "0.05")
"""What it is set to; the second where a person has set it to the first."""


@dataclass(slots=True)
class ConfigEdit:
    """The edit half way: what changed, which barrier took it, which weights moved most."""

    old_hash: str = ""
    new_hash: str = ""
    change: str = ""
    to: str = ""
    """The new value."""
    after: int = 0
    """Versions of the configuration before it."""
    barrier: int = 0
    """The first that was solved under it."""
    first_barrier: int = 0
    """The first that rests on it, held or not."""
    brake: tuple[float, float] | None = None
    """The brake before and at that decision, where it changed as well: then not all that moved is the edit's."""
    moved: list[tuple[str, float, float]] = field(default_factory=list)

    @property
    def taken_by(self) -> str:
        """The barrier that took it, in words."""
        if self.barrier:
            return f"barrier {self.barrier}"
        return f"barrier {self.first_barrier}, which was held" if self.first_barrier else "no barrier"

    @property
    def told(self) -> str:
        """The edit in one line: what changed, the hashes, and the barrier that took it."""
        if not self.new_hash:
            return f"{self.change}, not taken" if self.change else "not edited"
        return f"{self.change}: {self.old_hash[:12]} -> {self.new_hash[:12]}, taken by {self.taken_by}"

    def write(self, path: Path, versions: int) -> None:
        """Edit the file, after so many versions of the configuration. Raises DemoError when it has no such parameter."""
        text = path.read_text(encoding="utf-8")
        found = re.search(rf"(?m)^(\s*{EDITED}:\s*)([0-9.eE+-]+)", text)
        if found is None:
            raise DemoError(f"{path} has no {EDITED} to edit")
        old = found[2]
        self.to = next(value for value in EDIT_TO if float(value) != float(old))
        atomic_file.write(path, text[: found.start(2)] + self.to + text[found.end(2) :], through_links=True)
        self.change = f"{EDITED} {old} -> {self.to}"
        self.after = versions

    def published(self, versions: Sequence[Mapping[str, Any]]) -> int:
        """Place of the version that has the edit among all of `control.config`, whoever else edits meanwhile; 0 where none has it."""
        for place, version in enumerate(versions[self.after :], self.after):
            for what, _, value in (change.rpartition(" -> ") for change in version.get("changes", ())):
                if self.change and f".{EDITED}: " in what and float(value) == float(self.to):
                    return place
        return 0

    def notice(self, versions: Sequence[Mapping[str, Any]]) -> bool:
        """Note the hashes once the edit is published; whether they are new."""
        place = self.published(versions)
        if not place or self.new_hash:
            return False
        self.old_hash, self.new_hash = versions[place - 1]["hash"], versions[place]["hash"]
        return True

    def take(self, before: Mapping[str, Any], targets: Mapping[str, Any]) -> None:
        """Note the first decision under the new version, and what it moved."""
        self.barrier = targets["seq"]
        if before and before["brake"] != targets["brake"]:
            self.brake = (before["brake"], targets["brake"])
        old = dict(zip(before.get("symbols", []), before.get("target", []), strict=False))
        moves = [(s, old.get(s, 0.0), w) for s, w in zip(targets["symbols"], targets["target"], strict=True)]
        self.moved = sorted(moves, key=lambda move: -abs(move[2] - move[1]))[:4]

    def complete(self, found: Recording) -> None:
        """What the view did not see in time is read from the log, which is what is judged."""
        versions = {r.offset: r.value for r in found.records["control.config"] if r.value is not None}
        self.notice([*versions.values()])
        if not self.new_hash:
            return
        solved = [
            r.value for r in found.records["strategy.targets"] if r.value is not None and r.value["outcome"] == "SOLVED"
        ]
        offset = next(offset for offset, version in versions.items() if version["hash"] == self.new_hash)
        barriers = [r.value for r in found.records["strategy.barriers"] if r.value is not None]
        self.first_barrier = next((b["seq"] for b in barriers if b["config_offset"] == offset), 0)
        at = next((n for n, targets in enumerate(solved) if targets["config_hash"] == self.new_hash), None)
        if at is not None and not self.barrier:
            self.take(solved[at - 1] if at else {}, solved[at])

    def problems(self, found: Recording) -> list[str]:
        """A sentence when the edit was not taken, or by no decision."""
        if not self.new_hash:
            return ["the edit of targets.yaml was not taken; the control daemon's lines above, and its log, say why"]
        under_it = [
            r.value
            for r in found.records["strategy.intents"]
            if r.value is not None and r.value["config_hash"] == self.new_hash
        ]
        if any(slice_["symbols"] for slice_ in under_it):
            return []
        why = (
            f"each of the {len(under_it)} decisions under it was held"
            if under_it
            else "it came after the market's last decision, for this process stood still or the machine is too busy"
        )
        return [f"no intent carries the edited configuration's hash: {why}"]
