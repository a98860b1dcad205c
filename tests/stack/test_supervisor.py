"""The supervisor, over real processes."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import httpx
import psutil
import pytest

from tests.stack import programs
from tests.waiting import settles, until
from triplane.runtime.process_identity import is_alive, start_time
from triplane.stack import state_file
from triplane.stack.errors import StackError
from triplane.stack.process import Child
from triplane.stack.specs import Event, ProcessSpec, ProcessStatus
from triplane.stack.supervision_metrics import SupervisionServer
from triplane.stack.supervisor import Supervisor

pytestmark = pytest.mark.chaos
READY = partial(str, "")
"""A check that is always content."""


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    return start_time(pid) is not None


async def test_starts_in_order_and_stops_in_reverse(tmp_path: Path) -> None:
    """Each waits for what it is `after`; at the end none runs and the state file is gone."""
    specs = [
        programs.daemon(tmp_path, "control"),
        programs.daemon(tmp_path, "order", after=("control",)),
        programs.daemon(tmp_path, "data", after=("control", "order")),
    ]
    async with Supervisor(specs, tmp_path) as it:
        await it.start()
        assert [each.state for each in it.status()] == ["ready"] * 3
        pids = [each.pid for each in it.status()]
        assert all(alive(pid) for pid in pids)
        assert [each.pid for each in state_file.read(tmp_path).running()] == pids  # type: ignore[union-attr]
        assert len({os.getpgid(pid) for pid in [*pids, os.getpid()]}) == 4
    assert not any(alive(pid) for pid in pids)
    assert state_file.read(tmp_path) is None
    assert (tmp_path / "order.txt").read_text().split("\n")[:-1] == [
        "start control", "start order", "start data", "stop data", "stop order", "stop control",
    ]  # fmt: skip


async def test_what_does_not_wait_for_one_another_is_stopped_at_the_same_time(tmp_path: Path) -> None:
    """Each of two ends only after the other was asked to; what they both came after goes last."""
    os.mkfifo(tmp_path / "rendezvous")
    specs = [
        programs.daemon(tmp_path, "control"),
        *(
            programs.python(
                name, programs.PARTNER, str(tmp_path), name, mode,
                after=("control",), ready_check=partial(programs.exists, tmp_path / f"{name}.ready"),
            )
            for name, mode in (("order", "r"), ("data", "w"))
        ),
    ]  # fmt: skip
    seen: list[Event] = []
    async with Supervisor(specs, tmp_path, events=seen.append) as it:
        await it.start()
    stopped = [(each.process, each.detail) for each in seen if each.state == "stopped"]
    assert sorted(stopped[:2]) == [("data", ""), ("order", "")]
    assert stopped[2] == ("control", "")


async def test_processes_that_wait_for_one_another_are_refused(tmp_path: Path) -> None:
    """Neither would ever start; one sentence names them, and nothing runs."""
    specs = [
        programs.daemon(tmp_path, "order", after=("data",)),
        programs.daemon(tmp_path, "data", after=("order",)),
    ]
    async with Supervisor(specs, tmp_path) as it:
        with pytest.raises(StackError, match=r"(order, data|data, order).*wait for one another"):
            await it.start()
        assert it.status() == []


async def test_a_process_gives_way_as_far_as_it_is_told(tmp_path: Path) -> None:
    """`niceness` is the program's own, whatever starts it."""
    specs = [programs.daemon(tmp_path, "registry", niceness=10), programs.daemon(tmp_path, "order")]
    async with Supervisor(specs, tmp_path) as it:
        await it.start()
        nice = [psutil.Process(each.pid).nice() for each in it.status()]
    here = psutil.Process().nice()
    assert nice == [min(here + 10, 19), here]


async def test_not_ready_in_time_says_why_it_ended_before(tmp_path: Path) -> None:
    """What starts again and again is "not serving yet" when the time is over, which is nobody's reason."""
    code = "import sys; print('order: is this machine\\'s clock right?', file=sys.stderr); sys.exit(69)"
    async with Supervisor([programs.python("order", code, ready_timeout_s=1.0)], tmp_path) as it:
        with pytest.raises(StackError, match=r"order is not ready after 1 s \(.*ended with code 69: .*clock right\?"):
            await it.start()


async def test_not_ready_in_time_says_what_it_waits_for(tmp_path: Path) -> None:
    """The daemon's own reason is in the sentence."""
    (tmp_path / "data.unready").touch()
    async with Supervisor([programs.daemon(tmp_path, "data", ready_timeout_s=1.0)], tmp_path) as it:
        with pytest.raises(StackError, match=r"data is not ready after 1 s \(waiting for bars\); its log is"):
            await it.start()


async def test_who_gets_on_is_waited_for(tmp_path: Path) -> None:
    """Three times the patience, with another reason at each look: history that is being folded is no failure."""
    patience, looks = 0.5, itertools.count()
    end = time.monotonic() + 3 * patience
    spec = programs.python(
        "strategy", "import signal; signal.pause()", ready_timeout_s=patience,
        ready_check=lambda: f"{next(looks)} sessions folded" if time.monotonic() < end else "",
    )  # fmt: skip
    async with Supervisor([spec], tmp_path) as it:
        await it.start()
        assert time.monotonic() >= end
        assert it.status()[0].state == "ready"


async def test_a_stopped_process_is_not_killed_and_comes_back(tmp_path: Path) -> None:
    """SIGSTOP shows as not ready, on /metrics too; SIGCONT heals it without a restart."""
    async with Supervisor([programs.daemon(tmp_path, "order")], tmp_path) as it, SupervisionServer(it) as server:
        await it.start()
        pid = it.pid("order")
        assert pid is not None
        async with httpx.AsyncClient() as http:
            assert 'triplane_process_up{process="order"} 1.0' in (await http.get(f"{server.url}/metrics")).text
            assert (await http.get(f"{server.url}/readyz")).status_code == 200
            os.kill(pid, signal.SIGSTOP)
            await until(lambda: it.status()[0].state == "not ready", "not ready")
            assert 'triplane_process_up{process="order"} 0.0' in (await http.get(f"{server.url}/metrics")).text
            assert "order: not ready" in (await http.get(f"{server.url}/readyz")).json()["reason"]
            os.kill(pid, signal.SIGCONT)
            await until(lambda: it.status()[0].state == "ready", "ready")
        assert (it.pid("order"), it.status()[0].restarts) == (pid, 0)


async def test_grace_then_sigkill_with_grandchildren(tmp_path: Path) -> None:
    """A process that ignores SIGTERM is killed after the grace, and so is what it started."""
    path = tmp_path / "grandchild"
    spec = programs.python("data", programs.STUBBORN, str(path), ready_check=partial(programs.exists, path))
    async with Supervisor([spec], tmp_path, grace=0.3) as it:
        await it.start()
        pids = [it.pid("data") or 0, int(path.read_text())]
        assert all(alive(pid) for pid in pids)
        await it.stop()
        assert it.status()[0].detail == "killed after 0 s"
        settles(lambda: not any(alive(pid) for pid in pids))
        # The directory may be somebody else's by now: to stop again writes nothing there.
        await it.stop()
        assert not (tmp_path / "supervisor.json").exists()
        assert it.status()[0].detail == "killed after 0 s"


async def test_the_directory_is_ours_until_the_end(tmp_path: Path) -> None:
    """With its processes stopped a supervisor still keeps others out; nothing is started again."""
    async with Supervisor([programs.daemon(tmp_path, "data")], tmp_path) as it:
        await it.start()
        await it.stop_processes()
        assert [each.state for each in it.status()] == ["stopped"]
        with pytest.raises(StackError, match="triplane is already up on"):
            await Supervisor([], tmp_path).__aenter__()
    assert not (tmp_path / "supervisor.json").exists()


async def test_what_a_fallen_process_left_running_is_cleared_before_the_restart(tmp_path: Path) -> None:
    """A grandchild that holds a port or a lock must not outlive its parent."""
    path = tmp_path / "grandchild"
    spec = programs.python("data", programs.STUBBORN, str(path), ready_check=partial(programs.exists, path))
    async with Supervisor([spec], tmp_path, grace=0.3) as it:
        await it.start()
        orphan, parent = int(path.read_text()), it.pid("data")
        assert parent is not None
        os.kill(parent, signal.SIGKILL)
        await until(lambda: not alive(orphan), "the end of the grandchild")


async def test_stop_while_starting_ends_everything(tmp_path: Path) -> None:
    """Ctrl-C before anything is ready."""
    (tmp_path / "order.unready").touch()
    it = Supervisor([programs.daemon(tmp_path, "control"), programs.daemon(tmp_path, "order")], tmp_path)
    async with it:
        start = asyncio.create_task(it.start())
        await until(lambda: len([each for each in it.status() if each.pid]) == 2, "two processes")
        pids = [each.pid for each in it.status()]
        start.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await start
    assert not any(alive(pid) for pid in pids)


async def test_a_second_supervisor_is_refused(tmp_path: Path) -> None:
    """One sentence with the pid of the first, which is not disturbed."""
    async with Supervisor([programs.daemon(tmp_path, "data")], tmp_path) as it:
        await it.start()
        with pytest.raises(
            StackError, match=rf"^triplane is already up on .* \(pid {os.getpid()}\); stop it with `triplane down`$"
        ):
            await Supervisor([], tmp_path).__aenter__()
        assert it.pid("data") is not None


async def test_mistakes_in_the_table_are_sentences(tmp_path: Path) -> None:
    """Two of one name; a wait for nobody; a program that does not exist."""
    one = programs.python("data", "", ready_check=READY)
    async with Supervisor([], tmp_path) as it:
        with pytest.raises(StackError, match="data waits for gateway, which nobody starts"):
            await it.start([programs.python("data", "", after=("gateway",))])
    async with Supervisor([one, one], tmp_path) as it:
        with pytest.raises(StackError, match="a process named data is already supervised"):
            await it.start()
    async with Supervisor([ProcessSpec(name="kafka", argv=["/nonexistent/java"], restart=False)], tmp_path) as it:
        with pytest.raises(StackError, match="cannot start /nonexistent/java: No such file"):
            await it.start()


SUPERVISE = """
import asyncio, pathlib, signal, sys
from tests.stack import programs
from triplane.stack.supervisor import Supervisor
async def main(state):
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM): loop.add_signal_handler(number, stop.set)
    path = state / "grandchild"
    specs = [programs.daemon(state, "control"), programs.python("data", programs.STUBBORN, str(path), ready_check=lambda: programs.exists(path))]
    async with Supervisor(specs, state, grace=0.3) as it:
        await it.start()
        (state / "up").touch()
        await it.run(stop)
asyncio.run(main(pathlib.Path(sys.argv[1])))
"""


def supervised(tmp_path: Path) -> tuple[subprocess.Popen[bytes], list[int]]:
    """A supervisor in a process of its own, and the pids of what it started."""
    root = Path(__file__).resolve().parents[2]
    process = subprocess.Popen([sys.executable, "-c", SUPERVISE, str(tmp_path)], cwd=root)
    settles(lambda: (tmp_path / "up").exists(), what="the supervisor's start")
    found = state_file.read(tmp_path)
    assert found is not None
    assert found.pid == process.pid
    return process, [each.pid for each in found.running()]


def test_sigkill_of_the_supervisor_leaves_no_orphan_and_the_next_start_clears_up(tmp_path: Path) -> None:
    """The kernel ends the children, even one that ignores SIGTERM; the stale file is recognised; a new start works."""
    process, pids = supervised(tmp_path)
    process.kill()
    process.wait()
    settles(lambda: not any(alive(pid) for pid in pids), what="the children's end")
    left = state_file.read(tmp_path)
    assert left is not None
    assert not left.alive
    held = state_file.take(tmp_path)
    held.release()
    assert state_file.read(tmp_path) is None
    grandchild = int((tmp_path / "grandchild").read_text())
    if alive(grandchild):  # its parent was killed, not it: nobody but its own program can see to that
        os.kill(grandchild, signal.SIGKILL)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_everything(tmp_path: Path, number: signal.Signals) -> None:
    """And nothing else: a process of the same program started by someone else goes on."""
    bystander = Child("bystander", [sys.executable, "-c", "import time; time.sleep(600)"], tmp_path / "bystander.log")
    try:
        process, pids = supervised(tmp_path)
        process.send_signal(number)
        assert process.wait(60) == 0
        assert not any(alive(pid) for pid in [*pids, int((tmp_path / "grandchild").read_text())])
        assert bystander.poll() is None
    finally:
        bystander.kill()


def test_down_stops_from_another_process(tmp_path: Path) -> None:
    """`triplane down` needs nothing but the state directory."""
    process, pids = supervised(tmp_path)
    reaped = psutil.Process(process.pid)
    thread = threading.Thread(target=process.wait)
    thread.start()
    assert state_file.down(tmp_path) == ["control", "data"]
    thread.join(20)
    assert not any(alive(pid) for pid in pids)
    assert not reaped.is_running()
    with pytest.raises(StackError, match="nothing is up on"):
        state_file.down(tmp_path)


def test_a_stale_file_never_harms_a_process_that_took_the_pid(tmp_path: Path) -> None:
    """Pid alive but another start time: neither the supervisor nor a child of ours."""
    bystander = Child("bystander", [sys.executable, "-c", "import time; time.sleep(600)"], tmp_path / "bystander.log")
    try:
        started = bystander.started - 3600
        one = ProcessStatus("data", "ready", "", bystander.pid, started, 0, 0.0, "")
        state_file.write(tmp_path, [one])
        text = (tmp_path / state_file.NAME).read_text().replace(f'"pid": {os.getpid()}', f'"pid": {bystander.pid}', 1)
        (tmp_path / state_file.NAME).write_text(text)
        found = state_file.read(tmp_path)
        assert found is not None
        assert found.pid == bystander.pid
        assert not found.alive
        assert state_file.down(tmp_path) == []
        assert bystander.poll() is None
        assert is_alive(bystander.pid, bystander.started)
    finally:
        bystander.kill()


@pytest.mark.parametrize("tether", ["kernel", "pipe"])
def test_both_tethers_end_a_child_with_its_parent(tmp_path: Path, tether: str) -> None:
    """The kernel's way on Linux, the pipe elsewhere; both pass SIGTERM and exit codes on."""
    if tether == "kernel" and sys.platform != "linux":
        pytest.skip("PR_SET_PDEATHSIG is Linux's")
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom triplane.stack.process import Child\n"
        f"child = Child('c', [sys.executable, '-c', {programs.STUBBORN!r}, {str(tmp_path / 'pid')!r}], Path({str(tmp_path / 'log')!r}), tether={tether!r})\n"
        f"Path({str(tmp_path / 'child')!r}).write_text(str(child.pid))\ntime.sleep(600)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).resolve().parents[2])
    settles(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text() != "", what="the child")
    child = int((tmp_path / "child").read_text())
    inner = [each.pid for each in psutil.Process(child).children(recursive=True)]
    parent.kill()
    parent.wait()
    settles(lambda: not alive(child), what="the child's end")
    if tether == "pipe":
        settles(lambda: not any(alive(pid) for pid in inner), what="the end of the child's group")
    for pid in inner:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    for program, expected in (("raise SystemExit(78)", 78), ("import os; os.kill(os.getpid(), 9)", -9)):
        assert Child("c", [sys.executable, "-c", program], tmp_path / "log", tether=tether).wait(60) == expected
    polite = Child("c", [sys.executable, "-c", "import time; time.sleep(600)"], tmp_path / "log", tether=tether)
    assert polite.stop(10) == -signal.SIGTERM


async def test_settle_waits_for_what_was_ready_once_and_has_work_again(tmp_path: Path) -> None:
    """One look, asked now: neither an earlier readiness nor a background process counts."""
    background = programs.daemon(tmp_path, "registry", background=True)
    (tmp_path / "registry.unready").touch()
    async with Supervisor([programs.daemon(tmp_path, "strategy"), background], tmp_path) as it:
        await it.start()
        await it.settle(5)
        busy = tmp_path / "strategy.unready"
        busy.touch()
        with pytest.raises(StackError, match=r"strategy is not ready after 0 s \(waiting for bars\); its log is"):
            await it.settle(0)
        waiting = asyncio.ensure_future(it.settle(10))
        await asyncio.sleep(0.2)
        assert not waiting.done()
        busy.unlink()
        await waiting


async def test_a_process_that_takes_long_is_asked_less_and_less_often(tmp_path: Path) -> None:
    asked: list[float] = []

    def look() -> str:
        asked.append(time.monotonic())
        return "" if asked[-1] - asked[0] > 4.0 else "folding"

    spec = programs.python("strategy", "import time; time.sleep(600)", ready_check=look)
    async with Supervisor([spec], tmp_path) as it:
        await it.start()
    # A tenth of what has passed: after three seconds three tenths, where it began with one.
    late = [after - before for before, after in itertools.pairwise(asked) if before - asked[0] > 3.0]
    assert min(late) >= 0.3


def test_last_words_are_the_reason_and_not_what_is_logged_on_the_way_down(tmp_path: Path) -> None:
    lines = (
        "2026-11-27T20:00:00,100 ERROR LogDirFailureChannel Error while writing: No space left on device",
        "\tat java.base/sun.nio.ch.FileDispatcherImpl.write0(Native Method)",
        "2026-11-27T20:00:00,560 INFO ReplicaFetcherManager Removed fetcher for partitions HashSet(data.quotes-0)",
    )
    child = Child("kafka", [sys.executable, "-c", "import sys; print(sys.argv[1])", "\n".join(lines)], tmp_path / "log")
    assert child.wait(30) == 0
    assert child.last_words() == lines[0]
    bound = (
        "2026-12+00-01 06:15:01 ERROR [io.quarkus.runtime.ApplicationLifecycleManager] (main) Port 21106 seems to be in use by another process.",
        "2026-12+00-01 06:15:01 WARN [io.quarkus.runtime.ApplicationLifecycleManager] (main) You can try to kill it with 'kill -9 <pid>'.",
        "2026-12+00-01 06:15:01 INFO [io.quarkus] (main) stopped",
    )
    script = "import sys; print(sys.argv[1])"
    taken = Child("registry", [sys.executable, "-c", script, "\n".join(bound)], tmp_path / "taken")
    assert taken.wait(30) == 0
    assert taken.last_words() == "Port 21106 seems to be in use by another process."
    quiet = Child("quiet", [sys.executable, "-c", "print('a b INFO c'); print('x INFO starting')"], tmp_path / "quiet")
    assert quiet.wait(30) == 0
    assert quiet.last_words() == "a b INFO c"
