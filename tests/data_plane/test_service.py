"""The whole plane as a process: real gateway, real providers, real Kafka."""

from __future__ import annotations

import signal
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from data_plane.outputs import bar_row, quarantined
from tests.broker.gateways import GatewayProcess
from tests.cli.command import Ran, triplane, variables_of
from tests.control.daemon import Control
from tests.data_plane.daemon import TOPICS, by_interval, data_process, get, log, metrics
from tests.data_plane.support import ProvidersProcess, day_close
from tests.waiting import settles
from triplane.domain.targets import Targets
from triplane.domain.targets.data import DataTargets
from triplane.domain.targets.writing import render
from triplane.domain.timestamps import MINUTE
from triplane.runtime.kafka_out import TopicWriter
from triplane.runtime.settings import Settings

pytestmark = pytest.mark.integration


DAYS = ("2018-01-19", "2018-01-22", "2018-01-23")
SESSIONS = len(DAYS)
"""A Friday, a Monday, a Tuesday: one night is longer than the longest duration in seconds, one is not."""
ONCE = ("data.bars", "data.watched", "data.rolls", "data.facts", "data.macro", "data.quarantine")
"""Topics to which a second run adds nothing."""


def in_cents(settings: Settings, bars: dict[str, Any], *names: str) -> list[str]:
    """Put bars of a slice into quarantine as if they had come in cents; their ids."""
    writer = TopicWriter(settings, "data")
    ids = []
    for name in names:
        place, end = bars["symbols"].index(name), bars["event_time"]
        row = [100.0 * bars[column][place] for column in ("open", "high", "low", "close")]
        raw = bar_row(name, bars["interval"], end, [*row, 1e6, row[3]], 5)
        output = quarantined("ibkr", "data.bars", name, "UNIT_100X", "cents", raw, end, bars["available_time"])
        writer.send(output.topic, output.record)
        ids.append(output.record["quarantine_id"])
    writer.flush(10)
    writer.close()
    return ids


def quarantine(control: Control, *arguments: str) -> Ran:
    return triplane("quarantine", *arguments, cwd=control.folder, variables=variables_of(control.settings))


def test_everything_flows_and_nothing_is_lost(settings: Settings, tmp_path: Path, providers: ProvidersProcess) -> None:
    gateway = GatewayProcess(tmp_path / "gateway", "--hold", "--sessions", str(SESSIONS))
    control = Control(settings, tmp_path / "files")
    control.targets.write_text(render(Targets(data=DataTargets(BACKFILL_YEARS=0.5))))
    control.start()
    process = data_process(settings, gateway, providers)
    try:
        settles(lambda: get(f"{process.http}/readyz")[0] == 200, 60, "readiness")
        found = log(settings)
        history = [r.value for r in found["data.bars"] if r.value]
        assert {(r["interval"], r["history"]) for r in history} == {("1d", True)}
        sessions = [r["session"] for r in history]
        assert sessions == sorted(sessions)
        assert len(sessions) > 115
        assert all(len(r["symbols"]) == 20 and not r["missing"] for r in history)
        # Facts and macro came before the first bar, and all of them were on the log before it.
        ingest = {topic: [int(r.headers["ingest_time"]) for r in found[topic]] for topic in TOPICS}
        assert max(ingest["data.facts"] + ingest["data.macro"]) <= min(ingest["data.bars"])
        assert {r.value["symbol"] for r in found["data.facts"] if r.value} >= {"AAPL", "XOM"}

        def closed_days() -> list[str]:
            # What comes after a reconnect is history, and what went by meanwhile no slice of five seconds: the counts below are of one connection.
            assert "connection lost" not in process.log.read_text(), "the gateway was silent for five seconds and left"
            live = [r.value for r in log(settings)["data.bars"] if r.value and not r.value["history"]]
            return [r["session"] for r in live if r["interval"] == "1d"]

        # The market waits ten minutes before each decision, however long this machine takes for a night.
        for number, day in enumerate(DAYS[1:], 1):
            gateway.advance(to=day_close(day) - 40 * MINUTE)
            settles(
                partial(lambda closed: closed_days() == list(DAYS[:closed]), number), 60, f"the daily bars before {day}"
            )
        gateway.post("start")
        settles(lambda: gateway.status()["finished"], 90, "the market's end")
        # The minutes before and after a session's stream, the latter with its daily bar after the close: all of it but 15:20 to 15:36.
        whole = {("1d", False): SESSIONS, ("1m", False): SESSIONS * (390 - 16)}
        settles(lambda: whole.items() <= by_interval(log(settings)).items(), 120, "the bars of all sessions")
        found = log(settings)
        counts = by_interval(found)
        # Sixteen market minutes around each decision, twelve slices a minute; after them perhaps a punctuation.
        assert SESSIONS * 192 <= counts["5s", False] <= SESSIONS * (192 + 2)
        assert counts["1m", False] == SESSIONS * (390 - 16)
        minutes = [r.value["event_time"] for r in found["data.bars"] if r.value and r.value["interval"] == "1m"]
        assert minutes == sorted(minutes)
        assert found["data.quotes"]
        assert found["data.trades"]
        flow = [r.value for r in found["data.micro"] if r.value]
        ends = [r["event_time"] for r in flow]
        assert ends == sorted(set(ends))
        assert {day_close(day) - 24 * MINUTE for day in DAYS} <= set(ends)  # the last bars' slice of each stream
        assert sum(sum(r["increments"]) for r in flow) > sum(len(r["symbols"]) for r in flow) / 2
        signed = sum(abs(volume) for r in flow for volume in r["signed_volume"])
        assert 0 < signed <= sum(sum(r.value["size"]) for r in found["data.trades"] if r.value)
        assert not found["data.quarantine"]
        full = [
            r.value
            for r in found["data.bars"]
            if r.value and r.value["interval"] == "5s" and len(r.value["symbols"]) == 20
        ]
        assert len(full) == SESSIONS * 192

        # A session's daily bars are there before the next session decides.
        live = [r.value for r in found["data.bars"] if r.value and not r.value["history"]]
        assert closed_days() == list(DAYS)
        for earlier, later in pairwise(DAYS):
            decided = next(
                i
                for i, r in enumerate(live)
                if r["session"] == later and r["event_time"] >= day_close(later) - 30 * MINUTE
            )
            assert [r["session"] for r in live[:decided] if r["interval"] == "1d"][-1] == earlier

        assert set(metrics(process, "triplane_conservation_difference").values()) == {0.0}
        records = metrics(process, "triplane_records_total")
        published = records['{outcome="published",source="ibkr"}']
        on_log = sum(
            len(r.value["symbols"]) for t in ("data.bars", "data.watched", "data.trades") for r in found[t] if r.value
        )
        # A quote slice repeats names without an update; what is new in it is told by the times of its quotes.
        fresh = 0
        seen: dict[str, int] = {}
        for record in found["data.quotes"]:
            assert record.value
            for name, time in zip(record.value["symbols"], record.value["quote_time"], strict=True):
                fresh += seen.get(name) != time
                seen[name] = time
        assert on_log < published <= on_log + sum(len(r.value["symbols"]) for r in found["data.quotes"] if r.value)
        assert published >= on_log + fresh
        # A person lets a bar out with its repair; another, while the plane is away, is dropped once it is there again.
        last = [r for r in live if r["interval"] == "1d"][-1]
        mended, dropped = in_cents(settings, last, "AAPL", "XOM")
        why = ("--reason", "the exchange says so", "--actor", "ann")
        ran = quarantine(control, "release", mended, *why, "--repair", "--json")
        assert ran.code == 0, ran
        (decision,) = ran.json
        assert (decision["action"], decision["actor"], decision["reason"]) == ("repaired", "ann", why[1])
        (slice_,) = (r.value for r in log(settings)["data.bars"] if r.value and r.value["released"])
        assert (slice_["released"], slice_["repaired"]) == ([mended], ["AAPL:UNIT_100X"])
        assert slice_["close"] == pytest.approx([last["close"][last["symbols"].index("AAPL")]])
        assert slice_["available_time"] > last["available_time"]
        refused = quarantine(control, "release", mended, *why)
        assert refused.code == 1
        assert "ann has decided already: it is repaired" in refused.out
        assert metrics(process, "triplane_records_total")['{outcome="released",source="ibkr"}'] == 1.0
        settles(lambda: set(metrics(process, "triplane_conservation_difference").values()) == {0.0})

        code, errors = process.stop()
        assert code == 0, errors
        assert '"ibkr": 0' in errors
        ran = quarantine(control, "drop", dropped, *why)
        assert ran.code == 1
        assert "no data plane is seen to run here" in ran.sentence
        open_ones = quarantine(control, "list", "--json").json["records"]
        assert [each["quarantine_id"] for each in open_ones] == [dropped]

        # A second run on the same topics publishes none of it again.
        before = {topic: len(rows) for topic, rows in log(settings).items()}
        again = data_process(settings, gateway, providers)
        try:
            settles(lambda: get(f"{again.http}/readyz")[0] == 200, 60, "readiness")
            settles(
                lambda: metrics(again, "triplane_records_total").get('{outcome="deduplicated",source="edgar"}', 0) > 0
            )
            after = log(settings)
            assert {topic: len(after[topic]) for topic in ONCE} == {topic: before[topic] for topic in ONCE}
            settles(lambda: "dropped" in [r.value["action"] for r in log(settings)["data.decisions"] if r.value])
            assert [r.value["action"] for r in log(settings)["data.decisions"] if r.value] == [
                "repaired",
                "refused",
                "dropped",
            ]
            assert "nothing of it is published" in quarantine(control, "show", dropped).out
            assert quarantine(control, "list", "--json").json["total"] == 0
            assert quarantine(control, "list", "--json", "--state", "released").json["total"] == 1
        finally:
            assert again.stop()[0] == 0
    finally:
        control.client.close()
        control.end(signal.SIGKILL)
        process.kill()
        gateway.stop()
