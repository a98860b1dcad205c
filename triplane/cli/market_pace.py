"""A demonstration's market waits for a machine that is too busy for it: its clock goes slower where the planes' intents come too late.

The clock does not know how busy the machine is: intents that live five market minutes have one wall second at 300x. A market that outran
the planes once would outrun them in every session, and nothing would trade. What tells of it is the order plane's own word: whoever
follows the log from outside has a low priority, and on such a machine is minutes behind.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

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


@dataclass(slots=True)
class MarketPace:
    """The fastest clock while a barrier is due or an order is open, in market seconds per wall second."""

    speed: float
    _late: tuple[int, float] | None = None  # the last barrier whose intents came too late, and when that was said first
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
        if found is None or now < self._excused:
            return ""
        seq, before = int(found[1] or found[2]), self._late
        if before is not None and seq <= before[0]:
            return ""  # another name of it
        self._late = (seq, now)
        if before is None or before[0] + 1 != seq or before[0] == self._spent:
            return ""
        if now - before[1] < APART_S / self.speed or self.speed <= SLOWEST:
            return ""
        self._spent = seq
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
