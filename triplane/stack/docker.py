"""Kafka and the registry as containers, for a machine with a Docker engine and no Java.

The containers run in the foreground of a `docker run` that is supervised like any other process: SIGTERM reaches the
program inside, and the program's standard input is a lifeline. When whoever started it is gone, even by SIGKILL, the
input ends and the container stops itself, so that no container is left behind.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from triplane.stack import kafka, ports, registry
from triplane.stack.errors import StackError
from triplane.stack.kafka import HEAP_MB, KafkaLaunch
from triplane.stack.registry import RegistryLaunch

KAFKA_IMAGE = "apache/kafka:4.3.0"
KAFKA_COMMAND = "/etc/kafka/docker/run"
REGISTRY_IMAGE = f"apicurio/apicurio-registry:{registry.VERSION}"
REGISTRY_COMMAND = "/opt/jboss/container/java/run/run-java.sh"
CLUSTER_ID = "dHJpcGxhbmUtb25lLW5vZA"
INTERNAL_PORT = 29092
CONTROLLER_PORT = 29093
REGISTRY_PORT = 8080
PULL_TIMEOUT_S = 600.0
LIFELINE = """\
exec 3<&0
program=; ended=
trap 'ended=1; test -z "$program" || kill -TERM $program' TERM INT
"$0" 3<&- </dev/null &
program=$!
test -z "$ended" || kill -TERM $program
( cat <&3 >/dev/null; kill -TERM $program 2>/dev/null ) &
wait $program; code=$?
while kill -0 $program 2>/dev/null; do wait $program; code=$?; done
exit $code
"""
"""Runs the image's own command ($0), passes SIGTERM on, and ends it when standard input ends. POSIX sh."""


def engine_answers(env: Mapping[str, str] | None = None) -> bool:
    """Whether `docker` is on PATH and its engine answers."""
    env = os.environ if env is None else env
    program = shutil.which("docker", path=env.get("PATH"))
    if program is None:
        return False
    try:
        done = subprocess.run(
            [program, "version", "--format", "{{.Server.Version}}"],
            capture_output=True,
            timeout=10,
            check=False,
            env=dict(env),
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _docker(arguments: Sequence[str], what: str, timeout: float = 60.0) -> None:
    """Run a docker command to its end; StackError with its first line of complaint."""
    try:
        done = subprocess.run(
            ["docker", *arguments],
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        raise StackError(f"Docker did not {what} within {timeout:.0f} s; check the engine and the network") from None
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines()
        raise StackError(
            f"Docker could not {what}: {lines[0] if lines else done.returncode}; check the engine and the network"
        )


def _have(kind: str, name: str) -> bool:
    return (
        subprocess.run(["docker", kind, "inspect", name], capture_output=True, check=False, timeout=60).returncode == 0
    )


def _fresh(directory: Path, image: str, service: str) -> tuple[str, str]:
    """Image, network and no container of that name; returns (container, network) named after the state directory."""
    scope = hashlib.sha256(str(directory.absolute().parent).encode()).hexdigest()[:10]
    container, network = f"triplane-{service}-{scope}", f"triplane-{scope}"
    if not _have("image", image):
        _docker(["pull", image], f"pull {image}", PULL_TIMEOUT_S)
    if not _have("network", network):
        _docker(["network", "create", network], f"create the network {network}")
    if _have("container", container):
        _docker(["rm", "-f", container], f"remove the old container {container}")
    return container, network


def _run(
    container: str,
    network: str,
    image: str,
    command: str,
    port: tuple[int, int],
    env: Mapping[str, str],
    extra: Sequence[str] = (),
) -> tuple[str, ...]:
    published = f"{ports.HOST}:{port[0]}:{port[1]}"
    variables = [part for key, value in env.items() for part in ("-e", f"{key}={value}")]
    return (
        "docker", "run", "--rm", "-i", "--name", container, "--network", network, "-p", published, *extra, *variables,
        "--entrypoint", "sh", image, "-c", LIFELINE, command,
    )  # fmt: skip


def kafka_environment(host: str, port: int, internal_host: str) -> dict[str, str]:
    """Environment of the image apache/kafka: `host:port` for clients outside, `internal_host:29092` inside its network.

    KAFKA_A_B becomes the broker's setting a.b. The same settings as of the jars, and compose uses this too.
    """
    listeners = {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@localhost:{CONTROLLER_PORT}",
        "listeners": f"OUTSIDE://:{port},INSIDE://:{INTERNAL_PORT},CONTROLLER://:{CONTROLLER_PORT}",
        "advertised.listeners": f"OUTSIDE://{host}:{port},INSIDE://{internal_host}:{INTERNAL_PORT}",
        "inter.broker.listener.name": "INSIDE",
        "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": "OUTSIDE:PLAINTEXT,INSIDE:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": "/var/lib/kafka/data",
    }
    settings = {**listeners, **kafka.ONE_NODE}
    return {
        "CLUSTER_ID": CLUSTER_ID,
        "KAFKA_HEAP_OPTS": f"-Xmx{HEAP_MB}m -Xms{HEAP_MB // 2}m",
        **{f"KAFKA_{key.upper().replace('.', '_')}": value for key, value in settings.items()},
    }


def prepare_kafka(directory: Path, port: int = 0) -> KafkaLaunch:
    """As kafka.prepare, in a container; data live in a named volume. Raises StackError."""
    container, network = _fresh(directory, KAFKA_IMAGE, "kafka")
    if port:
        ports.require_free(port, "Kafka", "stop what listens there or choose another with --kafka-port")
    else:
        port = ports.free_ports(1)[0]
    env = kafka_environment(ports.HOST, port, container)
    volume = ("-v", f"{container}:/var/lib/kafka/data")
    argv = _run(container, network, KAFKA_IMAGE, KAFKA_COMMAND, (port, port), env, volume)
    return KafkaLaunch(argv, {}, f"{ports.HOST}:{port}", directory / "kafka.log", CLUSTER_ID)


def prepare_registry(directory: Path, bootstrap: str, port: int = 0, suffix: str = "") -> RegistryLaunch:
    """As registry.prepare, in a container beside Kafka's. `bootstrap` is the address outside and not used inside."""
    container, network = _fresh(directory, REGISTRY_IMAGE, "registry")
    if port:
        ports.require_free(port, "the schema registry", "stop what listens there or choose another")
    else:
        port = ports.free_ports(1)[0]
    broker = container.replace("-registry-", "-kafka-")
    env = registry.environment(f"{broker}:{INTERNAL_PORT}", "0.0.0.0", REGISTRY_PORT, "/tmp", suffix)
    argv = _run(container, network, REGISTRY_IMAGE, REGISTRY_COMMAND, (port, REGISTRY_PORT), env)
    return RegistryLaunch(argv, {}, f"http://{ports.HOST}:{port}")
