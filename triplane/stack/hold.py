"""`python -m triplane.stack.hold PROGRAM [ARG...]`: the entry point of containers, where the engine restarts whatever ends.

Exit code 78 means that a restart cannot mend it. Restart policies of container engines do not know codes, so this stays in
the program's place then, serving nothing, until it is stopped: the container shows as unhealthy, its last line says what a
person has to mend, and it is not started over and over. Any other end is passed on, and the engine restarts with its backoff.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Sequence

from triplane.runtime import exit_codes


def main(argv: Sequence[str]) -> int:
    """Run the program, pass SIGTERM and SIGINT on, return its code; 78 only after having been told to stop."""
    if not argv:
        print("hold: name a program to run", file=sys.stderr)
        return exit_codes.CONFIG
    stopped = threading.Event()
    program: subprocess.Popen[bytes] | None = None

    def stop(number: int, _frame: object) -> None:
        stopped.set()
        if program is not None and program.poll() is None:
            program.send_signal(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    try:
        program = subprocess.Popen(argv)
    except OSError as error:
        print(f"hold: cannot start {argv[0]}: {error.strerror}", file=sys.stderr)
        return exit_codes.CONFIG
    if stopped.is_set():
        program.terminate()
    code = program.wait()
    if code == exit_codes.CONFIG and not stopped.is_set():
        print(
            "hold: ended with code 78, which a restart cannot mend; correct it, then restart this container",
            file=sys.stderr,
            flush=True,
        )
        stopped.wait()
    return 128 - code if code < 0 else code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
