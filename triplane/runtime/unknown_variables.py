"""TRIPLANE_* variables that nothing reads: most likely misspelt, and what they were to say is not in force.

They are told, not refused: whoever starts a process may set names of its own. Those that Kubernetes sets for a service called
`triplane` (its prefix with SERVICE_HOST, PORT_80_TCP and the like) are passed over.
"""

from __future__ import annotations

import difflib
import os
import re
from typing import NamedTuple

from dotenv import dotenv_values

from triplane.runtime.settings import TEST_VARIABLES, Settings, variable_of

PREFIX = "TRIPLANE_"
_ORCHESTRATORS = re.compile(rf"{PREFIX}(SERVICE_|PORT$|PORT_\d)")


class Unknown(NamedTuple):
    """A variable, and the one whose name comes nearest to it; empty where none does."""

    name: str
    near: str

    def __str__(self) -> str:
        meant = f"; did you mean {self.near}?" if self.near else ", see docs/environment.md"
        return f"{self.name} is no variable of Triplane and has no effect{meant}"


def unknown_variables() -> list[Unknown]:
    """Those of the environment and of `.env`, in alphabetical order."""
    known = [*map(variable_of, Settings.model_fields), "TRIPLANE_CACHE", *TEST_VARIABLES]
    told = {name.upper() for name in (*os.environ, *dotenv_values(".env")) if name.upper().startswith(PREFIX)}
    return [
        Unknown(name, next(iter(difflib.get_close_matches(name, known, n=1, cutoff=0.8)), ""))
        for name in sorted(told.difference(known))
        if not _ORCHESTRATORS.match(name)
    ]
