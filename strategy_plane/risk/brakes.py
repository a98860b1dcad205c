"""Brakes on exposure: each names a multiplier on GROSS_LIM and VOL_TARGET, and the smallest one binds.

Brakes do not multiply: two reasons to halve the book are still a reason to halve it. A brake bites at once and is given back at most
BRAKE_RELEASE a session, so that one calm day does not buy back the whole book.
"""

from __future__ import annotations

from dataclasses import dataclass

NONE = "NONE"


@dataclass(frozen=True, slots=True)
class Brake:
    """Multiplier in 0..1 and the code of what binds."""

    value: float
    reason: str


def drawdown_brake(drawdown: float, start: float, stop: float) -> float:
    """One up to a drawdown of `start`, zero from `stop` (where the kill switch trips), a straight line between.

    Exposure in proportion to the cushion that is left: Grossman-Zhou 1993. A NaN drawdown brakes fully.
    """
    if drawdown <= start:
        return 1.0
    if not drawdown < stop:
        return 0.0
    return (stop - drawdown) / (stop - start)


def combine(brakes: list[Brake], previous: float, release: float) -> Brake:
    """The smallest brake, but at most `release` above the previous session's; `brakes` in order of precedence."""
    tightest = Brake(1.0, NONE)
    for brake in brakes:
        if brake.value < tightest.value:
            tightest = brake
    ceiling = previous + release
    if tightest.value > ceiling:
        return Brake(ceiling, "RELEASE")
    return tightest


class BrakeMemory:
    """The brake of the session before, which bounds the release: several barriers of one session release once."""

    def __init__(self, session: str = "", before: float = 1.0, now: float = 1.0) -> None:
        self.session = session
        self.before = before
        self.now = now

    def step(self, session: str, brakes: list[Brake], release: float, known: bool = True) -> Brake:
        """The brake in force at a barrier of `session`.

        Where it is not `known` how large one of them is, that barrier is held and its brake is no reason to release slowly afterwards: a
        NAV that is unknown for a minute must not sell nine tenths of the book.
        """
        if session != self.session:
            self.session, self.before = session, self.now
        brake = combine(brakes, self.before, release)
        if known:
            self.now = brake.value
        return brake

    def state(self) -> tuple[str, float, float]:
        """For snapshots."""
        return (self.session, self.before, self.now)
