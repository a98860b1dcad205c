"""What the supervisor does about processes that end: restarts, backoff, giving up, and what it says."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
from functools import partial
from pathlib import Path

import pytest

from tests.stack import programs
from tests.waiting import until
from triplane.stack import state_file, supervised_process, supervisor
from triplane.stack.errors import StackError
from triplane.stack.specs import Event
from triplane.stack.supervisor import Supervisor

pytestmark = pytest.mark.chaos
READY = partial(str, "")
"""A check that is always content."""


async def test_a_killed_process_is_restarted(tmp_path: Path) -> None:
    """SIGKILL: another incarnation becomes ready; the others are not touched; each change is an event."""
    seen: list[Event] = []
    specs = [programs.daemon(tmp_path, "strategy"), programs.daemon(tmp_path, "order")]
    async with Supervisor(specs, tmp_path, events=seen.append) as it:
        await it.start()
        first, other = it.pid("strategy"), it.pid("order")
        assert first is not None
        os.kill(first, signal.SIGKILL)
        await until(
            lambda: it.pid("strategy") not in (None, first) and it.status()[0].state == "ready", "a new incarnation"
        )
        assert it.pid("order") == other
        assert it.status()[0].restarts == 1
    states = [(each.state, each.detail.split(";")[0]) for each in seen if each.process == "strategy"]
    assert states == [
        ("starting", ""), ("ready", ""), ("restarting", "strategy was ended by SIGKILL"),
        ("starting", ""), ("ready", ""), ("stopping", ""), ("stopped", ""),
    ]  # fmt: skip


async def test_whatever_goes_wrong_beside_it_a_killed_process_is_restarted(tmp_path: Path) -> None:
    """A terminal that is gone, a state file that cannot be written, a run file of another shape: supervision goes on."""

    def closed_pipe(_: Event) -> None:
        raise BrokenPipeError("nobody reads this any more")

    async with Supervisor([programs.daemon(tmp_path, "order")], tmp_path, events=closed_pipe) as it:
        await it.start()
        state = tmp_path / state_file.NAME
        state.unlink()
        state.mkdir()
        run = tmp_path / "run" / "order.json"
        good = run.read_text()
        first = it.pid("order")
        assert first is not None
        for wrong in ("[]", '{"pid": "x"}', json.dumps(json.loads(good) | {"http": "http://[::1"})):
            run.write_text(wrong)
            await until(lambda: it.status()[0].state == "not ready", "the run file is of no use")
            run.write_text(good)
            await until(lambda: it.status()[0].state == "ready", "and now it is again")
        os.kill(first, signal.SIGKILL)
        await until(lambda: it.pid("order") not in (None, first) and it.status()[0].state == "ready", "another one")
        state.rmdir()

        def written() -> bool:
            found = state_file.read(tmp_path)
            return found is not None and [each.state for each in found.processes] == ["ready"]

        await until(written, "the state is written again")


async def test_a_process_that_cannot_be_started_is_tried_again(tmp_path: Path) -> None:
    """Its log is in the way: a directory of that name stands for a disk without room."""
    async with Supervisor([programs.daemon(tmp_path, "order")], tmp_path, backoff=0.05) as it:
        await it.start()
        first, log = it.pid("order"), Path(it.status()[0].log)
        assert first is not None
        log.unlink()
        log.mkdir()
        os.kill(first, signal.SIGKILL)
        await until(lambda: f"cannot be started: {log}: Is a directory" in it.status()[0].detail, "the reason")
        log.rmdir()
        await until(lambda: it.status()[0].state == "ready", "it is started")


async def test_of_a_trace_the_line_that_says_what_happened_is_told(tmp_path: Path) -> None:
    code = "import sys; print('OSError: no room\\n  at one\\n\\tat two', file=sys.stderr); sys.exit(78)"
    async with Supervisor([programs.python("data", code)], tmp_path) as it:
        with pytest.raises(StackError, match=r"ended with code 78: OSError: no room \(log") as refused:
            await it.start()
    assert refused.value.code == 78  # and so does the command that started it


async def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervised_process, "FULL_BYTES", 1 << 62)
    async with Supervisor([programs.python("data", "raise SystemExit(78)")], tmp_path) as it:
        with pytest.raises(StackError, match=f"ended with code 78; the disk of {tmp_path} is full: free space there"):
            await it.start()
    said = "order: the disk of /x is full; free space there, then start again"
    async with Supervisor([programs.python("data", f"print({said!r}); raise SystemExit(78)")], tmp_path) as it:
        with pytest.raises(StackError) as refused:
            await it.start()
    assert str(refused.value).count("free space there") == 1


async def test_backoff_grows_and_ends_after_five_restarts(tmp_path: Path) -> None:
    """Six incarnations, waits doubling, then given up with the last line of its log; a ready neighbour goes on."""
    seen: list[Event] = []
    code = "import sys; print('data: no gateway at 127.0.0.1:4002; start it', file=sys.stderr); sys.exit(69)"
    specs = [programs.daemon(tmp_path, "order"), programs.python("data", code)]
    async with Supervisor(specs, tmp_path, events=seen.append, backoff=0.02) as it:
        with pytest.raises(
            StackError, match=r"data ended with code 69: data: no gateway .*; restarted 5 times in 5 minutes"
        ):
            await it.start()
        assert [each.state for each in it.status()] == ["ready", "given up"]
        assert it.failure is None
    waits = [each.detail.rsplit(" in ", 1)[1] for each in seen if each.state == "restarting"]
    assert waits == ["0.0 s", "0.0 s", "0.1 s", "0.2 s", "0.3 s"]
    assert sum(each.state == "starting" and each.process == "data" for each in seen) == 6


@pytest.mark.parametrize(("code", "state"), [(69, "ready"), (70, "given up")])
async def test_what_was_ready_and_lacks_something_outside_is_started_until_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, state: str
) -> None:
    """Kafka's clock is wrong for an hour, say: a plane that ends with 69 meanwhile trades again when it is right; a crash is a crash."""
    monkeypatch.setattr(supervised_process, "BACKOFF_MAX_S", 0.1)
    outside = tmp_path / "outside"
    outside.touch()
    program = f"import os, sys, time\nwhile os.path.exists({str(outside)!r}): time.sleep(0.01)\nsys.exit({code})"
    spec = programs.python("order", program, ready_check=partial(programs.exists, outside))
    async with Supervisor([spec], tmp_path, backoff=0.01) as it:
        await it.start()
        outside.unlink()
        most = supervised_process.MAX_RESTARTS
        await until(lambda: it.status()[0].restarts > most or it.status()[0].state == "given up", "a sixth restart")
        outside.touch()
        await until(lambda: it.status()[0].state == state, state)
        if state == "ready":  # the waits are no crashes: the first one of those is restarted
            first = it.pid("order")
            assert first is not None
            os.kill(first, signal.SIGKILL)
            await until(lambda: it.pid("order") not in (None, first) and it.status()[0].state == "ready", "another one")


async def test_restarts_older_than_the_window_do_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that falls once an hour is never given up."""
    monkeypatch.setattr(supervised_process, "WINDOW_S", 0.0)
    async with Supervisor([programs.python("data", "raise SystemExit(70)")], tmp_path, backoff=0.001) as it:
        task = asyncio.create_task(it.start())
        await until(
            lambda: bool(it.status()) and it.status()[0].restarts > supervised_process.MAX_RESTARTS, "a sixth restart"
        )
        assert it.status()[0].state != "given up"
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_code_78_is_never_restarted(tmp_path: Path) -> None:
    """A person has to mend it: one incarnation, one sentence."""
    code = "import sys; print('order: the gateway is live but mode is paper', file=sys.stderr); sys.exit(78)"
    async with Supervisor([programs.python("order", code)], tmp_path) as it:
        with pytest.raises(
            StackError, match=r"^order ended with code 78: order: the gateway is live but mode is paper \(log: "
        ):
            await it.start()
        assert it.status()[0].restarts == 0
        assert it.status()[0].state == "given up"


async def test_a_job_runs_once_and_others_wait_for_its_success(tmp_path: Path) -> None:
    """Exit code 0 is its readiness."""
    job = programs.python("topics", f"open({str(tmp_path / 'made')!r}, 'x').close()", job=True)
    after = programs.python("data", "import time; time.sleep(600)", after=("topics",), ready_check=READY)
    async with Supervisor([after, job], tmp_path) as it:
        await it.start()
        assert [each.state for each in it.status()] == ["ready", "done"]
        assert (tmp_path / "made").exists()


async def test_a_vital_background_job_that_fails_ends_the_run(tmp_path: Path) -> None:
    """The registry's verification runs behind the start; a registry that lost its ids ends `up` with one sentence."""
    release = tmp_path / "release"
    code = (
        f"import os, sys, time\nwhile not os.path.exists({str(release)!r}): time.sleep(0.01)\n"
        "print('init: ids are lost'); sys.exit(78)"
    )
    job = programs.python("schemas", code, job=True, background=True, vital=True)
    async with Supervisor([programs.daemon(tmp_path, "data"), job], tmp_path) as it:
        await it.start()  # does not wait for the background job
        release.touch()
        with pytest.raises(StackError, match="schemas ended with code 78: init: ids are lost"):
            await it.run(asyncio.Event())


async def test_what_waits_for_a_process_that_is_given_up_names_that_one(tmp_path: Path) -> None:
    """A Kafka that cannot open its files, say: the planes of the next start wait for it, and are not to blame."""
    release = tmp_path / "release"
    code = f"import os, sys, time\nwhile not os.path.exists({str(release)!r}): time.sleep(0.01)\nprint('too many open files'); sys.exit(78)"
    kafka = programs.python("kafka", code, ready_check=READY)
    async with Supervisor([kafka], tmp_path) as it:
        await it.start()
        never = programs.python("data", "import time; time.sleep(600)", ready_check=partial(str, "no Kafka"))
        task = asyncio.create_task(it.start([never]))
        await until(lambda: len(it.status()) == 2 and it.pid("data") is not None, "the second start")
        release.touch()
        with pytest.raises(StackError, match="kafka ended with code 78: too many open files"):
            await task


async def test_the_log_of_a_living_process_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flood of lines must not fill the disk that holds the kill file and the journals."""
    monkeypatch.setattr(supervisor, "LOG_LIMIT_BYTES", 20_000)
    code = "import itertools, time\nfor n in itertools.count(): print(n, 'x' * 100, flush=True); time.sleep(0.001)"
    async with Supervisor([programs.python("data", code, ready_check=READY)], tmp_path) as it:
        await it.start()
        pid, log = it.pid("data"), tmp_path / "logs" / "data.log"
        kept = log.with_suffix(".log.1")
        await until(kept.exists, "the log is begun anew")
        first = kept.read_text().splitlines()
        assert first[0].startswith("0 x")
        await until(lambda: kept.read_text().splitlines()[0] != first[0], "and once more")
        assert it.pid("data") == pid
        assert not log.read_bytes().startswith(b"\0"), "it is appended to, not written at its old place"


@pytest.mark.parametrize("made_again", ["", "run", state_file.LOCK])
async def test_a_state_directory_that_is_gone_ends_the_run(tmp_path: Path, made_again: str) -> None:
    """Nothing in it can be said or seen any more: no kill file, no snapshot, no lock; also where something makes it anew at once."""
    directory = tmp_path / "state"
    directory.mkdir()
    async with Supervisor([programs.daemon(directory, "order")], directory) as it:
        await it.start()
        shutil.rmtree(directory)
        if made_again:
            directory.mkdir()
            (directory / made_again).touch()  # the lock: another supervisor has it now
        with pytest.raises(
            StackError, match=r"state directory .*state was removed, emptied or made anew.*`triplane up`"
        ):
            await asyncio.wait_for(it.run(asyncio.Event()), 20)
    assert not (directory / state_file.NAME).exists()
