"""The account and the learned costs, as the order plane last told them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from strategy_plane.inputs.panel import column_index
from strategy_plane.inputs.window import Array


class AccountBook:
    """Newest order.account and order.costs records of one account."""

    def __init__(self, account: str) -> None:
        self._account = account
        self.offset = -1
        self._record: dict[str, Any] | None = None
        self._costs: dict[str, tuple[float, float]] = {}

    def fold_account(self, offset: int, record: Mapping[str, Any]) -> None:
        """Take an AccountState; those of other accounts are left out."""
        if record["account"] == self._account:
            self.offset, self._record = offset, dict(record)

    def fold_costs(self, record: Mapping[str, Any]) -> None:
        """Take a CostEstimate; those of other accounts are left out.

        What is no cost (not finite, or negative) leaves the estimate before it in force: names without one would not be traded, so
        no fill would ever bring another.
        """
        if record["account"] != self._account:
            return
        for profile, linear, impact in zip(record["profiles"], record["linear"], record["impact"], strict=True):
            if math.isfinite(linear) and math.isfinite(impact) and linear >= 0 and impact >= 0:
                self._costs[profile] = (float(linear), float(impact))

    @property
    def known(self) -> bool:
        """Whether there is an account that was reconciled and has a NAV to size by."""
        record = self._record
        return record is not None and bool(record["reconciled"]) and math.isfinite(record["nav"]) and record["nav"] > 0

    def unknown_because(self, symbols: Sequence[str]) -> str:
        """Why the account is not known; empty when it is. `symbols`: the names of assets.csv."""
        record = self._record
        if record is None:
            return "the order plane has not told it yet"
        if not record["reconciled"]:
            return "the order plane has not reconciled with the broker"
        if self.known:
            return ""
        unmarked, known = record["unmarked"], set(symbols)
        named = [symbol if symbol in known else f"{symbol} (which has no row in assets.csv)" for symbol in unmarked]
        return f"{', '.join(named)} held without a fresh mark" if named else f"its net asset value is {record['nav']}"

    @property
    def nav(self) -> float:
        """Net asset value for sizing, base currency; NaN when unknown."""
        return float(self._record["nav"]) if self._record is not None else math.nan

    @property
    def drawdown(self) -> float:
        """Drawdown, positive fraction of the high-water mark; zero when there is no account yet."""
        return float(self._record["drawdown"]) if self._record is not None else 0.0

    @property
    def kill_level(self) -> str:
        """none, halved or stopped."""
        return str(self._record["kill_level"]) if self._record is not None else ""

    @property
    def kill_reason(self) -> str:
        """Code of what tripped the kill switch."""
        return str(self._record["kill_reason"]) if self._record is not None else ""

    @property
    def base_currency(self) -> str:
        """ISO 4217; USD where the account does not say."""
        return str(self._record["base_currency"] or "USD") if self._record is not None else "USD"

    def positions(self, symbols: Sequence[str]) -> tuple[Array, Array]:
        """Positions (units, signed; zero where none) and the order plane's marks (NaN where none), each N."""
        position, mark = np.zeros(len(symbols)), np.full(len(symbols), np.nan)
        if self._record is not None:
            columns = column_index(symbols)
            for row, symbol in enumerate(self._record["symbols"]):
                if symbol in columns:
                    position[columns[symbol]] = self._record["position"][row]
                    mark[columns[symbol]] = self._record["mark"][row]
        return position, mark

    def held(self) -> dict[str, str]:
        """Code per name that the order plane does not trade."""
        if self._record is None:
            return {}
        codes = dict.fromkeys(self._record["excluded"], "FOREIGN_POSITION")
        for entry in self._record["held"]:
            symbol, _, code = entry.partition(":")
            codes.setdefault(symbol, code or "SYMBOL_HELD")
        return codes

    def costs(self, profiles: Sequence[str], linear: float, impact: float) -> tuple[Array, Array]:
        """Learned linear cost and impact coefficient of each name's profile (N each), or the given initial ones before any fill."""
        rows = [self._costs.get(profile, (linear, impact)) for profile in profiles]
        table = np.array(rows, dtype=np.float64).reshape(-1, 2)
        return table[:, 0], table[:, 1]

    def state(self) -> dict[str, Any]:
        """For snapshots."""
        return {
            "offset": self.offset,
            "record": self._record,
            "costs": {k: list(v) for k, v in sorted(self._costs.items())},
        }

    @classmethod
    def restored(cls, account: str, state: Mapping[str, Any]) -> AccountBook:
        """A book that continues from `state()`."""
        book = cls(account)
        book.offset, book._record = int(state["offset"]), state["record"]
        book._costs = {profile: (float(a), float(b)) for profile, (a, b) in state["costs"].items()}
        return book
