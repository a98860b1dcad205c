"""Exit codes of the daemons, the same under `triplane up`, compose and Kubernetes.

Source: BSD sysexits(3). A supervisor never restarts CONFIG: a restart cannot mend what a person has to.
"""

from __future__ import annotations

OK = 0
UNAVAILABLE = 69
SOFTWARE = 70
CONFIG = 78


class DaemonExit(Exception):
    """Ends a daemon with one sentence for people and an exit code for its supervisor."""

    def __init__(self, sentence: str, code: int = CONFIG) -> None:
        super().__init__(sentence)
        self.code = code
