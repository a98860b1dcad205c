"""The strategy daemon: the real engine inside the worker inside the shared daemon shell."""

from __future__ import annotations

from strategy_plane.engine import StrategyEngine
from strategy_plane.worker.consumer import limit_library_logs
from strategy_plane.worker.loop import Worker
from triplane.runtime import daemon
from triplane.runtime.daemon import Daemon
from triplane.runtime.exit_codes import DaemonExit
from triplane.runtime.settings import Settings

NAME = "strategy"


async def _main(shell: Daemon) -> None:
    limit_library_logs()
    settings = shell.settings
    if not settings.bootstrap:
        raise DaemonExit("no Kafka is named; set KAFKA_BOOTSTRAP_SERVERS or start one with `triplane up`")
    if not settings.account:
        raise DaemonExit("no account is named; set TRIPLANE_ACCOUNT to the one account that is traded")
    await shell.serve()
    await Worker(shell, StrategyEngine(settings.account)).run()


def main(settings: Settings | None = None) -> int:
    """Run the daemon to its end; returns the process's exit code."""
    return daemon.run(NAME, settings, _main)
