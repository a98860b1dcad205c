"""TCP ports on the loopback address."""

from __future__ import annotations

import random
import socket

from triplane.stack.errors import StackError

HOST = "127.0.0.1"

# The kernel gives outgoing connections ports from 32,768 (Linux) or 49,152 (macOS) upwards. A port from there that was free when
# it was chosen can be someone's connection when its listener binds it seconds later.
LISTENERS = range(20_000, 32_768)
ATTEMPTS = 1_000


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
    """Distinct ports that were free a moment ago; nothing takes them by chance before they are bound."""
    ports: set[int] = set()
    attempts = random.SystemRandom().sample(LISTENERS, min(ATTEMPTS, len(LISTENERS)))
    while len(ports) < count:
        if not attempts:
            raise StackError(f"no free port found between {LISTENERS[0]} and {LISTENERS[-1]}; stop what listens there")
        port = attempts.pop()
        if is_free(port, host):
            ports.add(port)
    return list(ports)


def require_free(port: int, what: str, remedy: str, host: str = HOST) -> int:
    """The port, or a StackError that says who wanted it and what to do."""
    if not is_free(port, host):
        raise StackError(f"port {port} on {host} is in use, but {what} needs it; {remedy}")
    return port
