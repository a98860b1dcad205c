"""What daemons say to people, repeated on the terminal of whoever supervises them.

An edit of targets.yaml is answered where it is watched: a refusal with its file, line, parameter, value and range, an acceptance with
the hash and what changed. So is what the order plane alerts a person to: a kill, a name that is held; a record that a plane refuses or
skips; a decision that holds everything; a source that is down, sends what comes too late or says what nobody can read; a clock that is wrong. The daemons' logs have
all of it; their other structured lines stay there.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import re
import time
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

EVERY_S = 0.2
TOLD = {"control": 0.0, "data": 600.0, "strategy": 60.0, "order": 0.0}
"""The daemons that speak to people, and for how many wall seconds each does not say the same again: a source is tried for hours,
and a simulated market decides every few seconds."""


_LATE_ORDER = re.compile(r"[^/ ]+/(\d+)/[^/ ]+/(\d+)/\d+ came to the broker after its good-till time")
HELD, RESUMED = "everything is held: ", "decisions go on"


def sentence(line: str) -> str:
    """The part of a log line that is for people; empty for the rest."""
    if not line.startswith("{"):
        return line.rstrip()
    try:
        entry = json.loads(line)
    except ValueError:
        return line.rstrip()
    if entry.get("again"):
        return ""  # a state that is rebuilt passes its old decisions once more
    if entry.get("event") == "config published" and entry.get("changes"):
        return f"configuration {entry['hash'][:12]} is in force: {'; '.join(entry['changes'])}"
    if entry.get("code") == "TOO_LATE" and (late := _LATE_ORDER.match(str(entry.get("detail")))):
        # On a busy machine there are some for each name.
        which = "orders" if late[2] == "1" else "later orders"
        return f"TOO_LATE: {which} of barrier {late[1]} came to the broker after their good-till time; `triplane explain SYMBOL` has each"
    if entry.get("event") == "alert":
        about = f" {entry['symbol']}" if entry.get("symbol") else ""
        return f"{entry.get('code')}{about}: {entry.get('detail')}"
    if entry.get("event") == "record skipped":
        verb = f"and {entry['more']} more are" if entry.get("more") else "is"
        return f"record {entry['record']} {verb} skipped ({entry['reason']}); barrier {entry['barrier']} holds what rests on it"
    if entry.get("event") == "record refused":
        where = entry.get("record") or f"{entry.get('topic')}@{entry.get('offset')}"
        return f"record {where} is refused: {entry.get('reason') or entry.get('problem')}"
    if entry.get("event") == "damaged file":
        unused = "it is not used, and the log alone says what it was for"
        return f"{entry['file']} is damaged: {entry.get('instead', unused)}"
    if entry.get("event") == "starting":
        note = str(entry.get("note", ""))
        return note if "rebuilt" in note and not note.startswith("no snapshot") else ""
    if entry.get("event") == "record passed over":
        return f"record {entry['record']} is passed over: {entry['problem']}"
    if entry.get("event") == "decision held":
        return f"{HELD}{entry['code']}: {entry['detail']}".rstrip(": ")
    if entry.get("event") == "decisions resumed":
        return f"{RESUMED} with barrier {entry['seq']}, after {entry['after']}"
    if entry.get("event") == "sessions passed":
        which = (
            f"session {entry['first']}"
            if entry["count"] == 1
            else f"{entry['count']} sessions, {entry['first']} to {entry['last']},"
        )
        return f"{which} went by without a decision: too little of it reached this plane while it lasted"
    if entry.get("event") == "no CIK":
        return f"no facts of {entry['symbol']}: the SEC lists no such ticker"
    if entry.get("event") == "older submissions are missing":
        page = f"filings up to {entry['up_to']} that only {entry['page']} lists are left out, which the SEC does not have now"
        return f"{entry['symbol']}: {page}; it is asked for again at each look"
    if entry.get("event") == "no contract":
        return f"no data of {entry['symbol']}: {entry['reason']}"
    if entry.get("event") == "no order in this contract leaves":
        return f"no order of {entry['symbol']} leaves: {entry['reason']}"
    if entry.get("event") == "source down":
        return f"source {entry['source']} is down: {entry['reason']}"
    if entry.get("event") == "bars came too late":
        # A name that was silent is late once when it comes back.
        dropped = (
            f"{entry['count']} bars of {entry['source']} came after their slices and are dropped ({entry['code']})"
        )
        return dropped if entry["count"] > 1 else ""
    if entry.get("event") == "kafka refuses":
        return f"what is published waits on disk, for Kafka refuses it: {entry['reason']}"
    # Gates of prices and of silence change by the minute.
    if entry.get("event") == "gate closed" and entry.get("gate") in ("schema", "clock"):
        return f"gate {entry['gate']} of {entry['source']} is closed: {entry['code']} {entry['detail']}"
    return ""


class LogRelay:
    """Follows one log file from where it ends now. `tell` gets each sentence, the same one again only after `repeat_s` wall seconds, and
    TOO_LATE not twice running. `held` gets the entry of every decision that holds everything, also where that is not said again."""

    def __init__(
        self,
        path: Path,
        tell: Callable[[str], None],
        repeat_s: float = 0.0,
        held: Callable[[Mapping[str, Any]], None] | None = None,
    ) -> None:
        self._path, self._tell, self._repeat_s, self._held = path, tell, repeat_s, held
        self._told: dict[str, float] = {}
        self._last = ""
        self._position = path.stat().st_size if path.exists() else 0
        self._rest = b""

    def look(self) -> None:
        """Tell what was written since the last look."""
        try:
            with self._path.open("rb") as log:
                if log.seek(0, 2) < self._position:  # it was rotated
                    self._position, self._rest = 0, b""
                log.seek(self._position)
                data = log.read()
        except FileNotFoundError:
            return
        self._position += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            text = line.decode("utf-8", "replace")
            said = sentence(text)
            if said.startswith("TOO_LATE: ") and said == self._last:
                continue
            if said and time.monotonic() >= self._told.get(said, -math.inf) + self._repeat_s:
                if self._repeat_s:
                    self._told[said] = time.monotonic()
                self._tell(said)
                self._last = said
                if said.startswith(RESUMED):  # what holds from now on is news again
                    self._told = {each: at for each, at in self._told.items() if not each.startswith(HELD)}
            if self._held is not None and said.startswith(HELD):
                self._held(json.loads(text))

    async def run(self) -> None:
        """Look several times a second until cancelled."""
        while True:
            self.look()
            await asyncio.sleep(EVERY_S)


def _tell_of(name: str, tell: Callable[[str], None], line: str) -> None:
    tell(f"{name}: {line.removeprefix(f'{name}: ')}")  # a daemon that ends with a sentence names itself


@contextlib.asynccontextmanager
async def relayed(
    logs: Path, tell: Callable[[str], None], held: Callable[[Mapping[str, Any]], None] | None = None
) -> AsyncIterator[None]:
    """Tell, inside the block, what the daemons in `logs` say to people; each sentence begins with its daemon's name. `held` as in LogRelay."""
    looking = [
        asyncio.ensure_future(LogRelay(logs / f"{name}.log", partial(_tell_of, name, tell), repeat_s, held).run())
        for name, repeat_s in TOLD.items()
    ]
    try:
        yield
    finally:
        for each in looking:
            each.cancel()
