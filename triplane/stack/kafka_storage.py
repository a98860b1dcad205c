"""Format of a local Kafka's data directory: made once by Kafka's own tool, copied from then on.

The tool is a Java program of its own and takes a third of a broker's start. What it writes beside the ids in meta.properties, the levels of
the features that a new cluster begins with (bootstrap.checkpoint), depends on the release alone.
"""

from __future__ import annotations

import shutil
import subprocess
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from pathlib import Path

from triplane.runtime import atomic_file
from triplane.stack import java
from triplane.stack.errors import StackError

IDS = "meta.properties"
"""Kafka takes a directory with this file for formatted, hence it is written last."""
FEATURES = "bootstrap.checkpoint"


def new_id() -> str:
    """A random id as Kafka writes them: 128 bits in 22 characters."""
    return urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()


def format_storage(data_dir: Path, cluster_id: str, jars: Path, tool: Sequence[str]) -> None:
    """Format `data_dir` for node 1 of `cluster_id`, unless it is.

    `tool` is the command line that does so, for the first time with these `jars`. Raises StackError.
    """
    if (data_dir / IDS).exists():
        return

    def fill(kept: Path) -> None:
        done = subprocess.run(tool, capture_output=True, text=True, check=False, timeout=60)
        if done.returncode != 0:
            lines = (done.stderr or done.stdout).strip().splitlines()
            raise StackError(
                f"Kafka cannot format {data_dir}: {lines[-1] if lines else done.returncode}; empty that directory"
            )
        shutil.copyfile(data_dir / FEATURES, kept / FEATURES)

    kept = java.cached("kafka-format", jars.name, fill)
    if (data_dir / IDS).exists():
        return
    try:
        shutil.copyfile(kept / FEATURES, data_dir / FEATURES)
        atomic_file.write(data_dir / IDS, f"version=1\nnode.id=1\ncluster.id={cluster_id}\ndirectory.id={new_id()}\n")
    except OSError as error:
        raise StackError(f"Kafka cannot format {data_dir}: {error.strerror}; empty that directory") from None
