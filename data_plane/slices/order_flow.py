"""Order-flow imbalance and the sides of trades, over all names at once. Pure functions on columns in (row, arrival) order.

A *chain* is a stretch of one name's updates that follow each other without a gap; what is before and after a gap is not compared.

Sources: Cont, Kukanov, Stoikov (2014), The price impact of order book events, J. Financial Econometrics 12(1), equations 2-4.
Lee, Ready (1991), Inferring trade direction from intraday data, J. Finance 46(2).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from data_plane.observations import Floats

Flags = NDArray[np.bool_]

BID, ASK, BID_SIZE, ASK_SIZE = range(4)
"""Columns of quotes (n, 4): prices, and units at them."""
AT_MID: Final = 1e-9
"""A trade so near the mid, as a fraction of it, is at the mid: half of a sum of two prices is not exact."""


def increments(before: Floats, after: Floats) -> Floats:
    """Order-flow increment (n,) of each pair of consecutive best quotes (n, 4), in units; + is pressure to buy.

    e = 1{b' >= b} q'_b - 1{b' <= b} q_b - 1{a' <= a} q'_a + 1{a' >= a} q_a, where ' is the later one. Their sum over an interval is
    the interval's OFI, so OFI adds up over intervals.
    """
    flow = (after[:, BID] >= before[:, BID]) * after[:, BID_SIZE] - (after[:, BID] <= before[:, BID]) * before[
        :, BID_SIZE
    ]
    flow -= (after[:, ASK] <= before[:, ASK]) * after[:, ASK_SIZE]
    flow += (after[:, ASK] >= before[:, ASK]) * before[:, ASK_SIZE]
    return np.asarray(flow)


def depth(quotes: Floats) -> Floats:
    """Depth (n,) at the touch of quotes (n, 4): the mean of both sides' sizes, in units."""
    return np.asarray((quotes[:, BID_SIZE] + quotes[:, ASK_SIZE]) / 2.0)


def mid(quotes: Floats) -> Floats:
    """Mid price (n,) of quotes (n, 4)."""
    return np.asarray(quotes[:, BID] / 2.0 + quotes[:, ASK] / 2.0)


def tick_directions(price: Floats, begins: Flags, carried: Floats) -> Floats:
    """The tick test: +1 where a trade's price is above the last different one of its chain, -1 below, 0 where there is none (n,).

    `begins` (n,) marks the first trade of each chain, whose direction is `carried` (n,): that of a trade that was seen before, or 0.
    """
    with np.errstate(invalid="ignore"):
        direction = np.where(begins, carried, np.sign(np.diff(price, prepend=price[:1])))
    latest = np.maximum.accumulate(np.where((direction != 0.0) | begins, np.arange(len(price)), 0))
    return np.asarray(direction[latest])


def sides(price: Floats, mids: Floats, ticks: Floats) -> Floats:
    """+1 for a purchase, -1 for a sale, 0 for unknown (n,): against the mid that stood when the trade came, at it by the tick test.

    `mids` (n,) is NaN where no quote stood; `ticks` (n,) are `tick_directions`.
    """
    with np.errstate(invalid="ignore"):
        away = np.abs(price - mids) > AT_MID * mids
        return np.asarray(np.where(away, np.sign(price - mids), ticks))
