"""docker-compose.yml is the production shape of what the supervisor starts. Checked without an engine."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal, cast
from urllib.parse import urlsplit

import pytest
from pydantic import BaseModel, ConfigDict, Field
from ruamel.yaml import YAML

from tests.waiting import settles
from triplane.paper.server import control_http, options
from triplane.runtime import numerics
from triplane.runtime.settings import Settings
from triplane.stack import docker, registry
from triplane.stack.installation import Installation, PaperMarket
from triplane.stack.process import GRACE_S, Child

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = ROOT / "docker-compose.yml"
DAEMONS = ("control", "order", "strategy", "data")
JOBS = ("topics", "schemas", "market")
OURS = (*DAEMONS, *JOBS, "gateway", "providers")


class Strict(BaseModel):
    """Unknown keys are mistakes."""

    model_config = ConfigDict(extra="forbid")


class Condition(Strict):
    """What a service waits for in another."""

    condition: Literal["service_started", "service_healthy", "service_completed_successfully"]


class Healthcheck(Strict):
    """How the engine asks a container."""

    test: list[str] = Field(min_length=2)
    interval: str = Field(pattern=r"^\d+s$")
    timeout: str = Field(pattern=r"^\d+s$")
    retries: int


class Build(Strict):
    """Where the image comes from."""

    context: str
    dockerfile: str


class Service(Strict):
    """The part of the compose specification that the file uses."""

    image: str
    build: Build | None = None
    command: list[str] | None = None
    environment: dict[str, str] = Field(default_factory=dict)
    volumes: list[str] = Field(default_factory=list)
    ports: list[str] = Field(default_factory=list)
    depends_on: dict[str, Condition] = Field(default_factory=dict)
    restart: Literal["no", "always", "on-failure", "unless-stopped"]
    stop_grace_period: str = Field(pattern=r"^\d+s$")
    healthcheck: Healthcheck | None = None
    init: bool = False


class Compose(BaseModel):
    """The file: extensions (x-...) beside services and volumes."""

    model_config = ConfigDict(extra="allow")
    services: dict[str, Service]
    volumes: dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def compose() -> Compose:
    """The file, with its anchors resolved."""
    found = Compose.model_validate(YAML(typ="safe").load(COMPOSE.read_text(encoding="utf-8")))
    assert all(key.startswith("x-") for key in (found.model_extra or {}))
    return found


@pytest.fixture(scope="module")
def installation() -> Installation:
    """What `triplane up` starts with the simulated market."""
    market = PaperMarket("2018-01-22", 250, port=4002, http_port=4003, providers_port=4004)
    return Installation(
        Path("state"), "kafka:29092", Path("targets.yaml"), Path("assets.csv"), "http://registry:8080", market=market
    )


def compose_program() -> list[str] | None:
    """Compose as a plugin of docker, else as a program of its own, else None."""
    if (
        shutil.which("docker")
        and subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode == 0
    ):
        return ["docker", "compose"]
    return ["docker-compose"] if shutil.which("docker-compose") else None


def test_compose_itself_accepts_the_file() -> None:
    """Its own reading, without an engine."""
    program = compose_program()
    if program is None:
        pytest.skip("neither `docker compose` nor `docker-compose` is installed")
    done = subprocess.run(
        [*program, "-f", str(COMPOSE), "config", "-q"], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr


def test_references_hold(compose: Compose) -> None:
    """Who is waited for exists, is healthy by a check of its own, and no wait goes in a circle; volumes are declared."""
    order: list[str] = []

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, f"{' -> '.join(path)} -> {name}"
        for other, wait in compose.services[name].depends_on.items():
            visit(other, (*path, name))
            if wait.condition == "service_healthy":
                assert compose.services[other].healthcheck is not None, f"{name} waits for the health of {other}"
            if wait.condition == "service_completed_successfully":
                assert other in JOBS
        order.append(name)

    for name in compose.services:
        visit(name, ())
    for service in compose.services.values():
        for volume in service.volumes:
            source = volume.split(":")[0]
            assert source in compose.volumes or (ROOT / source).exists()


def test_every_process_of_the_supervisor_is_a_service_with_its_command(
    compose: Compose, installation: Installation
) -> None:
    """Same program, same module, and nothing of ours that the supervisor does not know."""
    specs = {spec.name: spec for spec in installation.specs()}
    assert set(OURS) - set(JOBS) == specs.keys()
    assert compose.services.keys() - set(OURS) == {"kafka", "registry", "prometheus"}
    for name in DAEMONS:
        assert compose.services[name].command == ["python", *list(specs[name].argv)[1:]]
    for name in ("gateway", "providers"):
        command = compose.services[name].command
        assert command is not None
        assert command[1:3] == list(specs[name].argv)[1:3]
    ours = options.parse(list(specs["gateway"].argv)[3:])
    theirs = options.parse((compose.services["gateway"].command or [])[3:])
    differ = {name for name in options.Options.__dataclass_fields__ if getattr(ours, name) != getattr(theirs, name)}
    # A start of `up` has an id, so that its market waits for its planes; compose restarts each container by itself.
    assert differ <= {"host", "state_dir", "assets", "targets", "start_id"}


def test_services_wait_for_what_the_supervisor_waits_for(compose: Compose, installation: Installation) -> None:
    """And every writer waits for the topics."""
    for spec in installation.specs():
        assert set(spec.after) <= compose.services[spec.name].depends_on.keys(), spec.name
    for name in DAEMONS:
        assert compose.services[name].depends_on["topics"].condition == "service_completed_successfully"
    assert compose.services["registry"].depends_on.keys() == {"topics"}
    assert not {name for name in DAEMONS if "registry" in compose.services[name].depends_on}


def test_environment_is_the_supervisors(compose: Compose, installation: Installation) -> None:
    """Same variables; values differ only where a container's name or path takes the place of a local one."""
    wanted = {**installation.environment(), **numerics.PINS, **numerics.X86_PINS, "PYTHONUNBUFFERED": "1"}
    wanted = {name: value for name, value in wanted.items() if value}
    elsewhere = {"TRIPLANE_HTTP_HOST", "TRIPLANE_HTTP_PORT"}
    for name in OURS:
        environment = compose.services[name].environment
        assert environment.keys() - elsewhere == wanted.keys() - elsewhere, name
        for variable, value in wanted.items():
            if variable not in elsewhere and not re.search(r"_(DIR|PATH|URL|HOST|HTTP)$", variable):
                assert environment[variable] == value, variable
    fields = {f"TRIPLANE_{field.upper()}" for field in Settings.model_fields}
    assert {name for name in compose.services["data"].environment if name.startswith("TRIPLANE_")} <= fields


def test_addresses_lead_to_a_service_that_listens_there(compose: Compose, installation: Installation) -> None:
    """Host and port of every URL; who asks for one's own health asks at that port, too."""
    local = installation.environment()
    providers = compose.services["providers"]
    assert providers.command is not None
    assert f"--port={urlsplit(local['TRIPLANE_EDGAR_URL']).port}" in providers.command
    listens: dict[str, set[int | None]] = {
        "gateway": {urlsplit(local["TRIPLANE_GATEWAY_HTTP"]).port},
        "providers": {urlsplit(local["TRIPLANE_EDGAR_URL"]).port},
        "registry": {int(compose.services["registry"].environment["QUARKUS_HTTP_PORT"])},
    }
    for name in OURS:
        environment = compose.services[name].environment
        urls = {key: urlsplit(value) for key, value in environment.items() if re.search(r"_(URL|HTTP)$", key)}
        assert urls
        for variable, url in urls.items():
            assert url.port in listens[url.hostname or ""], variable
        assert environment["TRIPLANE_GATEWAY_HOST"] in compose.services
    for name in ("gateway", "providers", "registry"):
        check = compose.services[name].healthcheck
        assert check is not None
        asked = re.search(r"(?:127\.0\.0\.1|localhost)(?::|', )(\d+)", check.test[-1])
        assert asked is not None
        assert int(asked[1]) in listens[name], name
    begin = re.search(r"http://(\S+?):(\d+)(/\w+)'", (compose.services["market"].command or [""])[-1])
    assert begin is not None
    assert (begin[1], int(begin[2])) == ("gateway", *listens["gateway"])
    routes = control_http.application(cast(Any, None), cast(Any, None)).router.routes()
    assert ("POST", begin[3]) in {(route.method, route.resource.canonical) for route in routes if route.resource}


def test_paths_lie_in_what_is_mounted(compose: Compose) -> None:
    """A path of a container is on a volume, and the files of this folder are there under their names."""
    for name in OURS:
        service = compose.services[name]
        mounts = {Path(volume.split(":")[1]): volume.split(":")[0] for volume in service.volumes}
        paths = [value for key, value in service.environment.items() if re.search(r"_(DIR|PATH)$", key)]
        paths += [word.split("=", 1)[1] for word in service.command or [] if re.match(r"--(state-dir|assets|targets)=", word)]  # fmt: skip
        assert len(paths) >= 3
        for path in map(Path, paths):
            source = next((mounts[mount] for mount in mounts if path.is_relative_to(mount)), None)
            assert source is not None, f"{name}: nothing is mounted at {path}"
            if source == ".":
                assert (ROOT / path.name).exists(), path


def test_kafka_and_registry_have_the_local_stacks_settings(compose: Compose) -> None:
    """One table each, in code; the file repeats it exactly."""
    assert compose.services["kafka"].image == docker.KAFKA_IMAGE
    assert compose.services["kafka"].environment == docker.kafka_environment("127.0.0.1", 9092, "kafka")
    assert compose.services["registry"].image == docker.REGISTRY_IMAGE
    expected = registry.environment("kafka:29092", "0.0.0.0", 8080, "/tmp")
    assert compose.services["registry"].environment == expected


def test_what_is_published_is_published_on_loopback(compose: Compose) -> None:
    """And no two services take one port."""
    published = [port for service in compose.services.values() for port in service.ports]
    assert all(re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port) for port in published)
    assert len({port.split(":")[1] for port in published}) == len(published)


def test_stop_and_restart(compose: Compose) -> None:
    """Ten seconds of grace for daemons; long-running ones come back, jobs end; the entry point knows code 78."""
    for name in OURS:
        service = compose.services[name]
        assert service.stop_grace_period == f"{GRACE_S:.0f}s"
        assert service.restart == ("on-failure" if name in JOBS else "unless-stopped")
        assert service.init
        assert service.build == Build(context=".", dockerfile="deploy/docker/Dockerfile")
    for name in DAEMONS:
        check = compose.services[name].healthcheck
        assert check is not None
        assert f":{compose.services[name].environment['TRIPLANE_HTTP_PORT']}/readyz" in check.test[-1]
    dockerfile = (ROOT / "deploy" / "docker" / "Dockerfile").read_text()
    assert 'ENTRYPOINT ["python", "-m", "triplane.stack.hold"]' in dockerfile
    user = dockerfile.split("FROM")[-1]
    assert re.search(r"^USER triplane$", user, re.MULTILINE)


def test_the_image_copies_what_exists() -> None:
    """Every source of a COPY is there and passes the ignore file."""
    dockerfile = (ROOT / "deploy" / "docker" / "Dockerfile").read_text()
    ignore = (ROOT / "deploy" / "docker" / "Dockerfile.dockerignore").read_text().splitlines()
    allowed = {line[1:] for line in ignore if line.startswith("!")}
    for line in re.findall(r"^COPY (?!--)(.*)$", dockerfile, re.MULTILINE):
        for source in line.replace("${CLIENT}", "ib-insync").split()[:-1]:
            assert (ROOT / source).exists(), source
            assert source.split("/")[0] in allowed


def test_prometheus_scrapes_the_daemons_that_compose_starts(compose: Compose) -> None:
    """Same names, same port."""
    config = YAML(typ="safe").load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())
    jobs = {job["job_name"]: job["static_configs"][0]["targets"] for job in config["scrape_configs"]}
    assert jobs == {name: [f"{name}:{compose.services[name].environment['TRIPLANE_HTTP_PORT']}"] for name in DAEMONS}


def held(tmp_path: Path, code: str) -> Child:
    """A program behind the image's entry point."""
    return Child(
        "held", [sys.executable, "-m", "triplane.stack.hold", sys.executable, "-c", code], tmp_path / "log", cwd=ROOT
    )


def test_the_entry_point_holds_at_78_and_passes_everything_else_on(tmp_path: Path) -> None:
    """78: stays, says so, ends with 78 when told to. Else: the program's own code."""
    assert held(tmp_path, "raise SystemExit(70)").wait(60) == 70
    assert held(tmp_path, "").wait(60) == 0
    child = held(tmp_path, "import sys; print('order: mode is paper, the gateway is live'); sys.exit(78)")
    try:
        settles(lambda: any("a restart cannot mend" in line for line in child.tail()), what="the last word")
        assert child.poll() is None
        child.signal(signal.SIGTERM)
        assert child.wait(60) == 78
    finally:
        child.kill()


def test_the_entry_point_passes_signals_on(tmp_path: Path) -> None:
    """The program winds down by itself and its code is the container's."""
    up = tmp_path / "up"
    code = (
        "import os, signal, time, pathlib\nsignal.signal(signal.SIGTERM, lambda *_: os._exit(3))\n"
        f"pathlib.Path({str(up)!r}).touch()\ntime.sleep(600)"
    )
    child = held(tmp_path, code)
    try:
        settles(up.exists, what="the program")
        child.signal(signal.SIGTERM)
        assert child.wait(60) == 3
    finally:
        child.kill()
