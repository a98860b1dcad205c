"""A demonstration's market waits for a machine that is too busy for it: its clock goes slower where the planes' intents come too late.

The clock does not know how busy the machine is: intents that live five market minutes have one wall second at 300x. A market that outran
the planes once would outrun them in every session, and nothing would trade.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

import httpx

RUNNING = 2
"""Decisions one after the other that came too late. One alone may be a moment in which the machine stood still."""
SLOWEST = 30.0
"""Market seconds per wall second: the pace of the decision itself."""
APART_S = 200.0
"""Market seconds between two decisions at least, of the seven minutes for which the clock keeps the pace around each. What a process that
was stopped makes up for comes closer together: late as it is, the machine is not busy."""


@dataclass(slots=True)
class MarketPace:
    """The fastest clock while a barrier is due or an order is open, in market seconds per wall second."""

    speed: float
    _since: int = 0  # the newest barrier that was judged at another pace
    _seen: dict[int, float] = field(default_factory=dict)

    def judge(self, too_late: Mapping[int, bool], now: float) -> bool:
        """Halve the pace when the newest decisions came too late; whether it was.

        `too_late` tells, by barrier, whether its intents had expired when the order plane had them; barriers without intents are not
        in it. `now` is the time of any clock that goes like the wall's, s.
        """
        self._seen |= dict.fromkeys(too_late.keys() - self._seen.keys(), now)
        known = sorted(too_late)
        newest = known[-RUNNING:]
        if len(newest) < RUNNING or newest[0] <= self._since or self.speed <= SLOWEST:
            return False
        pairs = pairwise(known[-RUNNING - 1 :])
        apart = all(self._seen[later] - self._seen[earlier] >= APART_S / self.speed for earlier, later in pairs)
        if not apart or not all(too_late[seq] for seq in newest):
            return False
        self._since = newest[-1]
        self.speed = max(self.speed / 2, SLOWEST)
        return True

    async def keep(
        self,
        client: httpx.AsyncClient,
        url: str,
        fastest: float,
        too_late: Mapping[int, bool],
        say: Callable[[str], None],
    ) -> None:
        """Judge, and have the gateway at `url` keep the pace where `fastest`, its own, is another: started again it has forgotten it.

        Raises httpx.HTTPError.
        """
        if self.judge(too_late, time.monotonic()):
            say(
                f"two decisions running came too late for the market: from here on its clock goes at {self.speed:g}x around a decision, for "
                "the machine is busy"
            )
        if fastest != self.speed:
            (await client.post(f"{url}/speed", json={"speed": self.speed})).raise_for_status()
