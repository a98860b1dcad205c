"""What a run left in its spool is remembered by the next one as what it left on the topics is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from data_plane.daemon.service import DataService
from data_plane.daemon.spool import Spool
from data_plane.engine import DataEngine
from data_plane.observations import Observation
from data_plane.outputs import Output
from tests.data_plane.release_support import NOW, a_bar, a_fact, a_macro_value, command, quarantined
from tests.data_plane.support import bar, config, day_open, engine, gate_changes, quote, records, run
from triplane.domain.timestamps import SECOND
from triplane.runtime.daemon import Daemon
from triplane.runtime.settings import Settings


async def started(tmp_path: Path, spooled: Sequence[Output]) -> tuple[DataService, DataEngine]:
    """A service whose spool has these records, and its engine."""
    path = tmp_path / "spool"
    spool = Spool(path, 10**6)
    for output in spooled:
        assert spool.append(output, 1)
    spool.close()
    service = DataService(Daemon("data", Settings(state_dir=tmp_path, bootstrap="127.0.0.1:9")))
    service.engine = engine()
    outlet = service._open_outlet(path, config())
    assert outlet.in_flight() == service.engine.ledger.received
    outlet.close(0.0)
    return service, service.engine


@pytest.mark.parametrize("kind", [a_bar(), a_fact(), a_macro_value()])
async def test_a_release_in_the_spool_is_neither_undone_nor_doubled(tmp_path: Path, kind: list[Observation]) -> None:
    before = engine()
    log = run(before, kind)
    (bad,) = quarantined(log)
    given = command(bad)
    log += before.releases.carry_out(given, bad, NOW)
    _, again = await started(tmp_path, log)
    assert again.gates.closed() == []
    assert not again.releases.owes(given)
    assert again.releases.carry_out(given, bad, NOW + 1) == []
    assert "ann has decided already" in again.releases.carry_out(command(bad, drop=True), bad, NOW)[-1].record["detail"]
    assert not quarantined(again.take(kind[-1]))


async def test_streams_go_on_after_what_waits_in_the_spool(tmp_path: Path) -> None:
    """The time of a slice is its identity: none begins before the last one ended."""
    names = ("AAA", "BBB", "CCC")
    at = day_open() + 3 * SECOND
    ticks = [quote("AAA", at), quote("AAA", at + SECOND, bid=99.98)]
    stream: list[Observation] = [*ticks, *(bar(name, step) for step in range(3) for name in names)]
    before = engine()
    log = run(before, stream) + before.flush()
    assert {output.topic for output in log} >= {"data.bars", "data.quotes", "data.micro"}
    _, again = await started(tmp_path, log)
    more = run(again, stream) + again.flush()
    assert not records(more, "data.bars")
    for topic in ("data.quotes", "data.micro"):
        newest = records(log, topic)[-1]["event_time"]
        assert [each["event_time"] > newest for each in records(more, topic)] == [True]
    # The last good closes are known as well.
    assert [each["code"] for each in quarantined(again.take(bar("AAA", 3, 1e4)) + again.flush())] == ["UNIT_100X"]


async def test_a_gate_that_closes_in_the_spool_is_closed(tmp_path: Path) -> None:
    log = run(engine(), a_bar())
    assert gate_changes(log) == [("price_sanity", "AAA", False, "UNIT_100X")]
    service, again = await started(tmp_path, log)
    assert [key.scope for key, _, _ in again.gates.closed()] == ["AAA"]
    metrics = service._daemon.metrics.registry
    told = {"gate": "price_sanity", "source": "ibkr", "scope": "AAA"}
    assert metrics.get_sample_value("triplane_gate_open", told) == 0.0
