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
    most = max((lines - 1) // 2, 0)
    return min(max(fits, first, lines // LEAST_STREAMED // 2, 1), most)


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
