"""TCP ports on the loopback address."""

from __future__ import annotations

import contextlib
import json
import random
import socket
import time
from collections.abc import Iterator

from filelock import FileLock

from triplane.runtime import atomic_file
from triplane.runtime.settings import cache_root
from triplane.stack.errors import StackError

HOST = "127.0.0.1"

# The kernel gives outgoing connections ports from 32,768 (Linux) or 49,152 (macOS) upwards. A port from there that was free when
# it was chosen can be someone's connection when its listener binds it seconds later.
LISTENERS = range(20_000, 32_768)
ATTEMPTS = 1_000
# A port is bound seconds after it is chosen, and is free again while its process is restarted: what another start chose within
# this time is left to it.
LEFT_ALONE_S = 3_600.0
LOCK_TIMEOUT_S = 10.0


def is_free(port: int, host: str = HOST) -> bool:
    """Whether a listener could take the port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def free_ports(count: int, host: str = HOST) -> list[int]:
    """Distinct ports that were free a moment ago; no connection and no other call of this user's takes them before they are bound."""
    ports: set[int] = set()
    attempts = random.SystemRandom().sample(LISTENERS, min(ATTEMPTS, len(LISTENERS)))
    with _chosen_lately() as chosen:
        while len(ports) < count:
            if not attempts:
                raise StackError(
                    f"no free port found between {LISTENERS[0]} and {LISTENERS[-1]}; stop what listens there"
                )
            port = attempts.pop()
            if port not in chosen and is_free(port, host):
                ports.add(port)
                chosen[port] = time.time()
    return list(ports)


@contextlib.contextmanager
def _chosen_lately() -> Iterator[dict[int, float]]:
    """Ports that this user's processes chose lately, to be added to. Where the cache cannot be written there are none."""
    memory = cache_root() / "ports.json"
    with contextlib.ExitStack() as held:
        chosen: dict[int, float] = {}
        with contextlib.suppress(OSError, ValueError, TypeError, OverflowError):
            memory.parent.mkdir(parents=True, exist_ok=True)
            held.enter_context(FileLock(f"{memory}.lock", timeout=LOCK_TIMEOUT_S))
            found = atomic_file.read_json(memory)
            now = time.time()
            chosen = {int(port): at for port, at in found.items() if abs(now - float(at)) < LEFT_ALONE_S}
        yield chosen
        with contextlib.suppress(OSError):
            memory.write_text(json.dumps(chosen), encoding="utf-8")


def require_free(port: int, what: str, remedy: str, host: str = HOST) -> int:
    """The port, or a StackError that says who wanted it and what to do."""
    if not is_free(port, host):
        raise StackError(f"port {port} on {host} is in use, but {what} needs it; {remedy}")
    return port
