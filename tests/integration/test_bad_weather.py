"""Bad weather as a user meets it: each ends in one clear sentence or in recovery. docs/faults.md lists what other tests cover."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from confluent_kafka import Producer

from tests.broker.gateways import GatewayProcess
from tests.cli.command import ROOT, environment, triplane, variables_of
from tests.data_plane.support import DataProcess, ProvidersProcess, config, publish_config
from tests.prefork import Forked, to_its_end
from tests.silent_server import silent_server
from tests.waiting import eventually
from triplane.runtime import exit_codes, loopback
from triplane.runtime.daemon import lock
from triplane.runtime.settings import Settings

PLANES = {"data": "data_plane", "strategy": "strategy_plane", "order": "order_plane", "control": "triplane.control"}


def run(module: str, settings: Settings, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """A daemon to its end."""
    return to_its_end(module, *arguments, cwd=ROOT, env=environment(**(variables_of(settings) | variables)), timeout=90)


def sentence(done: subprocess.CompletedProcess[str]) -> str:
    """The one line on stderr that is not a log line."""
    assert "Traceback" not in done.stdout + done.stderr, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.strip() and not line.startswith("{")]
    assert len(lines) == 1, done.stderr
    return lines[0]


def local(tmp_path: Path, **fields: object) -> Settings:
    """Settings of an installation that may have nothing of what it names."""
    known = {
        "state_dir": tmp_path / "state",
        "account": "DU1234567",
        "gateway_port": 9,
        "targets_path": ROOT / "targets.yaml",
        "assets_path": ROOT / "assets.csv",
    }
    return Settings.model_validate(known | fields)


@pytest.fixture
def taken() -> Iterator[int]:
    """A port somebody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def silent() -> Iterator[str]:
    with silent_server() as address:
        yield address


# A port in use ------------------------------------------------------------------------------------------------------------


@pytest.mark.integration
@pytest.mark.parametrize("plane", PLANES)
def test_a_taken_http_port_is_one_sentence(settings: Settings, taken: int, plane: str) -> None:
    done = run(PLANES[plane], settings.model_copy(update={"gateway_port": 9}), TRIPLANE_HTTP_PORT=str(taken))
    assert done.returncode == exit_codes.CONFIG, done
    words = sentence(done)
    assert str(taken) in words
    assert "TRIPLANE_HTTP_PORT" in words


@pytest.mark.parametrize("which", ["--port", "--http-port"])
def test_a_taken_gateway_port_is_one_sentence(taken: int, tmp_path: Path, which: str) -> None:
    ports = {"--port": "0", "--http-port": "0"} | {which: str(taken)}
    line = [word for pair in ports.items() for word in pair]
    done = run(
        "triplane.paper.gateway",
        local(tmp_path),
        *line,
        *("--state-dir", str(tmp_path / "gateway"), "--assets", str(ROOT / "assets.csv"), "--account", "DU1234567"),
    )
    assert done.returncode not in (0, 1), done
    assert str(taken) in sentence(done)


# Software that is not there -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", [("demo", "--plain", "--sessions", "2"), ("up",), ("kafka", "up")], ids=" ".join)
def test_no_java_and_no_docker_is_one_sentence(tmp_path: Path, verb: tuple[str, ...]) -> None:
    for name in ("targets.yaml", "assets.csv"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "empty").mkdir()
    variables = {
        "PATH": str(tmp_path / "empty"),
        "JAVA_HOME": "",
        "DOCKER_HOST": "unix:///nowhere",
        "HOME": str(tmp_path),
        "TRIPLANE_CACHE": str(tmp_path / "cache"),
    }
    ran = triplane(*verb, cwd=tmp_path, variables=variables)
    assert ran.code == 1
    for word in ("Java", "Docker"):
        assert word in ran.sentence
    assert not (tmp_path / ".triplane" / "supervisor.json").exists()
    assert not (tmp_path / ".triplane" / "demo").exists()


# Kafka --------------------------------------------------------------------------------------------------------------------


def test_a_silent_kafka_is_one_sentence(silent: str, tmp_path: Path) -> None:
    """It takes the connection and never answers. Code 69: the supervisor tries again with backoff. All four wait at once."""
    gateway = GatewayProcess(tmp_path / "gateway", "--hold")  # which the Order Plane asks first
    ports = {"order": gateway.port}

    def end(plane: str) -> subprocess.CompletedProcess[str]:
        settings = local(tmp_path, state_dir=tmp_path / plane, bootstrap=silent, gateway_port=ports.get(plane, 9))
        return run(PLANES[plane], settings)

    try:
        with ThreadPoolExecutor(len(PLANES)) as at_once:
            ends = list(at_once.map(end, PLANES))
    finally:
        gateway.stop()
    for done in ends:
        assert done.returncode == exit_codes.UNAVAILABLE, done
        assert silent in sentence(done)


def test_a_kafka_that_refuses_is_one_sentence(tmp_path: Path) -> None:
    """Nor does the client library fill the terminal meanwhile."""
    done = run(PLANES["data"], local(tmp_path, bootstrap="127.0.0.1:9"))
    assert done.returncode == exit_codes.UNAVAILABLE, done
    assert "127.0.0.1:9" in sentence(done)


@pytest.mark.integration
def test_a_spool_that_is_no_file_is_one_sentence(settings: Settings) -> None:
    publish_config(settings, config())
    (settings.state_dir / "data-spool.bin").mkdir(parents=True)
    done = run("data_plane", settings.model_copy(update={"gateway_port": 9}))
    assert done.returncode == exit_codes.CONFIG, done
    assert "data-spool.bin cannot be opened (Is a directory)" in sentence(done)


# The gateway --------------------------------------------------------------------------------------------------------------


@pytest.mark.integration
def test_the_data_plane_waits_for_a_gateway_says_so_and_goes_on(settings: Settings, tmp_path: Path) -> None:
    gateway = GatewayProcess(tmp_path / "gateway", "--hold", "--sessions", "2")
    gateway.stop()
    providers = ProvidersProcess()
    publish_config(settings, config(BACKFILL_YEARS=0.2))
    process = DataProcess(
        settings,
        TRIPLANE_GATEWAY_PORT=str(gateway.port),
        TRIPLANE_EDGAR_URL=providers.url,
        TRIPLANE_EDGAR_FILES_URL=providers.url,
        TRIPLANE_FRED_URL=providers.url,
    )

    def answer() -> dict[str, object]:
        try:
            found: dict[str, object] = loopback.get(f"{process.http}/readyz", 5.0).json()
        except (AssertionError, httpx.HTTPError):
            return {}
        return found

    def waiting() -> str:
        reason = str(answer().get("reason", ""))
        return reason if "no TWS or IB Gateway" in reason else ""

    try:
        reason = eventually(waiting, 30, "the reason")
        assert f"127.0.0.1:{gateway.port}" in reason
        assert process.process.poll() is None
        gateway.start()
        eventually(lambda: answer().get("ready"), 60, "readiness once the gateway is there")
        code, errors = process.stop()
        assert code == 0
        assert "Traceback" not in errors
    finally:
        process.kill()
        providers.stop()
        gateway.stop()


# Records that are none ----------------------------------------------------------------------------------------------------


@pytest.mark.integration
def test_a_malformed_configuration_record_changes_nothing(settings: Settings, tmp_path: Path) -> None:
    """The control daemon goes on behind it; the data plane passes it over and takes the next."""
    publish_config(settings, config())
    producer = Producer({"bootstrap.servers": settings.bootstrap})
    for topic in ("control.config", "control.commands"):
        for value in (b"\x00\x00\x00\x00\x07no record", b"nonsense"):
            producer.produce(settings.topic(topic), key=b"x", value=value)
    assert producer.flush(10) == 0
    for name in ("targets.yaml", "assets.csv"):
        shutil.copy(ROOT / name, tmp_path)
    ours = settings.model_copy(
        update={"targets_path": tmp_path / "targets.yaml", "assets_path": tmp_path / "assets.csv", "gateway_port": 9}
    )
    for plane in ("control", "data"):
        _serves_and_takes_a_configuration(plane, ours, tmp_path / f"{plane}.err")
    history = triplane("config", "history", "--json", cwd=tmp_path, variables=variables_of(ours))
    assert history.code == 0
    assert [version["seq"] for version in history.json if not version["unreadable"]] in ([1], [1, 2])
    assert any(version["unreadable"] for version in history.json)


def _serves_and_takes_a_configuration(plane: str, settings: Settings, log: Path) -> None:
    """Start a daemon, see that it serves (and the data plane that it has a configuration), and end it."""
    process = Forked(PLANES[plane], log=log, cwd=ROOT, env=environment(**variables_of(settings)))
    run_file = settings.state_dir / "run" / f"{plane}.json"
    try:
        eventually(lambda: run_file.is_file() or process.poll() is not None, 30, f"{plane} serves")
        assert process.poll() is None, log.read_text()
        if plane == "data":
            eventually(lambda: '"configuration"' in log.read_text(), 30, "a configuration is taken")
        else:
            address = json.loads(run_file.read_text())["http"]
            eventually(
                lambda: process.poll() is not None or loopback.get(f"{address}/readyz", 5.0).status_code == 200,
                30,
                "it is ready",
            )
        assert process.poll() is None, log.read_text()
    finally:
        process.terminate()
        code = process.wait(15)
    assert code == 0, log.read_text()
    assert "Traceback" not in log.read_text()


# Files --------------------------------------------------------------------------------------------------------------------


@pytest.mark.integration
@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("assets.csv", "symbol,name\nAAPL\n", "assets.csv"),
        ("targets.yaml", "strategy:\n  VOL_TARGET: 7\n", "VOL_TARGET"),
        ("targets.yaml", "strategy: [", "targets.yaml"),
    ],
    ids=["assets", "range", "torn"],
)
def test_the_demonstration_refuses_corrupt_files_before_it_starts_anything(
    tmp_path: Path, name: str, content: str, words: str
) -> None:
    for each in ("targets.yaml", "assets.csv"):
        shutil.copy(ROOT / each, tmp_path)
    (tmp_path / name).write_text(content)
    last = tmp_path / ".triplane" / "demo" / "targets.yaml"  # of the last run, which a refused one must leave as it is
    last.parent.mkdir(parents=True)
    last.write_text("kept")
    ran = triplane("demo", "--plain", "--sessions", "2", cwd=tmp_path, timeout=90)
    assert ran.code == 1, ran
    assert words in ran.err
    assert ran.err.startswith("triplane: ")
    assert "Traceback" not in ran.err
    assert "Kafka answers" not in ran.out
    assert [each.name for each in last.parent.iterdir()] == [last.name]
    assert last.read_text() == "kept"


# Started twice ------------------------------------------------------------------------------------------------------------


@pytest.mark.integration
@pytest.mark.parametrize("plane", PLANES)
def test_a_plane_started_twice_is_one_sentence(settings: Settings, plane: str) -> None:
    held = lock(settings, plane)
    try:
        done = run(PLANES[plane], settings)
    finally:
        held.release()
    assert done.returncode == exit_codes.CONFIG
    words = sentence(done)
    assert "already running" in words
    assert "`triplane down`" in words


def test_a_state_directory_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run("triplane.control", local(tmp_path, state_dir=tmp_path / "file" / "state", bootstrap="127.0.0.1:9"))
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert os.fspath(tmp_path / "file") in sentence(done)
