"""Who may publish a plane's topics on a log: one state directory at a time. Real Kafka."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from triplane.runtime.exit_codes import CONFIG, DaemonExit
from triplane.runtime.settings import Settings
from triplane.runtime.sole_producer import SESSION_S, SoleProducer

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[2]


@contextlib.contextmanager
def producer(settings: Settings, name: str) -> Iterator[SoleProducer]:
    """Of a state directory beside the usual one."""
    made = SoleProducer(settings.model_copy(update={"state_dir": settings.state_dir / name}), "data")
    made.join()
    try:
        yield made
    finally:
        made.close()


async def test_one_state_directory_at_a_time_and_the_same_one_again_at_once(settings: Settings) -> None:
    here = rf"of \S+:{settings.state_dir}/a publishes to this log.*stop it first"
    with producer(settings, "a") as first:
        assert await first.take(asyncio.Event())
        watching = asyncio.create_task(first.lost())
        with producer(settings, "b") as second:
            with pytest.raises(DaemonExit, match=here) as refused:
                await second.take(asyncio.Event())
            assert refused.value.code == CONFIG
            # A second process under the first one's name, as on a copy of its disk: the newer goes on, and the older one is told.
            with producer(settings, "a") as copy:
                assert await copy.take(asyncio.Event())
                with pytest.raises(DaemonExit, match="to another process"):
                    await asyncio.wait_for(watching, SESSION_S)
    # Nobody has taken leave: of the group's members it is the one that comes again.
    with producer(settings, "a") as again:
        assert await asyncio.wait_for(again.take(asyncio.Event()), SESSION_S / 2.0)


async def test_whoever_is_told_to_stop_does_not_wait_for_an_answer(settings: Settings) -> None:
    told = asyncio.Event()
    told.set()
    nobody = settings.model_copy(update={"bootstrap": "127.0.0.1:9"})
    with producer(nobody, "a") as waiting:
        assert not await asyncio.wait_for(waiting.take(told), SESSION_S / 2.0)


HOLDER = """
import asyncio, sys
from pathlib import Path
from triplane.runtime.settings import Settings
from triplane.runtime.sole_producer import SoleProducer

async def main():
    held = SoleProducer(Settings(bootstrap=sys.argv[1], topic_prefix=sys.argv[2], state_dir=Path(sys.argv[3])), "data")
    held.join()
    print(await held.take(asyncio.Event()), flush=True)
    try:
        await held.lost()
    finally:
        held.close()

asyncio.run(main())
"""


async def test_a_process_that_stands_still_is_passed_over_and_ends_when_it_runs_again(settings: Settings) -> None:
    line = (sys.executable, "-c", HOLDER, settings.bootstrap, settings.topic_prefix, str(settings.state_dir / "a"))
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*line, stdout=pipe, stderr=pipe, cwd=ROOT)
    try:
        assert process.stdout is not None
        assert await asyncio.wait_for(process.stdout.readline(), 30.0) == b"True\n"
        process.send_signal(signal.SIGSTOP)
        with producer(settings, "b") as next_one:
            assert await asyncio.wait_for(next_one.take(asyncio.Event()), SESSION_S + 10.0)
            process.send_signal(signal.SIGCONT)
            _, said = await asyncio.wait_for(process.communicate(), SESSION_S)
            assert f":{settings.state_dir}/b publishes to this log" in said.decode()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
