"""Partitions that stand still although the log goes on: what the group's reader has passed over."""

from __future__ import annotations

from collections.abc import Mapping

# A reader that is alive delivers within milliseconds; the second look costs a round trip, so it need not be sooner.
AFTER_S = 2.0


class PassedOver:
    """Watches positions against ends. Pure; times are steady seconds."""

    def __init__(self, after_s: float = AFTER_S) -> None:
        self._after_s = after_s
        self._seen: dict[str, tuple[int, float]] = {}

    def look(self, positions: Mapping[str, int], ends: Mapping[str, int], now_s: float) -> dict[str, int]:
        """Partitions, each with its end, whose position is below that end and has not moved for `after_s`; each is named once per
        `after_s`."""
        still = {}
        for name, end in ends.items():
            position = positions[name]
            if position >= end:
                self._seen.pop(name, None)
                continue
            since = self._seen.get(name)
            if since is None or since[0] != position:
                self._seen[name] = (position, now_s)
            elif now_s - since[1] > self._after_s:
                still[name] = end
                self._seen[name] = (position, now_s)
        return still
