"""Raw responses of a provider, kept on disk as they came: a parser that was wrong is repaired by reading them again.

    <directory>/<source>/index.jsonl        a line for each response that differed from the one before it
    <directory>/<source>/bodies/ab/<sha>.gz  its body, once for each content

A body is on disk before the line that names it, and a line that a crash cut short is taken off at the next start, so what the index names
can be read. One process writes (the Data Plane holds its state directory); any may read. Keys (`api_key`) are never written.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlencode

from triplane.runtime import atomic_file

INDEX = "index.jsonl"
SECRET_PARAMETERS = frozenset({"api_key", "apikey", "token"})
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
    kept = sorted((name, value) for name, value in (parameters or {}).items() if name not in SECRET_PARAMETERS)
    return f"{url}?{urlencode(kept)}" if kept else url


class ResponseArchive:
    """Responses of one source. Raises DamagedArchiveError when the index cannot be read, OSError from the disk."""

    def __init__(self, directory: Path, source: str) -> None:
        self._directory = directory / source
        self._index = self._directory / INDEX
        self._latest: dict[str, Stored] = {}
        for stored in self._read():
            self._latest[stored.key] = stored

    def __len__(self) -> int:
        return len(self._latest)

    def requests(self) -> list[str]:
        """What has been asked, sorted."""
        return sorted(self._latest)

    def latest(self, key: str) -> Stored | None:
        """The newest response to a request, or None."""
        return self._latest.get(key)

    def body(self, stored: Stored) -> bytes:
        """A response's body, checked against its hash."""
        path = self._path(stored.sha256)
        try:
            body = gzip.decompress(path.read_bytes())
        except (EOFError, gzip.BadGzipFile) as error:
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
        before = self._latest.get(key)
        if before is not None and (before.sha256, before.etag, before.last_modified) == (
            stored.sha256,
            etag,
            last_modified,
        ):
            return before
        path = self._path(stored.sha256)
        if not path.is_file():
            atomic_file.write(path, gzip.compress(body, LEVEL, mtime=0), durable=True)
        with self._index.open("ab") as file:
            file.write(json.dumps(asdict(stored)).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self._latest[key] = stored
        return stored

    def _path(self, sha256: str) -> Path:
        return self._directory / "bodies" / sha256[:2] / f"{sha256}.gz"

    def _read(self) -> Iterator[Stored]:
        """Every line; one without an end is what a crash left, and is taken off."""
        if not self._index.is_file():
            return
        content = self._index.read_bytes()
        whole, _, torn = content.rpartition(b"\n")
        if torn:
            atomic_file.write(self._index, whole + b"\n" if whole else b"", durable=True)
        for number, line in enumerate(whole.splitlines(), 1):
            try:
                yield Stored(**json.loads(line))
            except (ValueError, TypeError) as error:
                raise DamagedArchiveError(
                    f"{self._index}, line {number}, is none of ours ({error}); move the folder away, and everything is fetched again"
                ) from None
