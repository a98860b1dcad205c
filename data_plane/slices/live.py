"""Running market data of all sources: five-second bars, quotes and trades into slices, and who has fallen silent.

    a bar -> schema -> late or repeated? -> its interval, once complete -> quotes, trades and order flow up to it -> price sanity

Pure: market time comes in with the data or through `advance`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from data_plane.conservation import CONFLATED, LATE, NOT_IN_UNIVERSE, OUTSIDE_SESSION, Ledger
from data_plane.gates import completeness, freshness, schema, state
from data_plane.gates.freshness import LastHeard
from data_plane.gates.schema import Fault
from data_plane.observations import Bars, Floats, QuoteTick, RealtimeBar, TradeTick
from data_plane.outputs import Output, bar_row, quarantined, raw_json
from data_plane.slices.ahead import TIME_AHEAD, TIME_UNCONFIRMED
from data_plane.slices.assembly import STEP, Ready
from data_plane.slices.bars import BarSlices, punctuation
from data_plane.slices.frame import Coverage, Frame
from data_plane.slices.stream import Stream
from triplane.domain.timestamps import SECOND


class LiveData:
    """One stream a source; what its intervals make goes through `slices`, what it drops is counted in `ledger`."""

    def __init__(self, frame: Frame, slices: BarSlices, ledger: Ledger) -> None:
        self._frame = frame
        self._slices = slices
        self._ledger = ledger
        self._streams: dict[str, Stream] = {}
        self._behind: dict[str, int] = {}
        """How far (ns) each comparison last found the clock that tells market time behind."""

    def _stream(self, source: str) -> Stream:
        stream = self._streams.get(source)
        if stream is None:
            stream = self._streams[source] = Stream(self._frame, source)
        return stream

    def renumber(self, new: list[int], old: list[int]) -> None:
        """The name at row `old[i]` is now at row `new[i]` of the frame's names. A bar whose time waits to be decided on waits on."""
        for source, stream in sorted(self._streams.items()):
            self._ledger.drop(source, NOT_IN_UNIVERSE, stream.ahead.keep(self._frame.row))
        self._streams = {
            source: stream.renumbered(self._frame, source, new, old) for source, stream in sorted(self._streams.items())
        }

    def remember(self, topic: str, record: Mapping[str, Any]) -> None:
        """Take over how far an earlier run came, from one of its records."""
        if topic == "data.bars" and record["interval"] == "5s" and not record.get("released"):
            stream = self._stream(record["source"])
            stream.bars.done = max(stream.bars.done, record["event_time"] - STEP)
            stream.last_bars = max(stream.last_bars, record["event_time"])
            if record["symbols"]:
                stream.time.reach(record["event_time"] - STEP)
        elif topic in ("data.quotes", "data.trades"):
            ticks = self._stream(record["source"]).ticks
            ticks.last = max(ticks.last, record["event_time"])
        elif topic == "data.micro":
            micro = self._stream(record["source"]).micro
            micro.last = max(micro.last, record["event_time"])

    def pending(self) -> dict[str, int]:
        """Observations held back, by source."""
        return {source: stream.pending for source, stream in sorted(self._streams.items())}

    def source_age(self, source: str, now: int) -> float:
        """Market seconds since the source's last bar; 0 when nothing has been expected of it."""
        stream = self._streams.get(source)
        return stream.heard.source_age(now) if stream else 0.0

    def resume(self, source: str, now: int) -> None:
        """Listening (re)starts at `now`: after a connect, a resubscription or a leap of the paper gateway's clock."""
        stream = self._stream(source)
        stream.resume(now)
        stream.micro.resume()

    def clock_off(self, compared: str, offset: int) -> None:
        """The clock that tells market time is `offset` ns ahead of a reference (behind it: negative): of the last comparison `compared`."""
        self._behind[compared] = max(0, -offset)

    def gap(self, source: str) -> None:
        """What the source sends next does not follow on what it sent before, though it was listened to all the while: order flow is not
        reckoned across. Ages go on."""
        self._stream(source).micro.resume()

    def cover(self, source: str, streamed: Collection[str] | None, round_s: float, now: int) -> list[Output]:
        """What a source streams from `now` on; None: all. A name that is not streamed is neither waited for nor stale for want of bars,
        and its quotes are stale when they are older than the limit and the round of `round_s` market seconds together."""
        if streamed is None:
            self._frame.coverage.pop(source, None)
        else:
            self._frame.coverage[source] = Coverage(frozenset(streamed), round_s)
        stream = self._stream(source)
        stream.cover(self._frame, source, now)
        rests = [self._frame.names[row] for row in np.flatnonzero(stream.rests).tolist()]
        return self._frame.unjudged(state.FRESHNESS, source, rests, "its bars are not streamed")

    # -- observations ----------------------------------------------------------------------------------------------------------
    def bar(self, bar: RealtimeBar) -> list[Output]:
        """A bar of a running interval: records of the interval that it completes."""
        row = self._frame.row.get(bar.symbol)
        if row is None:
            return self._drop(bar.source, NOT_IN_UNIVERSE)
        fault = schema.realtime_fault(bar)
        if fault is not None:
            time = max(bar.start + STEP, 0)
            bad = _bar_out(bar, fault.code, fault.detail, time)
            return [bad, *self._frame.verdict(state.SCHEMA, bar.source, "", fault, time)]
        stream = self._stream(bar.source)
        allowed = self._frame.targets.CLOCK_BACKWARDS_MAX_S
        if not stream.ahead.is_ahead(bar.start, stream.time.newest, allowed):
            return self._placed(stream, row, bar)
        outputs: list[Output] = []
        for each in stream.ahead.admit(bar, allowed, int((~stream.rests).sum())):
            outputs += self._placed(stream, self._frame.row[each.symbol], each)
        return outputs

    def _placed(self, stream: Stream, row: int, bar: RealtimeBar) -> list[Output]:
        """A bar whose time is believed goes where it belongs. No name has left since it came: `flush` precedes that."""
        assembler = stream.bars
        outputs = self._ran_back(stream, bar, bar.start)
        stream.time.reach(bar.start)
        if assembler.repeats(row, bar):
            self._ledger.deduplicated[bar.source] += 1
            return outputs
        if assembler.is_late(row, bar.start):
            return outputs + self._drop(bar.source, LATE)
        if assembler.supersedes(bar.start):
            while (ready := assembler.ready()) is not None:
                outputs += self._interval(bar.source, ready)
        assembler.add(row, bar)
        while (ready := assembler.ready()) is not None:
            outputs += self._interval(bar.source, ready)
        return outputs

    def _ahead(self, stream: Stream, now: int) -> list[Output]:
        """Market time decides on the bars that are ahead of their source's; a clock that is known to be behind makes no bar wrong."""
        allowed = self._frame.targets.CLOCK_BACKWARDS_MAX_S
        due, wrong = stream.ahead.decide(now + max(self._behind.values(), default=0), allowed)
        outputs: list[Output] = []
        for bar in due:
            outputs += self._placed(stream, self._frame.row[bar.symbol], bar)
        for bar in wrong:
            ahead = (bar.start - stream.ahead.told) / SECOND
            detail = f"{bar.symbol}: a bar {ahead:.0f} s ahead of market time, allowed {allowed:g} s"
            outputs.append(_bar_out(bar, TIME_AHEAD, detail, now))
        return outputs

    def _undecided(self, stream: Stream) -> list[Output]:
        """The bars whose time nothing has confirmed or refuted when their source ends."""
        reached = max(stream.ahead.told, stream.time.newest)
        outputs = []
        for bar in stream.ahead.leave():
            ahead = (bar.start - reached) / SECOND
            detail = f"{bar.symbol}: a bar {ahead:.0f} s ahead of its source when that ended, before anything confirmed its time"
            outputs.append(_bar_out(bar, TIME_UNCONFIRMED, detail, reached))
        return outputs

    def tick(self, tick: QuoteTick | TradeTick) -> list[Output]:
        """A quote or trade, kept for the next slice; a record only where its schema is bad."""
        row = self._frame.row.get(tick.symbol)
        if row is None:
            return self._drop(tick.source, NOT_IN_UNIVERSE)
        quote = isinstance(tick, QuoteTick)
        fault = schema.quote_fault(tick) if isinstance(tick, QuoteTick) else schema.trade_fault(tick)
        if fault is not None:
            time, topic = max(tick.time, 0), "data.quotes" if quote else "data.trades"
            raw = raw_json(tick._asdict())
            return [quarantined(tick.source, topic, tick.symbol, fault.code, fault.detail, raw, time, time)]
        stream = self._stream(tick.source)
        if isinstance(tick, TradeTick):
            stream.ticks.trade(tick)
            stream.micro.trade(row, tick)
            return self._ran_back(stream, tick, tick.time)
        if stream.ticks.quote(row, tick):
            self._drop(tick.source, CONFLATED)
        stream.micro.quote(row, tick)
        stream.ticks_heard.heard_one(row, tick.time)
        return []

    def _ran_back(self, stream: Stream, item: RealtimeBar | TradeTick, time: int) -> list[Output]:
        """Close the clock gate of all that we take from a source whose time leapt back; the whole source's is its reference's to judge."""
        frame = self._frame
        allowed = frame.targets.CLOCK_BACKWARDS_MAX_S
        fault = stream.time.fault(item.source, item.symbol, time, allowed, len(frame.names))
        return [] if fault is None else frame.verdict(state.CLOCK, item.source, frame.group, fault, stream.time.newest)

    def _drop(self, source: str, code: str, count: int = 1) -> list[Output]:
        self._ledger.drop(source, code, count)
        return []

    # -- slices ----------------------------------------------------------------------------------------------------------------
    def _interval(self, source: str, ready: Ready, now: int = 0) -> list[Output]:
        """A finished five-second interval, market time having come to `now`. Quotes go first: a cut made for these bars has them.

        One that comes after a later interval's bars, or after a punctuation of its end, is known a step after that end.
        """
        frame, end = self._frame, ready.start + STEP
        session, _ = frame.session_at(ready.start)
        if not session:
            return self._drop(source, OUTSIDE_SESSION, len(ready.rows))
        stream = self._stream(source)
        if stream.heard.since == 0:
            stream.resume(ready.start)
        known = end + STEP if ready.overtaken or end <= stream.last_bars else end
        outputs = self._absent(source, stream, ready, session)
        outputs += self._ticks(source, stream, known, session)
        outputs += self._micro(stream, known, max(now, known), ready.start)
        symbols = frame.names if len(ready.rows) == len(frame.names) else tuple(frame.names[row] for row in ready.rows)
        outputs += self._slices.judge(Bars(source, "5s", session, end, known, symbols, ready.values, ready.trades))
        stream.last_bars = max(stream.last_bars, end)
        stream.heard.heard(ready.rows, end)
        limits = np.where(stream.rests, np.inf, frame.targets.BAR_FRESHNESS_S)
        outputs += self._freshness(source, state.FRESHNESS, stream.heard, ready.rows.tolist(), end, limits)
        outputs += frame.verdict(state.FRESHNESS, source, "", None, end)
        if stream.time.behind == 0:
            outputs += frame.verdict(state.CLOCK, source, frame.group, None, end)
        return outputs + frame.verdict(state.SCHEMA, source, "", None, end)

    def _absent(self, source: str, stream: Stream, ready: Ready, session: str) -> list[Output]:
        """The latest interval of which nothing came before one that did, as a slice without any name; none where nothing was
        listened to, or a punctuation has told of it."""
        frame, end = self._frame, ready.start
        listening = stream.heard.since <= end - STEP and frame.session_at(ready.before)[0] == session
        if not ready.before or ready.before == end - STEP or stream.last_bars >= end or not listening:
            return []
        fault = completeness.fault(0, frame.awaited_count(source, "5s"), frame.targets.COMPLETENESS_MIN)
        gates = frame.verdict(state.COMPLETENESS, source, frame.group, fault, end + STEP)
        return [punctuation(frame, source, session, end, known=end + STEP, missing=frame.names), *gates]

    def _ticks(self, source: str, stream: Stream, now: int, session: str) -> list[Output]:
        """Quotes and trades, when a slice of them is due."""
        if not stream.ticks.due(now):
            return []
        outputs, updated = stream.ticks.slice(
            now, session, self._slices.last_closes(session), self._slices.volume_by_now(session, now)
        )
        limits = self._frame.targets.QUOTE_FRESHNESS_S + stream.quote_round_s
        return outputs + self._freshness(source, state.QUOTE_FRESHNESS, stream.ticks_heard, updated, now, limits)

    def _micro(self, stream: Stream, now: int, known: int, within: int, *, due: bool = False) -> list[Output]:
        """Order flow up to `now`, known at `known` (what came in between is in it as well), of the session that holds `within`."""
        session, _ = self._frame.session_at(within)
        if not session:
            return stream.micro.close(known)
        closes = self._slices.last_closes(session)
        usual = self._slices.volume_by_now(session, now)
        hours = self._frame.hours_at(within)
        return stream.micro.slice(now, known, hours, closes, volume_by_now=usual, due=due)

    def _freshness(
        self, source: str, gate: str, heard: LastHeard, rows: Sequence[int], now: int, limits: Floats
    ) -> list[Output]:
        """Close the gates of names grown older than their `limits` (s), and tell those among `rows` (heard now) that they are fresh."""
        names = self._frame.names
        outputs: list[Output] = []
        stale = heard.stale(now, limits)
        if stale.any():
            ages = heard.ages(now)
            for row in np.flatnonzero(stale).tolist():
                if not self._frame.gates.is_open(state.CONTRACT, source, names[row]):
                    continue  # nothing of it can come, for the reason which that gate tells
                fault = Fault(freshness.STALE, f"{names[row]}: {ages[row]:.0f} s old, allowed {limits[row]:g} s")
                outputs += self._frame.verdict(gate, source, names[row], fault, now)
        return outputs + self._frame.good_names(gate, source, {names[row] for row in rows if not stale[row]}, now)

    # -- time ------------------------------------------------------------------------------------------------------------------
    def advance(self, source: str, now: int) -> list[Output]:
        """Market time has come to `now` and everything that the source sent before has been taken.

        Ends an interval that is overdue. In a session in which the source is silent, publishes a punctuation (one for all intervals
        that passed since the last call, the latest) and closes the source's freshness gate once it is too old.
        """
        stream = self._stream(source)
        outputs = self._ahead(stream, now)
        while (ready := stream.bars.overdue(now)) is not None:
            outputs += self._interval(source, ready, now)
        session, _ = self._frame.session_at(now - 1)
        second = now // SECOND * SECOND
        if session:
            outputs += self._ticks(source, stream, second, session)
        outputs += self._micro(stream, second, now, now - 1)
        if session and stream.heard.since:
            outputs += self._silence(source, stream, now, session)
        return outputs

    def _silence(self, source: str, stream: Stream, now: int, session: str) -> list[Output]:
        outputs: list[Output] = []
        quiet = max(stream.last_bars, stream.heard.since)
        end = (now - STEP) // STEP * STEP
        if now >= quiet + 2 * STEP and not stream.bars.pending and self._frame.session_at(end - 1)[0] == session:
            stream.last_bars = end
            stream.bars.done = max(stream.bars.done, end - 2 * STEP)  # it may have been overtaken, and come still
            outputs.append(punctuation(self._frame, source, session, end))
        age, limit = stream.heard.source_age(now), self._frame.targets.BAR_FRESHNESS_S
        if age > limit:
            fault = Fault(freshness.SILENT, f"{source}: nothing for {age:.0f} s, allowed {limit:g} s")
            outputs += self._frame.verdict(state.FRESHNESS, source, "", fault, now)
        return outputs

    def end(self, now: int) -> list[Output]:
        """Nothing more will come: bars that are ahead of their source's time are decided on, market time being `now` (0: not known)."""
        outputs: list[Output] = []
        for _, stream in sorted(self._streams.items()):
            outputs += self._ahead(stream, now) if now else self._undecided(stream)
        return outputs

    def flush(self) -> list[Output]:
        """The intervals that are begun go out, complete or not: at the end of a run and when names change."""
        outputs: list[Output] = []
        for source, stream in sorted(self._streams.items()):
            while (ready := stream.bars.rest()) is not None:
                outputs += self._interval(source, ready)
            if stream.ticks.pending:
                now = max(stream.last_bars, int(stream.ticks_heard.latest), stream.ticks.last + 1)
                session, _ = self._frame.session_at(now)
                outputs += stream.ticks.slice(
                    now, session, self._slices.last_closes(session), self._slices.volume_by_now(session, now)
                )[0]
            now = max(stream.last_bars, int(stream.ticks_heard.latest), stream.micro.last + 1)
            outputs += self._micro(stream, now, now, now, due=True)
        return outputs


def _bar_out(bar: RealtimeBar, code: str, detail: str, time: int) -> Output:
    """A five-second bar goes to quarantine at `time`."""
    raw = bar_row(bar.symbol, "5s", max(bar.start + STEP, 0), bar[3:9], bar.trades)
    return quarantined(bar.source, "data.bars", bar.symbol, code, detail, raw, time, time)
