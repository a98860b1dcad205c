"""What the plane could not take, as records for strategy.quarantine. Pure: the same barrier gives the same records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from schemas import codec
from strategy_plane.outputs import Output

TOPIC: Final = "strategy.quarantine"
UNDECODABLE: Final = "UNDECODABLE"
REFUSED: Final = "REFUSED"
REFUSED_DETAIL: Final = (
    "repeats an identity with other bytes, names an impossible session, or was stamped ahead of the clock"
)
"""One code and one text for all that can be decoded: a stamp that was ahead then is not ahead any more at a restart or a replay, and the
record has to be the same bytes."""


def skipped(barrier: Mapping[str, Any], undecodable: Mapping[str, tuple[str, bytes]]) -> list[Output]:
    """One QuarantinedRecord for each record that `barrier` skips.

    `undecodable` maps `topic-partition@offset` to the reason and the bytes. What is skipped and not in it can be decoded and was
    refused; its bytes stay on the topic they came from.
    """
    outputs = []
    for name in barrier["skipped"]:
        partition_name, _, offset = name.rpartition("@")
        topic, _, number = partition_name.rpartition("-")
        reason, raw = undecodable.get(name, (REFUSED_DETAIL, b""))
        record = {
            "event_time": barrier["t"],
            "available_time": barrier["t"],
            "quarantine_id": name,
            "source": "strategy",
            "topic": topic,
            "partition": int(number),
            "offset": int(offset),
            "code": UNDECODABLE if name in undecodable else REFUSED,
            "detail": reason,
            "raw": raw,
        }
        outputs.append(Output(TOPIC, codec.defaults("QuarantinedRecord") | record))
    return outputs
