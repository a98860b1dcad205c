"""Levels that stop trading: today's PnL, drawdown, probabilistic Sharpe ratio, reject storms.

KILL_PNL: today's PnL over the prior day's NAV; the day ends 17:00 New York; cash flows are left out. MAX_DD_KILL_SWITCH: against a high-water
mark that flows do not move; re-arming sets a new one. PSR_KILL_SWITCH: expanding over the daily returns since re-arming, judged once a month
after PSR_MIN_OBS: the first trip halves gross, the second stops (Bailey, Lopez de Prado 2012). Marks that are stale or NaN hold, they never
trip: these functions are only asked when NAV is good. Pure.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from order_plane.codes import Code
from order_plane.ledger.state import Account, Kill
from triplane.domain.targets import OrderTargets

SESSIONS_PER_YEAR = 252.0


@dataclass(frozen=True, slots=True)
class Trip:
    """A level was crossed: `level` halved or stopped."""

    code: Code
    level: str
    detail: str
    numbers: dict[str, float]


def jumped(account: Account, nav: float, targets: OrderTargets) -> bool:
    """Whether NAV moved further than NAV_JUMP_MAX since the last good one: that holds, it does not trip."""
    comparable = math.isfinite(account.nav) and account.nav > 0.0 and not account.forgiven
    return comparable and abs(nav / account.nav - 1.0) > targets.NAV_JUMP_MAX


def judge(account: Account, kill: Kill, nav: float, targets: OrderTargets) -> Trip | None:
    """PnL and drawdown levels on a good NAV; None when nothing is crossed or trading is stopped already."""
    if kill.level == "stopped":
        return None
    # A day that began without any NAV has what flowed in for its base.
    base = account.day_start if account.day_start > 0.0 else account.day_start + account.day_flows
    if base > 0.0:
        pnl = (nav - account.day_start - account.day_flows) / base
        if pnl <= targets.KILL_PNL:
            numbers = {"pnl": pnl, "limit": targets.KILL_PNL, "nav": nav}
            return Trip(
                Code.KILL_PNL,
                "stopped",
                f"Today's PnL is {pnl:.4%} of the prior NAV, the level {targets.KILL_PNL:.4%}.",
                numbers,
            )
    if math.isfinite(account.high_water_mark) and account.high_water_mark > 0.0:
        drawdown = 1.0 - nav / account.high_water_mark
        if drawdown >= targets.MAX_DD_KILL_SWITCH:
            numbers = {"drawdown": drawdown, "limit": targets.MAX_DD_KILL_SWITCH, "nav": nav}
            return Trip(
                Code.KILL_DRAWDOWN,
                "stopped",
                f"The drawdown is {drawdown:.4%}, the level {targets.MAX_DD_KILL_SWITCH:.4%}.",
                numbers,
            )
    return None


def judge_psr(account: Account, kill: Kill, targets: OrderTargets) -> Trip | None:
    """The judgement of the track record; asked once a month, at its first day's end, after PSR_MIN_OBS returns."""
    if kill.level == "stopped":
        return None
    psr = account.returns.psr(targets.PSR_BENCHMARK / math.sqrt(SESSIONS_PER_YEAR))
    if psr >= targets.PSR_KILL_SWITCH:
        return None
    level = "halved" if kill.level == "none" else "stopped"
    numbers = {"psr": psr, "limit": targets.PSR_KILL_SWITCH, "sessions": float(account.returns.n)}
    words = "gross is halved" if level == "halved" else "trading stops"
    return Trip(
        Code.KILL_PSR,
        level,
        f"PSR is {psr:.3f} over {account.returns.n} sessions, below {targets.PSR_KILL_SWITCH:.3f}: {words}.",
        numbers,
    )


def judge_rejects(kill: Kill, rejects: int, targets: OrderTargets) -> Trip | None:
    """A reject storm: something systematic is wrong, and sending more makes it worse."""
    if kill.level == "stopped" or rejects < targets.REJECTS_KILL:
        return None
    return Trip(
        Code.REJECT_STORM,
        "stopped",
        f"{rejects} orders were refused within a minute.",
        {"rejects": float(rejects), "limit": float(targets.REJECTS_KILL)},
    )
