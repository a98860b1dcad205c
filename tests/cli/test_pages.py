"""What the pages name exists: the tests of docs/faults.md and docs/laws.md, the files on the way of a record."""

from __future__ import annotations

import re

import pytest

from tests.cli.command import ROOT


@pytest.mark.parametrize("name", ["faults.md", "laws.md"])
def test_every_named_test_exists(name: str) -> None:
    page = (ROOT / "docs" / name).read_text(encoding="utf-8")
    named = re.findall(r"`((?:\w+/)+\w+\.py)(?:::(\w+))?`", page)
    assert len(named) > 25
    for path, test in named:
        file = ROOT / path if path.startswith("tests/") else ROOT / "tests" / path
        assert file.is_file(), path
        if test:
            assert re.search(rf"^\s*(async )?def {test}\(", file.read_text(encoding="utf-8"), re.M), (path, test)


def test_every_file_on_the_way_of_a_record_exists() -> None:
    """From the root, as somebody who reads along would open them."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    way = re.search(r"^## [^\n]*record\b.*?(?=^## )", page, re.M | re.S)
    assert way is not None
    named = re.findall(r"`([\w/]+\.py)`", way.group(0))
    assert len(named) > 15
    assert [path for path in named if not (ROOT / path).is_file()] == []


def test_the_laws_say_which_suites_are_counted() -> None:
    page = (ROOT / "docs" / "laws.md").read_text(encoding="utf-8")
    for path, counted in re.findall(r"`((?:\w+/)+test_\w+\.py)`( \(counted)?", page):
        uses = re.search(r"\bcounts\(\w", (ROOT / "tests" / path).read_text(encoding="utf-8")) is not None
        assert uses == bool(counted), path
