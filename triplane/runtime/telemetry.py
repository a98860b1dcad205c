"""Logs and metrics of a daemon: structlog to stderr, prometheus on /metrics.

Names of metrics are in docs/metrics.md; alert rules in deploy/prometheus rest on them.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import sys
from pathlib import Path
from typing import TextIO, cast

import structlog
from aiohttp.http_exceptions import HttpProcessingError
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector


class _NeverFails:
    """A stream whose disk may be full: the line is lost then, and what the line was about goes on (a cancel, for one)."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.flush()


class _NotARequest(logging.Filter):
    """What is no HTTP is answered with 400; a traceback of it would only help whoever sends it to fill the disk."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


def configure_logging(level: str) -> None:
    """Log to stderr: coloured lines on a terminal, JSON elsewhere. Library loggers go the same way, from WARNING up."""
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer() if sys.stderr.isatty() else structlog.processors.JSONRenderer()
    )
    chain: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    libraries = logging.StreamHandler(sys.stderr)
    libraries.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*chain, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    logging.basicConfig(handlers=[libraries], level=logging.WARNING, force=True)
    logging.getLogger("aiohttp.server").addFilter(_NotARequest())
    structlog.configure(
        processors=[*chain, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(cast(TextIO, _NeverFails(sys.stderr))),
        cache_logger_on_first_use=False,
    )


class Metrics:
    """A daemon's metrics in a registry of their own, so that two daemons in one process never collide."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)

    def gauge(self, name: str, help_text: str, labels: tuple[str, ...] = ()) -> Gauge:
        """A value that goes up and down."""
        return Gauge(name, help_text, labels, registry=self.registry)

    def counter(self, name: str, help_text: str, labels: tuple[str, ...] = ()) -> Counter:
        """A value that only grows; prometheus appends `_total`."""
        return Counter(name, help_text, labels, registry=self.registry)

    def histogram(
        self, name: str, help_text: str, buckets: tuple[float, ...], labels: tuple[str, ...] = ()
    ) -> Histogram:
        """A distribution over fixed buckets."""
        return Histogram(name, help_text, labels, buckets=buckets, registry=self.registry)

    def watch_disk(self, directory: Path) -> None:
        """Publish the free bytes of the disk that holds `directory`."""
        gauge = self.gauge("triplane_disk_free_bytes", "Free bytes on the disk of the state directory")
        gauge.set_function(lambda: float(shutil.disk_usage(directory).free))
