"""Corporate actions through their gate, and what splits and dividends on record make of a close from before their ex-dates."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Mapping
from datetime import date
from typing import Any, NamedTuple

import numpy as np

from data_plane.gates import actions, schema
from data_plane.gates.schema import Fault
from data_plane.observations import CorporateAction, Floats, Ints
from data_plane.outputs import Output, quarantined, raw_json
from triplane.domain.timestamps import to_datetime


class Known(NamedTuple):
    """One action: new shares for an old one, cash a share."""

    ratio: float
    amount: float


class ActionMemory:
    """Splits and dividends by ex-date and name. Small, and looked at where a bar follows one of another session."""

    def __init__(self) -> None:
        self._days: list[int] = []
        self._by_day: dict[int, dict[tuple[str, str], Known]] = {}

    def known(self, symbol: str, kind: str, day: int) -> Known | None:
        """The action of that name and kind with the ex-date `day` (ordinal)."""
        return self._by_day.get(day, {}).get((kind, symbol))

    def learn(self, record: Mapping[str, Any]) -> None:
        """Take a CorporateAction that is, or is about to be, on data.actions."""
        day = to_datetime(record["event_time"]).date().toordinal()
        if day not in self._by_day:
            insort(self._days, day)
            self._by_day[day] = {}
        self._by_day[day][record["kind"], record["symbol"]] = Known(record["ratio"], record["amount"])

    def adjusted(self, closes: Floats, sessions: Ints, session: int, row: Mapping[str, int]) -> Floats:
        """Closes (names,) of `sessions` (ordinals) as of the session `session`; the same array where no action lies between.

        A close c becomes c / ratio on a split, and c - amount on the ex-date of a dividend.
        """
        if not self._days or session < self._days[0]:
            return closes
        behind = (sessions < session) & np.isfinite(closes)
        if not behind.any():
            return closes
        after = closes
        first = bisect_right(self._days, int(sessions[behind].min()))
        for day in self._days[first : bisect_right(self._days, session)]:
            # The dividend first: a payment declared in new shares beside a split is a hundredth of it, and of no account.
            for (_, symbol), action in sorted(self._by_day[day].items()):
                place = row.get(symbol, -1)
                if place < 0 or not behind[place] or sessions[place] >= day:
                    continue
                if after is closes:
                    after = closes.copy()
                if action.ratio > 0.0:
                    after[place] /= action.ratio
                elif 0.0 < action.amount < after[place]:
                    after[place] -= action.amount
        return after

    def fault(self, action: CorporateAction, close: tuple[float, int], ratio_max: float) -> Fault | None:
        """Judge an action whose shape is good. `close` is the name's last good daily one with the ordinal of its session (NaN, 0: none)."""
        day = date.fromisoformat(action.ex_date).toordinal()
        fault = actions.action_fault(action, close[0], close[1] - day, ratio_max)
        known = self.known(action.symbol, action.kind, day)
        return fault if fault is not None or known is None else actions.conflict(action, *known)


def action_id(action: CorporateAction) -> str:
    """Identity on data.actions: a name has one action of a kind a day, whoever tells of it."""
    return f"{action.symbol}/{action.kind}/{action.ex_date}"


def action_record(action: CorporateAction) -> Output:
    """The CorporateAction of an action that passed."""
    record = {
        "event_time": schema.ex_time(action),
        "available_time": action.available_time,
        "source": action.source,
        "action_id": action_id(action),
        "symbol": action.symbol,
        "kind": action.kind,
        "ratio": action.ratio,
        "amount": action.amount,
        "currency": action.currency,
    }
    return Output("data.actions", record, action.source, 1)


def bad_action(action: CorporateAction, fault: Fault) -> Output:
    """The quarantined record of one that did not."""
    time = action.available_time
    fields = {
        "kind": action.kind,
        "ex_date": action.ex_date,
        "ratio": action.ratio,
        "amount": action.amount,
        "currency": action.currency,
    }
    return quarantined(action.source, "data.actions", action.symbol, *fault, raw_json(fields), time, time)
