"""What every verb needs: the settings of this installation, and how tables and JSON are printed.

A running `triplane up` or `triplane demo --keep` leaves `environment.json` in its state directory, so that the other verbs find
its Kafka and gateway without a flag. A variable in the caller's environment wins.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import math
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from triplane.runtime import atomic_file

if TYPE_CHECKING:
    from triplane.runtime.settings import Settings

ENVIRONMENT_FILE = "environment.json"
CANDIDATES = (Path(".triplane"), Path(".triplane/demo"))
MARKS = (".triplane", "targets.yaml", "assets.csv")
"""What shows that an installation lives in a folder, or could be started there."""


class CommandError(RuntimeError):
    """The verb cannot do what was asked; the sentence says why and what to do. `code` is the exit code."""

    def __init__(self, sentence: str, code: int = 1) -> None:
        super().__init__(sentence)
        self.code = code


OWN_ADDRESSES = {
    "kafka": ("TRIPLANE_BOOTSTRAP",),
    "registry": ("TRIPLANE_REGISTRY_URL",),
    "gateway": ("TRIPLANE_GATEWAY_HOST", "TRIPLANE_GATEWAY_PORT", "TRIPLANE_GATEWAY_HTTP", "TRIPLANE_ACCOUNT"),
    "providers": (
        "TRIPLANE_EDGAR_URL", "TRIPLANE_EDGAR_FILES_URL", "TRIPLANE_FRED_URL", "TRIPLANE_FRED_API_KEY", "TRIPLANE_FRED_API_KEY_FILE",
        "TRIPLANE_USER_AGENT",
    ),
}  # fmt: skip
"""What leads to a process that the installation itself runs, by the process's name."""
REFILL = typer.Option(
    False,
    "--refill-registry",
    help="Fill a registry that lost its store again, with the same ids: only when that is known.",
)
JSON = typer.Option(False, "--json", help="Print JSON instead of a table.")


def user_name() -> str:
    """Who runs the command, for the record. A container may run under a number that no name belongs to; nothing fails for want of one."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # OSError from Python 3.13 on
        return f"uid {os.getuid()}"


def state_dir() -> Path:
    """State directory in force: TRIPLANE_STATE_DIR, else the newest of .triplane and .triplane/demo that has run something.

    One that runs now comes before one that was ended by force and could not say so.
    """
    from triplane.runtime.settings import named_state_dir
    from triplane.stack import state_file

    named = named_state_dir()
    if named is not None:
        return named
    written = [path for path in CANDIDATES if (path / ENVIRONMENT_FILE).is_file()]

    def rank(path: Path) -> tuple[bool, float]:
        found = state_file.read(path)
        return found is not None and found.alive, (path / ENVIRONMENT_FILE).stat().st_mtime

    return max(written, key=rank, default=CANDIDATES[0])


def running_beside(directory: Path) -> Path | None:
    """The other usual state directory of this folder, where something runs: verbs that are given none take the one that began last."""
    from triplane.stack import state_file

    for path in CANDIDATES:
        found = state_file.read(path) if path.resolve() != directory.resolve() else None
        if found is not None and found.alive:
            return path
    return None


def kill_settings(undone: str) -> list[Settings]:
    """Settings of every installation that a kill must reach: those whose order process lives, else the one in force.

    A kill needs little more than the state directory, so what else is damaged or misspelt is told on stderr and left out. Raises
    CommandError, which begins with `undone`, in a folder without an installation: a file written there would stop nobody.
    """
    from pydantic import ValidationError

    from order_plane.kill.switch import order_process
    from triplane.runtime.exit_codes import DaemonExit
    from triplane.runtime.settings import Settings, named_state_dir

    def of(directory: Path) -> Settings:
        problem: Exception
        before = dict(os.environ)  # one installation's variables are not the next one's
        try:
            return settings(directory).model_copy(update={"state_dir": directory})
        except (CommandError, DaemonExit, ValidationError, ValueError, OSError) as error:
            problem = error
        finally:
            os.environ.clear()
            os.environ.update(before)
        print(f"{problem}; without that, only its KILL file and its order process can be reached", file=sys.stderr)
        return Settings.model_construct(state_dir=directory)

    named = named_state_dir()
    if named is not None and os.environ.get("TRIPLANE_STATE_DIR"):
        return [of(named)]
    # A link to a disk that is away counts: whatever tells of an installation is enough to try.
    if named is None and not any(map(os.path.lexists, MARKS)):
        raise CommandError(
            f"{undone}: no installation is here, for this folder has none of {', '.join(MARKS)}; go to the folder where `triplane up` "
            "or `triplane demo` was started, or set TRIPLANE_STATE_DIR to its state directory"
        )
    places = dict.fromkeys((*CANDIDATES, named or CANDIDATES[0]))
    living = [path for path in places if order_process(Settings.model_construct(state_dir=path)) is not None]
    return [of(path) for path in living or [state_dir()]]


def environment(directory: Path | None = None) -> dict[str, str]:
    """TRIPLANE_* variables of the running installation, overridden by the caller's own."""
    saved = saved_environment(directory or state_dir())
    if os.environ.get("KAFKA_BOOTSTRAP_SERVERS"):
        saved.pop("TRIPLANE_BOOTSTRAP", None)
    return {**saved, **{name: value for name, value in os.environ.items() if name.startswith("TRIPLANE_")}}


def saved_environment(directory: Path) -> dict[str, str]:
    """TRIPLANE_* variables of the installation in a state directory; none where there is no file.

    Where it was killed, what it ran itself died with it, and those addresses are nobody's now. A broker's gateway and a Kafka of somebody
    else's live on: a kill must reach them.
    """
    from triplane.stack import state_file

    path = directory / ENVIRONMENT_FILE
    try:
        saved = _saved(path) if path.is_file() else {}
    except ValueError:
        raise CommandError(f"{path} is damaged; delete it, or start again with `triplane up`") from None
    left = state_file.read(directory)
    if left is not None and not left.alive and not left.running():
        gone = {variable for process in left.processes for variable in OWN_ADDRESSES.get(process.name, ())}
        return {name: value for name, value in saved.items() if name not in gone}
    return saved


def _saved(path: Path) -> dict[str, str]:
    """Variables in an environment file; ValueError when it holds anything else."""
    saved = atomic_file.read_json(path)
    if not all(
        isinstance(value, str) and name and "\0" not in name + value and "=" not in name
        for name, value in saved.items()
    ):
        raise ValueError(f"{path} holds no variables")
    return saved


def write_environment(directory: Path, values: Mapping[str, str]) -> None:
    """Leave the installation's variables for other verbs."""
    atomic_file.write_json(directory / ENVIRONMENT_FILE, dict(values), indent=1)


def forget_environment(directory: Path) -> None:
    """Nothing runs in this state directory any more."""
    (directory / ENVIRONMENT_FILE).unlink(missing_ok=True)


def down(directory: Path) -> list[str]:
    """Stop what runs on a state directory; names of what ran. What is left of a killed installation that is not its own stays known."""
    from triplane.stack import state_file

    found = state_file.read(directory)
    killed = found is not None and not found.alive
    left = {}
    with contextlib.suppress(CommandError):
        left = saved_environment(directory) if killed else {}
    names = state_file.down(directory)
    if left.get("TRIPLANE_GATEWAY_PORT") or left.get("TRIPLANE_BOOTSTRAP"):
        write_environment(directory, left)
    else:
        forget_environment(directory)
    return names


def settings(directory: Path | None = None) -> Settings:
    """Settings of this installation, or of the one in a state directory."""
    os.environ.update(environment(directory))
    from triplane.runtime.settings import from_environment

    return from_environment()


def connected_settings() -> Settings:
    """Settings with a broker; a sentence when none is named."""
    found = settings()
    if not found.bootstrap:
        raise CommandError(
            "no Kafka is known here: run `triplane up` or `triplane demo --keep` first (`triplane kafka up` for the log alone), or set KAFKA_BOOTSTRAP_SERVERS"
        )
    return found


def print_json(value: Any) -> None:
    """JSON on stdout. JSON has no NaN and no infinity: they are null."""
    print(json.dumps(_plain(value), indent=1, default=str, allow_nan=False))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _cell(value: Any) -> str:
    """A value for people: no quotes, no brackets, a dash where there is none."""
    if isinstance(value, float):
        return "-" if math.isnan(value) else f"{value:g}"
    if isinstance(value, list | tuple):
        return ", ".join(_cell(each) for each in value) or "none"
    return str(value)


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A table on stdout; numbers are right-aligned."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    listed = [list(row) for row in rows]
    table = Table(title=title, title_justify="left")
    for index, column in enumerate(columns):
        numeric = bool(listed) and all(isinstance(row[index], int | float) for row in listed)
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in listed:
        table.add_row(*(escape(_cell(cell)) for cell in row))
    # A pipe has no width of its own; a narrow guess would cut names.
    Console(width=None if sys.stdout.isatty() else 200).print(table)
