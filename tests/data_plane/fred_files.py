"""The real FRED and ALFRED bodies among the shared data."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

from data_plane.observations import Vintage
from data_plane.sources.fred.answers import parse_observations

GDP_ALL = "series_observations__GDP__rt-end=9999-12-31__rt-start=1776-07-04"
GDP_TO_2018 = "series_observations__GDP__rt-end=2019-01-01__rt-start=1776-07-04"
GDP_DATES = "series_vintagedates__GDP"


def body(shared_data: Path, name: str) -> dict[str, Any]:
    """One body of the API."""
    with gzip.open(shared_data / "fred" / "api_json" / f"{name}.json.gz") as file:
        document: dict[str, Any] = json.load(file)
    return document


def gdp_vintages(shared_data: Path) -> list[Vintage]:
    """Every vintage of GDP from 1991-12-04 to 2024-12-19, oldest first."""
    found = parse_observations("GDP", body(shared_data, GDP_ALL)["observations"], 0, "Billions of Dollars")
    vintages = [item for item in found if isinstance(item, Vintage)]
    assert len(vintages) == len(found)
    return vintages


def all_series(shared_data: Path) -> list[dict[str, Any]]:
    """What FRED says of each of some 3,100 series: one entry a series."""
    found: dict[str, dict[str, Any]] = {}
    for path in sorted((shared_data / "fred" / "api_json").glob("*.json.gz")):
        with gzip.open(path) as file:
            document = json.load(file)
        for entry in document.get("seriess", []):
            if "frequency" in entry:
                found[entry["id"]] = entry
    return list(found.values())
