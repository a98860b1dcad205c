"""Who gets IB's market data lines when there are fewer than the names need, as a pure schedule.

A name is *streamed*: five-second bars and quotes, two lines for good; or it takes turns at the lines that are left, one for its quotes
for the length of a *slot*. Turns are quotes only: a new subscription of bars counts in IB's pacing rules (60 in ten minutes), one of
quotes does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

LEAST_STREAMED: Final = 8
"""At least one of so many lines carries streamed names, however many wait for a turn: without bars no time passes on the topics."""

LEAST_LINES: Final = 2
"""Bars and quotes of one streamed name."""
NO_LIMIT: Final = 10**9
TRY_AGAIN_S: Final = 60.0
TRY_AGAIN_MOST_S: Final = 960.0
"""Seconds without a refusal after which more lines are tried for, at first and at most."""


class LinePlan(NamedTuple):
    """Who has lines in a slot. `round_slots`: slots within which each name that is not streamed has had a turn; 0 when there is none."""

    streamed: tuple[str, ...]
    quoted: tuple[str, ...]
    every_trade: tuple[str, ...]
    """Those of the streamed that have a tick-by-tick line as well."""
    round_slots: int

    @property
    def lines(self) -> int:
        """Market data lines in use."""
        return 2 * len(self.streamed) + len(self.quoted)


def streamed_count(names: int, lines: int, slots: int, first: int = 0) -> int:
    """How many of `names` names to stream: as many as leave lines enough for all others to have a turn within `slots` slots, but the
    `first` ones and an eighth of the lines in any case.

    All fit: 2 n <= L. Else the largest S with n - S <= k (L - 2 S), which is floor((k L - n) / (2 k - 1)).
    """
    if 2 * names <= lines:
        return names
    fits = (slots * lines - names) // (2 * slots - 1)
    most = max((lines - 1) // 2, min(lines // 2, 1))  # with two lines nobody has a turn, but somebody has bars
    return min(max(fits, first, lines // LEAST_STREAMED // 2, 1), most)


class Budget:
    """Lines that the gateway gives, as its refusals tell, in seconds of any clock that does not run backwards.

    A refusal says how many there are now. Whoever has the others may let them go and says nothing, so twice as many are tried for after
    a while, and after a longer one each time that this is refused: each try moves subscriptions, which IB's pacing rules count.
    """

    def __init__(self, least: int) -> None:
        """`least`: lines that are tried for in any case."""
        self._least = least
        self.granted = NO_LIMIT
        self._try_at = 0.0
        self._wait_s = TRY_AGAIN_S
        self._tried = False
        """Whether more than were given are being tried for."""

    def forget(self) -> None:
        """Nothing is subscribed any more: all is tried for."""
        self.granted, self._wait_s, self._tried = NO_LIMIT, TRY_AGAIN_S, False

    def refused(self, in_use: int, now: float) -> bool:
        """A line is refused while `in_use` are given; True when that is fewer than was thought."""
        granted = max(in_use, self._least)
        fewer, self.granted = granted < self.granted, min(granted, self.granted)
        if self._tried:
            self._tried, self._wait_s = False, min(2.0 * self._wait_s, TRY_AGAIN_MOST_S)
        self._try_at = now + self._wait_s
        return fewer

    def limit(self, wanted: int, now: float) -> int:
        """How many of `wanted` lines to try for at `now`."""
        if self.granted < NO_LIMIT and now >= self._try_at:
            if self.granted >= wanted:
                self.forget()
            else:
                self._wait_s = TRY_AGAIN_S if self._tried else self._wait_s
                self.granted, self._tried = max(2 * self.granted, 1), True
                self._try_at = now + TRY_AGAIN_S
        return min(wanted, self.granted)


class LineScheduler:
    """Turns of the names that are not streamed: a queue, so that nobody is passed over, whoever comes or goes."""

    def __init__(self) -> None:
        self._queue: list[str] = []
        self._width = 0

    def plan(
        self,
        names: Sequence[str],
        lines: int,
        every_trade: int,
        slots: int,
        first: Sequence[str] = (),
        *,
        next_slot: bool = False,
    ) -> LinePlan:
        """The slot's lines for `names`, of which those also in `first` come first; `next_slot` ends the turns of the slot before.

        A name waits at most ceil(most names in the queue / fewest lines of a slot) slots for its turn.
        """
        wanted = frozenset(names)
        leading = [name for name in dict.fromkeys(first) if name in wanted]
        ahead = frozenset(leading)
        order = leading + [name for name in names if name not in ahead]
        count = streamed_count(len(order), lines, slots, len(leading))
        streamed = tuple(order[:count])
        waiting = order[count:]
        if next_slot:
            self._queue = self._queue[self._width :] + self._queue[: self._width]
        stay, queued = frozenset(waiting), frozenset(self._queue)
        self._queue = [name for name in self._queue if name in stay] + [name for name in waiting if name not in queued]
        self._width = min(max(lines - 2 * count, 0), len(waiting))
        rounds = -(-len(waiting) // self._width) if self._width else 0
        told = tuple(name for name in streamed if name in ahead)[:every_trade]
        return LinePlan(streamed, tuple(self._queue[: self._width]), told, rounds)
