"""A source is one module: registered by being there, run by a service that knows nothing of it."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import data_plane.sources
from data_plane.sources import registered
from data_plane.sources.base import Stage

MODULE = '''
"""A made-up source."""
from data_plane.observations import Malformed
from data_plane.sources.base import SourceSpec, Stage

class Weather:
    def __init__(self, context):
        self.context = context
    async def backfill(self):
        await self.context.turn(Stage.REFERENCE)
        self.context.malformed("weather", "data.macro", "RAIN", "UNREADABLE", "wet", b"~")
    async def follow(self):
        await self.context.stop.wait()
    async def close(self):
        pass

SOURCE = SourceSpec("weather", Stage.REFERENCE, Weather)
'''


def test_the_three_sources_are_found_reference_data_first() -> None:
    assert [(spec.name, spec.stage) for spec in registered()] == [
        ("edgar", Stage.REFERENCE), ("fred", Stage.REFERENCE), ("ibkr", Stage.MARKET),
    ]  # fmt: skip


def test_a_module_in_the_folder_is_a_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "weather.py").write_text(MODULE)
    monkeypatch.setattr(data_plane.sources, "__path__", [*data_plane.sources.__path__, str(tmp_path)])
    try:
        assert [spec.name for spec in registered()] == ["edgar", "fred", "weather", "ibkr"]
    finally:
        sys.modules.pop("data_plane.sources.weather", None)


def test_a_source_says_what_it_lacks() -> None:
    specs = {spec.name: spec for spec in registered()}
    nothing = SimpleNamespace(user_agent="", gateway_port=0, fred_api_key=SimpleNamespace(get_secret_value=lambda: ""))
    assert "TRIPLANE_GATEWAY_PORT" in specs["ibkr"].missing(nothing)  # type: ignore[arg-type]
    assert "TRIPLANE_FRED_API_KEY" in specs["fred"].missing(nothing)  # type: ignore[arg-type]
    assert "TRIPLANE_USER_AGENT" in specs["edgar"].missing(nothing)  # type: ignore[arg-type]
