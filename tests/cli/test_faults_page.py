"""docs/faults.md names tests that exist."""

from __future__ import annotations

import re

from tests.cli.command import ROOT


def test_every_named_test_exists() -> None:
    page = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:\w+/)+\w+\.py)(?:::(\w+))?`", page)
    assert len(named) > 30
    for path, test in named:
        file = ROOT / path if path.startswith("tests/") else ROOT / "tests" / path
        assert file.is_file(), path
        if test:
            assert re.search(rf"^\s*(async )?def {test}\(", file.read_text(encoding="utf-8"), re.M), (path, test)
