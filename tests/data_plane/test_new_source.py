"""A source is one module: registered by being there, run by a service that knows nothing of it."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

import data_plane.sources
from data_plane.daemon.service import DataService
from data_plane.observations import Vintage
from data_plane.sources import registered
from data_plane.sources.base import Stage
from data_plane.sources.http import JsonClient
from data_plane.sources.span import Span
from triplane.cli import data_backfill, doctor, status
from triplane.cli.context import CommandError
from triplane.runtime.daemon import Daemon
from triplane.runtime.exit_codes import DaemonExit
from triplane.runtime.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
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
    found = [(spec.name, spec.stage) for spec in registered()]
    assert {("edgar", Stage.REFERENCE), ("fred", Stage.REFERENCE), ("ibkr", Stage.MARKET)} <= set(found)
    assert [stage for _, stage in found] == sorted((stage for _, stage in found), key=list(Stage).index)


def example() -> str:
    """The source of docs/data.md."""
    page = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    return str(code)


def test_the_example_of_the_docs_passes_the_linter() -> None:
    command = [sys.executable, "-m", "ruff", "check", "--stdin-filename=data_plane/sources/announcements.py", "-"]
    checked = subprocess.run(command, input=example(), capture_output=True, text=True, check=False, cwd=ROOT)
    assert checked.returncode == 0, checked.stdout


async def test_the_example_of_the_docs_is_a_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "announcements.py").write_text(example())
    monkeypatch.setattr(data_plane.sources, "__path__", [*data_plane.sources.__path__, str(tmp_path)])
    try:
        (spec,) = [spec for spec in registered() if spec.name == "announcements"]
        taken: list[object] = []
        context = SimpleNamespace(take=taken.append, client=JsonClient, span=None)
        source: Any = spec.create(cast(Any, context))

        async def rates(url: str) -> object:
            return {"rates": [{"from": "2018-02-01", "percent": 1.5}, {"from": "2018-03-22", "percent": 1.75}]}

        monkeypatch.setattr(source._http, "get", rates)
        await source.backfill()
        assert len(taken) == 2
        taken.clear()
        context.span = Span(date(2018, 2, 1), date(2018, 2, 28))
        await source.backfill()
        await source.close()
    finally:
        sys.modules.pop("data_plane.sources.announcements", None)
    (vintage,) = taken
    assert isinstance(vintage, Vintage)
    assert (vintage.realtime_start, [value for _, value in vintage.values]) == ("2018-02-01", [1.5])
    assert vintage.available_time > vintage.values[0][0]


def test_a_module_in_the_folder_is_a_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "weather.py").write_text(MODULE)
    monkeypatch.setattr(data_plane.sources, "__path__", [*data_plane.sources.__path__, str(tmp_path)])
    try:
        names = [spec.name for spec in registered()]
        assert names.index("weather") < names.index("ibkr")
    finally:
        sys.modules.pop("data_plane.sources.weather", None)


def test_a_source_says_what_it_lacks() -> None:
    specs = {spec.name: spec for spec in registered()}
    nothing = SimpleNamespace(
        user_agent="", gateway_port=0, fred_api_key=SimpleNamespace(get_secret_value=lambda: ""), fred_api_key_file=None
    )
    assert "TRIPLANE_GATEWAY_PORT" in specs["ibkr"].missing(nothing)  # type: ignore[arg-type]
    assert "TRIPLANE_FRED_API_KEY" in specs["fred"].missing(nothing)  # type: ignore[arg-type]
    assert "TRIPLANE_USER_AGENT" in specs["edgar"].missing(nothing)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("import nope_nope\n", r"cannot be imported \(ModuleNotFoundError: No module named 'nope_nope'\)"),
        ("SOURCE = 3\n", "has a SOURCE that is no SourceSpec but of type int"),
        ("def broken(:\n", r"cannot be imported \(SyntaxError: "),
    ],
)
def test_a_module_that_is_no_source_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, cause: str
) -> None:
    """By whoever starts: the backfill, the daemon and the doctor; what only asks which sources there are goes on with the others."""
    (tmp_path / "wrong.py").write_text(text)
    monkeypatch.setattr(data_plane.sources, "__path__", [*data_plane.sources.__path__, str(tmp_path)])
    try:
        sentence = rf"wrong\.py {cause}.*; mend it .*, or take it out of the folder$"
        with pytest.raises(DaemonExit, match=sentence) as daemon:
            DataService(Daemon("data", Settings(state_dir=tmp_path)))
        assert (str(daemon.value).startswith(str(tmp_path)), daemon.value.code) == (True, 78)
        with pytest.raises(CommandError, match=sentence):
            data_backfill._source("edgar")
        (finding,) = doctor._sources(Settings())
        assert (finding.state, finding.what) == ("problem", "source")
        assert re.search(cause, finding.found)
        assert "the data plane does not start" in finding.remedy
        assert status.reference_sources() == {"edgar", "fred"}
    finally:
        sys.modules.pop("data_plane.sources.wrong", None)
