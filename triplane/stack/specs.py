"""What the supervisor is told about a process, and what it tells about one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

from triplane.runtime.process_identity import MOST_PID

State = Literal[
    "waiting", "starting", "ready", "not ready", "restarting", "done", "exited", "given up", "stopping", "stopped"
]
"""waiting: for others to be ready. done: a job that ended well. given up: ended with 78 or too often, not restarted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSpec:
    """One process to supervise.

    It is ready when `ready_check()` returns an empty string (else the reason it returns), or when `ready_url` answers 2xx, or,
    with neither, when the daemon has written `<state_dir>/run/<name>.json` and its /readyz answers 200. A `job` is ready when it
    has ended with 0.
    """

    name: str
    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    """Added to this process's environment."""
    ready_url: str | None = None
    ready_check: Callable[[], str] | None = None
    """Called in a thread."""
    ready_timeout_s: float = 60.0
    """Wall seconds for which it may be unready for one and the same reason before `Supervisor.start` gives up."""
    restart: bool = True
    after: Sequence[str] = ()
    """Names of processes that must be ready before this one starts."""
    job: bool = False
    """Runs to its end once: its success is exit code 0."""
    background: bool = False
    """`Supervisor.start` does not wait for it."""
    niceness: int = 0
    """How much it gives way to others on the processor, 0 to 19 (nice(1))."""
    vital: bool = False
    """Giving it up ends the supervisor's run with its sentence."""


@dataclass(frozen=True, slots=True)
class Event:
    """A change of one process, for a live view. `at` is wall seconds since the epoch."""

    at: float
    process: str
    state: State
    detail: str = ""


@dataclass(frozen=True, slots=True)
class ProcessStatus:
    """A process as the state file shows it. `pid` is 0 where none runs; `since` is wall seconds since the epoch."""

    name: str
    state: State
    detail: str
    pid: Annotated[int, Field(ge=0, le=MOST_PID)]
    started: float
    restarts: int
    since: float
    log: str
