"""What the order plane's replay forgives a killed plane, and what it does not."""

from __future__ import annotations

from typing import Any

import pytest

from tests.replay.logs import HandLog
from triplane.replay.orders import _Forgiven, verify
from triplane.replay.recording import Recording
from triplane.replay.strategy import ReplayError

ACCOUNT = "DU1"


def event(log: HandLog, name: str, kind: str, epoch: int) -> dict[str, Any]:
    record: dict[str, Any] = {"account": ACCOUNT, "event_id": name, "kind": kind, "epoch": epoch}
    log.put("order.events", **record)
    return record


def fill(name: str) -> dict[str, Any]:
    return {"account": ACCOUNT, "fill_id": name, "kind": "parent"}


def test_events_without_their_beginning_are_refused() -> None:
    log = HandLog()
    event(log, "1/7", "order_status", 1)
    with pytest.raises(ReplayError, match=r"order\.events begins with 'order_status' and not with the start"):
        verify(log.recording(), ACCOUNT)


def test_what_follows_from_a_lost_event_is_lost_though_a_later_epoch_wrote_the_same_identity() -> None:
    log = HandLog()
    event(log, "1/1", "epoch", 1)
    early = event(log, "1/2", "order_status", 1)
    event(log, "1/3", "parent_closed", 1)
    last = event(log, "1/4", "order_status", 1)  # the plane was killed while it worked on this
    event(log, "2/1", "epoch", 2)
    again = event(log, "2/2", "order_status", 2)
    event(log, "2/3", "parent_closed", 2)
    log.put("order.fills", **fill("A"))
    log.put("order.fills", **fill("B"))
    forgiven = _Forgiven(log.recording())
    # An event that is on the log is compared, and so is what follows from it.
    assert not forgiven.is_lost(early, "order.events", {"account": ACCOUNT, "event_id": "1/3"})
    assert not forgiven.is_lost(early, "order.fills", fill("A"))
    # One that is not: its fill is another than the one that the next epoch wrote under the same identity.
    assert forgiven.is_lost(last, "order.events", {"account": ACCOUNT, "event_id": "1/5"})
    assert forgiven.is_lost(last, "order.fills", fill("B"))
    assert not forgiven.is_lost(again, "order.fills", fill("B"))
    assert forgiven.count == 2


def test_the_last_input_of_a_plane_that_lives_is_forgiven_only_what_is_missing() -> None:
    log = HandLog()
    event(log, "1/1", "epoch", 1)
    last = event(log, "1/2", "order_status", 1)
    event(log, "1/3", "parent_closed", 1)
    log.put("order.fills", **fill("A"))
    forgiven = _Forgiven(log.recording())
    assert not forgiven.is_lost(last, "order.events", {"account": ACCOUNT, "event_id": "1/3"})
    assert not forgiven.is_lost(last, "order.fills", fill("A"))
    assert forgiven.is_lost(last, "order.fills", fill("not written"))


def test_what_came_while_the_log_was_read_may_lack_what_follows_from_it() -> None:
    """A plane that runs writes an event first and its fills a moment later; several events may be under way."""
    log = HandLog()
    event(log, "1/1", "epoch", 1)
    settled = event(log, "1/2", "order_status", 1)
    fresh = [event(log, f"1/{number}", "order_status", 1) for number in (3, 4, 5)]
    log.put("order.fills", **fill("A"))
    forgiven = _Forgiven(Recording.of(log.records, settled=2))
    assert not forgiven.is_lost(settled, "order.fills", fill("A"))
    assert not forgiven.is_lost(settled, "order.fills", fill("lost"))
    assert [forgiven.is_lost(each, "order.fills", fill(name)) for each, name in zip(fresh, "BCD", strict=True)] == [
        True
    ] * 3
    # Without that only the last event is forgiven.
    strict = _Forgiven(log.recording())
    assert [strict.is_lost(each, "order.fills", fill(name)) for each, name in zip(fresh, "BCD", strict=True)] == [
        False,
        False,
        True,
    ]
