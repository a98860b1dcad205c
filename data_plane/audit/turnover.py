"""What the volume says of a level: whether a move was news, and whether a split's ratio went into the shares as it went into the prices.

A fault multiplies prices, shares or both, and so turnover in money, shares, or neither; what is news multiplies both.
"""

from __future__ import annotations

import numpy as np

from data_plane.audit.likelihood import CLAIM_MARGIN
from data_plane.audit.series import PriceSeries
from data_plane.observations import Floats

# How many times the usual turnover is news, from how many bars that is known, and how many on each side are usual.
NEWS_TURNOVER, QUIET_BARS, AROUND = 3.0, 5, 21
# Bars on each side of an edge by which shares are judged, how far their log drifts over such a time (as much with every bar), and how
# many times more often a provider gets both wrong than prices alone, in nats.
SHARES_BARS, DRIFT, BOTH_WRONG = 63, 0.15, float(np.log(2.0))


def is_news(series: PriceSeries, place: int) -> bool:
    """Whether a bar's turnover in money is a multiple of what it usually is around it; false where no volume is known."""
    return _is_multiple(series.volume * series.close, place)


def is_news_on_any_level(series: PriceSeries, place: int) -> bool:
    """As `is_news`, and in shares as well: true on whichever side of the bar prices may be wrong."""
    return is_news(series, place) and _is_multiple(series.volume, place)


def _is_multiple(flow: Floats, place: int) -> bool:
    around = slice(max(place - AROUND, 0), place + 1 + AROUND)
    near = np.nan_to_num(flow[around])
    here = place - around.start
    usual = float(np.median(np.delete(near, here))) if len(near) > QUIET_BARS else 0.0
    return usual > 0.0 and bool(near[here] > NEWS_TURNOVER * usual)


def shares_are_wrong(series: PriceSeries, first: int, last: int, correction: float) -> bool | None:
    """Whether the shares of the bars in [first, last] need the split as their prices do (`correction` is the log factor of these); None
    where the turnover cannot tell."""
    with np.errstate(invalid="ignore", divide="ignore"):
        turnover = np.log(series.volume * series.close)
    start, stop = first, last + 1
    left, right = turnover[max(start - SHARES_BARS, 0) : start], turnover[stop : stop + SHARES_BARS]
    inside = turnover[start:stop]
    if len(inside) > 2 * SHARES_BARS:
        # Of a long stretch the bars next to what it is compared with.
        heads = [inside[:SHARES_BARS]] if len(left) else []
        inside = np.concatenate([*heads, *([inside[-SHARES_BARS:]] if len(right) else [])])
    inside, outside = (part[np.isfinite(part)] for part in (inside, np.r_[left, right]))
    if not len(inside) or len(outside) < QUIET_BARS:
        return None
    spread = float(np.std(outside))
    variance = DRIFT**2 + spread**2 * (1.0 / len(inside) + 1.0 / len(outside))
    off = float(np.mean(inside) - np.mean(outside))
    # Wrong shares beside wrong prices leave the turnover as it was; right ones leave the prices' factor in it.
    gain = ((off + correction) ** 2 - off**2) / (2.0 * variance) + BOTH_WRONG
    return bool(gain > 0.0) if abs(gain) >= CLAIM_MARGIN else None
