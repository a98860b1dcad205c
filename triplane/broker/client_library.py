"""The one import of the Interactive Brokers client: ib_insync 0.9.86 or its maintained fork ib_async 2.1, whichever is installed.

Both use the same names for what Triplane needs, and both install a top-level `eventkit`, so they never share an environment. The
rest of Triplane imports the client's classes from here and from nowhere else.
"""

from __future__ import annotations

import asyncio
import logging
from importlib import import_module
from importlib.util import find_spec
from typing import Any

LIBRARIES = ("ib_insync", "ib_async")


class ClientLibraryError(ImportError):
    """No usable Interactive Brokers client in this environment."""


def _choose() -> str:
    installed = [name for name in LIBRARIES if find_spec(name) is not None]
    if not installed:
        raise ClientLibraryError(
            "no Interactive Brokers client is installed; install triplane[ib-insync] or triplane[ib-async]"
        )
    if len(installed) > 1:
        raise ClientLibraryError(
            "ib_insync and ib_async are both installed and overwrite each other's eventkit; "
            "uninstall both with their eventkit packages, then install one"
        )
    return installed[0]


def _load(name: str) -> Any:
    # ib_insync's eventkit asks the policy for a loop at import and raises without one (after asyncio.run, or in a thread). The loop
    # made here is only there for the import: both clients look the running loop up again when they connect.
    policy = asyncio.get_event_loop_policy()
    try:
        policy.get_event_loop()
    except RuntimeError:
        temporary = policy.new_event_loop()
        policy.set_event_loop(temporary)
        try:
            return import_module(name)
        finally:
            policy.set_event_loop(None)
            temporary.close()
    return import_module(name)


class _BrokersWords(logging.Filter):
    """What the broker answers is an event that the planes handle: kept in the log, but no error of this program."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno > logging.WARNING:
            record.levelno, record.levelname = logging.WARNING, logging.getLevelName(logging.WARNING)
        return True


LIBRARY: str = _choose()
# What it says of a connection that fails is said by us, in a sentence with the remedy, where people look.
logging.getLogger(f"{LIBRARY}.client").setLevel(logging.CRITICAL)
logging.getLogger(f"{LIBRARY}.wrapper").addFilter(_BrokersWords())
_module: Any = _load(LIBRARY)
_wrapper: Any = import_module(f"{LIBRARY}.wrapper")
_decoder: Any = import_module(f"{LIBRARY}.decoder")
_objects: Any = import_module(f"{LIBRARY}.objects")

VERSION: str = str(_module.__version__)
IB: Any = _module.IB
Client: Any = _module.Client
Wrapper: Any = _wrapper.Wrapper
Decoder: Any = _decoder.Decoder
Contract: Any = _module.Contract
Order: Any = _module.Order
TagValue: Any = _module.TagValue
ExecutionFilter: Any = _objects.ExecutionFilter
RequestError: Any = _wrapper.RequestError

UNSET_DOUBLE = 1.7976931348623157e308
UNSET_INTEGER = 2**31 - 1
