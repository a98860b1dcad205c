"""The files that people edit, targets.yaml and assets.csv, as bytes: whoever looks at them may neither wait nor run out of memory."""

from __future__ import annotations

import errno
import os  # noqa: TID251 - for the services
import stat
from pathlib import Path  # noqa: TID251 - for the services
from typing import Final

FILE_MAX_BYTES: Final = 4 << 20
"""Longest file that is read: a universe of ten thousand rows takes half of it, and a larger one is something else by mistake."""


def read_bytes(path: Path) -> bytes:
    """Bytes of a configuration file; OSError when it cannot be read or is longer than FILE_MAX_BYTES, which is no such file.

    Anything but a regular file is refused: a pipe would be waited for without end.
    """
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        data = file.read(FILE_MAX_BYTES + 1)
    if len(data) > FILE_MAX_BYTES:
        raise OSError(errno.EFBIG, f"longer than {FILE_MAX_BYTES >> 20} MiB, which no configuration is")
    return data
