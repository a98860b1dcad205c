"""What becomes of a quarantined observation when a person says so: let out, as it came or repaired, or dropped for good.

A bar goes out as a slice of its own: its interval's end and session as they were, `history` set, known from the market time of the decision
on, as slices of names that joined later are. So no cut that was made changes (law L3), and nobody takes it for a price of now (law
L9): the sequencer takes no market time from it, the order plane leaves history out, and the strategy plane puts it where its session has
no bar. Facts and macro values go out beside the filing or vintage that they came with, under an identity of their own.

Each command has one QuarantineDecision, published with what it let out. A crash may leave either alone on the log. Both name the
quarantined record, so at the next start, when the commands are read again, what is there is not published twice and what lacks follows,
with the same identity.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, NamedTuple

import numpy as np

from data_plane.conservation import Ledger
from data_plane.gates import prices, repairs, schema, state
from data_plane.observations import BAR_COLUMNS, CLOSE, Bars, Filing, Vintage
from data_plane.outputs import DECISIONS, Output, bar_columns
from data_plane.published import PublishedIndex, released_id
from data_plane.quarantined import NoObservation, lacking, observation
from data_plane.reference_data import ReferenceGates, fact_id, fact_set, macro_vintage, vintage_id
from data_plane.slices.bars import BarSlices
from data_plane.slices.frame import Frame

RELEASE: Final = "data.release"
DROP: Final = "data.drop"
COMMANDS: Final = (RELEASE, DROP)

RELEASED: Final = "released"
REPAIRED: Final = "repaired"
DROPPED: Final = "dropped"
REFUSED: Final = "refused"
NO_REPAIR: Final = "no repair suggests itself; release it without --repair if it is right as it came, or drop it"


class _Decided(NamedTuple):
    """What is remembered of a decision. `identity` is empty where it published nothing."""

    action: str
    identity: str
    available_time: int


class _Plan(NamedTuple):
    """What a release would publish: the observation, what a repair changed, and the repair's reason."""

    observation: Bars | Filing | Vintage
    repaired: Mapping[str, float]
    why: str


class Releases:
    """Decisions on what is in quarantine. Owned by the engine, with whose gates, memory, identities and counters it works."""

    def __init__(
        self, frame: Frame, slices: BarSlices, reference: ReferenceGates, published: PublishedIndex, ledger: Ledger
    ) -> None:
        self._frame = frame
        self._slices = slices
        self._reference = reference
        self._published = published
        self._ledger = ledger
        self._decided: dict[str, _Decided] = {}
        self._standing: dict[str, tuple[str, str]] = {}
        """(action, actor) of what is let out or dropped, by quarantine id."""

    def remember(self, record: Mapping[str, Any]) -> None:
        """Take over a QuarantineDecision of an earlier run; what data.quarantine has must have been remembered before."""
        self._learn(record)
        if record["action"] != REFUSED:
            self._settle(record)

    def _learn(self, record: Mapping[str, Any]) -> None:
        decided = _Decided(record["action"], record["identity"], record["available_time"])
        self._decided.setdefault(record["command_id"], decided)
        if decided.action != REFUSED:
            self._standing.setdefault(record["quarantine_id"], (decided.action, record["actor"]))

    def _settle(self, record: Mapping[str, Any]) -> None:
        """What a person has decided on is not judged anew, and nothing confirms it any more."""
        try:
            item = observation(record, self._frame)
        except NoObservation:
            return
        if not isinstance(item, Bars):
            self._reference.settle(item)

    def owes(self, command: Mapping[str, Any]) -> bool:
        """Whether something of a command has still to be done: there is no decision, or what it let out is not on its topic."""
        decided = self._decided.get(command["command_id"])
        if decided is None:
            return True
        return bool(decided.identity) and self._published.released(command["arguments"]["quarantine_id"]) is None

    def carry_out(
        self, command: Mapping[str, Any], found: Mapping[str, Any] | None, now: int, last_good: float = math.nan
    ) -> list[Output]:
        """Records for a Command of COMMANDS; none for one that owes nothing.

        `found` is the quarantined record of that id, None when there is none; `now` is market time (ns UTC); `last_good` the name's
        last good close before a bar, which a repair is measured with.
        """
        if not self.owes(command):
            return []
        decided = self._decided.get(command["command_id"])
        quarantine_id = command["arguments"]["quarantine_id"]
        try:
            if found is None:
                raise NoObservation(
                    f"nothing in quarantine has the id {quarantine_id!r}; `triplane quarantine list` has them"
                )
            if decided is not None:  # what it let out was lost in a crash between the two
                return self._let_out(found, self._plan(command, found, decided.available_time, last_good))
            if (before := self._standing.get(quarantine_id)) is not None:
                raise NoObservation(f"{before[1]} has decided already: it is {before[0]}, and stays so")
            if command["command"] == DROP:
                self._settle(found)
                return [self._decision(command, found, DROPPED, "nothing of it is published", now)]
            # A source hands in a filing ahead of its availability: what is let out is not known before it either (law L3).
            return self._release(command, found, max(now, found["available_time"]), last_good)
        except NoObservation as refused:
            return [] if decided is not None else [self._decision(command, found, REFUSED, str(refused), now)]

    def _release(
        self, command: Mapping[str, Any], found: Mapping[str, Any], now: int, last_good: float
    ) -> list[Output]:
        """What is let out, unless an earlier run has, and the decision."""
        there, outputs = self._published.released(found["quarantine_id"]), []
        if there is None:
            plan = self._new(self._plan(command, found, now, last_good))
            outputs = self._let_out(found, plan)
            there = self._published.released(found["quarantine_id"])
            assert there is not None
        else:
            plan = self._plan(command, found, there.available_time, last_good)
        what = f"repaired, since {plan.why}, and " if plan.repaired else ""
        detail = f"{what}published on {there.topic} as {there.identity}"
        action = REPAIRED if plan.repaired else RELEASED
        more = {"identity": there.identity, "repaired": dict(plan.repaired)}
        return [*outputs, self._decision(command, found, action, detail, there.available_time, **more)]

    # -- what is let out -------------------------------------------------------------------------------------------------------
    def _plan(
        self, command: Mapping[str, Any], found: Mapping[str, Any], available_time: int, last_good: float
    ) -> _Plan:
        """What a command lets out, known from `available_time` on (ns UTC). Raises NoObservation."""
        if found["offset"] >= 0:
            where = f"{found['topic']}, where the {found['source']} plane could not take it"
            raise NoObservation(f"it stands on {where}; only what the gates took out can be let out")
        item = observation(found, self._frame, available_time)
        if not schema.FIRST_TIME <= available_time <= schema.LAST_TIME:
            raise NoObservation(f"it would be known at {available_time} ns since 1970, which is no time; drop it")
        if less := lacking(found):
            raise NoObservation(
                f"an earlier release kept it without {', '.join(less)}, which its record needs; drop it"
            )
        repair = command["arguments"].get("repair") == "yes"
        if isinstance(item, Bars):
            return self._bar(item, found["code"], repair, last_good)
        if repair:
            raise NoObservation(NO_REPAIR)
        self._check(item)
        return _Plan(item, {}, "")

    def _new(self, plan: _Plan) -> _Plan:
        """The plan of a record that is on no topic yet. Raises NoObservation where nobody would read it."""
        item = plan.observation
        if isinstance(item, Vintage):
            ((date, value),) = item.values
            if self._reference.revisions.knows(item.series, date, value):
                raise NoObservation(f"{item.series} has this value by now: a later vintage stood by it; drop this one")
            return plan
        name = item.symbol if isinstance(item, Filing) else item.symbols[0]
        if name not in self._frame.row:
            raise NoObservation(f"{name} has left the universe; add its row to assets.csv first")
        if isinstance(item, Filing):
            return plan
        earliest = max(item.available_time, item.event_time + 1)
        place = (item.source, self._frame.group, item.interval, item.event_time, earliest)
        return plan._replace(observation=replace(item, available_time=self._published.free_availability(*place)))

    @staticmethod
    def _bar(bar: Bars, code: str, repair: bool, last_good: float) -> _Plan:
        """A person may vouch for what is unlikely, not for what contradicts itself."""
        changed: Mapping[str, float] = {}
        why = ""
        columns: dict[str, float] = dict(zip(BAR_COLUMNS, bar.values[0].tolist(), strict=True))
        if repair:
            suggested = repairs.suggested(code, columns, last_good)
            if suggested is None:
                raise NoObservation(NO_REPAIR)
            mended, why = columns | dict(suggested.values), suggested.reason
            changed = {name: value for name, value in mended.items() if repr(value) != repr(columns[name])}
            bar = replace(bar, values=np.array([list(mended.values())]))
        impossible = int(prices.judge_bars(bar.values, np.array([np.nan]), np.array([np.inf]))[0])
        if impossible not in (prices.PASS, prices.UNIT_100X):
            mendable = not repair and repairs.suggested(code, columns, last_good) is not None
            remedy = "release it with --repair, or drop it" if mendable else "drop it"
            raise NoObservation(f"no bar can be like this ({prices.CODES[impossible]}); {remedy}")
        return _Plan(bar, changed, why)

    @staticmethod
    def _check(item: Filing | Vintage) -> None:
        fault = schema.filing_fault(item) if isinstance(item, Filing) else schema.vintage_fault(item)
        if fault is not None:
            raise NoObservation(f"{fault.detail}; drop it")
        if isinstance(item, Filing):
            (fact,) = item.facts
            if not math.isfinite(fact.value):
                raise NoObservation(f"{fact.concept} is {fact.value}, which is no value; drop it")
            if fact.end > item.available_time:
                raise NoObservation(f"{fact.concept} is for a period that has not ended; drop it")
        elif math.isinf(item.values[0][1]):
            raise NoObservation(f"{item.series} is {item.values[0][1]}, which is no value; drop it")

    def _let_out(self, found: Mapping[str, Any], plan: _Plan) -> list[Output]:
        """The record, and the gate that opens. Counted: it is received a second time, from quarantine."""
        item, frame, identity = plan.observation, self._frame, found["quarantine_id"]
        source, code, now = found["source"], found["code"], item.available_time
        gates: list[Output] = []
        if isinstance(item, Bars):
            topic = "data.bars"
            record = {
                "event_time": item.event_time,
                "available_time": now,
                "group": frame.group,
                "source": source,
                "interval": item.interval,
                "session": item.session,
                "history": True,
                "symbols": list(item.symbols),
                **bar_columns(item.values, item.trades),
                "missing": [],
                "repaired": [f"{item.symbols[0]}:{code}"] if plan.repaired else [],
                "released": [identity],
                "config_hash": frame.config_hash,
            }
            (name,), close = item.symbols, float(item.values[0, CLOSE])
            told = (name, item.interval, item.session, item.event_time, close)
            if name in frame.row and self._slices.vouch(*told):
                gates = frame.vouched(state.PRICE_SANITY, source, name, code, now)
        elif isinstance(item, Filing):
            topic = "data.facts"
            record = fact_set(item, item.facts, frame.config_hash)
            record["fact_id"] = released_id(fact_id(item), identity)
            self._reference.let_out(item)
            gates = frame.vouched(state.FACT_SANITY, source, item.symbol, code, now)
        else:
            topic = "data.macro"
            record = macro_vintage(item, item.values, frame.config_hash)
            record["vintage_id"] = released_id(vintage_id(item), identity)
            self._reference.let_out(item)
            gates = frame.vouched(state.MACRO_SANITY, source, item.series, code, now)
        self._ledger.released[source] += 1
        self._ledger.published[source] += 1
        self._published.learn(topic, record)
        return [Output(topic, record, source, 1), *gates]

    def _decision(
        self,
        command: Mapping[str, Any],
        found: Mapping[str, Any] | None,
        action: str,
        detail: str,
        available_time: int,
        **more: Any,
    ) -> Output:
        about = found or {"source": "", "symbol": "", "code": "", "topic": "", "raw": b""}
        record = {
            "event_time": command["event_time"],
            "available_time": available_time,
            "command_id": command["command_id"],
            "quarantine_id": command["arguments"]["quarantine_id"],
            **{name: about[name] for name in ("source", "symbol", "code", "topic", "raw")},
            "action": action,
            "actor": command["actor"],
            "reason": command["reason"],
            "detail": detail,
            "identity": "",
            "repaired": {},
            **more,
        }
        self._learn(record)
        return Output(DECISIONS, record, record["source"], 0)
