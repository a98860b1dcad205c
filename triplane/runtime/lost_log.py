"""A log that ends before what is known of it: put back from an earlier moment, or a topic that was deleted and made anew.

Going on from what is there would take old records for the newest ones, so a plane that knows better refuses.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from triplane.runtime.exit_codes import CONFIG, DaemonExit

REMEDY: Final = (
    "put back the topics of one moment, or begin a new log (another TRIPLANE_TOPIC_PREFIX and TRIPLANE_STATE_DIR)"
)


def lost(known_to: Mapping[str, int], ends: Mapping[str, int], who: str) -> str:
    """That a partition ends before what is known of it (`known_to`, next offset by partition), in a sentence; else an empty text.

    `who` knows it, with its verb. Partitions that `ends` does not name are not compared.
    """
    for name, position in sorted(known_to.items()):
        if name in ends and position > ends[name]:
            return f"{name} ends at {ends[name]}, and {who} it up to {position}: records of the log are lost; {REMEDY}"
    return ""


def refuse_shorter(known_to: Mapping[str, int], ends: Mapping[str, int], who: str) -> None:
    """Raise DaemonExit (78) with the sentence of `lost`, where there is one."""
    if found := lost(known_to, ends, who):
        raise DaemonExit(found, CONFIG)
