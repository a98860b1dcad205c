"""The checkpoint file: taken over whole, or not at all (law L11)."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from order_plane import recording
from order_plane.daemon import recovery
from order_plane.engine import OrderEngine
from tests.order_plane.desk import ACCOUNT, plain_text
from tests.order_plane.test_flows import invested
from triplane.runtime import configuration, snapshots
from triplane.runtime.settings import Settings


def of_a_dropped_parameter(meta: dict[str, Any], state: dict[str, Any]) -> None:
    """The configuration in force is one that this release cannot read."""
    record = state["state"]["config"]["record"]
    values = json.loads(record["values"])
    values["order"]["GONE"] = 1.0
    record["values"] = configuration.canonical_json(values)
    versions = (record["calendar_version"], record["tzdata_version"])
    record["hash"] = configuration.hash_of(record["values"], record["assets"], *versions)


DAMAGES: dict[str, Callable[[dict[str, Any], dict[str, Any]], Any]] = {
    "configuration": of_a_dropped_parameter,
    "format": lambda meta, _: meta.update(format=recovery.FORMAT - 1),
    "prefix": lambda meta, _: meta.update(prefix="other."),
    "no positions": lambda meta, _: meta.pop("positions"),
    "odd positions": lambda meta, _: meta.update(positions=[1]),
    "odd last event": lambda meta, _: meta.update(last=[7]),
    "no epoch": lambda meta, _: meta.pop("epoch"),
    "account": lambda _, state: state.update(account="DU7654321"),
    "unknown field": lambda _, state: state["state"].update(unheard_of=1),
}


@pytest.mark.parametrize("damage", [None, *DAMAGES])
def test_a_checkpoint_is_taken_over_whole_or_not_at_all(tmp_path: Path, damage: str | None):
    desk = invested()
    folded = OrderEngine(ACCOUNT)
    recording.fold_log(folded, desk.recorded(), desk.lookup)
    settings = Settings(state_dir=tmp_path, account=ACCOUNT)
    number = len(desk.recorded())
    state = copy.deepcopy(folded.state())
    meta = {
        "format": recovery.FORMAT, "prefix": settings.topic_prefix, "events": number, "last": [number - 1, "x"], "epoch": 1, "positions": {},
    }  # fmt: skip
    if damage is not None:
        DAMAGES[damage](meta, state)
    snapshots.save(recovery.checkpoint_path(settings), meta, state)
    engine = OrderEngine(ACCOUNT)
    begin = recovery._from_checkpoint(settings, engine)
    if damage is None:
        assert begin is not None
        assert begin.last == (number - 1, "x")
        assert plain_text(engine.state()) == plain_text(folded.state())
        assert engine.folded.targets == folded.folded.targets
    else:
        foreign = damage in ("format", "prefix")  # of another build or log: whole, and not ours
        assert begin == (recovery.Begin() if foreign else None)
        assert plain_text(engine.state()) == plain_text(OrderEngine(ACCOUNT).state())
