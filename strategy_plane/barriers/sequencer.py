"""The sequencer: decides when a barrier is due. Pure; the only code that looks at watermarks.

It is told of every record in arrival order and of every barrier read back from the log. From those alone it says which barrier
is due next; the service then asks Kafka for the cut, writes the barrier and reads it back. What it knows of the past is the last
barrier: `t` and the session only ever grow, so no session can get a second barrier, whatever restarts in between.

Rules (reference: streaming, section 1):

- A bulk-loaded daily slice of session s makes a `warmup` barrier due, one nanosecond after the slice became available.
- In a session that is observed live, a `decision` barrier is due at REBALANCE, once every gating partition shows a record that
  became available at or after that time; or, with those partitions listed in `missing`, once the time of any other live record
  passes it by more than BARRIER_WAIT_S.
- Barriers are due in order of their time, one at a time, and none before there is a configuration.
- An edit of REBALANCE to an hour that the market has passed is for the next session: what was seen then is gone, and a decision on it
  would hold every name. The running session stays at the hour it had.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Any, Final, Literal

from triplane.domain import calendars
from triplane.domain.targets import StrategyTargets
from triplane.domain.timestamps import SECOND
from triplane.runtime.configuration import ConfigError, from_record

BARS: Final = "data.bars"
CONFIG: Final = "control.config"
# Whose available_time tells market time. Facts and macro vintages do not: they are loaded in bulk, past and future alike.
CLOCK_TOPICS: Final = frozenset({BARS, "data.quotes", "data.micro", "order.account"})

Kind = Literal["warmup", "decision"]


class SequenceError(RuntimeError):
    """The barrier log has a gap or a broken chain."""


@dataclass(frozen=True, slots=True)
class Due:
    """A barrier that should be written now. `t` is ns UTC; `missing` names the gating partitions that are behind it."""

    kind: Kind
    session: str
    t: int
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rules:
    """What the sequencer takes from the configuration. `wait` is ns of market time, `late` ns of wall time."""

    rebalance: str
    wait: int
    late: int

    @classmethod
    def of(cls, targets: StrategyTargets) -> Rules:
        """Rules of a configuration."""
        return cls(targets.REBALANCE, round(targets.BARRIER_WAIT_S * SECOND), round(targets.BARRIER_LATE_S * SECOND))


class Sequencer:
    """Decides from records in arrival order which barrier is due. `gating` are the gating partitions as `topic-partition`."""

    def __init__(self, gating: Sequence[str]) -> None:
        self._gating = tuple(sorted(gating))
        self._rules: Rules | None = None
        # Offsets of the versions seen, ascending, from the one that the last barrier names.
        self._configs: list[int] = []
        self._config_seq = -1
        self._config_end = 0
        """Versions below this offset were in force at the last barrier: reading them again is no edit."""
        self._kept: dict[str, int] = {}  # session -> its decision time, where an edit came too late for it
        self._history: list[tuple[int, str]] = []  # heap of (barrier time, session) of bulk-loaded slices
        self._live: set[str] = set()  # sessions that are observed live
        self._history_seen = dict.fromkeys(self._gating, 0)
        self._live_seen = dict.fromkeys(self._gating, 0)
        self._clock = 0
        self._history_clock = 0
        self.in_history = False
        """Whether the last bars read were bulk-loaded, of a session that waits for its barrier."""
        self.seq = 0
        self.sha = ""
        self.t = 0
        self.session = ""

    @property
    def rules(self) -> Rules | None:
        """Rules in force; None before the first configuration."""
        return self._rules

    @property
    def config_offset(self) -> int:
        """Offset of the newest configuration seen; -1 before the first."""
        return self._configs[-1] if self._configs else -1

    @property
    def history_left(self) -> int:
        """Bulk-loaded sessions that wait for their barrier."""
        return len(self._history)

    @property
    def sessions_left(self) -> int:
        """Live sessions whose decision time the records have passed, and whose barrier has not been stepped."""
        rules = self._rules
        return (
            sum(self.t < self._decision_time(each, rules) <= self._clock for each in self._live)
            if rules is not None
            else 0
        )

    def decides_within(self, span: int) -> bool:
        """Whether a live session's decision is due, or will be after `span` ns of market time."""
        rules, by = self._rules, self._clock + span
        return rules is not None and any(self.t < self._decision_time(each, rules) <= by for each in self._live)

    def observe(self, topic: str, partition: int, offset: int, record: Mapping[str, Any]) -> str:
        """Take note of one decoded record, in arrival order. Repeats do no harm.

        Returns the session whose decision this record completes, as the last gating partition to reach its time; else "".
        """
        if topic == CONFIG:
            self._take_config(offset, record)
            return ""
        if topic not in CLOCK_TOPICS:
            return ""
        available = int(record["available_time"])
        name = f"{topic}-{partition}"
        if topic == BARS:
            self.in_history = bool(record["history"]) and str(record["session"]) > self.session
        if topic == BARS and record["history"]:
            self._history_clock = max(self._history_clock, available)
            if name in self._history_seen:
                self._history_seen[name] = max(self._history_seen[name], available)
            session = str(record["session"])
            if record["interval"] == "1d" and record["symbols"] and session > self.session and available >= self.t:
                heapq.heappush(self._history, (available + 1, session))
            return ""
        self._clock = max(self._clock, available)
        seen_before = min(self._live_seen.values())
        if name in self._live_seen:
            self._live_seen[name] = max(self._live_seen[name], available)
        # The account is written at any hour, also before the first and after the last live session: it tells time, no session.
        session = str(record["session"]) if topic in (BARS, "data.quotes") else ""
        if session <= self.session:
            return ""
        self._live.add(session)
        t = self._decision_time(session, self._rules) if self._rules is not None else 0
        return session if seen_before < t <= min(self._live_seen.values()) else ""

    def _take_config(self, offset: int, record: Mapping[str, Any]) -> None:
        if offset <= self.config_offset or record["seq"] <= self._config_seq:
            return  # the first record of a version is the version
        try:
            config = from_record(record, offset)
        except ConfigError:
            return  # one that nobody can read changes nothing; the one before stays in force
        rules = Rules.of(config.targets.strategy)
        if self._rules is not None and offset >= self._config_end:
            self._keep_what_has_passed(self._rules, rules)
        self._rules = rules
        self._configs.append(offset)
        self._config_seq = config.seq

    def _keep_what_has_passed(self, before: Rules, after: Rules) -> None:
        running = {*self._live, _session_of(self._clock)}
        for session in sorted(each for each in running if each > self.session):
            if _decision_time(session, after.rebalance) <= self._clock:
                self._kept[session] = self._decision_time(session, before)
            else:
                self._kept.pop(session, None)

    def _decision_time(self, session: str, rules: Rules) -> int:
        """Decision time of a session, ns UTC."""
        return self._kept.get(session) or _decision_time(session, rules.rebalance)

    def adopt(self, barrier: Mapping[str, Any], sha: str) -> bool:
        """Take a barrier read back from the log. True when it is the next one; False for a repeat of a seq already taken.

        `sha` is the SHA-256 of the barrier's body. Raises SequenceError when a seq was skipped or the chain is broken.
        """
        seq = int(barrier["seq"])
        if seq <= self.seq:
            return False
        if seq != self.seq + 1 or (self.sha and barrier["prev_sha"] != self.sha):
            raise SequenceError(
                f"strategy.barriers: barrier {seq} does not follow barrier {self.seq}; the log is damaged, restore it from the archive"
            )
        self.seq, self.sha = seq, sha
        self.t, self.session = int(barrier["t"]), str(barrier["session"])
        self._configs = [offset for offset in self._configs if offset >= int(barrier["config_offset"])]
        self._config_end = max(self._config_end, int(barrier["config_offset"]) + 1)
        self._forget()
        return True

    def resume(self, seq: int, sha: str, t: int, session: str, config_end: int = 0) -> None:
        """Start after a barrier that a snapshot vouches for, whose cut of the configurations ends at `config_end`."""
        self.seq, self.sha, self.t, self.session, self._config_end = seq, sha, t, session, config_end
        self._forget()

    def _forget(self) -> None:
        while self._history and (self._history[0][0] <= self.t or self._history[0][1] <= self.session):
            heapq.heappop(self._history)
        self._live = {session for session in self._live if session > self.session}
        self._kept = {session: t for session, t in self._kept.items() if session > self.session}

    def due(self) -> Due | None:
        """The barrier that should be written now, or None. Call it again after every record and every adoption."""
        candidate = self._next()
        if candidate is None or self._rules is None:
            return None
        seen, clock = (
            (self._live_seen, self._clock)
            if candidate.kind == "decision"
            else (
                {name: max(at, self._live_seen[name]) for name, at in self._history_seen.items()},
                max(self._history_clock, self._clock),
            )
        )
        # A warmup barrier waits for the slices of its own session, which became available just before its time.
        need = candidate.t if candidate.kind == "decision" else candidate.t - 1
        missing = tuple(name for name in self._gating if seen[name] < need)
        if missing and clock <= candidate.t + self._rules.wait:
            return None
        return Due(candidate.kind, candidate.session, candidate.t, missing)

    def awaited(self, now: int = 0) -> Due | None:
        """The barrier whose time has passed by some live record, or by `now` (ns UTC; 0: not known), due or still waiting."""
        if self._rules is None:
            return None
        session = _session_of(now) if now else ""
        extra = {session} if session > self.session else set()
        candidate = self._next(extra)
        passed = max(self._clock, self._history_clock, now)
        return candidate if candidate is not None and passed >= candidate.t else None

    def _next(self, more: set[str] | None = None) -> Due | None:
        """The candidate with the smallest time."""
        if self._rules is None:
            return None
        candidates = [Due("warmup", session, t) for t, session in self._history[:1]]
        for session in sorted(self._live | (more or set())):
            t = self._decision_time(session, self._rules)
            if t > self.t:
                candidates.append(Due("decision", session, t))
        return min(candidates, key=lambda due: (due.t, due.session), default=None)

    def compose(self, due: Due, cut: Mapping[str, int], skipped: Sequence[str], fingerprint: str) -> dict[str, Any]:
        """The barrier record for `due`; `cut` maps every barrier-input partition to its end offset, exclusive.

        Every configuration below the cut must have been observed before; later ones, which arrive while the cut is made, are the next
        barrier's. Raises ValueError when there is none.
        """
        config_offset = max((offset for offset in self._configs if offset < cut.get(f"{CONFIG}-0", 0)), default=-1)
        if config_offset < 0:
            raise ValueError(
                "no configuration is on control.config; start the control daemon with `triplane control run`"
            )
        return {
            "event_time": due.t,
            "available_time": due.t,
            "seq": self.seq + 1,
            "prev_sha": self.sha,
            "t": due.t,
            "kind": due.kind,
            "session": due.session,
            "cut": dict(sorted(cut.items())),
            "config_offset": config_offset,
            "missing": list(due.missing),
            "skipped": list(skipped),
            "fingerprint": fingerprint,
        }


class LateWatch:
    """Says for how long a barrier has been awaited beyond BARRIER_LATE_S of wall time. Pure: the caller tells the time."""

    def __init__(self) -> None:
        self._waiting_for: tuple[str, int] | None = None
        self._since = 0

    def check(self, now: int, awaited: Due | None, limit: int) -> int:
        """Wall ns by which the awaited barrier is later than `limit`; 0 while it is in time or none is awaited."""
        waiting = None if awaited is None else (awaited.session, awaited.t)
        if waiting != self._waiting_for:
            self._waiting_for, self._since = waiting, now
        if waiting is None:
            return 0
        return max(now - self._since - limit, 0)


def _session_of(ns: int) -> str:
    """Session in whose hours `ns` lies, YYYY-MM-DD, or an empty string between sessions."""
    day = calendars.session_of(calendars.MARKET_CALENDAR, ns)
    return day.isoformat() if day is not None else ""


@lru_cache(maxsize=64)
def _decision_time(session: str, rebalance: str) -> int:
    """Decision time of a session, ns UTC; 0 when the text names no session, so that it never becomes a candidate."""
    try:
        return calendars.decision_time(calendars.MARKET_CALENDAR, date.fromisoformat(session), rebalance)
    except ValueError:
        return 0
