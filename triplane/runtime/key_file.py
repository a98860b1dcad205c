"""Keys of providers, from the environment or from a file that its owner alone may read. A key is never part of a sentence.

A file is the better place: the environment of a process is seen by whoever may look at it, and is inherited.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from pydantic import SecretStr

from triplane.runtime.settings import Settings

LONGEST = 4096
OTHERS_READ = stat.S_IRGRP | stat.S_IROTH


class KeyMissing(ValueError):
    """There is no key, or its file cannot be used; one sentence with the remedy."""


def fred_key(settings: Settings) -> SecretStr:
    """FRED's key: TRIPLANE_FRED_API_KEY, else what TRIPLANE_FRED_API_KEY_FILE holds. Raises KeyMissing."""
    if settings.fred_api_key.get_secret_value():
        return settings.fred_api_key
    if settings.fred_api_key_file is None:
        raise KeyMissing(
            "FRED wants an API key (free at fred.stlouisfed.org); set TRIPLANE_FRED_API_KEY, or TRIPLANE_FRED_API_KEY_FILE"
        )
    return read(settings.fred_api_key_file, "TRIPLANE_FRED_API_KEY_FILE")


def read(path: Path, variable: str) -> SecretStr:
    """The key in a file, without the white space around it. Raises KeyMissing."""
    named = f"{variable} names {path}"
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            raw = file.read(LONGEST + 1)
    except FileNotFoundError:
        raise KeyMissing(f"{named}, which does not exist; write the key into it, or name the right file") from None
    except OSError as error:
        raise KeyMissing(
            f"{named}, which cannot be read ({error.strerror}); name a file that this user may read"
        ) from None
    if mode & OTHERS_READ:
        raise KeyMissing(f"{named}, which others may read too; run chmod 600 {path}")
    words = raw.split()
    if not words:
        raise KeyMissing(f"{named}, which is empty; write the key into it")
    if len(words) > 1 or len(raw) > LONGEST or not words[0].isascii():
        raise KeyMissing(f"{named}, which holds something else than one key; write the key alone into it")
    return SecretStr(words[0].decode("ascii"))
