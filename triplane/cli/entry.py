"""Where the command begins: while its modules load, Ctrl-C ends it as it ends any process, without a traceback."""

from __future__ import annotations

import signal


def main() -> None:
    """Entry point of the installed command: loads the verbs, then runs one (`triplane.cli.main`)."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:  # not where the caller has it ignored
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from triplane.cli.main import main as run

    signal.signal(signal.SIGINT, before)
    run()
