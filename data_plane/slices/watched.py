"""Daily bars of assets of assets.csv that this release does not trade: a slice an asset and session, on data.watched.

Each asset has its own calendar and is judged by itself, as a universe of one name is, or of a future as one of the contracts of its chain that
have come so far, by the names of `futures.contract_name`. No decision rests on them yet, so no gate closes for them: what is taken out is in quarantine, and the slice lacks it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from data_plane.observations import Bars, Chain
from data_plane.outputs import GATES, Output
from data_plane.published import WATCHED
from data_plane.slices.bars import BarSlices
from data_plane.slices.frame import Frame
from data_plane.slices.rolls import ChainRolls
from triplane.domain.targets.data import DataTargets


class Kind(NamedTuple):
    """What is to be known of an asset: its calendar, and whether its bars have a volume (those of a currency's midpoint have none)."""

    calendar: str
    measured: bool = True


class Watched(NamedTuple):
    """One asset's part: the contracts seen so far are the frame's names."""

    frame: Frame
    slices: BarSlices
    rolls: dict[str, ChainRolls]
    """By source."""


class WatchedSlices:
    """By asset, in the order of assets.csv."""

    def __init__(self) -> None:
        self._of: dict[str, Watched] = {}

    def watch(self, assets: Mapping[str, Kind], targets: DataTargets, config_hash: str) -> None:
        """From now on these assets; one that stays keeps what it knows."""
        before, self._of = self._of, {}
        for symbol, kind in assets.items():
            known = before.get(symbol)
            if known is None or (known.frame.calendar, known.frame.measured) != kind:
                frame = Frame(symbol, (), targets, config_hash, kind.calendar, WATCHED, measured=kind.measured)
                known = Watched(frame, BarSlices(frame), {})
            known.frame.configure(targets, config_hash)
            self._of[symbol] = known

    @property
    def calendars(self) -> set[str]:
        """Those of the assets."""
        return {known.frame.calendar for known in self._of.values()}

    def __contains__(self, symbol: str) -> bool:
        return symbol in self._of

    def of_name(self, name: str) -> Watched | None:
        """Whose slices a name is in: an asset's symbol, or a contract that has come."""
        return next((each for each in self._of.values() if name in each.frame.row), None)

    def remember(self, record: Mapping[str, Any]) -> None:
        """Take over a slice that an earlier run published, in log order."""
        known = self._of.get(record["group"])
        if known is None:
            return
        if record["symbols"]:
            _admit(known, record["symbols"])
            known.slices.remember(record)
        if not record.get("released"):
            _rolls(known, record["source"]).learn(record)

    def remember_roll(self, record: Mapping[str, Any]) -> None:
        """Take over a roll that an earlier run published."""
        if (known := self._of.get(record["symbol"])) is not None:
            _rolls(known, record["source"]).said(record)

    def taken_out(self, record: Mapping[str, Any]) -> None:
        """Note a quarantined bar of an earlier run."""
        if record["topic"] == WATCHED and (known := self.of_name(record["symbol"])) is not None:
            known.slices.taken_out(record)

    def judge(self, bars: Bars) -> list[Output]:
        """Judge a slice of a watched asset whose schema is good."""
        known = self._of[bars.watched]
        _admit(known, bars.symbols)
        outputs = []
        for output in known.slices.judge(bars):
            if output.topic == GATES:
                continue
            if output.topic == WATCHED:
                present = set(output.record["symbols"])
                output.record["missing"] = [name for name in bars.symbols if name not in present]
                _rolls(known, bars.source).learn(output.record)
            outputs.append(output)
        return outputs + list(_due(known, bars.source))

    def chain(self, chain: Chain) -> list[Output]:
        """Take a chain's schedule; rolls that are due by what is known already go out."""
        known = self._of.get(chain.symbol)
        if known is None:
            return []
        _rolls(known, chain.source).schedule(chain.held)
        return list(_due(known, chain.source))


def _rolls(known: Watched, source: str) -> ChainRolls:
    rolls = known.rolls.get(source)
    if rolls is None:
        rolls = known.rolls[source] = ChainRolls(source, known.frame.group, known.frame.calendar)
    return rolls


def _due(known: Watched, source: str) -> Iterator[Output]:
    for record in _rolls(known, source).due():
        yield Output("data.rolls", {**record, "config_hash": known.frame.config_hash}, source, 0)


def _admit(known: Watched, names: Sequence[str]) -> None:
    """Contracts of a chain come one after the other."""
    frame = known.frame
    new = [name for name in names if name not in frame.row]
    if new:
        rows = list(range(len(frame.names)))
        frame.rename((*frame.names, *new))
        known.slices.renumber(len(frame.names), rows, rows)
