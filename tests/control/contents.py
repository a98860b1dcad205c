"""File contents that the control tests edit."""

from __future__ import annotations

import re
from pathlib import Path

from triplane.control.engine import Contents
from triplane.domain.targets import Targets
from triplane.domain.targets.writing import render

ROOT = Path(__file__).parents[2]
ASSETS = (ROOT / "assets.csv").read_text(encoding="utf-8")
TARGETS = render(Targets())


def with_value(parameter: str, value: str, text: str = TARGETS) -> str:
    """targets.yaml with another value of one parameter."""
    found, count = re.subn(rf"(?m)^  {parameter}: .*$", f"  {parameter}: {value}", text)
    assert count == 1, parameter
    return found


def contents(
    targets: str | bytes | None = TARGETS, assets: str | bytes | None = ASSETS, error: str = "gone"
) -> Contents:
    """Contents of both files; None is a file that cannot be read."""

    def data(text: str | bytes | None) -> bytes | None:
        return text.encode() if isinstance(text, str) else text

    return Contents(
        data(targets),
        data(assets),
        targets_error="" if targets is not None else error,
        assets_error="" if assets is not None else error,
    )
