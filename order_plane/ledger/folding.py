"""The fold: how each event of order.events changes the state. No decisions here; the same code runs live, at start-up and in replay.

`apply` returns notes: what the engine should react to when it is live (records to write, alerts, doubts). At start-up they are dropped,
since the reactions are events of their own, later in the log. Events, kind by kind, are described in docs/orders.md.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256

from order_plane.codes import Code
from order_plane.ledger.fold_base import Event, Note
from order_plane.ledger.fold_decisions import DecisionFold
from order_plane.ledger.fold_reports import ReportFold
from order_plane.ledger.owed import still_owed
from order_plane.ledger.state import (
    SPLIT_DOUBT_NS,
    ConfigInForce,
    Link,
    trading_day_end,
)
from order_plane.market.quotes import Market
from order_plane.market.throttle import Bucket
from schemas.codec import encode_body
from triplane.domain.timestamps import MINUTE
from triplane.runtime.configuration import ConfigError, from_record

REMEMBERED = 512
"""Identities of intents, and of commands, that are remembered."""


class Fold(ReportFold, DecisionFold):
    """State of one account's engine and the functions that fold events into it, kind by kind."""

    def __init__(self, account: str, *, simulated: bool) -> None:
        super().__init__(account, simulated=simulated)
        self.kinds: dict[str, Callable[[Event, Event | None], list[Note]]] = {
            "epoch": self._epoch,
            "took": self._took,
            "connected": self._connected,
            "disconnected": self._disconnected,
            "order_status": self._order_status,
            "open_order": self._open_order,
            "completed_order": self._completed_order,
            "execution": self._execution,
            "commission": self._commission,
            "error": self._error,
            "undecodable": self._undecodable,
            "snapshot": self._snapshot,
            "not_sent": self._not_sent,
            "paused": self._paused,
            "parent_opened": self._parent_opened,
            "parent_closing": self._parent_closing,
            "parent_closed": self._parent_closed,
            "intents_decided": self._intents_decided,
            "placing": self._placing,
            "cancelling": self._cancelling,
            "global_cancel": self._global_cancel,
            "doubted": self._doubted,
            "missed": self._missed,
            "abandoned": self._abandoned,
            "resolved": self._resolved,
            "held": self._held,
            "released": self._released,
            "snapshot_requested": self._snapshot_requested,
            "baseline": self._baseline,
            "difference": self._difference,
            "cash_set": self._cash_set,
            "valued": self._valued,
            "reconciled": self._reconciled,
            "kill_requested": self._kill_requested,
            "killed": self._killed,
            "rearmed": self._rearmed,
            "day_ended": self._day_ended,
            "marked": self._marked,
        }

    def apply(self, event: Event, record: Event | None = None) -> list[Note]:
        """Fold one event. `record` is the log record that a `took` event names; data slices may be left out after a restart.

        Kinds that this release does not know change nothing but time, so that an older fold reads a newer log.
        """
        s = self.state
        if event["epoch"] < s.epoch:
            return []  # a writer that was replaced
        s.market_time = max(s.market_time, event["available_time"])
        s.wall = (event["wall_time"] or s.wall) if event["kind"] == "epoch" else max(s.wall, event["wall_time"])
        if s.account.day_end == 0 and s.market_time > 0:
            s.account.day_end = trading_day_end(s.market_time)
        method = self.kinds.get(event["kind"])
        notes = method(event, record) if method is not None else []
        s.owed = still_owed(s, event, record, notes)
        s.number += 1
        s.events += 1
        return notes

    def _epoch(self, event: Event, record: Event | None) -> list[Note]:
        s = self.state
        s.epoch, s.client_id, s.number = event["epoch"], event["client_id"], 0
        s.market = Market()
        s.link = Link()
        s.bucket = Bucket()
        s.reconciling.passed = s.reconciling.pending = False
        s.reconciling.suspects = {}
        s.account.published_wall = 0
        for parent in s.parents.values():
            # Observed volume starts from nothing, so what was done before must not be held against it.
            parent.volume_base = parent.volume_start = 0.0
            parent.last_code = ""
            parent.done_before = sum(s.book.orders[ref].booked for ref in parent.orders if ref in s.book.orders)
        return []

    def _took(self, event: Event, record: Event | None) -> list[Note]:
        if record is None:
            return []
        s = self.state
        ((place, end),) = event["cut"].items()
        topic = place.rpartition("-")[0]
        if topic == "data.quotes":
            s.market.take_quotes(record, event["wall_time"])
        elif topic == "data.bars":
            s.market.take_bars(record)
        elif topic == "data.actions" and record["kind"] == "split" and record["ratio"] > 0.0:
            return self._take_split(record["symbol"], record["ratio"])
        elif topic == "control.config":
            return self._take_config(record, end - 1)
        elif topic == "control.commands":
            return self._take_command(record)
        elif topic == "strategy.intents":
            return self._take_intents(record)
        return []

    def _take_split(self, symbol: str, ratio: float) -> list[Note]:
        """Of a name that we do not have and have not asked for, a split changes nothing here."""
        s = self.state
        if not s.book.position(symbol) and not s.book.live_orders(symbol):
            return []
        if s.reconciling.splits.get(symbol, (0.0, 0))[0] == ratio:
            return []  # told again: levels do not wait anew
        s.reconciling.splits[symbol] = (ratio, s.market_time)
        detail = f"A split of {symbol} ({ratio:g}) is announced; levels wait {SPLIT_DOUBT_NS // MINUTE} min for the position that shows it."
        return [Note(Code.CORPORATE_ACTION, detail, symbol, alert=True, snapshot=True)]

    def _take_config(self, record: Event, offset: int) -> list[Note]:
        known = self.state.config
        if known is not None and record["seq"] <= known.record["seq"]:
            if record["seq"] < known.record["seq"] or record["hash"] == known.record["hash"]:
                return []  # an earlier version, or this one written again
            text = f"The configuration at offset {offset} was not taken: version {record['seq']} is the one at offset {known.offset}."
            return [Note(Code.NO_CONFIG, text, alert=True)]
        try:
            self._set_config(from_record(record, offset))
        except ConfigError as error:
            return [Note(Code.NO_CONFIG, f"The configuration at offset {offset} was not taken: {error}", alert=True)]
        self.state.config = ConfigInForce(dict(record), offset)
        return []

    def _take_command(self, record: Event) -> list[Note]:
        """A note where the command is none, for its id names another, or itself. A request to stop is taken under any id."""
        known, digest = self._seen(self.state.commands, record["command_id"], "Command", record)
        if record["command"] == "kill.trip":  # while it is stopped already, too
            kill = self.state.kill
            kill.asked = max(kill.asked, min(record["event_time"], self.state.wall))
        if not known or record["command"] == "kill.trip":
            return []
        if known == digest:
            return [Note(Code.OK)]
        text = f"{record['command']} by {record['actor']} came under the id {record['command_id']!r} of an earlier command; give it again under a new one."
        return [Note(Code.BAD_COMMAND, text, alert=True)]

    @staticmethod
    def _seen(known: dict[str, str], identity: str, name: str, record: Event) -> tuple[str, str]:
        """Digest of the first record of this identity, empty when it is this one, and of this one; the newest identities are remembered."""
        digest = sha256(encode_body(name, record)).hexdigest()
        first = known.get(identity, "")
        if not first:
            known[identity] = digest
            if len(known) > REMEMBERED:
                del known[next(iter(known))]
        return first, digest

    def _take_intents(self, record: Event) -> list[Note]:
        known, digest = self._seen(self.state.slices, record["intent_id"], "IntentSlice", record)
        if not known:
            self.state.pending.append(dict(record))
            return []
        if known == digest:
            return []
        return [
            Note(
                Code.NONDETERMINISM,
                f"Intents {record['intent_id']} came again with other bytes; find out which writer differs.",
                alert=True,
            )
        ]
