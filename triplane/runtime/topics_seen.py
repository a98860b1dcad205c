"""Which topics a daemon has read, by the ids that Kafka gave them, kept over restarts.

Made anew, a topic has another id (KIP-516). Lengths alone would not tell it: who writes the topic goes on, and the new one is soon as
long as the old.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path

from triplane.runtime import atomic_file
from triplane.runtime.exit_codes import CONFIG, DaemonExit
from triplane.runtime.lost_log import REMEDY
from triplane.runtime.settings import Settings


class TopicsSeen:
    """The ids of `daemon`'s topics, by their names in the catalogue, in a file of the state folder. Not thread-safe."""

    def __init__(self, settings: Settings, daemon: str) -> None:
        self._prefix = settings.topic_prefix
        self._path: Path = settings.state_dir / f"{daemon}-topics.json"
        self._ids = self._read()

    def compare(self, ids: Mapping[str, str]) -> None:
        """Remember ids that are new. Raises DaemonExit (78) where a topic has another one than before."""
        for topic, first in self._ids.items():
            if ids.get(topic, first) != first:
                raise DaemonExit(
                    f"{topic} was deleted and made anew since this daemon first read it: records of the log are lost; {REMEDY}; "
                    f"where its records were put back whole, remove {self._path}",
                    CONFIG,
                )
        if ids.keys() - self._ids.keys():
            self._ids = {**ids, **self._ids}
            self._write()

    def _read(self) -> dict[str, str]:
        """As noted by an earlier process; nothing where the file is not there, damaged, or about topics of another prefix."""
        try:
            document = atomic_file.read_json(self._path)
            ids = document["ids"] if document["prefix"] == self._prefix else {}
            return {topic: told for topic, told in ids.items() if isinstance(told, str) and told}
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise DaemonExit(f"{self._path} cannot be read ({error}): remove it", CONFIG) from None
        except (ValueError, KeyError, TypeError, AttributeError):
            return {}

    def _write(self) -> None:
        if self._path.parent.is_dir():  # else somebody removed the state, and the log with it
            with contextlib.suppress(OSError):  # then lengths still tell the most of it
                atomic_file.write_json(self._path, {"prefix": self._prefix, "ids": self._ids}, durable=True)
