"""Ask a process whether it is ready."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

import httpx
import psutil

from triplane.runtime import run_file
from triplane.stack.specs import ProcessSpec

EVERY_S: Final = 1.0
"""Wall seconds between two questions to a process that is ready, or has been starting for long."""
SOON_S: Final = 0.1


def pause(waited_s: float) -> float:
    """Wall seconds until a process that is not ready is asked again: a tenth of what it has been waited for.

    Asking costs the process, Kafka and whoever asks some milliseconds each, of what the process needs to get ready.
    """
    return min(max(waited_s / 10, SOON_S), EVERY_S)


async def ask(spec: ProcessSpec, pid: int, state_dir: Path, http: httpx.AsyncClient) -> str:
    """Why the process is not ready, or an empty string when it is."""
    if spec.ready_check is not None:
        return await asyncio.to_thread(spec.ready_check)
    url = spec.ready_url
    if url is None:
        url = _readyz(spec.name, pid, state_dir)
        if url is None:
            return "not serving yet"
    try:
        answer = await http.get(url)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return f"{url} does not answer ({type(error).__name__})"
    if answer.is_success:
        return ""
    try:
        return str(answer.json()["reason"]) or f"{url} answers {answer.status_code}"
    except (ValueError, KeyError, TypeError):
        return f"{url} answers {answer.status_code}"


def _readyz(name: str, pid: int, state_dir: Path) -> str | None:
    """Address of /readyz from the daemon's run file, if that file is from this very process."""
    found = run_file.read(state_dir, name)
    try:
        if found is None or (found.pid != pid and psutil.Process(found.pid).ppid() != pid):
            return None
    except psutil.Error:
        return None
    return f"{found.http}/readyz"
