"""The strategy daemon around DigestEngine, as a process of its own for tests."""

from __future__ import annotations

import sys

from triplane.runtime import numerics

if __name__ == "__main__":
    numerics.ensure_pinned()
    from strategy_plane.worker.consumer import limit_library_logs
    from strategy_plane.worker.loop import Worker
    from tests.strategy_plane.digest_engine import DigestEngine
    from triplane.runtime import daemon
    from triplane.runtime.settings import Settings

    async def _main(shell: daemon.Daemon) -> None:
        limit_library_logs()
        await shell.serve()
        await Worker(shell, DigestEngine(shell.settings.account)).run()

    sys.exit(daemon.run("strategy", Settings(), _main))
