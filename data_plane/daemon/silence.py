"""A provider of which nothing comes: whoever watches the run is told that it waits, and not left with an empty screen."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

AFTER_S = 10.0
"""Wall seconds until the first line; each further one comes after twice as long."""


class Silence:
    """`busy` says whether what came is still on its way, so that nobody waits for the provider."""

    def __init__(self, name: str, note: Callable[[str], None], busy: Callable[[], bool]) -> None:
        self._name, self._note, self._busy = name, note, busy
        self._heard = time.monotonic()

    def heard(self) -> None:
        """Something came."""
        self._heard = time.monotonic()

    async def watch(self) -> None:
        """Tell until cancelled."""
        self.heard()
        patience, since = AFTER_S, self._heard
        while True:
            await asyncio.sleep(max(self._heard + patience - time.monotonic(), AFTER_S / 10.0))
            if self._busy():
                self.heard()
            if self._heard != since:
                patience, since = AFTER_S, self._heard
            quiet = time.monotonic() - self._heard
            if quiet >= patience:
                self._note(
                    f"{self._name}: nothing has come for {quiet:.0f} s; it is waited for, and asked again where it does not "
                    "answer (Ctrl-C ends the run and loses nothing)"
                )
                patience *= 2.0
