"""Dividends and splits that a test wants of the simulated market, and what IB then says of them.

The path of prices is as it is without them: a dividend is part of the day's move, and only the *adjusted* history knows of it. A split
divides, from the open of its ex-date on, everything that history says; the stream, the book and the account stay in the old shares. So
they are for tests of data, and the demonstration has none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from typing import Final

from triplane.domain import calendars
from triplane.domain.timestamps import NEW_YORK, to_datetime
from triplane.paper.market.history import Row

CENT_DIGITS: Final = 2
YEAR: Final = timedelta(days=365)


@dataclass(frozen=True, slots=True)
class Action:
    """An action of one name on its ex-date: cash a share, or new shares for an old one."""

    symbol: str
    day: date
    value: float


@dataclass(frozen=True, slots=True)
class SimulatedActions:
    """All that is to happen, and has happened."""

    dividends: Sequence[Action] = field(default=())
    splits: Sequence[Action] = field(default=())

    def concern(self, symbol: str) -> bool:
        """Whether a name has any."""
        return any(action.symbol == symbol for action in (*self.dividends, *self.splits))

    def rows(
        self, symbol: str, rows: Sequence[Row], now: int, close_before: Callable[[date], float], *, adjusted: bool
    ) -> list[Row]:
        """Bars as history gives them at `now` (ns UTC): adjusted for splits, and with `adjusted` for dividends, each rounded to cents.

        `close_before` a day is the name's close of the session before it, in shares of the path.
        """
        ratio = self._ratio(symbol, now)
        steps = [
            (action.day, 1.0 - action.value * self._shares(symbol, action.day) / close_before(action.day))
            for action in self.dividends
            if adjusted and action.symbol == symbol and _in_force(action, now)
        ]
        out = []
        for row in rows:
            factor = 1.0 / ratio
            for day, step in steps:
                factor *= step if row.day < day else 1.0
            out.append(row if factor == 1.0 and not adjusted else _scaled(row, factor, ratio))
        return out

    def _ratio(self, symbol: str, now: int) -> float:
        ratio = 1.0
        for action in self.splits:
            ratio *= action.value if action.symbol == symbol and _in_force(action, now) else 1.0
        return ratio

    def _shares(self, symbol: str, day: date) -> float:
        """Shares of `day` for one of the path's."""
        ratio = 1.0
        for action in self.splits:
            ratio *= action.value if action.symbol == symbol and action.day <= day else 1.0
        return ratio

    def told(self, symbol: str, now: int) -> str:
        """IB's string of tick type 59 at `now`: the last and the next twelve months' sum, the next ex-date and its amount; without a dividend
        all four are empty."""
        today = to_datetime(now, NEW_YORK).date()
        paid = [action for action in self.dividends if action.symbol == symbol]
        past = [action.value for action in paid if today - YEAR < action.day <= today]
        ahead = sorted((a for a in paid if today < a.day <= today + YEAR), key=lambda action: action.day)
        if not paid:
            return ",,,"
        following = f"{ahead[0].day:%Y%m%d},{ahead[0].value:g}" if ahead else ","
        return f"{sum(past):g},{sum(action.value for action in ahead):g},{following}"


def _in_force(action: Action, now: int) -> bool:
    return calendars.session_open(calendars.MARKET_CALENDAR, action.day) <= now


def _scaled(row: Row, factor: float, ratio: float) -> Row:
    open_, high, low, close, wap = (
        round(price * factor, CENT_DIGITS) for price in (row.open, row.high, row.low, row.close, row.wap)
    )
    volume = round(row.volume * ratio)
    return replace(row, open=open_, high=high, low=low, close=close, wap=wap, volume=volume)
