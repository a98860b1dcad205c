"""What of a record must be believable before the engine takes it: its time and its place in the sequence. Pure.

Both only ever grow in the engine's state, so one record with a wrong one would make every later record look old. A command's time says
which kill it knew of, so a re-arming of a clock that is ahead would lift a later one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from order_plane.codes import Code
from triplane.domain.timestamps import AHEAD_MAX, to_datetime

# Barriers are numbered one by one; a decision a minute for ten years makes a million.
SEQ_AHEAD_MAX: Final = 1_000_000
TIMED: Final = ("data.quotes", "data.bars", "strategy.intents", "control.commands")


def _written(at: int) -> str:
    try:
        return f"{to_datetime(at):%Y-%m-%d %H:%M:%S} UTC"
    except (OverflowError, ValueError):  # beyond the calendar
        return f"{at} ns"


def refusal(topic: str, record: Mapping[str, Any], wall: int, last_seq: int) -> tuple[Code, str] | None:
    """Why a record may not be taken, or None. `wall` is the wall time, ns UTC; `last_seq` the last barrier taken, -1 before any."""
    if topic not in TIMED:
        return None
    if topic == "control.commands":
        if record["command"] == "kill.trip":
            return None  # whatever its clock says, somebody wants to stop
        at = int(record["event_time"])
    else:
        at = int(record["available_time"])
    if at > wall + AHEAD_MAX:
        # Without the distance: the record may be read again later, and what is written of it must be the same.
        return Code.FROM_THE_FUTURE, (
            f"The record is stamped {_written(at)}, ahead of this machine's clock; correct the clock that is wrong."
        )
    if topic == "strategy.intents" and int(record["seq"]) > max(last_seq, 0) + SEQ_AHEAD_MAX:
        return Code.SEQ_JUMP, f"Barrier {record['seq']} lies too far ahead of the last one taken; see who wrote it."
    return None
