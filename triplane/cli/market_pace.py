"""A demonstration's market waits for a machine that is too busy for it: its clock goes slower where the planes' decisions come too late.

The clock does not know how busy the machine is: intents that live five market minutes have one wall second at 300x. A market that outran
the planes once would outrun them in every session, and nothing would trade. What tells of it is the planes' own word, the order plane's of
intents that came too late and the strategy plane's of a decision that held everything for want of data: whoever follows the log from
outside has a low priority, and on such a machine is minutes behind.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

SLOWEST = 30.0
"""Market seconds per wall second: the pace of the decision itself."""
APART_S = 200.0
"""Market seconds between two decisions at least, of the seven minutes for which the clock keeps the pace around each. What a process that
was stopped makes up for comes closer together: late as it is, the machine is not busy."""
EXCUSED_S = 20.0
"""Wall seconds after a process was started again, in which it makes up for what it missed."""
_LATE = re.compile(
    r"order: (?:EXPIRED: The intents of barrier (\d+) are not traded\.|TOO_LATE: orders of barrier (\d+) came to the broker after)"
)
"""Intents that expired before they were decided on, or the first order of a name that came after its time (not a later one: those of a
parent's last seconds do on any machine)."""

_CAUSE = re.compile(r"([A-Z_]+) (\d+)(?=[,)])")
"""Of HOLD_UNIVERSE_MISSING's detail: why names have no usable price, and how many."""
_BEHIND = frozenset({"BARS_STALE", "DATA_STALE"})


@dataclass(slots=True)
class MarketPace:
    """The fastest clock while a barrier is due or an order is open, in market seconds per wall second."""

    speed: float
    _late: dict[int, float] = field(default_factory=dict)  # barriers that came too late, and when that was said first
    _spent: int = 0  # the last barrier that slowed the market
    _excused: float = -math.inf  # until then lateness says nothing of the machine

    def excuse(self, now: float) -> None:
        """A process is started again at wall time `now`, s: what comes too late meanwhile is no reason."""
        self._excused = now + EXCUSED_S

    def hear(self, line: str, now: float) -> str:
        """Take what a daemon says to people (log_relay.py) at wall time `now`, s, of any clock; a sentence when the pace was halved for it.

        Two decisions running have come too late then: one alone may be a moment in which the machine stood still.
        """
        found = _LATE.match(line)
        return "" if found is None else self._came_late(int(found[1] or found[2]), now)

    def hear_entry(self, entry: Mapping[str, Any], now: float) -> str:
        """The same of an entry of a daemon's log: a decision that held everything since its data were late."""
        if entry.get("event") != "decision held" or not outrun(str(entry["code"]), str(entry["detail"])):
            return ""
        return self._came_late(int(entry["seq"]), now)

    def _came_late(self, seq: int, now: float) -> str:
        if now < self._excused or seq <= self._spent or seq in self._late:
            return ""  # or another name of it
        self._late[seq] = now
        # Each daemon's log is read by itself, so the later of two may be heard first.
        before = next((each for each in (seq - 1, seq + 1) if each in self._late and each > self._spent), None)
        if before is None or abs(now - self._late[before]) < APART_S / self.speed or self.speed <= SLOWEST:
            return ""
        self._spent = max(seq, before)
        self.speed = max(self.speed / 2, SLOWEST)
        return (
            f"two decisions running came too late for the market: from here on its clock goes at {self.speed:g}x around a decision, to "
            "give a busy machine time"
        )

    async def keep(self, client: httpx.AsyncClient, url: str, fastest: float) -> None:
        """Have the gateway at `url` keep the pace where `fastest`, its own, is another: started again it has forgotten it.

        Raises httpx.HTTPError.
        """
        if fastest != self.speed:
            (await client.post(f"{url}/speed", json={"speed": self.speed})).raise_for_status()


def outrun(code: str, detail: str) -> bool:
    """Whether a decision was held since the market outran its data: a partition had not come so far, or most of the names without a usable
    price have old bars or quotes. What closes the gate of a name, a halt or a delay say nothing of the machine."""
    if code == "HOLD_DATA_MISSING":
        return True
    causes = {cause: int(count) for cause, count in _CAUSE.findall(detail)} if code == "HOLD_UNIVERSE_MISSING" else {}
    behind = sum(causes.get(each, 0) for each in _BEHIND)
    return behind > 1 and 2 * behind > sum(causes.values())
