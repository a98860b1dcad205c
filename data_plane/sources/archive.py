"""Raw responses of a provider, kept on disk as they came: a parser that was wrong is repaired by reading them again.

    <directory>/<source>/index.jsonl        a line for each response that differed from the one before it
    <directory>/<source>/bodies/ab/<sha>.gz  its body, once for each content

A body is on disk before the line that names it. A line that a crash or a full disk cut short is passed over, and the next one begins on a
line of its own, so what the index names can be read. One process writes (the Data Plane holds its state directory); any may read.
Keys, and names and passwords in an address, are never written; a body that repeats a key is not kept. The newest KEPT bodies of a request stay, older ones go.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import threading
import zlib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from urllib.parse import parse_qsl, quote, quote_plus, urlencode, urlsplit, urlunsplit

from triplane.runtime import atomic_file

INDEX = "index.jsonl"
SECRET_WORDS = ("key", "token", "secret", "password")
# Characters; a shorter value would be found in any text.
SECRET_LENGTH = 8
# Bodies of one request: enough to see what a correction changed, and bounded.
KEPT = 8
# Speed before size: JSON shrinks to a twelfth at the fastest level.
LEVEL = 1


class DamagedArchiveError(ValueError):
    """The archive holds something that it cannot have written; the sentence says what and what to do."""


@dataclass(frozen=True, slots=True)
class Stored:
    """One response. `at` is when it came (ns UTC of the machine), `sha256` that of its body."""

    key: str
    at: int
    sha256: str
    etag: str = ""
    last_modified: str = ""


def request_key(url: str, parameters: Mapping[str, str] | None) -> str:
    """What is asked, in one line, without secrets."""
    parts = urlsplit(url)
    pairs = [*parse_qsl(parts.query, keep_blank_values=True), *(parameters or {}).items()]
    kept = sorted((name, value) for name, value in pairs if not any(word in name.lower() for word in SECRET_WORDS))
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, urlencode(kept), ""))


def secrets(url: str, parameters: Mapping[str, str] | None) -> list[bytes]:
    """Values of a request that `request_key` leaves out, as they are and as they stand in an address, if they are long enough to be one."""
    pairs = [*parse_qsl(urlsplit(url).query), *(parameters or {}).items()]
    values = {value for name, value in pairs if any(word in name.lower() for word in SECRET_WORDS)}
    values = {value for value in (*values, urlsplit(url).password or "") if len(value) >= SECRET_LENGTH}
    return sorted({form.encode() for value in values for form in (value, quote(value, safe=""), quote_plus(value))})


class ResponseArchive:
    """Responses of one source. Raises DamagedArchiveError when the index cannot be read, OSError from the disk."""

    def __init__(self, directory: Path, source: str) -> None:
        self._directory = directory / source
        self._index = self._directory / INDEX
        self._latest: dict[str, Stored] = {}
        self._bodies: dict[str, dict[str, Stored]] = defaultdict(dict)
        """Responses to each request by their body, oldest first."""
        self._writing = threading.Lock()
        for stored in self._read():
            self._note(stored)

    def requests(self) -> list[str]:
        """What has been asked, sorted."""
        return sorted(self._latest)

    def latest(self, key: str) -> Stored | None:
        """The newest response to a request, or None."""
        return self._latest.get(key)

    def kept(self, key: str) -> list[Stored]:
        """Responses to a request whose bodies are still there, newest first."""
        return [stored for stored in reversed(self._bodies.get(key, {}).values()) if self.has_body(stored)]

    def lost(self, key: str) -> list[str]:
        """A sentence for each body of a request that should be there and is not; those that newer ones displaced should not."""
        newest = list(self._bodies.get(key, {}).values())[-KEPT:]
        return [
            f"{self._path(stored.sha256)} is missing, a response to {key}"
            for stored in newest
            if not self.has_body(stored)
        ]

    def body(self, stored: Stored) -> bytes:
        """A response's body, checked against its hash."""
        path = self._path(stored.sha256)
        try:
            body = gzip.decompress(path.read_bytes())
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise DamagedArchiveError(f"{path} is damaged ({error}); delete it, and it is fetched again") from None
        if hashlib.sha256(body).hexdigest() != stored.sha256:
            raise DamagedArchiveError(
                f"{path} has another content than its name says; delete it, and it is fetched again"
            )
        return body

    def has_body(self, stored: Stored) -> bool:
        """Whether a response's body is still there."""
        return self._path(stored.sha256).is_file()

    def store(self, key: str, at: int, body: bytes, *, etag: str = "", last_modified: str = "") -> Stored:
        """Keep a response; one that says the same as the newest adds nothing."""
        stored = Stored(key, at, hashlib.sha256(body).hexdigest(), etag, last_modified)
        with self._writing:
            path = self._path(stored.sha256)
            if not _holds(path, body):
                atomic_file.write(path, gzip.compress(body, LEVEL, mtime=0), durable=True)
            before = self._latest.get(key)
            if before is not None and replace(stored, at=before.at) == before:
                return before
            self._append(json.dumps(asdict(stored)).encode() + b"\n")
            self._note(stored)
            self._prune(key)
        return stored

    def _append(self, line: bytes) -> None:
        with self._index.open("ab+") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":  # a write that was cut short
                    line = b"\n" + line
            file.write(line)
            file.flush()
            os.fsync(file.fileno())

    def _note(self, stored: Stored) -> None:
        self._latest[stored.key] = stored
        bodies = self._bodies[stored.key]
        bodies.pop(stored.sha256, None)
        bodies[stored.sha256] = stored

    def _prune(self, key: str) -> None:
        """Take off the oldest bodies of a request, unless another request has them as well."""
        bodies = self._bodies[key]
        while len(bodies) > KEPT:
            oldest = next(iter(bodies))
            del bodies[oldest]
            if not any(oldest in others for others in self._bodies.values()):
                self._path(oldest).unlink(missing_ok=True)

    def _path(self, sha256: str) -> Path:
        return self._directory / "bodies" / sha256[:2] / f"{sha256}.gz"

    def _read(self) -> Iterator[Stored]:
        """Every whole line. One that is not whole was cut short by a crash or a full disk; one that is whole and not ours is damage."""
        if not self._index.is_file():
            return
        for number, line in enumerate(self._index.read_bytes().split(b"\n"), 1):
            if not line.endswith(b"}"):
                continue
            try:
                stored = Stored(**json.loads(line))
                if not all(
                    isinstance(text, str) for text in (stored.key, stored.sha256, stored.etag, stored.last_modified)
                ):
                    raise TypeError("a field is no text")
                yield stored
            except (ValueError, TypeError, RecursionError) as error:
                raise DamagedArchiveError(
                    f"{self._index}, line {number}, is none of ours ({error}); move the folder away, and everything is fetched again"
                ) from None


def _holds(path: Path, body: bytes) -> bool:
    """Whether a kept body is the one that came: a damaged one is written anew."""
    try:
        return gzip.decompress(path.read_bytes()) == body
    except (EOFError, OSError, zlib.error):
        return False
