"""`run/NAME.json` in the state directory: where a daemon listens, and which process it is, for whoever looks after it or asks it."""

from __future__ import annotations

import math
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from triplane.runtime import atomic_file
from triplane.runtime.process_identity import MOST_PID, is_alive, start_time


@dataclass(frozen=True, slots=True)
class RunFile:
    """A daemon's process (`process_identity.start_time`) and its HTTP address."""

    pid: int
    started: float
    http: str

    @property
    def alive(self) -> bool:
        """Whether that very process still runs."""
        return is_alive(self.pid, self.started)


def path_of(state_dir: Path, name: str) -> Path:
    """The file of the daemon `name`."""
    return state_dir / "run" / f"{name}.json"


def write(state_dir: Path, name: str, http: str) -> None:
    """Say that this process is the daemon `name`. Raises OSError."""
    document = RunFile(os.getpid(), start_time() or math.nan, http)
    atomic_file.write_json(path_of(state_dir, name), asdict(document))


def read(state_dir: Path, name: str) -> RunFile | None:
    """What the file says; None where it is not there or says anything else."""
    try:
        document = atomic_file.read_json(path_of(state_dir, name))
        found = RunFile(int(document["pid"]), float(document["started"]), str(document["http"]))
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return None
    return found if 0 < found.pid <= MOST_PID else None
