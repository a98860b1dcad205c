"""Fixtures that every test may use."""

from __future__ import annotations

import contextlib
import os
import random
import tempfile
import uuid
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

from triplane.runtime import garbage, numerics

numerics.pin()  # before anything imports numpy: byte-identity tests rest on it
garbage.loading()

import certifi  # noqa: E402
import pytest  # noqa: E402

from tests.shared_service import shared  # noqa: E402
from triplane.runtime import atomic_file  # noqa: E402
from triplane.runtime.settings import Settings  # noqa: E402
from triplane.stack import docker  # noqa: E402
from triplane.stack.kafka import await_ready  # noqa: E402
from triplane.stack.local import LocalStack, choose  # noqa: E402
from triplane.stack.ports import HOST, free_ports  # noqa: E402
from triplane.stack.registry import LocalRegistry  # noqa: E402
from triplane.stack.topics import create_topics, delete_topics  # noqa: E402

# Every process that imports aiohttp reads all that the machine trusts, for a tenth of a second; nothing here speaks TLS to others.
_TRUSTED = Path(tempfile.gettempdir()) / f"triplane-tests-one-certificate-{os.getuid()}.pem"
if "SSL_CERT_FILE" not in os.environ:
    atomic_file.write(
        _TRUSTED, certifi.contents().partition("-----END CERTIFICATE-----\n")[0] + "-----END CERTIFICATE-----\n"
    )
    os.environ["SSL_CERT_FILE"] = str(_TRUSTED)

SEED = "TRIPLANE_SEED"
SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def pytest_collection_finish() -> None:
    """What all test modules have imported stays; collections walk what the tests make."""
    garbage.settle()
    garbage.usual()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whoever asks for `counts` is a counted suite; in full it may take its time."""
    for item in items:
        if "counts" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.counted)
            if os.environ.get("TRIPLANE_FULL") == "1":
                item.add_marker(pytest.mark.timeout(1800))
    items[:] = interleaved(items)


QUICK_BETWEEN = 3
"""Files of quick tests after each of long ones."""


def interleaved(items: list[pytest.Item]) -> list[pytest.Item]:
    """Long tests, which mostly wait for processes, with quick ones between, which compute: so neither all workers wait at once nor all
    compute. The longest come first, and the long ones are through well before the end, so that no worker is left with one."""
    files: dict[str, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.nodeid.partition("::")[0], []).append(item)

    def has(file: list[pytest.Item], marker: str) -> bool:
        return any(item.get_closest_marker(marker) for item in file)

    long = [file for file in files.values() if has(file, "chaos") or has(file, "integration")]
    long.sort(key=lambda file: not has(file, "chaos"))
    quick = iter([file for file in files.values() if not (has(file, "chaos") or has(file, "integration"))])
    order = [each for file in long for each in (file, *islice(quick, QUICK_BETWEEN))]
    return [item for file in (*order, *quick) for item in file]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Seeds of what failed; of every test that drew one in the full counts."""
    for outcome in ("passed", "failed", "error"):
        for report in terminalreporter.getreports(outcome):
            for name, value in getattr(report, "user_properties", ()):
                if name == SEED and (outcome != "passed" or os.environ.get("TRIPLANE_FULL") == "1"):
                    terminalreporter.write_line(f"{report.nodeid}: {SEED}={value}")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real market, SEC, FRED and IBKR data; the test is skipped where it is absent."""
    if not (SHARED_DATA / "MANIFEST.csv").is_file():
        pytest.skip(f"real data is absent: {SHARED_DATA} does not exist")
    return SHARED_DATA


@pytest.fixture(scope="session")
def counts() -> Callable[[int, int], int]:
    """Size of a counted suite: `counts(short, full)` is `full` under TRIPLANE_FULL=1."""
    full = os.environ.get("TRIPLANE_FULL") == "1"
    return lambda short, long: long if full else short


def drawn(request: pytest.FixtureRequest) -> int:
    """Seed of a randomised test or of a fixture that several share; TRIPLANE_SEED repeats one."""
    value = int(os.environ.get(SEED, "0")) or random.SystemRandom().randrange(1, 2**31)
    print(f"{request.node.name}: {SEED}={value}")
    return value


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """Seed of one test, told in the summary."""
    value = drawn(request)
    request.node.user_properties.append((SEED, value))
    return value


@contextlib.contextmanager
def _kafka_container() -> Iterator[str]:
    """A throw-away Kafka; testcontainers' reaper removes it even when the test run is killed."""
    from testcontainers.core.container import DockerContainer

    port = free_ports(1)[0]
    container = DockerContainer(docker.KAFKA_IMAGE).with_bind_ports(port, port)
    for name, value in docker.kafka_environment(HOST, port, "localhost").items():
        container = container.with_env(name, value)
    with container:
        await_ready(f"{HOST}:{port}", 60)
        yield f"{HOST}:{port}"


@contextlib.contextmanager
def _kafka(directory: Path) -> Iterator[str]:
    if choose() == "docker":
        with _kafka_container() as bootstrap:
            yield bootstrap
        return
    with LocalStack.start(directory) as stack:
        yield stack.bootstrap


@contextlib.contextmanager
def _registry(directory: Path, bootstrap: str) -> Iterator[str]:
    with LocalRegistry.start(directory, bootstrap) as registry:
        yield registry.url


@pytest.fixture(scope="session")
def kafka(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Bootstrap string of a real Kafka: the given one, else a container, else one node from the jars, for the whole test run."""
    return shared(request, tmp_path_factory, "kafka", _kafka)


@pytest.fixture(scope="session")
def registry_url(request: pytest.FixtureRequest, kafka: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Address of a real schema registry on the run's Kafka."""
    return shared(request, tmp_path_factory, "registry", lambda directory: _registry(directory, kafka))


@pytest.fixture
def settings(kafka: str, tmp_path: Path) -> Iterator[Settings]:
    """Settings of one test: its own topics (all of the catalogue's, under a prefix) and its own state directory."""
    prefix = f"t{uuid.uuid4().hex[:10]}."
    create_topics(kafka, prefix=prefix)
    yield Settings(bootstrap=kafka, topic_prefix=prefix, state_dir=tmp_path / "state", account="DU1234567")
    delete_topics(kafka, prefix)
