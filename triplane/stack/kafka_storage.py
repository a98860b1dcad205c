"""Format of a local Kafka's data directory: made by Kafka's own tool the first time, copied from then on.

The tool is a Java program of its own and takes a third of a broker's start. What it writes beside the ids in meta.properties, the levels of
the features that a new cluster begins with (bootstrap.checkpoint), depends on the release and on its arguments alone. Wherever the copy
cannot be kept or is not what was kept, the tool runs again.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import subprocess
import uuid
from base64 import b64decode, b64encode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from pathlib import Path

from triplane.runtime import atomic_file
from triplane.runtime.settings import cache_root
from triplane.stack.errors import StackError

IDS = "meta.properties"
"""Kafka takes a directory with this file for formatted, hence it is written last."""
FEATURES = "bootstrap.checkpoint"
TOOL = ("kafka.tools.StorageTool", "format", "--ignore-formatted")


def _new_id() -> str:
    """A random id as Kafka writes them: 128 bits in 22 characters."""
    return urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()


def _cluster_id(data_dir: Path) -> str:
    """Cluster id that a data directory was formatted with; empty where it cannot be read."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        text = (data_dir / IDS).read_text(encoding="utf-8")
        if match := re.search(r"^cluster\.id=(.+)$", text, re.MULTILINE):
            return match.group(1).strip()
    return ""


def formatted(data_dir: Path, config: Path, jars: Path, program: Callable[[], Sequence[str]]) -> str:
    """Format `data_dir` for node 1, as `config` names it, unless it is; returns the id of its cluster.

    `program` gives the command line of a Java with the class path of `jars`. Raises StackError.
    """
    if not (data_dir / IDS).exists():
        cluster_id = _new_id()
        key = hashlib.sha256(" ".join((jars.name, *TOOL)).encode()).hexdigest()[:12]
        kept = cache_root() / f"kafka-format-{key}.json"
        if not _copy(kept, data_dir, cluster_id):
            # An id may begin with a dash.
            _run([*program(), *TOOL, f"--cluster-id={cluster_id}", "--config", str(config)], data_dir)
            _keep(data_dir, kept)
    # What is on disk counts: of two who format at once one is the last.
    return _cluster_id(data_dir) or _new_id()


def _run(command: Sequence[str], data_dir: Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise StackError(
            f"Kafka cannot format {data_dir}: {lines[-1] if lines else done.returncode}; empty that directory"
        )


def _keep(data_dir: Path, kept: Path) -> None:
    """Keep for the next ones what the tool has written, if that is what is expected of it."""
    with contextlib.suppress(OSError):
        if sorted(path.name for path in data_dir.iterdir()) == [FEATURES, IDS]:
            features = (data_dir / FEATURES).read_bytes()
            document = {"features": b64encode(features).decode(), "sha256": hashlib.sha256(features).hexdigest()}
            atomic_file.write_json(kept, document)


def _copy(kept: Path, data_dir: Path, cluster_id: str) -> bool:
    """Whether an empty `data_dir` has the kept format now."""
    try:
        document = atomic_file.read_json(kept)
        features = b64decode(document["features"], validate=True)
        if hashlib.sha256(features).hexdigest() != document["sha256"] or any(data_dir.iterdir()):
            return False
        ids = {"version": 1, "node.id": 1, "cluster.id": cluster_id, "directory.id": _new_id()}
        atomic_file.write(data_dir / FEATURES, features, durable=True)
        atomic_file.write(data_dir / IDS, "".join(f"{name}={value}\n" for name, value in ids.items()), durable=True)
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return True
