"""Bars by name from kept answers of Interactive Brokers: of each moment the newest answer that has it whole."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from data_plane.sources.archive import Stored
from data_plane.sources.base import Context
from data_plane.sources.ibkr.kept import Answer, Batch, KeptBars
from data_plane.sources.ibkr.reach import Reach
from triplane.broker.contracts import terms_of
from triplane.broker.historical_bars import HistoricalBars, columns
from triplane.broker.what_to_show import shown
from triplane.domain.assets import Asset


def plain_terms(asset: Asset) -> dict[str, Any]:
    """A row's terms as they were written down with its answers."""
    plain: dict[str, Any] = json.loads(json.dumps(terms_of(asset)))
    return plain


class KeptRows:
    """Reads the answers of one source; what cannot be read is handed in for quarantine."""

    def __init__(self, context: Context, source: str, kept: KeptBars) -> None:
        self._context = context
        self._source = source
        self._kept = kept

    def daily(self) -> list[Stored]:
        """All answers with daily bars, newest first."""
        return sorted((each for _, some in self._kept.looks("1 day") for each in some), key=lambda each: -each.at)

    async def newest(
        self,
        kept: Iterable[Stored],
        ours: Callable[[str, Answer], bool],
        limit: Callable[[Batch], Callable[[str], int]],
        reach: Reach | None = None,
    ) -> tuple[dict[str, HistoricalBars], int]:
        """Bars by name, and when the oldest answer was asked for (market time, ns UTC).

        `kept` newest first; `ours` says whether a name's answer counts, and `limit` of a batch and a name before when (ns UTC) bars
        must start that had ended when they were asked for. `reach` is told of each answer.
        """
        parts: dict[str, list[HistoricalBars]] = defaultdict(list)
        oldest = 0
        for stored in kept:
            batch = await asyncio.to_thread(self._kept.load, stored)
            if batch is None:
                continue
            self._context.tell_time(batch.at)
            oldest = min(oldest or batch.at, batch.at)
            ended = limit(batch)
            answers = {
                name: bars
                for name, answer in batch.answers.items()
                if ours(name, answer) and (bars := self._columns(name, answer)) is not None
            }
            if reach is not None:
                reach.add(batch.asked, batch.at, ended(""), answers)
            for name, bars in answers.items():
                new = bars.starts < ended(name)
                for newer in parts[name]:
                    new &= ~np.isin(bars.starts, newer.starts)
                if new.any():
                    parts[name].append(bars.picked(new))
        return {name: _joined(found) for name, found in sorted(parts.items()) if found}, oldest

    def _columns(self, name: str, answer: Answer) -> HistoricalBars | None:
        try:
            return columns(answer.bars, shown(str(answer.terms.get("sec_type", ""))).volume)
        except (ValueError, TypeError, OverflowError) as error:
            raw = json.dumps(answer.bars).encode()[:65536]
            self._context.malformed(self._source, "data.bars", name, "BARS_UNREADABLE", f"{name}: {error}", raw)
            return None


def _joined(parts: list[HistoricalBars]) -> HistoricalBars:
    starts = np.concatenate([bars.starts for bars in parts])
    values = np.concatenate([bars.values for bars in parts])
    trades = np.concatenate([bars.trades for bars in parts])
    return HistoricalBars(starts, values, trades).picked(np.argsort(starts, kind="stable"))
