"""The last good close before a quarantined bar: what a repair of its unit is measured with."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


class LastGoodClose:
    """Found by taking every slice of bars, in any order: the name's newest close of that source and interval that could be known
    before the bar. `close` is NaN without one."""

    def __init__(self, quarantined: Mapping[str, Any], interval: str) -> None:
        self._quarantined = quarantined
        self._interval = interval
        self._end = -1
        self.close = math.nan

    def take(self, record: Mapping[str, Any]) -> None:
        """Look at one BarSlice."""
        bad = self._quarantined
        if record["interval"] != self._interval or record["source"] != bad["source"]:
            return
        end, symbols = record["event_time"], record["symbols"]
        if not self._end <= end < bad["event_time"] or record["available_time"] > bad["available_time"]:
            return
        if bad["symbol"] in symbols:
            self._end, self.close = end, record["close"][symbols.index(bad["symbol"])]
