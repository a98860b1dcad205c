"""A one-node Kafka in KRaft combined mode from Maven Central's jars: how it is configured, started and known to be ready.

Measured on 2 cores with Java 17: ready 4 s after start, 0.5 GB. One node acknowledges from the page cache: an
acknowledged record survives the end of any process, not a power failure.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from triplane.runtime import atomic_file
from triplane.runtime.settings import BOOTSTRAP_NAMES
from triplane.stack import class_archive, java, ports
from triplane.stack.errors import StackError, Unavailable
from triplane.stack.kafka_storage import formatted
from triplane.stack.process import Child

HEAP_MB = 512
CLASSES_MB = 40
READY_TIMEOUT_S = 90.0
MESSAGE_MAX_BYTES = 8 * 1024 * 1024
PORT_ATTEMPTS = 3
ONE_NODE = {
    # Detected loss of a broker within 3 s: writes stalled 2.9-6.5 s in outages, 10 s with the defaults.
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
    "message.max.bytes": str(MESSAGE_MAX_BYTES),
    "replica.fetch.max.bytes": str(MESSAGE_MAX_BYTES),
    # A mistyped topic must be an error, not a new topic with the broker's defaults.
    "auto.create.topics.enable": "false",
    # One node: the internal topics cannot have three copies; few partitions of them start faster.
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "group.initial.rebalance.delay.ms": "0",
    # Segments are allocated sparsely; idle topics of many tests must not cost index files of 10 MB each.
    "log.index.size.max.bytes": "1048576",
    "num.network.threads": "2",
    "num.io.threads": "4",
}
"""Settings of a one-node broker, in a container too."""
NO_JAVA = (
    "no Kafka can be had: KAFKA_BOOTSTRAP_SERVERS is not set, no Docker engine answers and no Java 17 or newer was found "
    "in JAVA_HOME or PATH; install Docker, or a Java runtime with Maven (for example `apt install default-jre maven`)"
)


@dataclass(frozen=True, slots=True)
class KafkaLaunch:
    """What is needed to start one broker: `argv`, with `env` added, reachable at `bootstrap` when ready."""

    argv: tuple[str, ...]
    env: dict[str, str]
    bootstrap: str
    log_path: Path
    cluster_id: str
    """Id that its data directory was formatted with: whatever else answers at `bootstrap` is not this broker."""


def admin(bootstrap: str, options: Mapping[str, str] | None = None) -> AdminClient:
    """An admin client that retries fast and prints nothing. `options` are further librdkafka options (security)."""
    return AdminClient(
        {
            **(options or {}),
            "bootstrap.servers": bootstrap,
            "reconnect.backoff.ms": 50,
            "reconnect.backoff.max.ms": 250,
            "socket.connection.setup.timeout.ms": 2000,
            "log_level": 0,
            "error_cb": lambda _error: None,
        }
    )


def _absent(client: AdminClient, bootstrap: str, timeout: float, cluster_id: str) -> str:
    """Why the broker is not there: nothing answers, or another cluster than `cluster_id` does (empty: any will do); else empty."""
    try:
        found = client.list_topics(timeout=timeout)
    except KafkaException:
        return f"does not answer at {bootstrap} yet"
    if not found.brokers:
        return f"lists no broker at {bootstrap} yet"
    if cluster_id and found.cluster_id != cluster_id:
        return f"is not what answers at {bootstrap}: that is cluster {found.cluster_id}, ours is {cluster_id}; stop it or take another port"
    return ""


def why_not_ready(launch: KafkaLaunch, timeout: float = 1.0) -> str:
    """Why this very broker does not answer a metadata request within `timeout` wall seconds, or an empty string when it does."""
    return _absent(admin(launch.bootstrap), launch.bootstrap, timeout, launch.cluster_id)


def await_ready(
    bootstrap: str,
    timeout: float,
    alive: Callable[[], str | None] = lambda: None,
    options: Mapping[str, str] | None = None,
    cluster_id: str = "",
) -> None:
    """Wait until a broker (of cluster `cluster_id`, where one is named) answers.

    `alive` returns why waiting is pointless, or None. Raises StackError.
    """
    client = admin(bootstrap, options)
    deadline = time.monotonic() + timeout
    while absent := _absent(client, bootstrap, 0.5, cluster_id):
        dead = alive()
        if dead:
            raise StackError(dead)
        if time.monotonic() > deadline:
            if "is not what answers" in absent:
                raise Unavailable(f"Kafka {absent}")
            raise Unavailable(
                f"Kafka at {bootstrap} did not answer within {timeout:.0f} s; start it, or correct {BOOTSTRAP_NAMES}"
            )


def _escape(value: str) -> str:
    """A value for a Java properties file, which is read as Latin-1 with backslash escapes."""
    escaped = value.replace("\\", "\\\\")
    return "".join(char if ord(char) < 127 else f"\\u{ord(char):04x}" for char in escaped)


def server_properties(data_dir: Path, port: int, controller_port: int) -> str:
    """Text of server.properties for one combined broker and controller on the loopback address."""
    if "," in str(data_dir):
        raise StackError(
            f"Kafka cannot keep data in {data_dir}: a comma separates directories; choose another directory"
        )
    values = {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@{ports.HOST}:{controller_port}",
        "listeners": f"PLAINTEXT://{ports.HOST}:{port},CONTROLLER://{ports.HOST}:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://{ports.HOST}:{port}",
        "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": _escape(str(data_dir)),
        **ONE_NODE,
    }
    return "".join(f"{key}={value}\n" for key, value in values.items())


def _chosen_ports(directory: Path, port: int) -> tuple[int, int]:
    """Ports for broker and controller: the wanted one, else those of the last run if still free, else any free ones."""
    memory = directory / "ports.json"
    last: list[int] = []
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, OverflowError):
        last = [int(each) for each in atomic_file.read_json(memory)["ports"]]
    spare = ports.free_ports(2)
    if port:
        ports.require_free(port, "Kafka", "stop what listens there or choose another with --kafka-port")
        broker = port
    else:
        broker = last[0] if len(last) == 2 and ports.is_free(last[0]) else spare[0]
    controller = last[1] if len(last) == 2 and last[1] != broker and ports.is_free(last[1]) else spare[1]
    atomic_file.write_json(memory, {"ports": [broker, controller]})
    return broker, controller


def prepare(directory: Path, port: int = 0) -> KafkaLaunch:
    """Fetch jars if need be, write the configuration under `directory`, format the data directory at the first time.

    Port 0 takes the port of the last run in this directory if it is free, else any. Raises StackError.
    """
    program = java.find_java()
    if program is None:
        raise StackError(NO_JAVA)
    jars = java.kafka_jars()
    directory = directory.resolve()
    data_dir = directory / "data"
    data_dir.mkdir(parents=True, exist_ok=True)
    broker_port, controller_port = _chosen_ports(directory, port)
    config = directory / "server.properties"
    config.write_text(server_properties(data_dir, broker_port, controller_port), encoding="ascii")
    class_path = f"{jars}{os.sep}*"
    base = (program, "-cp", class_path, f"-Dlog4j2.configurationFile={java.DEPLOY / 'kafka' / 'log4j2.xml'}")
    log_path = directory / "kafka.log"
    cluster_id = formatted(
        data_dir, config, jars,
        lambda: (*base, *class_archive.options(program, "kafka", class_path, CLASSES_MB, may_write=False), "-XX:TieredStopAtLevel=1"),
    )  # fmt: skip
    tuning = (
        *class_archive.options(program, "kafka", class_path, CLASSES_MB),
        f"-Xmx{HEAP_MB}m",
        f"-Xms{HEAP_MB // 2}m",
        # A local node lives for minutes or serves one user: the optimising compiler costs two cores more than it gives back. Measured:
        # 2.7 instead of 4.1 to 5.6 s of CPU to start and create the topics, 1.9 instead of 2.7 to 3.3 for 37,000 records of 2 kB.
        "-XX:TieredStopAtLevel=1",
        # Nor do collectors that work beside the program pay at this heap: 42 instead of 45 s of CPU over the demonstration.
        "-XX:+UseSerialGC",
        "-XX:+ExitOnOutOfMemoryError",
    )
    argv = (base[0], *tuning, "-Djava.awt.headless=true", *base[1:], "kafka.Kafka", str(config))
    return KafkaLaunch(argv, {}, f"{ports.HOST}:{broker_port}", log_path, cluster_id)


class LocalKafka:
    """A running one-node Kafka under a directory. Use as a context manager, or call `stop`."""

    def __init__(self, launch: KafkaLaunch, child: Child) -> None:
        self.bootstrap = launch.bootstrap
        self.child = child

    @classmethod
    def start(
        cls,
        directory: Path,
        port: int = 0,
        timeout: float = READY_TIMEOUT_S,
        prepare: Callable[[Path, int], KafkaLaunch] = prepare,
    ) -> LocalKafka:
        """Start a broker and wait until it answers. Raises StackError."""
        for attempt in range(PORT_ATTEMPTS):
            launch = prepare(directory, port)
            offset = launch.log_path.stat().st_size if launch.log_path.exists() else 0
            child = Child("kafka", launch.argv, launch.log_path, env={**os.environ, **launch.env}, cwd=directory)
            try:
                await_ready(
                    launch.bootstrap,
                    timeout,
                    partial(_death, child),
                    cluster_id=launch.cluster_id,
                )
            except BaseException as error:
                child.kill()
                # Someone else took a port that was free when we looked: choose others, unless the user named it.
                if isinstance(error, StackError) and not port and attempt + 1 < PORT_ATTEMPTS:
                    with open(launch.log_path, "rb") as log:
                        log.seek(offset)
                        if re.search(rb"Address already in use|port is already allocated", log.read()):
                            (directory / "ports.json").unlink(missing_ok=True)
                            continue
                raise
            return cls(launch, child)
        raise AssertionError("unreachable: the last attempt returns or raises")

    def stop(self) -> None:
        """Controlled shutdown, SIGKILL after the grace."""
        self.child.stop()

    def kill(self) -> None:
        """SIGKILL, as a crash would."""
        self.child.kill()

    def __enter__(self) -> LocalKafka:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.stop()


def _death(child: Child) -> str | None:
    """Why a starting Kafka ended, in one sentence, or None while it lives."""
    code = child.poll()
    if code is None:
        return None
    reasons = [line for line in child.tail(200) if line[:1].strip() and re.search(r"ERROR|FATAL|Exception|Error", line)]
    cause = reasons[-1][:300] if reasons else f"exit code {code}"
    return f"Kafka ended while it started ({cause}); the whole story is in {child.log_path}"
