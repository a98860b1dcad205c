"""Kafka, topics and the schema registry for one installation, under its supervisor: what is given is used, what is missing is started."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

from triplane.runtime.settings import Settings
from triplane.stack import init, java
from triplane.stack.errors import StackError
from triplane.stack.local import StackSpecs, prepare
from triplane.stack.supervisor import Supervisor

T = TypeVar("T")


async def unless(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Do `work` to its end (True) or until `stop` is set (False, cancelled). Raises what the work raises."""
    task, waiting = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    if task.cancelled():
        return False
    task.result()
    return True


async def in_thread(work: Callable[[], T]) -> T:
    """Run a call in a thread; when cancelled wait for its end first, so that what it uses is still there."""
    task = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.gather(task, return_exceptions=True)
        raise


class LocalServices:
    """Started before the daemons. `say` gets one line for people at each stage. The supervisor stops them, after the daemons.

    With `refill` a registry that has lost its store is filled again.
    """

    def __init__(self, directory: Path, say: Callable[[str], None] = print, *, refill: bool = False) -> None:
        self.specs: StackSpecs | None = None
        self._directory = directory
        self._say = say
        self._refill = refill

    @property
    def registry_url(self) -> str:
        """Address of the registry, or an empty string where there is none."""
        return self.specs.registry_url if self.specs else ""

    async def start(self, supervisor: Supervisor, registry: bool, topic_prefix: str = "") -> str:
        """Start Kafka and create topics; the registry comes up in the background, since daemons don't wait for it.

        Returns the bootstrap servers; raises StackError. Cancelling it ends a download at once.
        """
        java.resume()

        def fetch() -> StackSpecs:
            return prepare(self._directory, topic_prefix=topic_prefix, with_registry=registry, refill=self._refill)

        task = asyncio.ensure_future(asyncio.to_thread(fetch))
        try:
            self.specs = specs = await asyncio.shield(task)
        except asyncio.CancelledError:
            java.abandon()
            await asyncio.gather(task, return_exceptions=True)
            raise
        await supervisor.start(specs.broker)
        self._say(f"Kafka answers on {specs.bootstrap}")
        settings = Settings(bootstrap=specs.bootstrap, topic_prefix=topic_prefix, state_dir=self._directory)
        created = await in_thread(lambda: init.make_topics(settings))
        if created:
            self._say(f"{len(created)} topics created")
        for sentence in await in_thread(lambda: init.altered_topics(settings)):
            self._say(sentence)
        await supervisor.start(specs.registry)
        return specs.bootstrap

    async def settled(self, supervisor: Supervisor) -> None:
        """Wait until the registry is filled, where one was asked for. Raises StackError when it is not to be."""
        if self.specs is None:
            raise StackError("the local services have not been started; call start first")
        if self.specs.registry:
            await supervisor.wait_ready("schemas")
