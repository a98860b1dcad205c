"""TCP ports on the loopback address."""

from __future__ import annotations

import socket

from triplane.stack.errors import StackError

HOST = "127.0.0.1"


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
    """Distinct ports that were free a moment ago. Whoever binds one must still cope with losing the race."""
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_STREAM) for _ in range(count)]
    try:
        for each in sockets:
            each.bind((host, 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def require_free(port: int, what: str, remedy: str, host: str = HOST) -> int:
    """The port, or a StackError that says who wanted it and what to do."""
    if not is_free(port, host):
        raise StackError(f"port {port} on {host} is in use, but {what} needs it; {remedy}")
    return port
