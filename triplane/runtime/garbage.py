"""Garbage collections at moments that a program chooses.

Modules are made of objects that stay: collecting while they are loaded finds nothing and takes 10 to 20 % of the CPU of the imports.

Python's own full collection walks everything that a process holds: 50 to 150 ms in a plane with three years of history, at any moment,
in which no order leaves. Here it is put off: `settle` collects and then sets aside what has survived, so that the next one
walks only what is new, a few milliseconds. The young generations are collected as ever. What is set aside is still freed when its
last reference goes; only a cycle that becomes garbage later stays, and daemons make next to none of those from old objects.
"""

from __future__ import annotations

import asyncio
import gc

EVERY_S = 60.0
"""Wall time between two full collections of a daemon that chooses no moment itself."""


_YOUNG, _MIDDLE, _OLD = gc.get_threshold()
_LOADING = 1_000_000


def loading() -> None:
    """To be called before anything heavy is imported: from now on collections are rare."""
    gc.set_threshold(_LOADING, _MIDDLE)


def usual() -> None:
    """From now on garbage is collected as Python does it."""
    gc.set_threshold(_YOUNG, _MIDDLE, _OLD)


def postpone() -> None:
    """As `usual`, but a full collection happens in `settle` alone."""
    gc.set_threshold(_YOUNG, _MIDDLE, 1_000_000_000)


def hold_off() -> None:
    """Collect nothing, young or old, until the next `settle`: somebody waits for what is about to be computed.

    A young collection walks what has come since `settle`, the very records that a decision is about to take: 6 of its 8 ms for a thousand.
    """
    gc.disable()


def settle() -> None:
    """Collect everything that is new and set aside what survives."""
    gc.enable()
    gc.collect()
    gc.freeze()


async def keep_settled(ready: asyncio.Event) -> None:
    """Settle once the daemon is ready, then every EVERY_S, until cancelled."""
    await ready.wait()
    while True:
        settle()
        await asyncio.sleep(EVERY_S)
