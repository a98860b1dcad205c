"""The order engine: one input in, effects out, state by event sourcing.

Commit protocol (docs/orders.md, mirrored here): (1) the input is appended to order.events and folded; (2) what it decides is appended as
further events, each folded as it is appended; (3) cancels; (4) orders, which the service sends only once every append before them is
acknowledged; (5) reports (account, costs). State changes only through `Fold.apply`, so a fold over order.events gives it back.

Deterministic: no clock, no randomness, no I/O. Time comes on inputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from order_plane import plain
from order_plane.codes import Code
from order_plane.ledger.folding import Fold
from order_plane.ledger.order_state import State
from order_plane.ledger.state import EngineState
from order_plane.messages import (
    Append,
    BrokerReport,
    ClockTick,
    Effect,
    Input,
    KillRequest,
    LogInput,
    Start,
)
from order_plane.trading.emission import Outbox
from order_plane.trading.work import Work

LOG_TOPICS = ("strategy.intents", "data.quotes", "data.bars", "data.actions", "control.config", "control.commands")
COMMANDS = ("kill.trip", "kill.rearm", "order.resolve", "order.release")
# Reports that change nothing are not recorded: the snapshot carries positions as a whole.
IGNORED_REPORTS = frozenset({"position"})


class OrderEngine(Work):
    """The order plane's decisions for one account.

    `mode` is paper, shadow (every check, nothing sent) or live. `simulated` marks what is written as simulated; by default so on
    paper. A new engine is empty: give it the log (`fold`) or a snapshot (`restore`), then `Start`.
    """

    @property
    def busy(self) -> bool:
        """Whether something waits for time to pass: send ClockTicks more often while true."""
        s = self.s
        return bool(
            s.parents or s.pending or s.book.live or s.reconciling.wanted or s.reconciling.pending or s.account.due
        )

    def state(self) -> dict[str, Any]:
        """The whole state as plain values, for a snapshot."""
        return {"account": self.account, "mode": self.mode, "state": plain.dump(self.s)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over the state of a snapshot of the same account, whole; ValueError otherwise, and nothing has changed."""
        if state["account"] != self.account:
            raise ValueError(
                f"the snapshot is of account {state['account']}, not {self.account}; remove it to rebuild from the log"
            )
        whole = Fold(self.account, simulated=self.folded.simulated)
        whole.state = plain.load(EngineState, state["state"])
        whole.use_config()  # refuses a configuration that this release cannot read: nothing is taken over then
        self.folded = whole

    def fold(self, event: Mapping[str, Any], record: Mapping[str, Any] | None = None) -> None:
        """Fold one event of order.events without deciding anything; `record` is what a `took` event of a lookup topic names.

        Data slices are never folded here: what they bring is forgotten at every start.
        """
        self.folded.apply(event, record if _durable(event) else None)

    def handle(self, item: Input) -> list[Effect]:
        """Decide on one input. Effects come in the order in which they must be carried out; see messages.Effect."""
        self._out = Outbox()
        self._revalue = False
        if isinstance(item, ClockTick):
            self._tick(item)
        elif isinstance(item, LogInput):
            self._log(item)
        elif isinstance(item, BrokerReport):
            self._report(item)
        elif isinstance(item, Start):
            self._start(item)
        elif isinstance(item, KillRequest):
            self._advance(0, item.wall)
            self._emit(
                "kill_requested",
                reason=item.reason,
                text=item.source,
                labels={"scope": item.scope, "actor": item.actor},
            )
            self._trip(Code.KILL_REQUESTED, "stopped", item.reason, item.scope, item.actor or item.source)
            self._work()
        else:
            self._advance(0, item.wall)
            self._emit("rearm_requested", reason=item.reason, text=item.source, labels={"actor": item.actor})
            self._rearm(item.actor, item.reason)
            self._work()
        effects = self._out.effects()
        self._out = Outbox()
        return effects

    def _start(self, item: Start) -> None:
        if item.epoch <= self.s.epoch:
            raise ValueError(
                f"epoch {item.epoch} is not above {self.s.epoch}, the last on the log; start with a higher one"
            )
        # A run that began under a wrong clock must not stop this one's ages and timeouts: each run has its own wall time.
        self.s.wall = item.wall or self.s.wall
        self.s.epoch, self.s.number = item.epoch, 0
        simulated = "true" if self.folded.simulated else "false"
        self._emit("epoch", client_id=item.client_id, labels={"mode": self.mode, "simulated": simulated})
        for order in self.s.book.all_live():
            if order.state is State.PLACING:
                self._emit("doubted", order_ref=order.ref, symbol=order.symbol, reason=Code.RESTART)
        self._make_up()
        for fill in self.folded.recent_fills():
            self._out.appends.append(Append("order.fills", fill))
        self._warm_sessions()
        self._publish_costs()
        self._work()

    def _tick(self, item: ClockTick) -> None:
        s = self.s
        r = s.reconciling
        before = (s.number, s.events, s.market_time, s.wall, s.account.day_end, s.owed)
        wish = (r.wanted, r.wanted_wall, r.pending)
        self._advance(item.market, item.wall)
        self._emit("clock")
        self._work()
        if self._out.size == 1:  # nothing came of it: it never happened
            s.number, s.events, s.market_time, s.wall, s.account.day_end, s.owed = before
            r.wanted, r.wanted_wall, r.pending = wish
            self._out = Outbox()

    def _log(self, item: LogInput) -> None:
        record, topic = item.record, item.topic
        if not self._concerns(topic, record):
            return
        # Configuration and commands carry wall time, which is not the market's.
        timed = topic in ("data.quotes", "data.bars", "strategy.intents")
        self._advance(record["available_time"] if timed else 0, item.wall)
        notes = self._emit("took", record, cut={f"{topic}-{item.partition}": item.offset + 1})
        self._revalue = topic in ("data.quotes", "data.bars")
        self._react(notes)
        if topic == "control.config" and not notes:
            changes = list(record["changes"])
            self._emit("config_taken", config_hash=self.config_hash, text="; ".join(changes)[:2000])
            self._tell_lost_rows()
            self._warm_sessions()
            self._publish_costs()
        elif topic == "control.commands" and not notes:
            self._command(record)
        self._work()

    def _tell_lost_rows(self) -> None:
        """Whoever edited assets.csv did not mean to stop all trading: a position without a row makes NAV unknown."""
        for symbol, held in sorted(self.s.book.positions.items()):
            if held.quantity and self._asset(symbol) is None:
                self._alert(
                    Code.NAV_UNKNOWN,
                    f"{held.quantity:+,.0f} are held and assets.csv has no row for it, so NAV is not known and nothing trades until the row is back",
                    symbol,
                )

    def _concerns(self, topic: str, record: Mapping[str, Any]) -> bool:
        if topic == "data.bars":
            # What is loaded, or let out of quarantine, is of the past: no price of now, and no volume that is traded now.
            return record["interval"] in ("5s", "1d") and not record["history"]
        if topic == "strategy.intents":
            return bool(record["account"] == self.account)
        if topic == "control.commands":
            return record["command"] in COMMANDS
        return topic in LOG_TOPICS

    def _report(self, item: BrokerReport) -> None:
        event = dict(item.event)
        kind = event.pop("kind")
        if kind in IGNORED_REPORTS or event.get("account", self.account) not in ("", self.account):
            return
        self._advance(0, item.wall)
        notes = self._emit(kind, **event)
        if kind in ("execution", "commission"):
            self.s.account.due = self._revalue = True
        self._react(notes)
        if kind == "snapshot":
            self._reconcile(event)
        self._work()


def _durable(event: Mapping[str, Any]) -> bool:
    """Whether what the event names is folded at start-up; data slices are not."""
    return event["kind"] == "took" and not takes_market_data(event)


def takes_market_data(event: Mapping[str, Any]) -> bool:
    """Whether an event says no more than that a slice of quotes or bars was taken."""
    return event["kind"] == "took" and str(next(iter(event["cut"]))).startswith(("data.quotes", "data.bars"))
