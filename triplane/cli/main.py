"""The triplane command: what it offers, and how its errors reach people.

Each verb is a module of its own. The modules import nothing heavy at the top, so that `triplane --help` stays quick.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import sys
import traceback
from pathlib import Path

import typer

from triplane.cli import (
    assets,
    config,
    data_audit,
    data_backfill,
    data_bars,
    data_fundamentals,
    demo,
    doctor,
    explain,
    kafka,
    kill,
    order_commands,
    planes,
    quarantine,
    replay,
    schemas,
    status,
    topics,
    up,
)
from triplane.runtime import garbage

STATE_DIRECTORY = "`--directory` of the demonstration, else TRIPLANE_STATE_DIR"

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Triplane: a three-plane quantitative trading system on Kafka.",
)
app.command("demo")(demo.demo)
app.command("up")(up.up)
app.command("down")(up.down)
app.command("status")(status.status)
app.command("doctor")(doctor.doctor)
app.command("explain")(explain.explain)
app.command("replay")(replay.replay)
app.add_typer(config.app, name="config")
app.add_typer(assets.app, name="assets")
app.add_typer(kill.app, name="kill")
app.add_typer(kafka.app, name="kafka")
app.add_typer(quarantine.app, name="quarantine")
app.add_typer(topics.app, name="topics")
app.add_typer(schemas.app, name="schemas")
for plane in planes.PLANES:
    group = planes.app_for(plane)
    if plane == "data":
        data_audit.add_to(group)
        data_bars.add_to(group)
        data_fundamentals.add_to(group)
        data_backfill.add_to(group)
    if plane == "order":
        order_commands.add_to(group)
    app.add_typer(group, name=plane)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"triplane {version('triplane')}")
        raise typer.Exit


@app.callback()
def options(
    _: bool = typer.Option(False, "--version", help="Show the version and exit.", is_eager=True, callback=_version),
    debug: bool = typer.Option(False, "--debug", help="Show a traceback where otherwise one sentence is printed."),
) -> None:
    """Options before the verb."""


def main() -> None:
    """Entry point: runs a verb; every error becomes one sentence on stderr and an exit code."""
    garbage.loading()
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the caller
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w"))
    # --debug is welcome anywhere on the line, as people add it after the error.
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1
    if not debug:
        # What libraries log would stand before or instead of the sentence.
        logging.getLogger().addHandler(logging.NullHandler())
    try:
        # Not standalone: the library would draw a box around its errors, which no log or pipe wants.
        code = app(arguments, prog_name="triplane", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(141)
    except Exception as error:
        usage = getattr(error, "format_message", None)  # an error of the command line itself
        if debug and usage is None:
            traceback.print_exc()
        elif sentence := _sentence(error, usage() if usage else str(error)):
            with contextlib.suppress(OSError):  # where nobody reads that either, the code says it
                print(sentence, file=sys.stderr)
        code = getattr(error, "exit_code", getattr(error, "code", 1))
        sys.exit(code if isinstance(code, int) and code else 1)


def _sentence(error: Exception, message: str) -> str:
    """What a person reads. An empty message of the command line means that its help has been printed."""
    if hasattr(error, "format_message"):
        message = message.strip()
        where = getattr(getattr(error, "ctx", None), "command_path", "triplane")
        return f"triplane: {message.rstrip('.')}; `{where} --help` says what it takes" if message else ""
    if type(error).__name__ == "LogUnavailable":  # by name: importing it takes as long as many a verb
        from triplane.cli.context import settings
        from triplane.cli.status import services, unavailable

        found = settings()
        message = unavailable(found, services(found, []), error)
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        where = f"for {error.filename}" if error.filename else "where it, or what it prints, is written"
        return f"triplane: no space left {where}; free space there, or name another directory ({STATE_DIRECTORY})"
    if isinstance(error, OSError) and error.filename and error.strerror:
        from triplane.runtime.settings import cache_root

        cached = Path(str(error.filename)).is_relative_to(cache_root())
        other = "cache with TRIPLANE_CACHE" if cached else f"directory ({STATE_DIRECTORY})"
        why = "it is a file, no directory" if isinstance(error, FileExistsError) else error.strerror
        return f"triplane: {error.filename}: {why}; mend that path, or name another {other}"
    return f"triplane: {message or type(error).__name__}"


if __name__ == "__main__":
    main()
