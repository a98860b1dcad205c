"""What a source logs, as sentences for the person who waits for it."""

from __future__ import annotations

import logging
from collections.abc import Callable, MutableMapping
from typing import Any, cast

import structlog


def told_log(tell: Callable[[str, str], None]) -> structlog.stdlib.BoundLogger:
    """A logger whose warnings and errors go to `tell(line, reason)`; what is of lesser weight is left out."""

    def told(_: object, __: str, event: MutableMapping[str, Any]) -> str:
        reason = str(event.pop("reason", ""))
        said = str(event.pop("event"))
        named = ", ".join(f"{name} {value}" for name, value in event.items())
        tell(f"{said}{f' ({named})' if named else ''}{f': {reason}' if reason else ''}", reason)
        raise structlog.DropEvent

    return cast(
        structlog.stdlib.BoundLogger,
        structlog.wrap_logger(
            structlog.PrintLogger(),
            processors=[told],
            wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        ),
    )
