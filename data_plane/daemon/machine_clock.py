"""The machine's clock against an NTP server, in shadow and live, where it stamps what comes in."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

import structlog

from data_plane.daemon import sntp
from data_plane.gates.clock import ClockSample

MACHINE = "machine"
EVERY_S = 64.0
AGAIN_S = 2.0
FAILURES = 3
"""Tries without an answer after which the clock counts as unknown."""


async def watch(
    server: str,
    judge: Callable[[ClockSample | str], None],
    pause: Callable[[float], Awaitable[bool]],
    log: structlog.stdlib.BoundLogger,
) -> None:
    """Compare again and again until `pause` (wall seconds) says that it is over; `judge` takes a sample or why there is none."""
    failures = 0
    while True:
        try:
            offset = await sntp.query(server, 2.0)
            failures = 0
            judge(ClockSample(server, time.time_ns() - offset, offset))
        except sntp.SntpError as error:
            failures += 1
            log.warning("no time", server=server, reason=str(error))
            if failures >= FAILURES:
                judge(f"no time from {server} in {failures} tries: {error}")
        if await pause(EVERY_S if failures == 0 else AGAIN_S):
            return
