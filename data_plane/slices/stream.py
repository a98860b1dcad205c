"""One source's running market data: bars in assembly, quotes, trades and their order flow, and when each name was last heard."""

from __future__ import annotations

import numpy as np

from data_plane.gates.clock import SourceTime
from data_plane.gates.freshness import LastHeard
from data_plane.slices.ahead import AheadBars
from data_plane.slices.assembly import BarAssembler
from data_plane.slices.frame import Frame
from data_plane.slices.micro import MicroSlices
from data_plane.slices.ticks import TickSlices


class Stream:
    """State of one source; `last_slice` and `last_micro` are the times (ns UTC) of its latest slice of quotes or trades, and of order flow."""

    def __init__(self, frame: Frame, source: str, last_slice: int = 0, last_micro: int = 0) -> None:
        self.bars = BarAssembler(len(frame.names))
        self.ahead = AheadBars()
        self.heard = LastHeard.empty(len(frame.names))
        self.ticks = TickSlices(frame, source, last_slice)
        self.micro = MicroSlices(frame, source, last_micro)
        self.ticks_heard = LastHeard.empty(len(frame.names))
        self.time = SourceTime()
        self.rests = np.zeros(len(frame.names), dtype=np.bool_)
        """Names whose bars are not streamed."""
        self.quote_round_s = np.zeros(len(frame.names))
        """Market seconds within which a name is quoted once when its turn comes; 0 where its quotes are streamed."""
        self.cover(frame, source, 0)
        self.last_bars = 0
        """End of the latest five-second record, ns UTC."""

    def cover(self, frame: Frame, source: str, now: int) -> None:
        """Take over what the frame now says of the source's coverage; of a name that is streamed from now on the age counts from now."""
        streamed, coverage = frame.streamed(source), frame.coverage.get(source)
        rested = self.rests.copy()
        self.rests[:] = coverage is not None
        if streamed is not None:
            self.rests[streamed] = False
        self.quote_round_s[:] = np.where(self.rests, coverage.round_s if coverage is not None else 0.0, 0.0)
        begun = np.flatnonzero(rested & ~self.rests)
        self.heard.names[begun] = np.maximum(self.heard.names[begun], now)
        self.bars.stream(streamed)

    @property
    def pending(self) -> int:
        """Observations held back for the next slices. What only `micro` still waits for is held back by `ticks` or counted already."""
        return self.bars.pending + self.ticks.pending + len(self.ahead.waiting)

    def resume(self, time: int) -> None:
        """Ages of bars and quotes count from `time` where nothing later was heard."""
        self.heard.resume(time)
        self.ticks_heard.resume(time)

    def renumbered(self, frame: Frame, source: str, new: list[int], old: list[int]) -> Stream:
        """The stream under new names, with nothing held back but bars that are ahead of it: the name at row `old[i]` is now at row `new[i]`."""
        stream = Stream(frame, source, self.ticks.last, self.micro.last)
        stream.bars.done, stream.last_bars, stream.time = self.bars.done, self.last_bars, self.time
        stream.ahead = self.ahead
        stream.heard = self.heard.renumbered(len(frame.names), new, old)
        stream.ticks_heard = self.ticks_heard.renumbered(len(frame.names), new, old)
        return stream
