"""Apicurio Registry 3.0.9: how it is started on the local Kafka, and a client for what registration needs of it.

Its store is the topic kafkasql-journal in the same Kafka. Ready 8-13 s after start, 260 MB. Daemons do not wait for it:
they take ids from the committed lock; it serves people and other tools.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import ssl
import time
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import getproxies

import httpx

from triplane.runtime import loopback
from triplane.stack import class_archive, java, ports, topics
from triplane.stack.errors import StackError, Unavailable
from triplane.stack.kafka import NO_JAVA
from triplane.stack.process import Child

VERSION = "3.0.9"
HEAP_MB = 256
CLASSES_MB = 60
READY_TIMEOUT_S = 120.0
LEVEL = "FULL_TRANSITIVE"


@dataclass(frozen=True, slots=True)
class RegistryLaunch:
    """What is needed to start the registry: `argv`, with `env` added, reachable at `url` when ready."""

    argv: tuple[str, ...]
    env: dict[str, str]
    url: str


def environment(bootstrap: str, host: str, port: int, snapshots: str, suffix: str = "") -> dict[str, str]:
    """Environment of an Apicurio Registry that stores in Kafka; the same for the jar and the container."""
    journal, snapshot, events = topics.registry_topic_names(suffix)
    return {
        "APICURIO_KAFKASQL_TOPIC": journal,
        "APICURIO_KAFKASQL_SNAPSHOTS_TOPIC": snapshot,
        "APICURIO_EVENTS_KAFKA_TOPIC": events,
        "APICURIO_STORAGE_KIND": "kafkasql",
        "APICURIO_KAFKASQL_BOOTSTRAP_SERVERS": bootstrap,
        "APICURIO_STORAGE_SNAPSHOT_LOCATION": snapshots,
        # Nobody may delete a schema by accident: readers of old records need every version.
        "APICURIO_REST_DELETION_ARTIFACT_ENABLED": "false",
        "QUARKUS_HTTP_HOST": host,
        "QUARKUS_HTTP_PORT": str(port),
        "QUARKUS_HTTP_ACCESS_LOG_ENABLED": "false",
    }


def prepare(directory: Path, bootstrap: str, port: int = 0, suffix: str = "") -> RegistryLaunch:
    """Fetch the registry if need be. Port 0 takes a free one. Its topics must exist before it starts (topics.py)."""
    program = java.find_java()
    if program is None:
        raise StackError(NO_JAVA)
    home = java.registry_home()
    if port:
        ports.require_free(port, "the schema registry", "stop what listens there or choose another")
    else:
        port = ports.free_ports(1)[0]
    snapshots = directory.resolve() / "snapshots"
    snapshots.mkdir(parents=True, exist_ok=True)
    jar = str(home / f"apicurio-registry-app-{VERSION}-runner.jar")
    argv = (
        program, *class_archive.options(program, "apicurio", jar, CLASSES_MB), f"-Xmx{HEAP_MB}m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:+ExitOnOutOfMemoryError",
        "-jar", jar,
    )  # fmt: skip
    env = environment(bootstrap, ports.HOST, port, str(snapshots), suffix)
    return RegistryLaunch(argv, env, f"http://{ports.HOST}:{port}")


def certificates_for(url: str) -> ssl.SSLContext:
    """What `httpx.Client(verify=...)` needs for `url`: the usual certificates where it or a proxy speaks https, else none."""
    addresses = (url, *getproxies().values())
    return httpx.create_ssl_context() if any(a.startswith("https:") for a in addresses) else loopback.trusting_nobody()


class Registry:
    """A client of one registry. Every method raises StackError when it does not answer."""

    def __init__(self, url: str, timeout: float = 30.0) -> None:
        self.url = url.rstrip("/")
        self._http = httpx.Client(timeout=timeout, mounts=loopback.mounts(), verify=certificates_for(self.url))

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Registry:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def is_ready(self) -> bool:
        """Whether it has read its store and answers."""
        try:
            return self._http.get(f"{self.url}/health/ready").status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    def subjects(self) -> set[str]:
        """All subjects."""
        return set(self._ask("GET", "/subjects").json())

    def schema(self, schema_id: int) -> dict[str, Any] | None:
        """Schema under an id, or None."""
        answer = self._ask("GET", f"/schemas/ids/{schema_id}", allow=(404,))
        if answer.status_code == httpx.codes.NOT_FOUND:
            return None
        schema: dict[str, Any] = json.loads(answer.json()["schema"])
        return schema

    def id_of(self, subject: str, text: str) -> int | None:
        """Id of a schema under a subject, or None when it is not registered there."""
        answer = self._ask("POST", f"/subjects/{subject}", {"schema": text, "schemaType": "AVRO"}, allow=(404,))
        return None if answer.status_code == httpx.codes.NOT_FOUND else int(answer.json()["id"])

    def require_full_transitive(self, subject: str) -> None:
        """Set the compatibility of a subject; the registry's own default is NONE."""
        self._ask("PUT", f"/config/{subject}", {"compatibility": LEVEL})

    def level(self, subject: str) -> str:
        """Compatibility level of a subject."""
        return str(self._ask("GET", f"/config/{subject}").json()["compatibilityLevel"])

    def incompatibility(self, subject: str, text: str) -> str | None:
        """Why a schema may not join a subject's versions, or None when it may."""
        body = {"schema": text, "schemaType": "AVRO"}
        answer = self._ask("POST", f"/compatibility/subjects/{subject}/versions?verbose=true", body).json()
        if answer["is_compatible"]:
            return None
        return "; ".join(answer.get("messages") or []) or "not compatible"

    def register(self, subject: str, text: str) -> int:
        """Add a schema to a subject and return its id. Raises StackError when the registry refuses it (409)."""
        answer = self._ask(
            "POST", f"/subjects/{subject}/versions", {"schema": text, "schemaType": "AVRO"}, allow=(409, 422)
        )
        if answer.status_code != httpx.codes.OK:
            raise refusal(subject, str(answer.json().get("message", answer.status_code)))
        return int(answer.json()["id"])

    def place(self, contents: Iterable[tuple[int, str]]) -> None:
        """Put schema texts under given ids, with no subject yet. A text or an id that is there already stays as it is.

        The registry's own numbering cannot be relied on: it takes a number for every registration, also of a text that it
        knows (measured with 3.0.9), so that an id would depend on how often and in which order subjects were filled.
        """
        archive = io.BytesIO()
        manifest = {"systemName": "Triplane", "systemVersion": VERSION, "exportVersion": "3.0", "dbVersion": "101"}
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as out:
            out.writestr("manifest-1970-01-01T00:00:00.000Z.Manifest.json", json.dumps(manifest))
            for schema_id, text in contents:
                digest = hashlib.sha256(text.encode()).hexdigest()
                entity = {
                    "contentId": schema_id, "contentHash": digest, "canonicalHash": digest,
                    "artifactType": "AVRO", "contentType": "application/json",
                }  # fmt: skip
                out.writestr(f"content/{digest}.Content.json", json.dumps(entity))
                out.writestr(f"content/{digest}.Content.data", text)
        self._send(
            "POST",
            f"{self.url}/apis/registry/v3/admin/import?requireEmptyRegistry=false",
            content=archive.getvalue(),
            headers={"Content-Type": "application/zip", "X-Registry-Preserve-ContentId": "true"},
        )

    def _ask(self, method: str, path: str, body: Any = None, allow: tuple[int, ...] = ()) -> httpx.Response:
        return self._send(method, f"{self.url}/apis/ccompat/v7{path}", allow=allow, json=body)

    def _send(self, method: str, url: str, allow: tuple[int, ...] = (), **arguments: Any) -> httpx.Response:
        try:
            answer = self._http.request(method, url, **arguments)
        except httpx.HTTPError as error:
            raise Unavailable(
                f"the schema registry at {self.url} does not answer ({type(error).__name__}); see its log, or start it again"
            ) from None
        if answer.status_code not in allow and not answer.is_success:
            raise StackError(
                f"the schema registry at {self.url} answered {answer.status_code} to {method} {url}: {answer.text[:200]}"
            )
        return answer


def refusal(subject: str, reason: str) -> StackError:
    """The sentence for a schema that the registry does not take."""
    return StackError(
        f"the registry refuses the schema for {subject}: {reason[:300]}; "
        "a committed field keeps its type and every field has a default, so add a new field instead"
    )


def await_ready(url: str, timeout: float = READY_TIMEOUT_S, alive: Callable[[], str | None] = lambda: None) -> None:
    """Wait until a registry answers. `alive` returns why waiting is pointless, or None. Raises StackError."""
    deadline = time.monotonic() + timeout
    with Registry(url) as registry:
        while not registry.is_ready():
            dead = alive()
            if dead:
                raise StackError(dead)
            if time.monotonic() > deadline:
                raise Unavailable(f"the schema registry at {url} is not ready after {timeout:.0f} s; see its log")
            time.sleep(0.1)  # between two questions, not instead of one


class LocalRegistry:
    """A running registry. Use as a context manager, or call `stop`."""

    def __init__(self, url: str, child: Child) -> None:
        self.url = url
        self.child = child

    @classmethod
    def start(cls, directory: Path, bootstrap: str, port: int = 0, suffix: str = "") -> LocalRegistry:
        """Create its topics, start it and wait until it answers. Raises StackError."""
        topics.create_registry_topics(bootstrap, suffix=suffix)
        launch = prepare(directory, bootstrap, port, suffix)
        child = Child(
            "registry", launch.argv, directory / "registry.log", env={**os.environ, **launch.env}, cwd=directory
        )

        def death() -> str | None:
            code = child.poll()
            return None if code is None else f"the schema registry ended with code {code}; see {child.log_path}"

        try:
            await_ready(launch.url, alive=death)
        except BaseException:
            child.kill()
            raise
        return cls(launch.url, child)

    def stop(self) -> None:
        """SIGTERM, SIGKILL after the grace."""
        self.child.stop()

    def __enter__(self) -> LocalRegistry:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.stop()
