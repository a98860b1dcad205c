"""What becomes of a quarantined observation when a person says so: let out, as it came or repaired, or dropped for good.

A bar goes out as a slice of its own: its interval's end and session as they were, `history` set, known from the market time of the decision
on, as slices of names that joined later are. So no cut that was made changes (law L3), and nobody takes it for a price of now (law
L9): the sequencer takes no market time from it, the order plane leaves history out, and the strategy plane puts it where its session has
no bar. Facts and macro values go out beside the filing or vintage that they came with, under an identity of their own.

Each command has one QuarantineDecision, published with what it let out and with the gate that opens. A crash may leave any of them alone on
the log. Slice, fact or value and decision name the quarantined record, so at the next start, when the commands are read again, what is there
is not published twice and what lacks follows, with the same identity; a gate that is still closed for what was decided on opens then.
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
from data_plane.outputs import DECISIONS, QUARANTINE, Output, bar_columns
from data_plane.published import WATCHED, PublishedIndex, released_id
from data_plane.quarantined import NoObservation, lacking, observation
from data_plane.reference_data import ReferenceGates, fact_id, fact_set, macro_vintage, vintage_id
from data_plane.slices.bars import BarSlices
from data_plane.slices.frame import Frame
from data_plane.slices.watched import WatchedSlices

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


class _Standing(NamedTuple):
    """A decision that is no refusal, and the gate that had closed for what it is about. `bar` is (interval, end in ns UTC) of one."""

    action: str
    actor: str
    available_time: int
    gate: str
    source: str
    symbol: str
    code: str
    bar: tuple[str, int] | None


class _Plan(NamedTuple):
    """What a release would publish: the observation, what a repair changed, and the repair's reason."""

    observation: Bars | Filing | Vintage
    repaired: Mapping[str, float]
    why: str


class Releases:
    """Decisions on what is in quarantine. Owned by the engine, with whose gates, memory, identities and counters it works."""

    def __init__(
        self,
        frame: Frame,
        slices: BarSlices,
        watched: WatchedSlices,
        reference: ReferenceGates,
        published: PublishedIndex,
        ledger: Ledger,
    ) -> None:
        self._frame = frame
        self._slices = slices
        self._watched = watched
        self._reference = reference
        self._published = published
        self._ledger = ledger
        self._decided: dict[str, _Decided] = {}
        self._standing: dict[str, _Standing] = {}
        """Of what is let out or dropped, by quarantine id."""
        self._taken_out: dict[tuple[str, str, str], dict[str, int]] = {}
        """Availability (ns UTC) of quarantined facts and macro values by id, by source, name and code."""
        self._bars: dict[tuple[str, str, int], set[tuple[str, ...]]] = {}
        """Bars (`_bar_place`) that are let out or dropped, by source, interval and end."""

    def taken_out(self, record: Mapping[str, Any]) -> None:
        """Note a QuarantinedRecord that is, or is about to be, on data.quarantine."""
        if record["topic"] in ("data.facts", "data.macro"):
            place = (record["source"], record["symbol"], record["code"])
            self._taken_out.setdefault(place, {})[record["quarantine_id"]] = record["available_time"]

    def _about(self, record: Mapping[str, Any]) -> tuple[Frame, BarSlices]:
        """Whose bars a record of data.quarantine or data.decisions is about: a watched asset's, else the universe's."""
        known = self._watched.of_name(record["symbol"]) if record["topic"] == WATCHED else None
        return (known.frame, known.slices) if known is not None else (self._frame, self._slices)

    def has_decided(self, quarantine_id: str) -> bool:
        """Whether a person has let out or dropped it."""
        return quarantine_id in self._standing

    def undecided(self, bars: Bars) -> Bars:
        """Bars without those that a person has decided on, as they came; these are counted as repetitions."""
        decided = self._bars.get((bars.source, bars.interval, bars.event_time))
        if decided is None:
            return bars
        new = [place for place in range(len(bars.symbols)) if _bar_place(bars, place) not in decided]
        self._ledger.deduplicated[bars.source] += len(bars.symbols) - len(new)
        symbols = tuple(bars.symbols[place] for place in new)
        return replace(bars, symbols=symbols, values=bars.values[new], trades=bars.trades[new])

    def remember(self, record: Mapping[str, Any]) -> None:
        """Take over a QuarantineDecision, of an earlier run or new; what data.quarantine has must have been remembered before."""
        decided = _Decided(record["action"], record["identity"], record["available_time"])
        self._decided.setdefault(record["command_id"], decided)
        if decided.action != REFUSED:
            item = self._settle(record)
            bar = (item.interval, item.event_time) if isinstance(item, Bars) else None
            place = (_gate(record), record["source"], record["symbol"], record["code"])
            standing = _Standing(decided.action, record["actor"], decided.available_time, *place, bar)
            self._standing.setdefault(record["quarantine_id"], standing)

    def _settle(self, record: Mapping[str, Any]) -> Bars | Filing | Vintage | None:
        """What a person has decided on is not judged anew, and nothing confirms it any more. The observation, if it is one."""
        try:
            item = observation(record, self._about(record)[0])
        except NoObservation:
            return None
        if isinstance(item, Bars):
            place = (item.source, item.interval, item.event_time)
            self._bars.setdefault(place, set()).add(_bar_place(item, 0))
            self._about(record)[1].forget(item.symbols[0], item.interval, float(item.values[0, CLOSE]))
        else:
            self._reference.settle(item)
        return item

    def owes(self, command: Mapping[str, Any]) -> bool:
        """Whether something of a command has still to be done: there is no decision, or what it let out is not on its topic, or the gate is
        closed for it."""
        decided = self._decided.get(command["command_id"])
        return decided is None or self._lost(command, decided) or self._opens(command, again=True) is not None

    def _lost(self, command: Mapping[str, Any], decided: _Decided) -> bool:
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
            if decided is not None:  # a crash lost what it let out, or the gate
                lost = self._lost(command, decided)
                plan = self._plan(command, found, decided.available_time, last_good) if lost else None
                let_out = [self._let_out(found, plan)] if plan else []
                return let_out + self._opening(command, again=True)
            if (before := self._standing.get(quarantine_id)) is not None:
                raise NoObservation(f"{before.actor} has decided already: it is {before.action}, and stays so")
            if command["command"] == DROP:
                dropped = self._decision(command, found, DROPPED, "nothing of it is published", now)
                return [*self._opening(command), dropped]
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
            plan = self._new(self._plan(command, found, now, last_good), self._about(found)[0])
            if isinstance(plan.observation, Bars) and plan.observation.event_time > now:
                raise NoObservation("its interval has not ended: its time is wrong; drop it")
            outputs = [self._let_out(found, plan)]
            there = self._published.released(found["quarantine_id"])
            assert there is not None
        else:
            plan = self._plan(command, found, there.available_time, last_good)
        what = f"repaired, since {plan.why}, and " if plan.repaired else ""
        detail = f"{what}published on {there.topic} as {there.identity}"
        action = REPAIRED if plan.repaired else RELEASED
        more = {"identity": there.identity, "repaired": dict(plan.repaired)}
        decision = self._decision(command, found, action, detail, there.available_time, **more)
        return [*outputs, *self._opening(command), decision]

    # -- gates -----------------------------------------------------------------------------------------------------------------
    def _opening(self, command: Mapping[str, Any], again: bool = False) -> list[Output]:
        """The record of the gate that opens with a decision."""
        time = self._opens(command, again)
        if time is None:
            return []
        standing = self._standing[command["arguments"]["quarantine_id"]]
        return self._frame.vouched(standing.gate, standing.source, standing.symbol, time)

    def _opens(self, command: Mapping[str, Any], again: bool = False) -> int | None:
        """When (ns UTC) the gate that closed for what was decided on opens, None where it does not.

        A bar opens it by being what the next one is compared with; facts and macro values once all that it closed for is decided on, and
        something of it let out. `again`: as the commands of earlier runs are read, when it may have closed anew since.
        """
        quarantine_id = command["arguments"]["quarantine_id"]
        one = self._standing.get(quarantine_id)
        if one is None:
            return None
        code, since, told = self._frame.gates.closed_for(one.gate, one.source, one.symbol)
        if code != one.code:
            return None
        if one.bar is not None:
            stands = one.action != DROPPED and self._slices.is_reference(one.symbol, *one.bar)
            decided = [one] if stands else []
        else:
            has = self._published.has_id
            beside = self._taken_out.get((one.source, one.symbol, one.code), {})
            closed = [each for each, time in beside.items() if time >= since and has(QUARANTINE, each)]
            # None where it closed for what is older than what it had told before.
            decided = [self._standing[each] for each in closed or [quarantine_id] if each in self._standing]
            if len(decided) < len(closed) or all(each.action == DROPPED for each in decided):
                return None
        time = max((each.available_time for each in decided), default=None)
        return None if time is None or (again and told > time) else time

    # -- what is let out -------------------------------------------------------------------------------------------------------
    def _plan(
        self, command: Mapping[str, Any], found: Mapping[str, Any], available_time: int, last_good: float
    ) -> _Plan:
        """What a command lets out, known from `available_time` on (ns UTC). Raises NoObservation."""
        if found["offset"] >= 0:
            where = f"{found['topic']}, where the {found['source']} plane could not take it"
            raise NoObservation(f"it stands on {where}; only what the gates took out can be let out")
        item = observation(found, self._about(found)[0], available_time)
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

    def _new(self, plan: _Plan, frame: Frame) -> _Plan:
        """The plan of a record that is on no topic yet. Raises NoObservation where nobody would read it."""
        item = plan.observation
        if isinstance(item, Vintage):
            ((date, value),) = item.values
            if self._reference.revisions.knows(item.series, date, value):
                raise NoObservation(f"{item.series} has this value by now: a later vintage stood by it; drop this one")
            return plan
        name = item.symbol if isinstance(item, Filing) else item.symbols[0]
        if name not in frame.row:
            raise NoObservation(f"{name} has left the universe; add its row to assets.csv first")
        if isinstance(item, Filing):
            return plan
        earliest = max(item.available_time, item.event_time + 1)
        place = (item.source, frame.group, item.interval, item.event_time, earliest)
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

    def _let_out(self, found: Mapping[str, Any], plan: _Plan) -> Output:
        """The record. Counted: it is received a second time, from quarantine."""
        item, (frame, slices), identity = plan.observation, self._about(found), found["quarantine_id"]
        source, code, now = found["source"], found["code"], item.available_time
        if isinstance(item, Bars):
            topic = frame.topic
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
                "adjusted_until": found.get("adjusted_until", 0),
                "config_hash": frame.config_hash,
            }
            (name,), close = item.symbols, float(item.values[0, CLOSE])
            if name in frame.row:
                slices.vouch(name, item.interval, item.session, item.event_time, close)
        elif isinstance(item, Filing):
            topic = "data.facts"
            record = fact_set(item, item.facts, frame.config_hash)
            record["fact_id"] = released_id(fact_id(item), identity)
            self._reference.let_out(item)
        else:
            topic = "data.macro"
            record = macro_vintage(item, item.values, frame.config_hash)
            record["vintage_id"] = released_id(vintage_id(item), identity)
            self._reference.let_out(item)
        self._ledger.released[source] += 1
        self._ledger.published[source] += 1
        self._published.learn(topic, record)
        return Output(topic, record, source, 1)

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
        self.remember(record)
        return Output(DECISIONS, record, record["source"], 0)


def _gate(record: Mapping[str, Any]) -> str:
    """The gate that takes out what a record of data.quarantine or data.decisions is about."""
    if record["topic"] == "data.facts":
        return state.FACT_SANITY
    if record["topic"] == "data.macro":
        return state.MACRO_SANITY
    return state.CROSS_SOURCE if record["code"] == prices.CODES[prices.DISAGREE] else state.PRICE_SANITY


def _bar_place(bars: Bars, place: int) -> tuple[str, ...]:
    """One name's bar with its values as text, so that NaN equals itself."""
    return (bars.symbols[place], *map(repr, bars.values[place].tolist()))
