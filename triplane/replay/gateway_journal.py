"""The paper gateway's own journal against the log: no fill lost, none doubled, no order sent twice (laws L4 and L5)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from triplane.replay.recording import Recording
from triplane.replay.summary import values


def read(path: Path) -> list[dict[str, Any]]:
    """Lines of a gateway journal; a torn last line (the gateway was killed while writing) is left out."""
    lines = path.read_text(encoding="utf-8").split("\n")
    complete = lines[:-1]  # what follows the last newline is empty or torn
    return [json.loads(line) for line in complete if line]


def disagreements(recording: Recording, journal: Iterable[dict[str, Any]]) -> list[str]:
    """Sentences about every execution and order on which the log and the gateway's journal differ; empty when they agree."""
    entries = list(journal)
    executed = {e["execution"]["exec_id"]: e for e in entries if e["kind"] == "execution"}
    booked: Counter[str] = Counter()
    quantity: Counter[str] = Counter()
    for fill in values(recording.records["order.fills"]):
        if fill["kind"] == "execution":
            booked[fill["exec_id"]] += 1
            quantity[fill["exec_id"]] += fill["quantity"]
    problems = [
        f"execution {key} ({executed[key]['orderRef']}) is lost: it is not on order.fills"
        for key in executed
        if key not in booked
    ]
    problems += [
        f"execution {key} is on order.fills and the gateway never made it" for key in booked if key not in executed
    ]
    problems += [f"execution {key} is on order.fills {count} times" for key, count in booked.items() if count > 1]
    problems += [
        f"execution {key}: order.fills says {quantity[key]:g} units, the gateway {executed[key]['execution']['quantity']:g}"
        for key in booked
        if key in executed and abs(quantity[key] - float(executed[key]["execution"]["quantity"])) > 1e-9
    ]
    sent = Counter(e["orderRef"] for e in entries if e["kind"] == "order" and e["orderRef"] and not e["modify"])
    problems += [f"order {ref} reached the gateway {count} times" for ref, count in sent.items() if count > 1]
    return problems
