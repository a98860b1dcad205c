"""What a command that runs for hours does when nobody reads its output any more (`triplane up | head`): it ends, and says why."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator

from triplane.cli.context import CommandError

CLOSED_PIPE = 141
"""What a shell reports of a process that SIGPIPE ended."""


class Listener:
    """Whoever reads standard output. `gone` is called once when nobody does any more."""

    def __init__(self, gone: Callable[[], None]) -> None:
        self._gone = gone
        self._there = True

    def say(self, line: str) -> None:
        """Print a line, from whichever task: a closed pipe must not end that task unseen."""
        try:
            if self._there:
                print(line, flush=True)
        except BrokenPipeError:
            self._there = False
            self._gone()
        except OSError:  # a full disk, a terminal that is gone: what was started goes on
            pass

    def check(self) -> None:
        """Raise BrokenPipeError once nobody reads."""
        if not self._there:
            raise BrokenPipeError


@contextlib.contextmanager
def needed(command: str) -> Iterator[None]:
    """Turn a closed pipe inside the block, which has stopped what it started, into one sentence. Raises CommandError."""
    try:
        yield
    except BrokenPipeError:
        # What is still in its buffer must not fail once more as the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise CommandError(
            f"nobody reads what `{command}` says any more, so everything it started was stopped; give it a file to write to where it shall go "
            "on without you",
            CLOSED_PIPE,
        ) from None
