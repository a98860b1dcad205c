"""Independent computations for tests: plain loops over whole panels, written from the definitions and sharing no code."""

from __future__ import annotations

import math

import numpy as np


def returns(closes):
    """Return over the last known close, T x N."""
    out = np.full(closes.shape, np.nan)
    for i in range(closes.shape[1]):
        last = math.nan
        for t in range(closes.shape[0]):
            price = closes[t, i]
            if not (math.isfinite(price) and price > 0):
                continue
            if math.isfinite(last):
                out[t, i] = price / last - 1.0
            last = price
    return out


def first_bar(closes, i):
    for t in range(closes.shape[0]):
        if math.isfinite(closes[t, i]) and closes[t, i] > 0:
            return t
    return None


def _usable(closes, window_rows, rets, t, i, bars):
    first = first_bar(closes, i)
    if first is None or t - first + 1 < bars:
        return False
    present = sum(1 for s in window_rows if math.isfinite(rets[s, i]))
    return len(window_rows) > 0 and present / len(window_rows) >= 0.8


def momentum(closes, t, lookback, lag, half_life):
    rets = returns(closes[: t + 1])
    out = []
    for i in range(closes.shape[1]):
        rows = [s for s in range(t - lookback + 2, t + 1) if s >= 0]
        if not _usable(closes, rows, rets, t, i, lookback):
            out.append(math.nan)
            continue
        value = 1.0
        newest = t - lag
        for s in rows:
            if s > newest:
                continue
            r = rets[s, i]
            value *= 1.0 + 2.0 ** (-(newest - s) / half_life) * (r if math.isfinite(r) else 0.0)
        out.append(value - 1.0)
    return np.array(out)


def ewma_volatility(rets, half_life):
    decay = 2.0 ** (-1.0 / half_life)
    out = []
    for i in range(rets.shape[1]):
        top = bottom = 0.0
        for k, r in enumerate(rets[::-1, i]):
            if math.isfinite(r):
                top += decay**k * r * r
                bottom += decay**k
        out.append(math.sqrt(top / bottom) if bottom > 0 else math.nan)
    return np.array(out)


def own_trend(closes, t, lookback, cap, rates, vol_half_life):
    """rates: T-bill return of each session up to t."""
    rets = returns(closes[: t + 1])
    sigma = ewma_volatility(rets, vol_half_life)
    out = []
    rows = [s for s in range(t - lookback + 2, t + 1) if s >= 0]
    for i in range(closes.shape[1]):
        if not _usable(closes, rows, rets, t, i, lookback):
            out.append(math.nan)
            continue
        own = cash = 1.0
        for s in rows:
            own *= 1.0 + (rets[s, i] if math.isfinite(rets[s, i]) else 0.0)
            cash *= 1.0 + rates[s]
        score = (own / cash - 1.0) / (sigma[i] * math.sqrt(len(rows))) if sigma[i] > 0 else math.nan
        out.append(max(-cap, min(cap, score)) if math.isfinite(score) else math.nan)
    return np.array(out)


def residuals(closes, sectors, min_names, min_obs, half_life):
    """Residual returns T x N: betas of each session from the sessions before it."""
    rets = returns(closes)
    T, N = rets.shape
    decay = 2.0 ** (-1.0 / half_life)
    out = np.full((T, N), np.nan)
    market = np.full(T, np.nan)
    for t in range(T):
        seen = [i for i in range(N) if math.isfinite(rets[t, i])]
        if not seen:
            continue
        market[t] = sum(rets[t, i] for i in seen) / len(seen)
        excess = {}
        for i in seen:
            history = [s for s in range(t) if math.isfinite(rets[s, i])]
            beta = 1.0
            if len(history) >= min_obs:
                # weights decay with the market's sessions, those without any return do not count
                live = [s for s in range(t) if math.isfinite(market[s])]
                age = {s: len(live) - 1 - k for k, s in enumerate(live)}
                top = sum(decay ** age[s] * rets[s, i] * market[s] for s in history)
                bottom = sum(decay ** age[s] * market[s] ** 2 for s in history)
                beta = 2.0 / 3.0 * (top / bottom if bottom > 0 else 0.0) + 1.0 / 3.0
            excess[i] = rets[t, i] - beta * market[t]
        for i in seen:
            peers = [j for j in seen if sectors[j] == sectors[i] and sectors[i] >= 0]
            common = sum(excess[j] for j in peers) / len(peers) if len(peers) >= min_names else 0.0
            out[t, i] = excess[i] - common
    return out, market


def reversal(closes, t, sectors, lookback, half_life, *, min_names, min_obs, beta_half_life):
    residual, _ = residuals(closes[: t + 1], sectors, min_names, min_obs, beta_half_life)
    out = []
    rows = [s for s in range(t - lookback + 1, t + 1) if s >= 0]
    for i in range(closes.shape[1]):
        if not _usable(closes, rows, residual, t, i, lookback + 1):
            out.append(math.nan)
            continue
        weights = [2.0 ** (-(t - s) / half_life) for s in rows]
        top = sum(w * residual[s, i] for w, s in zip(weights, rows, strict=True) if math.isfinite(residual[s, i]))
        out.append(-top / sum(weights))
    return np.array(out)


def correlation(rets, half_life):
    """Pairwise EWMA correlation over common sessions and effective number of observations, N x N."""
    N = rets.shape[1]
    decay = 2.0 ** (-1.0 / half_life)
    out, effective = np.full((N, N), np.nan), np.zeros((N, N))
    for i in range(N):
        for j in range(N):
            cross = own = other = weight = weight2 = 0.0
            for k, row in enumerate(rets[::-1]):
                if math.isfinite(row[i]) and math.isfinite(row[j]):
                    w = decay**k
                    cross += w * row[i] * row[j]
                    own += w * row[i] ** 2
                    other += w * row[j] ** 2
                    weight += w
                    weight2 += w * w
            if own > 0 and other > 0:
                out[i, j] = cross / math.sqrt(own * other)
            if weight2 > 0:
                effective[i, j] = weight**2 / weight2
    return out, effective


def standardise(values, limit):
    finite = [v for v in values if math.isfinite(v)]
    if len(finite) < 3:
        return np.full(len(values), np.nan)
    ordered = sorted(finite)
    n = len(ordered)
    middle = (ordered[(n - 1) // 2] + ordered[n // 2]) / 2
    gaps = sorted(abs(v - middle) for v in finite)
    spread = 1.4826 * (gaps[(n - 1) // 2] + gaps[n // 2]) / 2
    clipped = {}
    for k, v in enumerate(values):
        if math.isfinite(v):
            clipped[k] = min(max(v, middle - limit * spread), middle + limit * spread) if spread > 0 else v
    mean = sum(clipped.values()) / n
    deviation = math.sqrt(sum((v - mean) ** 2 for v in clipped.values()) / n)
    return np.array([(clipped[k] - mean) / deviation if k in clipped else math.nan for k in range(len(values))])


def newey_west(series, weights, lags):
    """Weighted mean and its Newey-West error, by the double sum."""
    keep = [t for t in range(len(series)) if math.isfinite(series[t])]
    total = sum(weights[t] for t in keep)
    mean = sum(weights[t] * series[t] for t in keep) / total
    x = {t: weights[t] * (series[t] - mean) / total for t in keep}
    variance = 0.0
    for t in keep:
        for s in keep:
            if abs(t - s) <= lags:
                variance += (1.0 - abs(t - s) / (lags + 1)) * x[t] * x[s]
    return mean, math.sqrt(max(variance, 0.0))


def brute_force_posterior(start, transition, means, variances, rows):
    """P(state_T | rows) by summing over every path of states: exact, exponential, for a handful of rows."""
    import itertools

    K = len(start)
    weight = [0.0] * K
    for path in itertools.product(range(K), repeat=len(rows)):
        p = start[path[0]]
        for a, b in itertools.pairwise(path):
            p *= transition[a][b]
        for state, row in zip(path, rows, strict=True):
            for f, x in enumerate(row):
                v = variances[state][f]
                p *= math.exp(-0.5 * (x - means[state][f]) ** 2 / v) / math.sqrt(2 * math.pi * v)
        weight[path[-1]] += p
    return np.array(weight) / sum(weight)
