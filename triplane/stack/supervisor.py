"""Starts processes in order, keeps them up, stops them in reverse.

1. A process starts when everything it is `after` has been ready once.
2. One that ends by itself is restarted with backoff, or given up (supervised_process.py says when). The others go on:
   planes fail closed.
3. `stop` goes through them in reverse: SIGTERM, 10 s, SIGKILL, by the pids of what was started here and of nothing else.
4. When the supervisor itself is killed, the kernel (elsewhere a pipe) kills its children.

A stopped (SIGSTOP) or slow process is not killed: it shows as not ready, and a person or an alert decides.
All times are wall time.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

import httpx
from filelock import FileLock

from triplane.runtime import exit_codes, loopback
from triplane.stack import readiness, state_file
from triplane.stack.errors import StackError
from triplane.stack.process import GRACE_S, Child
from triplane.stack.specs import Event, ProcessSpec, ProcessStatus, State
from triplane.stack.supervised_process import MAX_RESTARTS, WINDOW_S, SupervisedProcess

__all__ = ["Event", "ProcessSpec", "ProcessStatus", "Supervisor"]

BACKOFF_S = 0.2
POLL_S = 0.05
LOG_LIMIT_BYTES = 50 * 1024 * 1024


class Supervisor:
    """Supervises processes under one state directory. Use as an async context manager; call from one event loop."""

    def __init__(
        self,
        specs: Iterable[ProcessSpec],
        state_dir: Path,
        events: Callable[[Event], None] | None = None,
        grace: float = GRACE_S,
        backoff: float = BACKOFF_S,
    ) -> None:
        self.state_dir = state_dir.absolute()
        self.failure: StackError | None = None
        """Why a vital process was given up."""
        self.failed = asyncio.Event()
        """Set with `failure`."""
        self._first = list(specs)
        self._events = events
        self._grace = grace
        self._backoff = backoff
        self._processes: dict[str, SupervisedProcess] = {}
        self._rests_on: dict[str, set[str]] = {}
        self._lock: FileLock | None = None
        self._locked: tuple[int, int] | None = None
        self._stopping = False
        self._unsaved = False
        self._http: httpx.AsyncClient | None = None

    async def __aenter__(self) -> Supervisor:
        """Take the state directory; nothing is started yet. Raises StackError when another supervisor has it."""
        self._lock = state_file.take(self.state_dir)
        self._locked = state_file.lock_identity(self.state_dir)
        self._http = loopback.async_client(2.0)
        self._save()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.stop()

    async def start(self, specs: Sequence[ProcessSpec] | None = None) -> None:
        """Start the given processes (first call: those of the constructor) and wait until all but background ones are ready.

        Raises StackError, one sentence, as soon as one cannot become ready; what was started then still runs: call `stop`.
        """
        added = []
        earlier = set(self._processes)
        for spec in self._first if specs is None else specs:
            if spec.name in self._processes:
                raise StackError(f"a process named {spec.name} is already supervised; give each its own name")
            process = SupervisedProcess(spec, self.state_dir / "logs" / f"{spec.name}.log")
            self._processes[spec.name] = process
            added.append(process)
        for process in added:
            unknown = [name for name in process.spec.after if name not in self._processes]
            if unknown:
                raise StackError(
                    f"{process.spec.name} waits for {unknown[0]}, which nobody starts; correct its `after`"
                )
            self._rests_on[process.spec.name] = earlier.union(process.spec.after)
        try:
            TopologicalSorter(self._rests_on).prepare()
        except CycleError as error:
            for process in added:  # none of them runs, and stopping must not look for their turn
                del self._processes[process.spec.name], self._rests_on[process.spec.name]
            raise StackError(f"{', '.join(error.args[1][1:])} wait for one another; correct their `after`") from None
        for process in added:
            process.task = asyncio.create_task(self._look_after(process), name=f"supervise {process.spec.name}")
        ready: asyncio.Future[Any] = asyncio.gather(
            *(self._await_ready(each) for each in added if not each.spec.background)
        )
        # What waits for one of an earlier start that is given up would blame itself.
        lost: list[asyncio.Future[Any]] = [
            asyncio.ensure_future(self._fails(self._processes[name]))
            for name in earlier
            if not self._processes[name].spec.background
        ]
        try:
            done, _ = await asyncio.wait({ready, *lost}, return_when=asyncio.FIRST_COMPLETED)
            for first in done:
                first.result()
        finally:
            for wait in (ready, *lost):
                wait.cancel()

    async def settle(self, limit_s: float = 300.0) -> None:
        """Wait until all but background processes are ready at one look, asked now: what was ready once may have work again.

        Raises StackError with what one of them still does after `limit_s` wall seconds, or when one was given up.
        """
        assert self._http is not None
        began = time.monotonic()
        while True:
            busy = await self._busy()
            if busy is None:
                return
            process, reason = busy
            if process.failed.is_set():
                raise StackError(process.detail)
            if time.monotonic() > began + limit_s:
                raise StackError(
                    f"{process.spec.name} is not ready after {limit_s:.0f} s ({reason}); its log is {process.log}"
                )
            await asyncio.sleep(readiness.pause(time.monotonic() - began))

    async def _busy(self) -> tuple[SupervisedProcess, str] | None:
        """The first process that is not ready, and why."""
        assert self._http is not None
        for process in self._processes.values():
            if process.spec.background or process.state == "done":
                continue
            child = process.child
            if child is None or child.poll() is not None:
                return process, process.detail or "it does not run"
            reason = await readiness.ask(process.spec, child.pid, self.state_dir, self._http)
            if reason:
                return process, reason
        return None

    async def stop(self) -> None:
        """`stop_processes`, and give the state directory back. Safe to call twice and from anywhere."""
        await self.stop_processes()
        if self._http is not None:
            await self._http.aclose()
        if self._lock is not None:
            state_file.remove(self.state_dir)
            self._lock.release()
            self._lock = None

    async def stop_processes(self) -> None:
        """Stop everything, in reverse order of start (`after`, or an earlier call of `start`), and start nothing again."""
        self._stopping = True
        processes = list(self._processes.values())
        for process in processes:
            if process.task is not None:
                process.task.cancel()
        await asyncio.gather(*(each.task for each in processes if each.task is not None), return_exceptions=True)
        for names in self._waves():
            await asyncio.gather(*(self._stop_one(self._processes[name]) for name in names))

    def _waves(self) -> Iterator[tuple[str, ...]]:
        """Names in the order of stopping: at each turn those on which nothing rests that still runs."""
        above: dict[str, set[str]] = {name: set() for name in self._processes}
        for name, below in self._rests_on.items():
            for each in below:
                above[each].add(name)
        order = TopologicalSorter(above)
        order.prepare()
        while order.is_active():
            names = order.get_ready()
            yield names
            order.done(*names)

    def kill(self) -> None:
        """SIGKILL everything at once, for the second Ctrl-C."""
        self._stopping = True
        for process in self._processes.values():
            if process.child is not None:
                process.child.kill()

    async def run(self, stop: asyncio.Event) -> None:
        """Stay until `stop` is set. Raises StackError when a vital process is given up."""
        waits = [asyncio.ensure_future(stop.wait()), asyncio.ensure_future(self.failed.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        if self.failure is not None and not stop.is_set():
            raise self.failure

    def status(self) -> list[ProcessStatus]:
        """Every process, in the order of start."""
        return [process.status() for process in self._processes.values()]

    def pid(self, name: str) -> int | None:
        """Pid of a running process, or None."""
        return self._processes[name].status().pid or None

    async def wait_ready(self, name: str) -> None:
        """Wait until a process has been ready once. Raises StackError when it is given up or too slow."""
        await self._await_ready(self._processes[name])

    # -- one process ---------------------------------------------------------------------------------------------------

    async def _look_after(self, process: SupervisedProcess) -> None:
        for name in process.spec.after:
            await self._processes[name].was_ready.wait()
        while True:
            try:
                self._launch(process)
                code = await self._watch(process)
            except (OSError, StackError) as error:  # no room for its log, say: tried again like one that has ended
                process.unstarted = f"{process.spec.name} could not be started: {error}"
                code = exit_codes.UNAVAILABLE
            if process.spec.job and code == exit_codes.OK:
                self._change(process, "done")
                process.was_ready.set()
                return
            reason = process.last_end = process.unstarted or process.ending(code, self.state_dir)
            if code == exit_codes.CONFIG:
                process.error_code = code
                self._end(process, "given up", reason)
                return
            if not process.spec.restart:
                self._end(process, "exited", reason)
                return
            delay = process.pause(code, self._backoff)
            if delay is None:
                often = f"restarted {MAX_RESTARTS} times in {WINDOW_S / 60:.0f} minutes"
                self._end(process, "given up", f"{reason}; {often}")
                return
            self._change(process, "restarting", f"{reason}; again in {delay:.1f} s")
            await asyncio.sleep(delay)
            process.restarts += 1

    def _launch(self, process: SupervisedProcess) -> None:
        self._limit_log(process)
        process.child, process.unstarted = None, ""
        spec = process.spec
        environment = {**os.environ, **spec.env}
        process.child = Child(spec.name, list(spec.argv), process.log, env=environment, niceness=spec.niceness)
        self._change(process, "starting")

    @staticmethod
    def _limit_log(process: SupervisedProcess) -> None:
        """Begin a log anew that has grown too long, and keep what it held beside it; what is written between copy and cut is lost."""
        with contextlib.suppress(OSError):
            if process.log.stat().st_size > LOG_LIMIT_BYTES:
                shutil.copyfile(process.log, process.log.with_suffix(".log.1"))
                os.truncate(process.log, 0)

    async def _watch(self, process: SupervisedProcess) -> int:
        """Follow one incarnation until it ends; returns its exit code."""
        child = process.child
        assert child is not None
        assert self._http is not None
        began, next_question = time.monotonic(), 0.0
        while True:
            code = child.poll()
            if code is not None:
                return code
            if not process.spec.job and time.monotonic() >= next_question:
                self._check_directory()
                self._limit_log(process)
                try:
                    reason = await readiness.ask(process.spec, child.pid, self.state_dir, self._http)
                except Exception as error:  # whatever the question ran into, the process is looked after
                    reason = f"it cannot be asked ({type(error).__name__}: {error})"
                if self._unsaved:
                    self._save()
                if child.poll() is None:
                    self._note_readiness(process, reason)
                ready = process.state == "ready"
                next_question = time.monotonic() + (
                    readiness.EVERY_S if ready else readiness.pause(time.monotonic() - began)
                )
            await asyncio.sleep(POLL_S)

    def _note_readiness(self, process: SupervisedProcess, reason: str) -> None:
        if not reason:
            process.was_ready.set()
            self._change(process, "ready")
        elif process.state in ("ready", "not ready"):
            self._change(process, "not ready", reason)
        else:
            process.detail = reason

    async def _await_ready(self, process: SupervisedProcess) -> None:
        for name in process.spec.after:
            await self._await_ready(self._processes[name])
        moments = process.was_ready, process.failed, self.failed  # without a vital one nobody gets ready
        waiting = {asyncio.ensure_future(moment.wait()) for moment in moments}
        try:
            while True:
                said, patience = process.detail, process.spec.ready_timeout_s
                done, _ = await asyncio.wait(waiting, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
                if done or process.detail == said:  # with another reason than before it gets on
                    break
        finally:
            for each in waiting:
                each.cancel()
        if self.failure is not None:
            raise self.failure
        if process.was_ready.is_set():
            return
        if process.failed.is_set():
            raise StackError(process.detail, process.error_code)
        why = "; ".join(dict.fromkeys(part for part in (process.detail, process.last_end) if part))
        waited = f"{process.spec.ready_timeout_s:.0f} s{f' ({why})' if why else ''}"
        raise StackError(f"{process.spec.name} is not ready after {waited}; its log is {process.log}")

    async def _fails(self, process: SupervisedProcess) -> None:
        """Wait until a process is given up, and raise StackError with its sentence."""
        await process.failed.wait()
        raise StackError(process.detail, process.error_code)

    async def _stop_one(self, process: SupervisedProcess) -> None:
        child = process.child
        if child is None or process.state in ("done", "exited", "given up", "stopped"):
            return
        if child.poll() is None:
            self._change(process, "stopping")
            child.signal(signal.SIGTERM)
            deadline = time.monotonic() + self._grace
            while child.poll() is None and time.monotonic() < deadline:  # noqa: ASYNC110  an exit is no asyncio event
                await asyncio.sleep(POLL_S)
        late = child.poll() is None
        child.kill()
        self._change(process, "stopped", f"killed after {self._grace:.0f} s" if late else "")

    # -- words and state -----------------------------------------------------------------------------------------------

    def _end(self, process: SupervisedProcess, state: State, reason: str) -> None:
        sentence = f"{reason} (log: {process.log})"
        self._change(process, state, sentence)
        if process.spec.vital and self.failure is None:
            self.failure = StackError(sentence, process.error_code)
            self.failed.set()
        process.failed.set()

    def _change(self, process: SupervisedProcess, state: State, detail: str = "") -> None:
        if (process.state, process.detail) == (state, detail):
            return
        changed = process.state != state
        process.state, process.detail = state, detail
        if changed:
            process.since = time.time()
        self._save()
        if self._events is not None:
            with contextlib.suppress(OSError, ValueError):  # nobody reads this terminal any more; supervision goes on
                self._events(Event(time.time(), process.spec.name, state, detail))

    def _check_directory(self) -> None:
        """Without its state directory no process sees a kill file or keeps a snapshot, and nobody finds the processes: the run ends."""
        # A process that starts meanwhile makes the folder anew, and empty: our lock is what tells it from the one that was taken.
        if self.failure is None and not self._stopping and state_file.lock_identity(self.state_dir) != self._locked:
            self.failure = StackError(
                f"the state directory {self.state_dir} was removed, emptied or made anew (its {state_file.LOCK} is not the one that was "
                "taken), so everything is stopped; start again with `triplane up`"
            )
            self.failed.set()

    def _save(self) -> None:
        """Write the state file; a disk that does not take it is asked again at the next look at a process."""
        try:
            state_file.write(self.state_dir, self.status())
            self._unsaved = False
        except OSError:
            self._unsaved = True
