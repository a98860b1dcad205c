"""One source's running market data: its bars in assembly, its quotes and trades, and when each name was last heard."""

from __future__ import annotations

from data_plane.gates.clock import SourceTime
from data_plane.gates.freshness import LastHeard
from data_plane.slices.assembly import BarAssembler
from data_plane.slices.frame import Frame
from data_plane.slices.ticks import TickSlices


class Stream:
    """State of one source; `last_slice` is the time (ns UTC) of its latest slice of quotes or trades."""

    def __init__(self, frame: Frame, source: str, last_slice: int = 0) -> None:
        self.bars = BarAssembler(len(frame.names))
        self.heard = LastHeard.empty(len(frame.names))
        self.ticks = TickSlices(frame, source, last_slice)
        self.ticks_heard = LastHeard.empty(len(frame.names))
        self.time = SourceTime()
        self.last_bars = 0
        """End of the latest five-second record, ns UTC."""

    @property
    def pending(self) -> int:
        """Observations held back for the next slices."""
        return self.bars.pending + self.ticks.pending

    def renumbered(self, frame: Frame, source: str, new: list[int], old: list[int]) -> Stream:
        """The stream under new names, with nothing held back: the name at row `old[i]` is now at row `new[i]`."""
        stream = Stream(frame, source, self.ticks.last)
        stream.bars.done, stream.last_bars, stream.time = self.bars.done, self.last_bars, self.time
        stream.heard = self.heard.renumbered(len(frame.names), new, old)
        stream.ticks_heard = self.ticks_heard.renumbered(len(frame.names), new, old)
        return stream
