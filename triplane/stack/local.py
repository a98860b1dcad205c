"""The choice of broker, and the processes of the local stack.

Order of choice: KAFKA_BOOTSTRAP_SERVERS (or TRIPLANE_BOOTSTRAP) if set; a Docker engine if one answers; else Maven
Central's jars. Nothing is started where a broker is given.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from triplane.stack import docker, java, kafka, registry
from triplane.stack.errors import StackError
from triplane.stack.kafka import NO_JAVA, READY_TIMEOUT_S, LocalKafka, await_ready
from triplane.stack.specs import ProcessSpec

Choice = Literal["given", "docker", "jars"]
GIVEN_TIMEOUT_S = 15.0
REGISTRY_NICENESS = 10
"""It starts for seconds beside the daemons, which do not wait for it."""


def given_bootstrap(env: Mapping[str, str] | None = None) -> str:
    """Bootstrap servers named by the environment, or an empty string."""
    env = os.environ if env is None else env
    return env.get("TRIPLANE_BOOTSTRAP") or env.get("KAFKA_BOOTSTRAP_SERVERS") or ""


def choose(env: Mapping[str, str] | None = None) -> Choice:
    """Which broker this machine can have. Raises StackError, one sentence, when none."""
    if given_bootstrap(env):
        return "given"
    if docker.engine_answers(env):
        return "docker"
    if java.find_java(env) is None:
        raise StackError(NO_JAVA)
    return "jars"


@dataclass(frozen=True, slots=True)
class StackSpecs:
    """Processes of the local stack and where they will answer.

    `broker` comes first, then the topics (init.make_topics), then the daemons; `registry` (the registry and the job that
    fills it) runs in the background. Where a broker is given `broker` is empty; where TRIPLANE_REGISTRY_URL is given with
    it, only the job is left.
    """

    choice: Choice
    bootstrap: str
    registry_url: str
    broker: tuple[ProcessSpec, ...]
    registry: tuple[ProcessSpec, ...]


def _registry_reason(url: str) -> str:
    with registry.Registry(url, timeout=2.0) as client:
        return "" if client.is_ready() else f"does not answer at {url} or reads its store"


def prepare(
    directory: Path,
    *,
    topic_prefix: str = "",
    with_registry: bool = True,
    refill: bool = False,
    kafka_port: int = 0,
    registry_port: int = 0,
) -> StackSpecs:
    """Fetch what is missing and say what to start under `directory` (the state directory). Raises StackError.

    With `refill` a registry that has lost its store is filled again with the same ids: a person's decision.

    May take a minute at the first time; `java.abandon()` from another thread ends a download.
    """
    choice = choose()
    directory = directory.absolute()
    if choice == "given":
        bootstrap = given_bootstrap()
        await_ready(bootstrap, GIVEN_TIMEOUT_S)
        broker: tuple[ProcessSpec, ...] = ()
    else:
        (directory / "kafka").mkdir(parents=True, exist_ok=True)
        begin = docker.prepare_kafka if choice == "docker" else kafka.prepare
        launch = begin(directory / "kafka", kafka_port)
        bootstrap = launch.bootstrap
        broker = (
            ProcessSpec(
                name="kafka",
                argv=launch.argv,
                env=launch.env,
                ready_check=lambda: kafka.why_not_ready(launch),
                ready_timeout_s=READY_TIMEOUT_S,
                vital=True,  # without it nothing else can do anything
            ),
        )
    if not with_registry:
        return StackSpecs(choice, bootstrap, "", broker, ())
    url = os.environ.get("TRIPLANE_REGISTRY_URL", "") if choice == "given" else ""
    service: tuple[ProcessSpec, ...] = ()
    if not url:
        serve = docker.prepare_registry if choice == "docker" else registry.prepare
        found = serve(directory / "registry", bootstrap, registry_port)
        url = found.url
        service = (
            ProcessSpec(
                name="registry",
                argv=found.argv,
                env=found.env,
                ready_check=lambda: _registry_reason(url),
                ready_timeout_s=registry.READY_TIMEOUT_S,
                background=True,
                niceness=REGISTRY_NICENESS,
            ),
        )
    job = ProcessSpec(
        name="schemas",
        argv=[sys.executable, "-m", "triplane.stack.init", "--schemas", *(["--refill"] if refill else [])],
        env={
            "TRIPLANE_BOOTSTRAP": bootstrap,
            "TRIPLANE_TOPIC_PREFIX": topic_prefix,
            "TRIPLANE_STATE_DIR": str(directory),
            "TRIPLANE_REGISTRY_URL": url,
        },
        after=[each.name for each in service],
        job=True,
        background=True,
        vital=True,
        ready_timeout_s=registry.READY_TIMEOUT_S,
    )
    return StackSpecs(choice, bootstrap, url, broker, (*service, job))


class LocalStack:
    """A broker for the time of a `with` block: the given one, or a one-node Kafka of its own. For tests and tools."""

    def __init__(self, bootstrap: str, kafka: LocalKafka | None) -> None:
        self.bootstrap = bootstrap
        self.kafka = kafka

    @classmethod
    def start(cls, directory: Path, port: int = 0) -> LocalStack:
        """Wait for the given broker or start one under `directory`. Raises StackError."""
        choice = choose()
        if choice == "given":
            bootstrap = given_bootstrap()
            await_ready(bootstrap, GIVEN_TIMEOUT_S)
            return cls(bootstrap, None)
        directory.mkdir(parents=True, exist_ok=True)
        node = LocalKafka.start(directory, port, prepare=docker.prepare_kafka if choice == "docker" else kafka.prepare)
        return cls(node.bootstrap, node)

    def stop(self) -> None:
        """Stop what was started, and only that."""
        if self.kafka is not None:
            self.kafka.stop()

    def __enter__(self) -> LocalStack:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.stop()
