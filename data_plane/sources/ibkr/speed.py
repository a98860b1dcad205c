"""How fast market time passes, from readings of the gateway's clock beside the machine's."""

from __future__ import annotations

from triplane.domain.timestamps import SECOND

# Faster than anything that streams: beyond it, market time was leapt over and nothing was sent meanwhile.
LEAP_SPEED = 2000.0
LEAP_S = 60.0


class Speed:
    """How fast market time passes: whether the gateway's clock leapt, and whether it keeps pace with the machine's."""

    def __init__(self) -> None:
        self._samples: list[tuple[float, int]] = []

    def sample(self, wall: float, market: int) -> bool:
        """Take a reading (wall in s, market in ns); True when market time leapt since the one before."""
        leapt = False
        if self._samples:
            was_wall, was_market = self._samples[-1]
            leapt = (market - was_market) / SECOND > LEAP_S + LEAP_SPEED * (wall - was_wall)
        self._samples.append((wall, market))
        while len(self._samples) > 2 and self._samples[1][0] < wall - 5.0:
            del self._samples[0]
        return leapt

    @property
    def real(self) -> bool:
        """Whether the clocks have kept pace over at least two seconds (the gateway tells whole seconds)."""
        if len(self._samples) < 2:
            return False
        (wall, market), (last_wall, last_market) = self._samples[0], self._samples[-1]
        elapsed = last_wall - wall
        return elapsed >= 2.0 and abs((last_market - market) / SECOND - elapsed) <= 1.5 + 0.05 * elapsed
