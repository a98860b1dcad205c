"""Kafka, topics and registry under the supervisor, as `triplane up` and the demonstration start them."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import signal
from pathlib import Path

import pytest
from confluent_kafka import Producer

from tests.waiting import until
from triplane.runtime.process_identity import start_time
from triplane.runtime.settings import Settings
from triplane.stack import docker, java, registration, topics
from triplane.stack.errors import StackError
from triplane.stack.local_services import LocalServices, in_thread, unless
from triplane.stack.registry import Registry
from triplane.stack.supervisor import Supervisor


@pytest.mark.integration
@pytest.mark.chaos
async def test_the_whole_stack_comes_up_survives_a_kill_and_goes_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Own Kafka and registry: topics and ids as committed; a SIGKILLed Kafka comes back where it was; nothing stays."""
    monkeypatch.delenv("KAFKA_BOOTSTRAP_SERVERS", raising=False)
    monkeypatch.delenv("TRIPLANE_BOOTSTRAP", raising=False)
    lines: list[str] = []
    async with Supervisor([], tmp_path) as it:
        services = LocalServices(tmp_path, lines.append)
        bootstrap = await services.start(it, registry=True)
        assert await asyncio.to_thread(topics.diff, bootstrap, registry=True) == []
        pid = it.pid("kafka")
        await services.settled(it)
        assert [(each.name, each.state) for each in it.status()] == [
            ("kafka", "ready"),
            ("registry", "ready"),
            ("schemas", "done"),
        ]
        with Registry(services.registry_url) as registry:
            registration.verify(registry)
        assert registration.History(tmp_path).state() == "filled"
        producer = Producer({"bootstrap.servers": bootstrap, "acks": "all"})
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        await until(lambda: it.pid("kafka") not in (None, pid) and it.status()[0].state == "ready", "another Kafka")
        producer.produce("data.bars", b"x", key=b"main")
        assert await asyncio.to_thread(producer.flush, 30) == 0
        pids = [each.pid for each in it.status() if each.pid]
        assert len(pids) == 2
    assert [pid for pid in pids if start_time(pid) is not None] == []
    assert lines[0] == f"Kafka answers on {bootstrap}"


@pytest.mark.integration
async def test_a_given_broker_and_registry_are_used_and_nothing_is_started(
    settings: Settings, registry_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the job that registers runs."""
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", settings.bootstrap)
    monkeypatch.setenv("TRIPLANE_REGISTRY_URL", registry_url)
    async with Supervisor([], settings.state_dir) as it:
        services = LocalServices(settings.state_dir, lambda _line: None)
        assert await services.start(it, registry=True, topic_prefix=settings.topic_prefix) == settings.bootstrap
        assert services.registry_url == registry_url
        await services.settled(it)
        assert [(each.name, each.state) for each in it.status()] == [("schemas", "done")]


@pytest.mark.integration
async def test_a_registry_that_lost_its_ids_ends_the_run(
    settings: Settings, registry_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Data on the log, nothing registered, and no first start that was cut short: `up` stops with the sentence."""
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", settings.bootstrap)
    monkeypatch.setenv("TRIPLANE_REGISTRY_URL", registry_url)
    producer = Producer({"bootstrap.servers": settings.bootstrap})
    producer.produce(f"{settings.topic_prefix}data.bars", b"x", key=b"main")
    assert producer.flush(10) == 0
    async with Supervisor([], settings.state_dir) as it:
        services = LocalServices(settings.state_dir, lambda _line: None)
        await services.start(it, registry=True, topic_prefix=settings.topic_prefix)
        with pytest.raises(
            StackError,
            match=r"schemas ended with code 78: init: the registry at .* is empty although .*data.bars.*`triplane up --refill-registry`",
        ):
            await it.run(asyncio.Event())
    async with Supervisor([], settings.state_dir) as it:  # as the sentence says
        services = LocalServices(settings.state_dir, lambda _line: None, refill=True)
        await services.start(it, registry=True, topic_prefix=settings.topic_prefix)
        await services.settled(it)


async def test_ctrl_c_during_the_first_download_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stop is obeyed at once; no Maven and no half-filled cache stay."""
    pid = tmp_path / "pid"
    maven = tmp_path / "bin" / "mvn"
    maven.parent.mkdir()
    maven.write_text(f"#!/bin/sh\necho $$ > {pid}; exec sleep 600\n")
    maven.chmod(0o755)
    monkeypatch.setenv("PATH", f"{maven.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("TRIPLANE_CACHE", str(tmp_path / "cache"))
    for name in ("KAFKA_BOOTSTRAP_SERVERS", "TRIPLANE_BOOTSTRAP"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(docker, "engine_answers", lambda _env=None: False)
    if java.find_java() is None:
        pytest.skip("no Java on this machine")
    stop = asyncio.Event()
    async with Supervisor([], tmp_path / "state") as it:
        services = LocalServices(tmp_path / "state", lambda _line: None)

        async def start() -> None:
            await services.start(it, registry=False)

        run = asyncio.create_task(unless(stop, start()))
        await until(lambda: pid.exists() and pid.read_text().strip(), "the download")
        stop.set()
        assert await run is False
    java.resume()
    assert start_time(int(pid.read_text())) is None
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".lock"]


async def test_unless_and_in_thread() -> None:
    """Work that ends first counts; its error is raised; a cancelled thread is waited for."""
    stop = asyncio.Event()

    async def fine() -> None:
        await asyncio.sleep(0)

    async def broken() -> None:
        raise StackError("no")

    assert await unless(stop, fine()) is True
    with pytest.raises(StackError, match="no"):
        await unless(stop, broken())
    ended: list[bool] = []
    begun = asyncio.Event()
    loop = asyncio.get_running_loop()

    def slow() -> None:
        loop.call_soon_threadsafe(begun.set)
        release.result(10)
        ended.append(True)

    release: concurrent.futures.Future[None] = concurrent.futures.Future()
    task = asyncio.create_task(in_thread(slow))
    await begun.wait()
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    release.set_result(None)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == [True]
