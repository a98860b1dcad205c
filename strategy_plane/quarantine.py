"""What the plane could not take, as records for strategy.quarantine. Pure: the same barrier gives the same records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from schemas import codec
from strategy_plane.outputs import Output

TOPIC: Final = "strategy.quarantine"
UNDECODABLE: Final = "UNDECODABLE"
NONDETERMINISM: Final = "NONDETERMINISM"


def skipped(barrier: Mapping[str, Any], undecodable: Mapping[str, tuple[str, bytes]]) -> list[Output]:
    """One QuarantinedRecord for each record that `barrier` skips.

    `undecodable` maps `topic-partition@offset` to the reason and the bytes; what is skipped and not in it repeats an identity
    with other bytes, and its bytes stay on the topic they came from.
    """
    outputs = []
    for name in barrier["skipped"]:
        partition_name, _, offset = name.rpartition("@")
        topic, _, number = partition_name.rpartition("-")
        reason, raw = undecodable.get(name, ("an earlier record has this identity and other bytes", b""))
        record = {
            "event_time": barrier["t"],
            "available_time": barrier["t"],
            "quarantine_id": name,
            "source": "strategy",
            "topic": topic,
            "partition": int(number),
            "offset": int(offset),
            "code": UNDECODABLE if name in undecodable else NONDETERMINISM,
            "detail": reason,
            "raw": raw,
        }
        outputs.append(Output(TOPIC, codec.defaults("QuarantinedRecord") | record))
    return outputs
