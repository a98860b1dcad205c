"""Who may publish a plane's topics on a log: one state directory at a time. Real Kafka."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import KafkaError

from triplane.runtime.exit_codes import CONFIG, UNAVAILABLE, DaemonExit
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


async def test_a_client_that_had_itself_fenced_has_the_plane_started_again(settings: Settings) -> None:
    """librdkafka sends heartbeats without the member's id once its session has ended, and may find Kafka back by then."""
    with producer(settings, "a") as only:
        assert await only.take(asyncio.Event())
        only._ended(KafkaError(KafkaError.FENCED_INSTANCE_ID))
        with pytest.raises(DaemonExit, match="nobody else has the right") as ended:
            await only.lost()
        assert ended.value.code == UNAVAILABLE
    with producer(settings, "a") as again:
        assert await again.take(asyncio.Event())


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


WALL_CLOCK = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

#define SLICE 20000000LL

static long behind(void) { return access(getenv("CLOCK_IS_BACK"), F_OK) ? 0 : 3600; }

int clock_gettime(clockid_t id, struct timespec *at) {
    int failed = syscall(SYS_clock_gettime, id, at);
    if (!failed && id == CLOCK_REALTIME) at->tv_sec -= behind();
    return failed;
}

/* A wait until a moment of the wall clock, in slices, so that it is longer by what the clock is set back meanwhile. */
int cnd_timedwait(cnd_t *condition, mtx_t *lock, const struct timespec *until) {
    int (*wait)(cnd_t *, mtx_t *, const struct timespec *) = dlsym(RTLD_NEXT, "cnd_timedwait");
    for (;;) {
        struct timespec now, slice;
        clock_gettime(CLOCK_REALTIME, &now);
        long long left = (until->tv_sec - now.tv_sec) * 1000000000LL + until->tv_nsec - now.tv_nsec;
        if (left <= 0) return thrd_timedout;
        syscall(SYS_clock_gettime, CLOCK_REALTIME, &slice);
        slice.tv_nsec += left < SLICE ? left : SLICE;
        slice.tv_sec += slice.tv_nsec / 1000000000;
        slice.tv_nsec %= 1000000000;
        int ended = wait(condition, lock, &slice);
        if (ended != thrd_timedout) return ended;
    }
}
"""


@pytest.mark.skipif(sys.platform != "linux" or shutil.which("cc") is None, reason="needs Linux and a C compiler")
async def test_a_clock_that_is_set_back_does_not_give_the_right_away(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "clock.c").write_text(WALL_CLOCK)
    library, back = tmp_path / "clock.so", tmp_path / "back"
    compiler = ("cc", "-shared", "-fPIC", "-o", str(library), str(tmp_path / "clock.c"), "-ldl")
    assert await (await asyncio.create_subprocess_exec(*compiler)).wait() == 0
    line = (sys.executable, "-c", HOLDER, settings.bootstrap, settings.topic_prefix, str(settings.state_dir / "a"))
    environment = {**os.environ, "LD_PRELOAD": str(library), "CLOCK_IS_BACK": str(back)}
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*line, stdout=pipe, cwd=ROOT, env=environment)
    try:
        assert process.stdout is not None
        assert await asyncio.wait_for(process.stdout.readline(), 30.0) == b"True\n"
        await asyncio.sleep(1.0)  # its threads wait for the next moment by the wall clock
        back.touch()
        await asyncio.sleep(SESSION_S + 1.0)
        with producer(settings, "b") as another, pytest.raises(DaemonExit, match="publishes to this log"):
            await another.take(asyncio.Event())
        assert process.returncode is None
    finally:
        process.kill()
        await process.wait()
