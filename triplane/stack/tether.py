"""Run a program so that it dies with the process that started it.

Called by path, with nothing but the standard library: `python -I -S tether.py PARENT_PID FD NICENESS PROGRAM [ARG...]`.

FD = -1, Linux: the kernel kills the program when the thread that started it ends (PR_SET_PDEATHSIG), and this script is
replaced by the program, so the pid stays the same. FD >= 0, anywhere: this script stays, reads the pipe FD and kills the
program when the pipe ends, which happens when its other holder is gone. It passes SIGTERM and SIGINT on and ends with the
program's code.

The signal is SIGKILL: daemons and Kafka survive it by design, and nobody is left who could follow up a SIGTERM.
"""

import ctypes
import os
import signal
import subprocess
import sys
import threading

PR_SET_PDEATHSIG = 1
NOT_FOUND = 127


def become(parent: int, argv: list[str]) -> None:
    """Ask the kernel to kill this process with its parent, then turn into the program."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        sys.exit(f"tether: prctl failed with errno {ctypes.get_errno()}")
    if os.getppid() != parent:  # the parent went before the call above
        os.kill(os.getpid(), signal.SIGKILL)
    try:
        os.execvp(argv[0], argv)
    except OSError as error:
        print(f"cannot start {argv[0]}: {error.strerror}", file=sys.stderr)
        sys.exit(NOT_FOUND)


def accompany(fd: int, argv: list[str]) -> int:
    """Run the program as a child until it ends or the pipe does."""
    try:
        child = subprocess.Popen(argv)
    except OSError as error:
        print(f"cannot start {argv[0]}: {error.strerror}", file=sys.stderr)
        return NOT_FOUND

    def pass_on(number: int, _frame: object) -> None:
        child.send_signal(number)

    signal.signal(signal.SIGTERM, pass_on)
    signal.signal(signal.SIGINT, pass_on)

    def watch() -> None:
        while os.read(fd, 1):
            pass
        os.killpg(os.getpgrp(), signal.SIGKILL)  # the program, its children and this script share a group of their own

    threading.Thread(target=watch, daemon=True).start()
    code = child.wait()
    return 128 - code if code < 0 else code


def main() -> None:
    """Entry: see the module's text for the arguments."""
    parent, fd, niceness, argv = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:]
    if niceness:
        os.nice(niceness)
    if fd < 0:
        become(parent, argv)
    sys.exit(accompany(fd, argv))


if __name__ == "__main__":
    main()
