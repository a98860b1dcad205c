"""An outlet's surroundings: a writer whose acknowledgements are given by hand, records, and what is on disk afterwards."""

from __future__ import annotations

from concurrent.futures import Future
from pathlib import Path
from typing import Any

from data_plane.daemon.outlet import Outlet
from data_plane.daemon.spool import Spool
from data_plane.outputs import Output
from tests.waiting import until


class Broker:
    """A writer whose acknowledgements are given by hand."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, dict[str, Any], bytes]] = []
        self.futures: list[Future[int]] = []
        self.full = False
        self.refuses: Exception | None = None
        self.closed = False

    def send(self, topic: str, record: dict[str, Any], *, headers: dict[str, bytes] | None = None) -> Future[int]:
        if self.full:
            raise BufferError
        if self.refuses is not None:
            raise self.refuses
        future: Future[int] = Future()
        self.sent.append((topic, record, (headers or {})["ingest_time"]))
        self.futures.append(future)
        return future

    def acknowledge(self) -> None:
        for offset, future in enumerate(self.futures):
            if not future.done():
                future.set_result(offset)

    def close(self, timeout_s: float = 5.0) -> None:
        self.closed = True


def output(number: int, topic: str = "data.bars", size: int = 10) -> Output:
    record: dict[str, Any] = {"source": "ibkr", "group": "main", "interval": "5s", "event_time": number}
    if topic == "data.quarantine":
        record = {"quarantine_id": str(number), "source": "ibkr", "raw": bytes(size)}
    return Output(topic, record, "ibkr", 1)


def kept(path: Path) -> list[int]:
    return [item.record["event_time"] for item in Spool(path, 10**6).contents()]


async def away(tmp_path: Path) -> tuple[Broker, Outlet]:
    """An outlet whose first record has waited for longer than AWAY_S."""
    broker = Broker()
    way = Outlet(broker, Spool(tmp_path / "s", 10**6), lambda _: None)
    way.put(output(1))
    await until(lambda: way.away)
    return broker, way
