"""Named places on the order path where a test may stop this process (law L4): inert unless TRIPLANE_TEST_STOP_AT is set.

`TRIPLANE_TEST_STOP_AT=<place>[:<nth>[:STOP|KILL]]` raises SIGKILL (or SIGSTOP) on the process itself the nth time it gets there.
`__main__` reads it, and no code branches on it: a run without the variable executes the same statements.
"""

from __future__ import annotations

import os
import signal
from typing import Final

VARIABLE = "TRIPLANE_TEST_STOP_AT"

PLACES: Final = {
    "intent-taken": "an intent was handled by the engine, nothing is appended yet",
    "placing-appended": "Placing records are queued to Kafka, no acknowledgement yet",
    "placing-acked": "Kafka has acknowledged the Placing record, nothing is on the socket",
    "order-sent": "the order is on the socket, no sent record and no report yet",
    "sent-appended": "the sent record is queued, the broker has not reported",
    "first-report": "the broker's first report of an order is read, not yet handled",
    "execution-received": "an execution is read, not yet journalled",
    "execution-journalled": "an execution is in the local journal, not yet handled",
    "execution-handled": "the engine has taken an execution, nothing is appended yet",
    "execution-appended": "an execution's records are queued to Kafka, not acknowledged",
    "cancel-journalled": "a cancel is in the local journal, not on the socket",
    "cancel-sent": "a cancel is on the socket, its record is not appended",
    "kill-journalled": "a kill is in the local journal, nothing is cancelled yet",
    "connected": "the broker connection is up, reconciliation has not begun",
    "snapshot-taken": "the reconciliation snapshot is complete, not yet handled",
    "epoch-appended": "the new epoch is acknowledged, nothing is read from the broker",
}


class StopPoints:
    """Counts passages, from the variable's text; one instance a process. Raises ValueError for a place that does not exist."""

    def __init__(self, specification: str = "") -> None:
        place, _, rest = specification.partition(":")
        nth, _, how = rest.partition(":")
        if place and place not in PLACES:
            raise ValueError(f"{VARIABLE}={specification}: no such place; one of {', '.join(PLACES)}")
        self._place = place
        self._left = int(nth or 1)
        self._signal = signal.SIGSTOP if how == "STOP" else signal.SIGKILL

    def reach(self, place: str) -> None:
        """Pass a place; ends or stops the process when it was asked for."""
        if place == self._place and self._left > 0:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), self._signal)
