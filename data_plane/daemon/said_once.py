"""What the log says of observations that were taken out or came too late: a line when it begins, and how many there were, not one each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable

import structlog

from data_plane.conservation import LATE, Ledger
from data_plane.outputs import GATES, QUARANTINE, Output

AGAIN_S = 600.0
"""Wall seconds after which a name's standing fault is said again, with its count: not every code has a gate that opens."""
STANDING_MAX = 10_000
LOOK_S = 1.0
BURST_S = 5.0
"""Wall seconds without a late bar that end a burst of them."""
BURST_MAX_S = 60.0
"""Wall seconds after which a burst that goes on is told."""

Key = tuple[str, str, str]


class QuarantineLines:
    """A warning for each source, code and symbol, and further ones counted, until a gate of the symbol opens or AGAIN_S have passed."""

    def __init__(self, log: structlog.stdlib.BoundLogger) -> None:
        self._log = log
        self._told: dict[Key, float] = {}
        self._since: Counter[Key] = Counter()
        """Taken out since the line, which had none of them."""

    def take(self, outputs: Iterable[Output], now: float) -> None:
        """Note what left the engine at wall time `now`, s, of any clock that nobody sets."""
        news: dict[tuple[str, str], list[tuple[str, str, int]]] = {}
        for output in outputs:
            record = output.record
            if output.topic == QUARANTINE:
                key = (output.source, record["code"], record["symbol"])
                if (told := self._told.get(key)) is not None and now < told + AGAIN_S:
                    self._since[key] += 1
                    continue
                if len(self._told) >= STANDING_MAX:
                    self._told.clear()
                    self._since.clear()
                self._told[key] = now
                news.setdefault(key[:2], []).append((key[2], record["detail"], self._since.pop(key, 0)))
            elif output.topic == GATES and record["open"]:
                self._cleared(record["source"], record["scope"])
        # One line for all of a slice: a wrong limit quarantines thousands a second.
        for (source, code), lines in news.items():
            symbol, detail, since = lines[0]
            more = {"more": len(lines) - 1} if len(lines) > 1 else {}
            further = {"since_the_last_line": since} if since else {}
            self._log.warning("quarantined", source=source, code=code, symbol=symbol, detail=detail, **more, **further)

    def _cleared(self, source: str, symbol: str) -> None:
        for key in [key for key in self._told if key[0] == source and key[2] == symbol]:
            del self._told[key]
            if since := self._since.pop(key, 0):
                self._log.info(
                    "quarantined before its gate opened", source=source, code=key[1], symbol=symbol, more=since
                )


class LateBars:
    """How many bars of each source were dropped as late, told once a burst."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._seen: dict[str, int] = {}
        self._bursts: dict[str, tuple[int, float, float]] = {}
        """(bars before it, when it began, when the last one came)."""

    def look(self, now: float) -> list[tuple[str, int]]:
        """(source, bars) of each burst that has ended, or goes on for long, at wall time `now`, s."""
        for (source, code), count in self._ledger.dropped.items():
            if code == LATE and count != (seen := self._seen.get(source, 0)):
                before, began, _ = self._bursts.get(source, (seen, now, now))
                self._bursts[source], self._seen[source] = (before, began, now), count
        over = [
            (source, self._seen[source] - before)
            for source, (before, began, last) in self._bursts.items()
            if now - last >= BURST_S or now - began >= BURST_MAX_S
        ]
        for source, _ in over:
            del self._bursts[source]
        return over


async def watch_late_bars(
    ledger: Ledger,
    pause: Callable[[float], Awaitable[bool]],
    clock: Callable[[], float],
    log: structlog.stdlib.BoundLogger,
) -> None:
    """Tell of late bars until the daemon stops."""
    late = LateBars(ledger)
    stopping = False
    while not stopping:
        stopping = await pause(LOOK_S)
        for source, count in late.look(clock()):
            log.warning("bars came too late", source=source, code=LATE, count=count)
