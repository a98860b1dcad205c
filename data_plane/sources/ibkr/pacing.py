"""IB's pacing rules for requests of small bars, as a pure schedule: when the next one may be sent.

Of bars under one minute, historical or as a new subscription of five-second bars,

1. no more than 60 requests in any ten minutes,
2. no identical one within 15 seconds,
3. fewer than six for one contract, exchange and tick type within two seconds,

and one for BID_ASK counts twice. For longer bars IB has lifted the limits; the number of requests under way (50) is bounded by who
asks, and messages a second (50) by the client library's queue. Sources: tws-protocol reference, section 8,
https://interactivebrokers.github.io/tws-api/historical_limitations.html , https://api.lynx.academy/Limitations

What an earlier process of this client asked for is not known here: a refusal tells of it, after which everything waits (`refused`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from typing import NamedTuple

WINDOW_S = 600.0
IDENTICAL_S = 15.0
CONTRACT_S = 2.0
CONTRACT_REQUESTS = 5
MINUTE_S = 60.0
OPEN_REQUESTS = 50
"""Requests under way at once, of any bar size."""
REFUSED_CODES = frozenset({162, 420})
REFUSED_TEXT = "pacing violation"


class Wish(NamedTuple):
    """A request for bars. `what`: whatToShow; `terms`: all that makes it identical with another, beside the first three."""

    contract: Hashable
    exchange: str
    what: str
    terms: Hashable
    bar_s: float

    @property
    def small(self) -> bool:
        """Whether the rules count it."""
        return self.bar_s < MINUTE_S

    @property
    def units(self) -> int:
        """How often IB counts it."""
        return 2 if self.what == "BID_ASK" else 1

    @property
    def line(self) -> tuple[Hashable, str, str]:
        """What the third rule counts together."""
        return self.contract, self.exchange, self.what


class Pacing:
    """Past requests, in seconds of any clock that does not run backwards.

    `scale` shortens all spans, for a gateway that does the same; `margin_s` is added to each, since a request that was held up on its
    way meets the next one nearer than it was sent.
    """

    def __init__(self, scale: float = 1.0, margin_s: float = 0.0) -> None:
        self._window, self._identical, self._contract = (
            span * scale + margin_s for span in (WINDOW_S, IDENTICAL_S, CONTRACT_S)
        )
        self._sent: deque[tuple[float, Wish]] = deque()
        """One entry a unit, oldest first."""
        self._held_until = float("-inf")
        self._refusals = 0

    def delay(self, now: float, wish: Wish, limit: int) -> float:
        """Seconds until the request may be sent; 0 when it may now. `limit`: units in ten minutes (60).

        A request of more units than `limit` is sent when it has the window to itself.
        """
        if not wish.small:
            return 0.0
        while self._sent and self._sent[0][0] + self._window <= now:
            self._sent.popleft()
        free = max(now, self._held_until)
        free = max(free, self._room(self._sent, max(limit, wish.units), wish.units, self._window))
        line = [entry for entry in self._sent if entry[1].line == wish.line]
        free = max(free, self._room(line, CONTRACT_REQUESTS, wish.units, self._contract))
        same = [sent for sent, other in line if other == wish]
        if same:
            free = max(free, same[-1] + self._identical)
        return free - now

    @staticmethod
    def _room(sent: deque[tuple[float, Wish]] | list[tuple[float, Wish]], most: int, units: int, span: float) -> float:
        """When `units` more fit among `most` within `span`."""
        over = len(sent) + units - most
        return sent[over - 1][0] + span if over > 0 else float("-inf")

    def sent(self, now: float, wish: Wish) -> None:
        """Note a request that has just been sent."""
        if wish.small:
            self._sent.extend([(now, wish)] * wish.units)

    def refused(self, now: float) -> float:
        """IB calls a violation what was none by this book: nothing is sent for a while, twice as long each time in a row, ten minutes at
        most. Several refusals of one burst are one. Seconds to wait."""
        if now < self._held_until:
            return self._held_until - now
        wait = min(self._identical * 2.0**self._refusals, self._window)
        self._refusals = min(self._refusals + 1, 16)
        self._held_until = now + wait
        return wait

    def answered(self) -> None:
        """A request of small bars was answered."""
        self._refusals = 0


def is_refusal(code: int, text: str) -> bool:
    """Whether an error message of IB's says that a rule was broken."""
    return code in REFUSED_CODES and REFUSED_TEXT in text.lower()
