"""Companyfacts documents beside the standard library's parser: real ones, where they are at hand."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from data_plane.sources.edgar import companyfacts

DOCUMENTS = Path(__file__).resolve().parents[2] / "shared" / "data" / "sec" / "companyfacts"
LONG_AGO = date(1990, 1, 1)


@dataclass(frozen=True, slots=True)
class Parsing:
    """Megabytes a second of CPU time: ours from bytes to filings, and json.loads of the same bytes to dicts."""

    megabytes: float
    ours: float
    standard: float


def measure() -> Parsing | None:
    """None where the documents are absent."""
    bodies = [gzip.decompress(path.read_bytes()) for path in sorted(DOCUMENTS.glob("*.gz"))]
    if not bodies:
        return None
    size = sum(map(len, bodies)) / 1e6

    def rate(read: Callable[[bytes], object]) -> float:
        best = float("inf")
        for _ in range(5):
            began = time.process_time()
            for body in bodies:
                read(body)
            best = min(best, time.process_time() - began)
        return size / best

    return Parsing(size, rate(lambda body: companyfacts.parse("X", "url", body, {}, LONG_AGO, 0)), rate(json.loads))
