"""Whether a gateway lives at the present time. Outside paper mode this machine's clock is market time, so it has to."""

from __future__ import annotations

from triplane.domain.timestamps import SECOND

OTHER_TIME_S = 600.0
"""The gateway's clock and this machine's may differ by so many seconds; the clock gate judges finer."""


def other_time(mode: str, theirs: int, ours: int) -> str:
    """Why a gateway whose clock says `theirs` (ns UTC) cannot serve this mode, or an empty string."""
    ahead = (theirs - ours) / SECOND
    if mode == "paper" or abs(ahead) <= OTHER_TIME_S:
        return ""
    return (
        f"the gateway's clock is {abs(ahead) / 86_400:,.1f} days {'ahead of' if ahead > 0 else 'behind'} this machine's: "
        f"{mode} mode needs a gateway at the present time (a simulated market is for paper mode)"
    )
