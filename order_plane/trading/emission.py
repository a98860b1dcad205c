"""What every part of the engine does: append events and fold them, collect effects in the order in which they are carried out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from order_plane.codes import Code
from order_plane.ledger.fold_base import Note
from order_plane.ledger.folding import Fold
from order_plane.ledger.state import EVERYTHING, EngineState
from order_plane.messages import (
    Alert,
    Append,
    Effect,
)
from order_plane.trading.sessions import Sessions


class Outbox:
    """Effects of one input, by the order in which they must be carried out."""

    def __init__(self) -> None:
        self.appends: list[Effect] = []
        self.cancels: list[Effect] = []
        self.places: list[Effect] = []
        self.reports: list[Effect] = []
        self.rest: list[Effect] = []

    def effects(self) -> list[Effect]:
        return [*self.appends, *self.cancels, *self.places, *self.reports, *self.rest]

    @property
    def size(self) -> int:
        return len(self.appends) + len(self.cancels) + len(self.places) + len(self.reports) + len(self.rest)


class Emission:
    """State, its fold, and the effects of the input at hand; the base of the engine's parts."""

    def __init__(self, account: str, mode: str = "paper", *, simulated: bool | None = None) -> None:
        self.account = account
        self.mode = mode
        self.folded = Fold(account, simulated=mode == "paper" if simulated is None else simulated)
        self._sessions = Sessions()
        self._out = Outbox()
        self._revalue = False

    @property
    def s(self) -> EngineState:
        """Everything the engine remembers. Read only."""
        return self.folded.state

    @property
    def config_hash(self) -> str:
        """Hash of the configuration in force; empty before the first."""
        return self.folded.config.hash if self.folded.config is not None else ""

    def _advance(self, market: int, wall: int) -> None:
        """Time that an input brings; stamped on its events and folded with them."""
        s = self.s
        s.market_time = max(s.market_time, market)
        s.wall = max(s.wall, wall)

    def _emit(self, kind: str, record: Mapping[str, Any] | None = None, /, **fields: Any) -> list[Note]:
        """Append one event and fold it. Identity, times and epoch are set here, whatever a recorded report carried."""
        s = self.s
        event = fields | {
            "kind": kind,
            "account": self.account,
            "event_id": f"{self.account}/{s.epoch}/{s.number}",
            "epoch": s.epoch,
            "wall_time": s.wall,
            "event_time": s.market_time,
            "available_time": s.market_time,
        }
        self._out.appends.append(Append("order.events", event))
        return self.folded.apply(event, record)

    def _alert(self, code: str, detail: str, symbol: str = "", numbers: Mapping[str, float] | None = None) -> None:
        self._out.rest.append(Alert(str(code), detail, symbol, dict(numbers or {})))

    def _decision(self, record: dict[str, Any]) -> None:
        self._out.appends.append(Append("order.decisions", record))

    def _decision_id(self, intent: str) -> str:
        return f"{intent}@{self.s.epoch}.{self.s.number}.{len(self._out.appends)}"

    def _hold(self, symbol: str, code: Code, detail: str) -> None:
        if self.s.holds.get(symbol) != code:
            self._emit("held", symbol=symbol, reason=str(code), text=detail)
            self._alert(code, detail, "" if symbol == EVERYTHING else symbol)
            self.s.account.due = True

    def _asset(self, symbol: str) -> Any:
        universe = self.folded.universe
        return universe[symbol] if universe is not None and symbol in universe else None

    def _session_end(self, symbol: str) -> int:
        asset = self._asset(symbol)
        session = self._sessions.of(asset.calendar, self.s.market_time) if asset is not None else None
        return session[1] if session is not None else 0

    def _warm_sessions(self) -> None:
        universe = self.folded.universe
        if universe is not None:
            self._sessions.warm(sorted({asset.calendar for asset in universe.tradable}))
