"""What `triplane config check|diff|history` and `triplane assets check` say, as plain values; the command line prints them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from triplane.domain.assets import Universe
from triplane.domain.problems import Problem, ProblemsError
from triplane.domain.timestamps import iso
from triplane.runtime.configuration import Config, ConfigError, changes, from_record, load_files, to_record

Record = Mapping[str, Any]
"""A ConfigVersion record."""


class VersionError(ValueError):
    """No such version of the configuration."""


@dataclass(frozen=True, slots=True)
class Check:
    """Whether files can be taken, and what they would change in the version in force."""

    hash: str
    problems: tuple[Problem, ...]
    changes: tuple[str, ...]
    summary: str
    warnings: tuple[str, ...] = ()
    """What would be taken and is probably not meant."""

    @property
    def ok(self) -> bool:
        """True when the control daemon would take the files."""
        return not self.problems

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        found = [{**asdict(problem), "sentence": str(problem)} for problem in self.problems]
        return {
            "ok": self.ok,
            "hash": self.hash,
            "problems": found,
            "changes": list(self.changes),
            "warnings": list(self.warnings),
            "summary": self.summary,
        }


def config_check(
    targets: Path | str,
    assets: Path | str,
    against: Record | None = None,
    positions: Mapping[str, float] | None = None,
) -> Check:
    """Check both files, and compare them with the ConfigVersion record in force and the positions where they are known."""
    try:
        config = load_files(targets, assets)
    except ConfigError as error:
        count = len(error.problems)
        return Check("", error.problems, (), f"{count} problem{'s' if count > 1 else ''}; nothing would change")
    parameters = sum(len(group) for group in config.targets.model_dump().values())
    summary = f"{parameters} parameters and {len(config.universe)} assets, hash {config.hash[:12]}"
    if against is None:
        return Check(config.hash, (), (), summary)
    differences = tuple(changes(against, as_record(config)))
    verdict = (
        f"{len(differences)} change(s) against version {against['seq']}"
        if differences
        else f"version {against['seq']} in force says the same"
    )
    orphaned = [
        f"assets.csv has no row for {symbol}, and {quantity:+,.0f} are held: NAV is then unknown and nothing trades until the row is back"
        for symbol, quantity in sorted((positions or {}).items())
        if quantity and symbol not in config.universe
    ]
    return Check(config.hash, (), differences, f"{summary}; {verdict}", tuple(orphaned))


def as_record(config: Config) -> dict[str, Any]:
    """The files' configuration in the form of a record, to compare it with published ones; never published."""
    return to_record(config, None, actor="", event_time=0)


@dataclass(frozen=True, slots=True)
class Version:
    """One line of the history. `time` is when the control daemon accepted it, UTC; `unreadable` why no plane takes it, else empty."""

    seq: int
    offset: int
    time: str
    hash: str
    actor: str
    changes: tuple[str, ...]
    unreadable: str = ""


def judged(records: Iterable[tuple[int, Record]]) -> Iterator[tuple[int, Record, str]]:
    """(offset, record, why it is none) of ConfigVersion records in log order, by the planes' rule.

    The first readable record of a `seq` is the version; what repeats a number or goes back is left out, as the planes do.
    """
    last = 0
    for offset, record in records:
        if record["seq"] > last:
            try:
                last = from_record(record, offset).seq
            except ConfigError as error:
                yield offset, record, error.problems[0].allowed
            else:
                yield offset, record, ""


def in_force(records: Iterable[tuple[int, Record]]) -> Record | None:
    """The ConfigVersion record that the planes have taken last; None when there is none that they can read."""
    return next((record for _, record, why in reversed(list(judged(records))) if not why), None)


def config_history(records: Iterable[tuple[int, Record | str]]) -> list[Version]:
    """Versions from (offset, ConfigVersion record) in log order, and what stands among them that no plane can read.

    What cannot even be decoded comes as the reason why, and has number 0.
    """
    known = list(records)
    undecodable = [Version(0, offset, "", "", "", (), reason) for offset, reason in known if isinstance(reason, str)]
    versions = [
        Version(
            record["seq"],
            offset,
            iso(record["event_time"]),
            record["hash"],
            record["actor"],
            tuple(record["changes"]),
            unreadable,
        )
        for offset, record, unreadable in judged((at, each) for at, each in known if not isinstance(each, str))
    ]
    return sorted(versions + undecodable, key=lambda version: version.offset)


def select(known: Sequence[tuple[int, Record]], wanted: str) -> Record:
    """The ConfigVersion record, of these with their offsets, named by a sequence number, by the beginning of its hash (from 4 characters), or `latest`.

    What another release wrote can be named as well, but a version that is or was in force goes before it.
    """
    taken = [record for _, record, why in judged(known) if not why]
    if not taken:
        raise VersionError(
            "control.config holds no version yet that this release can read; start the control daemon with `triplane control run`"
        )
    if wanted == "latest":
        return taken[-1]
    for among in (taken, [record for _, record in known]):
        if wanted.isdigit():
            matching = [record for record in among if record["seq"] == int(wanted)]
            if matching:
                return matching[0]
        if len(wanted) >= 4:
            matching = [record for record in among if record["hash"].startswith(wanted.lower())]
            if len({record["hash"] for record in matching}) == 1:
                return matching[-1]
    raise VersionError(
        f"no single version is called {wanted!r}; `triplane config history` lists them (1 to {taken[-1]['seq']})"
    )


def config_diff(old: Record, new: Record) -> list[str]:
    """What differs between two ConfigVersion records, one sentence each."""
    return changes(old, new)


@dataclass(frozen=True, slots=True)
class AssetsCheck:
    """What an assets.csv holds. `refused` maps a symbol to the code it is refused with; `unresolved` lacks a contract id."""

    problems: tuple[Problem, ...]
    classes: dict[str, int]
    tradable: tuple[str, ...]
    refused: dict[str, str]
    unresolved: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """True when the file can be taken."""
        return not self.problems

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "ok": self.ok,
            **asdict(self),
            "problems": [{**asdict(item), "sentence": str(item)} for item in self.problems],
        }


def assets_check(path: Path | str) -> AssetsCheck:
    """Check an assets.csv on its own."""
    try:
        universe = Universe.load(path)
    except ProblemsError as error:
        return AssetsCheck(error.problems, {}, (), {}, ())
    classes: dict[str, int] = {}
    for asset in universe.assets:
        classes[asset.asset_class] = classes.get(asset.asset_class, 0) + 1
    return AssetsCheck(
        (),
        classes,
        tuple(asset.symbol for asset in universe.tradable),
        {asset.symbol: code for asset in universe.assets if (code := asset.untradable_code()) is not None},
        tuple(asset.symbol for asset in universe.assets if asset.con_id == 0),
    )
