"""The service's pure parts: what is quarantined, and where a decision's time goes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka.errors import InvalidTimestampError, KafkaTimeoutError

from strategy_plane.quarantine import skipped
from strategy_plane.worker.publisher import _offset
from strategy_plane.worker.timing import DecisionTimes
from triplane.runtime.kafka_out import DeliveryError


def test_each_skipped_record_is_quarantined_with_its_bytes() -> None:
    barrier = {"t": 7, "skipped": ["data.quotes-0@12", "data.bars-3@4"]}
    first, second = skipped(barrier, {"data.quotes-0@12": ("malformed", b"\x01")})
    assert first.topic == "strategy.quarantine"
    assert (first.record["topic"], first.record["partition"], first.record["offset"]) == ("data.quotes", 0, 12)
    assert (first.record["code"], first.record["raw"], first.record["detail"]) == ("UNDECODABLE", b"\x01", "malformed")
    assert (second.record["code"], second.record["raw"]) == ("REFUSED", b"")
    assert first.record["event_time"] == second.record["event_time"] == 7
    assert skipped({"t": 7, "skipped": []}, {}) == []


def test_a_decision_is_timed_from_ingest() -> None:
    times = DecisionTimes()
    times.begin("2018-01-19", b"1000000000", now=5.0, wall_ns=1_003_000_000)
    times.mark("2018-01-19", "cut", 5.001)
    times.mark("2018-01-19", "stepped", 5.0075)
    times.mark("2018-01-22", "cut", 9.0)
    assert times.ingest_time("2018-01-19") == b"1000000000"
    assert times.finish("2018-01-19") == {"arrived": 3.0, "cut": 1.0, "stepped": 6.5}
    assert times.finish("2018-01-19") == {}
    assert times.ingest_time("2018-01-19") == b""


def test_older_sessions_are_forgotten() -> None:
    times = DecisionTimes()
    for session in ("2018-01-18", "2018-01-19"):
        times.begin(session, b"", now=1.0, wall_ns=0)
    assert times.finish("2018-01-19") == {"arrived": 0.0}
    assert times.finish("2018-01-18") == {}


async def test_a_clock_that_kafka_refuses_is_named() -> None:
    refused: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    refused.set_exception(InvalidTimestampError())
    with pytest.raises(
        DeliveryError, match=r"^strategy\.barriers: not acknowledged: The timestamp .*clock right\?"
    ) as caught:
        await _offset("strategy.barriers", refused)
    assert "Error(" not in str(caught.value)
    gone: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    gone.set_exception(KafkaTimeoutError())
    with pytest.raises(DeliveryError, match=r"not acknowledged: KafkaTimeoutError$"):
        await _offset("strategy.barriers", gone)
