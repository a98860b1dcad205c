"""Where nobody reads what a command says, or its disk is full, or Ctrl-C comes early: no traceback."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.command import LINE, environment
from triplane.cli import main


def test_a_closed_pipe_is_no_error(tmp_path: Path) -> None:
    """`triplane schemas list | head -1`."""
    process = subprocess.Popen(
        [*LINE, "schemas", "list", "--json"],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.close()
    _, errors = process.communicate(timeout=60)
    assert b"Traceback" not in errors
    assert process.returncode in (0, 1, 141), errors


def test_a_command_that_runs_for_hours_says_why_a_closed_pipe_ends_it(tmp_path: Path) -> None:
    """`triplane up | head`: whoever sees it end finds the reason on stderr."""
    program = """
import sys
from triplane.cli import listener
from triplane.cli.context import CommandError
try:
    with listener.needed("triplane up"):
        ended = []
        reader = listener.Listener(lambda: ended.append(True))
        while not ended:
            reader.say("kafka: ready")
        reader.say("nobody hears this")
        assert len(ended) == 1
        reader.check()
except CommandError as error:
    print(error, file=sys.stderr)
    sys.exit(error.code)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read().startswith("nobody reads what `triplane up` says any more, so everything")
    assert process.wait(60) == 141
    process.stderr.close()


def test_a_closed_output_is_no_error(tmp_path: Path) -> None:
    ran = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", *LINE, "kill", "status"],
        cwd=tmp_path, env=environment(TRIPLANE_STATE_DIR=str(tmp_path / "state")), capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (ran.returncode, ran.stderr) == (0, "")
    ran = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", *LINE, "status"],
        cwd=tmp_path, env=environment(TRIPLANE_STATE_DIR=str(tmp_path / "state")), capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (ran.returncode, ran.stderr) == (1, "")


def test_ctrl_c_while_the_command_loads_is_no_traceback() -> None:
    """The first tenths of a second are imports, before anything could catch it."""
    pressed = """
import builtins, os, signal
load = builtins.__import__
def loading(name, *rest, **more):
    if name == "triplane.cli.main":
        os.kill(os.getpid(), signal.SIGINT)
    return load(name, *rest, **more)
builtins.__import__ = loading
from triplane.cli.entry import main
main()
"""
    ran = subprocess.run([sys.executable, "-c", pressed], capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stdout, ran.stderr) == (-signal.SIGINT, "", "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full, which is Linux's")
def test_a_full_disk_is_one_sentence_with_its_remedy() -> None:
    """A write that fails tells no path: it was `triplane: [Errno 28] No space left on device` and nothing else."""
    with pytest.raises(OSError, match="No space left") as caught:
        Path("/dev/full").write_text("x")
    assert main._sentence(caught.value, str(caught.value)) == (
        "triplane: no space left where it, or what it prints, is written; free space there, or name another directory "
        "(`--directory` of the demonstration, else TRIPLANE_STATE_DIR)"
    )
