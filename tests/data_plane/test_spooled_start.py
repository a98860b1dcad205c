"""What a run left in its spool is remembered by the next one as what it left on the topics is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from data_plane.daemon.service import DataService
from data_plane.daemon.spool import Spool
from data_plane.daemon.telemetry import conservation
from data_plane.engine import DataEngine
from data_plane.observations import Observation
from data_plane.outputs import Output
from schemas import catalogue
from tests.data_plane.release_support import NOW, a_bar, a_fact, a_macro_value, command, quarantined
from tests.data_plane.support import (
    assert_conserved,
    bar,
    config,
    daily,
    day_open,
    engine,
    gate_changes,
    quote,
    records,
    run,
)
from triplane.domain.timestamps import SECOND
from triplane.runtime.daemon import Daemon
from triplane.runtime.settings import Settings


async def started(
    tmp_path: Path, spooled: Sequence[Output], on_log: Sequence[Output] = ()
) -> tuple[DataService, DataEngine]:
    """A service whose spool has these records, and its engine; `on_log` is what came to the log all the same."""
    path = tmp_path / "data-spool.bin"
    spool = Spool(path, 10**6)
    for output in spooled:
        assert spool.append(output, 1)
    spool.close()
    service = DataService(Daemon("data", Settings(state_dir=tmp_path, bootstrap="127.0.0.1:9")))
    service.engine = engine()
    service.config = config()
    service._left = service._left_over(service.config)
    for output in on_log:
        service._left.learn(output.topic, output.record)
        service.engine.remember(output.topic, [output.record])
    outlet = service._open_outlet()
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


def _identities(outputs: Sequence[Output]) -> list[tuple[str, tuple[object, ...]]]:
    return [(output.topic, catalogue.load()[output.topic].identify(output.record)) for output in outputs]


async def test_what_came_to_the_log_all_the_same_is_not_sent_again(tmp_path: Path) -> None:
    """Of records under way when a broker stood still some have arrived; and a backfill may have loaded others meanwhile."""
    names = ("AAA", "BBB", "CCC")
    before = engine(names)
    at = day_open() + 3 * SECOND
    log = run(before, [daily("2018-01-18", dict.fromkeys(names, 100.0)), quote("AAA", at)])
    log += run(
        before, [bar(name, step, 1e4 if (name, step) == ("AAA", 1) else 100.0) for step in range(3) for name in names]
    )
    log += before.flush()
    assert {output.topic for output in log} >= {
        "data.bars",
        "data.quotes",
        "data.micro",
        "data.quarantine",
        "data.gates",
    }
    arrived, lost = log[::2], log[1::2]
    _, again = await started(tmp_path, [*log, *log[-3:]], arrived)
    assert _identities(Spool(tmp_path / "data-spool.bin", 10**6).contents()) == _identities(lost)
    assert again.gates.closed() == before.gates.closed()
    assert_conserved(before)


async def test_a_spool_that_has_become_too_large_keeps_what_fits_and_counts_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = run(engine(), [bar(name, step) for step in range(30) for name in ("AAA", "BBB", "CCC")])
    monkeypatch.setattr("data_plane.daemon.service.MEGABYTE", 10)
    service = DataService(Daemon("data", Settings(state_dir=tmp_path, bootstrap="127.0.0.1:9")))
    spool = Spool(tmp_path / "data-spool.bin", 10**6)
    assert all(spool.append(output, 1) for output in log)
    spool.close()
    service.engine, service.config = engine(), config(SPOOL_MAX_MB=200)
    service._left = service._left_over(service.config)
    outlet = service._open_outlet()
    assert 0 < outlet.spooled < 30
    assert service.engine.ledger.dropped["ibkr", "SPOOL_FULL"] == 3 * (30 - outlet.spooled)
    assert set(conservation(service.engine.ledger, service.engine, outlet).values()) == {0}
    outlet.close(0.0)
