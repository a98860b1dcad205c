"""Corporate actions through their gate, and what splits and dividends on record make of a close from before their ex-dates."""

from __future__ import annotations

from bisect import insort
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from data_plane.gates import actions, schema
from data_plane.gates.schema import Fault
from data_plane.observations import CorporateAction, Floats, Ints
from data_plane.outputs import Output, quarantined, raw_json
from triplane.domain.timestamps import to_datetime


class Known(NamedTuple):
    """One action: new shares for an old one, cash a share; who told of it, and as of when (ns UTC)."""

    ratio: float
    amount: float
    source: str
    available_time: int


class Told(NamedTuple):
    """An action with its ex-date (ordinal), kind and identity. In order, a day's dividend comes before its split: a payment declared in new shares
    beside a split is a hundredth of it, and of no account."""

    day: int
    kind: str
    identity: str
    action: Known


class ActionMemory:
    """Splits and dividends by name, in order of their ex-dates. Small, and looked at where a bar follows one of another session."""

    def __init__(self) -> None:
        self._by_name: dict[str, list[Told]] = {}
        self._newest: Ints = np.zeros((2, 0), dtype=np.int64)
        """Newest ex-date of any action and of a split, (2, names), of each row of `_row`; 0 where there is none."""
        self._row: Mapping[str, int] = {}
        self._names: tuple[str, ...] = ()

    def _known(self, action: CorporateAction) -> list[Told]:
        """What is on record for the action's name, kind and ex-date."""
        day = date.fromisoformat(action.ex_date).toordinal()
        return [one for one in self._by_name.get(action.symbol, ()) if one[:2] == (day, action.kind)]

    def identity(self, action: CorporateAction) -> str:
        """Identity of an action without fault on data.actions: that of what it repeats, whoever tells of it, or one that is free."""
        known = self._known(action)
        first = f"{action.symbol}/{action.kind}/{action.ex_date}"
        repeated = (one.identity for one in known if actions.same(action, one.action.ratio, one.action.amount))
        return next(repeated, f"{first}/{len(known) + 1}" if known else first)

    def learn(self, record: Mapping[str, Any]) -> None:
        """Take a CorporateAction that is, or is about to be, on data.actions."""
        symbol, day = record["symbol"], to_datetime(record["event_time"]).date().toordinal()
        action = Known(record["ratio"], record["amount"], record["source"], record["available_time"])
        told = Told(day, record["kind"], record["action_id"], action)
        known = self._by_name[symbol] = [one for one in self._by_name.get(symbol, ()) if one[:3] != told[:3]]
        insort(known, told)
        if symbol in self._row:
            self._newest[:, self._row[symbol]] = _newest(known)

    def _told_since(self, sessions: Ints, row: Mapping[str, int], *, split: bool = False) -> NDArray[np.bool_]:
        """Which names (names,) have an ex-date, or that of a `split`, after their session."""
        if row is not self._row:
            self._row, self._names = row, tuple(sorted(row, key=row.__getitem__))
            self._newest = np.zeros((2, len(row)), dtype=np.int64)
            for symbol, known in sorted(self._by_name.items()):
                if symbol in row:
                    self._newest[:, row[symbol]] = _newest(known)
        return np.asarray(sessions < self._newest[int(split)])

    def between(self, symbol: str, since: int, session: int) -> list[Told]:
        """The name's actions after the session `since` that are in force in the session `session` (ordinals), in order."""
        return [one for one in self._by_name.get(symbol, ()) if since < one.day <= session]

    def adjusted(self, closes: Floats, sessions: Ints, session: int, row: Mapping[str, int]) -> Floats:
        """Closes (names,) of `sessions` (ordinals) as of the session `session`; the same array where no action lies between.

        A close c becomes c / ratio on a split, and c - amount on the ex-date of a dividend.
        """
        if not self._by_name:
            return closes
        behind = (sessions < session) & np.isfinite(closes) & self._told_since(sessions, row)
        after = closes
        for place in np.flatnonzero(behind).tolist():
            for *_, action in self.between(self._names[place], int(sessions[place]), session):
                if after is closes:
                    after = closes.copy()
                if action.ratio > 0.0:
                    after[place] /= action.ratio
                elif 0.0 < action.amount < after[place]:
                    after[place] -= action.amount
        return after

    def shares(self, days: Ints, session: int, row: Mapping[str, int]) -> Floats | None:
        """Shares of the session `session` for one of each of the sessions `days` (k, names) (ordinals), newest first, 0 where there is none;
        (k, names), None where no split lies between any of them and it."""
        if not self._by_name:
            return None
        ratios: Floats | None = None
        oldest = np.where(days > 0, days, session).min(axis=0)
        for place in np.flatnonzero((oldest < session) & self._told_since(oldest, row, split=True)).tolist():
            for day, *_, action in self.between(self._names[place], int(oldest[place]), session):
                if action.ratio > 0.0:
                    if ratios is None:
                        ratios = np.ones(days.shape)
                    ratios[days[:, place] < day, place] *= action.ratio
        return ratios

    def fault(self, action: CorporateAction, close: tuple[float, int], ratio_max: float) -> Fault | None:
        """Judge an action whose shape is good. `close` is the name's last good daily one with the ordinal of its session (NaN, 0: none).

        A repetition is as good as the first. Another payment of the day is one more where the same source tells of both at the same time;
        told by another or later it is a contradiction.
        """
        known = [one.action for one in self._known(action)]
        if any(actions.same(action, one.ratio, one.amount) for one in known):
            return None
        day = date.fromisoformat(action.ex_date).toordinal()
        fault = actions.action_fault(action, close[0], close[1] - day, ratio_max)
        if fault is not None or not known:
            return fault
        beside = [one for one in known if (one.source, one.available_time) == (action.source, action.available_time)]
        if action.kind in actions.PAYMENTS and beside:
            return None
        return actions.conflict(action, known[0].ratio, known[0].amount)


def _newest(actions: Sequence[Told]) -> tuple[int, int]:
    """(newest ex-date, newest of a split or 0)."""
    return actions[-1].day, max((one.day for one in actions if one.action.ratio > 0.0), default=0)


def action_record(action: CorporateAction, identity: str) -> Output:
    """The CorporateAction of an action that passed."""
    record = {
        "event_time": schema.ex_time(action),
        "available_time": action.available_time,
        "source": action.source,
        "action_id": identity,
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
