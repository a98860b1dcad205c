"""A seeded market path for each session around the real closes; pure functions of (closes, day, seed).

Everything within a day is simulated. One path is built from the top down, so that its bars agree at every interval by construction:

1. the session: an overnight gap, then a Brownian bridge in log price that ends exactly on the day's real close;
2. minutes: points of that bridge, each minute's high and low drawn from the law of a bridge's extremes
   (max = (a + b + sqrt((a - b)^2 + 2 v E)) / 2 with E standard exponential), volume by a U-shaped curve;
3. five-second steps, drawn only for sessions that are looked at that closely: a bridge within each minute, kept inside the
   minute's range, with one step touching its high and one its low, and the minute's volume shared out among its twelve steps.

So a daily bar is the aggregate of the minute bars and a minute bar that of its 5-second bars: open, high, low, close, volume and
count exactly; the volume-weighted price exactly from minutes up (a step's is within the step's own range).
A bar has trades just where it has volume.

Shapes: N names, M minutes, T = 12 M steps. Prices in USD on the tick grid, but for the closing print, which is the real close.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Final

import numpy as np
from numpy.typing import NDArray

from triplane.domain.timestamps import MINUTE, SECOND
from triplane.paper.market.liquidity import true_cost
from triplane.paper.market.prices import Closes, PricesError

STEP: Final = 5 * SECOND
STEPS_PER_MINUTE: Final = 12
SIGMA_WINDOW: Final = 63
SIGMA_DEFAULT: Final = 0.02
INTRADAY_SHARE: Final = 0.8  # of a day's volatility; the rest is the overnight gap's
COMMON_SHARE: Final = 0.3  # of intraday variance that all names have in common
TRADE_SIZE: Final = 120  # shares in an average print

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Bars:
    """Bars of one interval: each array (bars, N); bar i runs from `start + i * step` for `step` ns."""

    start: int
    step: int
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Ints
    wap: Floats
    count: Ints


@dataclass(frozen=True, slots=True)
class Session:
    """A session at minute resolution. `log_mid` (M + 1, N) are the bridge's points; sigma and adv (N,) are the simulation's truth."""

    day: date
    open_ns: int
    close_ns: int
    log_mid: Floats
    minute_sd: Floats
    minutes: Bars
    tick: Floats
    sigma: Floats
    adv: Floats


@dataclass(frozen=True, slots=True)
class Steps:
    """A session at 5-second resolution: bars (T, N), and the book at each of the T + 1 instants between them, (T + 1, N)."""

    bars: Bars
    mid: Floats
    bid: Floats
    ask: Floats
    bid_size: Ints
    ask_size: Ints


def tick_size(price: Floats) -> Floats:
    """Price increment by price band: 0.0001 under one dollar, else 0.01 (Rule 612 of Regulation NMS)."""
    return np.where(price < 1.0, 1e-4, 1e-2)


def daily_sigma(closes: Closes, row: int) -> Floats:
    """Standard deviation of the daily log returns of the 63 sessions before `row`, (N,); 0.02 without 20 of them."""
    window = np.log(closes.values[max(row - SIGMA_WINDOW - 1, 0) : row])
    if len(window) < 21:
        return np.full(len(closes.symbols), SIGMA_DEFAULT)
    deviation: Floats = np.diff(window, axis=0).std(axis=0)
    return np.maximum(deviation, 1e-3)


def simulate_session(closes: Closes, row: int, open_ns: int, close_ns: int, seed: int) -> Session:
    """The session of `row` at minute resolution. It comes from the close of row - 1, so row 0 raises PricesError."""
    if row < 1:
        raise PricesError(
            f"{closes.day(row)} is the first day with closes and has none to come from; choose a later session"
        )
    minutes = (close_ns - open_ns) // MINUTE
    names = len(closes.symbols)
    rng = _generator(seed, int(closes.ordinals[row]), 0)
    previous, close = closes.values[row - 1], closes.values[row]
    day_return = np.log(close / previous)
    sigma = daily_sigma(closes, row)
    adv = np.array([true_cost(symbol).adv for symbol in closes.symbols])
    tick = tick_size(np.minimum(previous, close))

    u = (np.arange(minutes) + 0.5) / minutes
    shape = 0.6 + 1.6 * (2 * u - 1) ** 2  # busy at both ends, as volume and volatility are
    variance = shape / shape.sum()
    gap = 0.35 * day_return + 0.3 * sigma * rng.standard_normal(names)
    minute_sd = np.sqrt(variance)[:, None] * (INTRADAY_SHARE * sigma)
    noise = rng.standard_normal((minutes, names + 1))
    walk = np.zeros((minutes + 1, names))
    np.cumsum(
        minute_sd * (np.sqrt(COMMON_SHARE) * noise[:, names:] + np.sqrt(1 - COMMON_SHARE) * noise[:, :names]),
        axis=0,
        out=walk[1:],
    )
    elapsed = np.concatenate(([0.0], np.cumsum(variance)))[:, None]
    elapsed[-1] = 1.0
    log_open = np.log(previous) + gap
    log_mid = log_open + walk - elapsed * walk[-1] + elapsed * (np.log(close) - log_open)

    prints = on_grid(np.exp(log_mid), tick)
    prints[-1] = close
    first, last = prints[:-1], prints[1:]
    extremes = rng.standard_exponential((2, minutes, names))
    a, b = log_mid[:-1], log_mid[1:]
    spread = np.sqrt((a - b) ** 2 + 2.0 * minute_sd**2 * extremes)
    high = np.maximum(on_grid(np.exp((a + b + spread[0]) / 2), tick), np.maximum(first, last))
    low = np.minimum(np.maximum(on_grid(np.exp((a + b - spread[1]) / 2), tick), tick), np.minimum(first, last))

    surprise = np.abs(day_return) / sigma
    total = np.rint(
        adv * np.exp(0.25 * rng.standard_normal(names)) * (0.76 + 0.3 * np.minimum(surprise, 4.0)) * (minutes / 390)
    )
    weights = shape[:, None] * (0.3 + rng.standard_exponential((minutes, names)))
    volume = _share_out(total[None, :], weights[None])[0]
    # Enough for one in each step that has volume: a bar with volume and no trade does not exist.
    count = np.maximum(volume // TRADE_SIZE, np.minimum(volume, STEPS_PER_MINUTE))
    wap = (first + high + low + last) / 4
    bars = Bars(open_ns, MINUTE, first, high, low, last, volume, wap, count)
    return Session(closes.day(row), open_ns, close_ns, log_mid, minute_sd, bars, tick, sigma, adv)


def refine(session: Session, closes: Closes, seed: int) -> Steps:
    """The same session at 5-second resolution."""
    minute, k = session.minutes, STEPS_PER_MINUTE
    count, names = minute.volume.shape
    rng = _generator(seed, session.day.toordinal(), 1)
    noise = rng.standard_normal((count, k, names)) * (session.minute_sd[:, None, :] / np.sqrt(k))
    walk = np.cumsum(noise, axis=1)
    fraction = (np.arange(1, k + 1) / k)[None, :, None]
    a, b = session.log_mid[:-1, None, :], session.log_mid[1:, None, :]
    log_mid = a + walk - fraction * walk[:, -1:, :] + fraction * (b - a)
    low, high = minute.low[:, None, :], minute.high[:, None, :]
    # Reflected rather than clipped: mids piled up on the grid would bias the rounding of the quotes around them.
    bottom, top = low - session.tick / 2, high + session.tick / 2
    within = np.exp(log_mid)
    within = np.where(within > top, 2 * top - within, within)
    within = np.where(within < bottom, 2 * bottom - within, within)
    within = np.minimum(np.maximum(within, bottom), top)
    last = np.clip(on_grid(within, session.tick), low, high)
    last[:, -1, :] = minute.close
    first = np.concatenate((minute.open[:, None, :], last[:, :-1, :]), axis=1)
    wick = session.tick * rng.integers(0, 2, size=(2, count, k, names), dtype=np.int8)
    step_high = np.minimum(on_grid(np.maximum(first, last) + wick[0], session.tick), high)
    step_high = np.maximum(step_high, np.maximum(first, last))
    step_low = np.maximum(on_grid(np.minimum(first, last) - wick[1], session.tick), low)
    step_low = np.minimum(step_low, np.minimum(first, last))
    np.put_along_axis(step_high, step_high.argmax(axis=1)[:, None, :], high, axis=1)
    np.put_along_axis(step_low, step_low.argmin(axis=1)[:, None, :], low, axis=1)

    weights = 0.2 + rng.standard_exponential((count, k, names))
    volume = _share_out(minute.volume.astype(np.float64), weights)
    trades = _trades(minute.count, volume)
    wap = (first + step_high + step_low + last) / 4
    steps = count * k
    flat = (steps, names)
    bars = Bars(
        session.open_ns,
        STEP,
        first.reshape(flat),
        step_high.reshape(flat),
        step_low.reshape(flat),
        last.reshape(flat),
        volume.reshape(flat),
        wap.reshape(flat),
        trades.reshape(flat),
    )
    opening = np.exp(session.log_mid[:1])
    mid = np.concatenate((opening, within.reshape(flat)))
    mid[-1] = minute.close[-1]
    half = np.array([true_cost(symbol).half_spread for symbol in closes.symbols]) * mid
    bid = np.maximum(on_grid(mid - half, session.tick), session.tick)
    ask = np.maximum(on_grid(mid + half, session.tick), on_grid(bid + session.tick, session.tick))
    typical = session.adv / (390 * STEPS_PER_MINUTE)
    depth = (
        np.maximum(typical * (0.4 + 0.6 * rng.standard_exponential((2, steps + 1, names))) // 100, 1).astype(np.int64)
        * 100
    )
    return Steps(bars, mid, bid, ask, depth[0], depth[1])


def aggregate(bars: Bars, group: int, first: int = 0, last: int | None = None) -> Bars:
    """Bars `first` to `last` (exclusive) in groups of `group`; a group that is not full at the end is aggregated as it is.

    The empty range gives no bars. Volume-weighted prices are weighted by volume, or are the close where nothing traded.
    """
    stop = len(bars.volume) if last is None else last
    starts = np.arange(first, stop, group)
    begin = bars.start + first * bars.step
    if len(starts) == 0:
        none = bars.open[:0]
        return Bars(begin, bars.step * group, none, none, none, none, bars.volume[:0], none, bars.count[:0])
    ends = np.minimum(starts + group, stop) - 1
    offsets = starts - first
    part = slice(first, stop)
    volume = np.add.reduceat(bars.volume[part], offsets, axis=0)
    notional = np.add.reduceat(bars.volume[part] * bars.wap[part], offsets, axis=0)
    close = bars.close[ends]
    wap = np.divide(notional, volume, out=close.copy(), where=volume > 0)
    return Bars(
        begin,
        bars.step * group,
        bars.open[starts],
        np.maximum.reduceat(bars.high[part], offsets, axis=0),
        np.minimum.reduceat(bars.low[part], offsets, axis=0),
        close,
        volume,
        wap,
        np.add.reduceat(bars.count[part], offsets, axis=0),
    )


def _generator(seed: int, ordinal: int, stream: int) -> np.random.Generator:
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence([seed, ordinal, stream])))


def on_grid(price: Floats, tick: Floats) -> Floats:
    """Prices rounded to their increments."""
    # Dividing by a whole number gives the double that the decimal literal has; multiplying by 0.01 does not.
    inverse = np.rint(1.0 / tick)
    return np.asarray(np.rint(price * inverse) / inverse)


def _trades(total: Ints, volume: Ints) -> Ints:
    """A minute's trades `total` (G, N) shared out among its steps: some where there is `volume` (G, K, N), and no more than shares."""
    some = np.minimum(volume, 1)
    spare = (volume - some).astype(np.float64)
    spare[:, -1, :] += (spare.sum(axis=1) == 0.0) * 1.0  # then nothing is left to share out
    return some + _share_out((total - some.sum(axis=1)).astype(np.float64), spare)


def _share_out(total: Floats, weights: Floats) -> Ints:
    """Whole parts of `total` (G, N) in proportion to `weights` (G, K, N) that add up to it exactly, (G, K, N)."""
    cumulative = np.cumsum(weights, axis=1)
    share = cumulative / cumulative[:, -1:, :]
    share[:, -1, :] = 1.0
    whole = np.floor(share * total[:, None, :])
    return np.diff(whole, axis=1, prepend=0.0).astype(np.int64)
