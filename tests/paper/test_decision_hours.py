"""The simulated market is slow around the decision time of the edited files, also after an edit, and stays where a bad one finds it."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest

from tests.cli.command import ROOT
from tests.paper.harness import DAY, running, to
from triplane.domain import calendars
from triplane.domain.timestamps import MINUTE
from triplane.paper.gateway import Gateway
from triplane.paper.market.clock import STREAM_AFTER, Pace
from triplane.paper.server import decision_hours
from triplane.paper.server.decision_hours import DecisionHours


@pytest.fixture(autouse=True)
def _looks_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decision_hours, "LOOK_EVERY_S", 0.0)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with both edited files."""
    folder = tmp_path / "files"
    folder.mkdir()
    for name in ("targets.yaml", "assets.csv"):
        shutil.copy(ROOT / name, folder / name)
    return folder


def edit(folder: Path, name: str, value: str) -> None:
    path = folder / "targets.yaml"
    path.write_text(re.sub(rf"(?m)^( *{name}:).*", rf"\1 {value}", path.read_text()))


def hours(folder: Path) -> DecisionHours:
    return DecisionHours(folder / "targets.yaml", folder / "assets.csv")


def test_an_edit_is_followed_and_the_earlier_time_kept_until_the_planes_have_it(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    following = hours(files)
    edit(files, "REBALANCE", '"15:00"')
    pace = following.follow(Pace(), first=True)
    assert (pace.rebalance, pace.earlier, pace.stream_after) == ("15:00", "", STREAM_AFTER)
    assert following.follow(pace) == pace
    edit(files, "REBALANCE", '"14:00"')
    pace = following.follow(pace)
    assert (pace.rebalance, pace.earlier) == ("14:00", "15:00")
    assert following.follow(pace) == pace
    monkeypatch.setattr(decision_hours, "EDIT_TAKEN_S", 0.0)
    assert following.follow(pace).earlier == ""


def test_parents_that_live_longer_are_seen_out(files: Path) -> None:
    edit(files, "CHILD_GOOD_TILL_S", "900.0")
    edit(files, "PARENT_EXPIRY_S", "900.0")
    assert hours(files).follow(Pace(), first=True).stream_after == 16 * MINUTE


@pytest.mark.parametrize("bad", ['"16:30"', "half past two", "14:00 # and VOL_TARGET: 9\n  VOL_TARGET: 9"])
def test_an_edit_that_control_refuses_is_not_followed(files: Path, bad: str) -> None:
    following = hours(files)
    pace = following.follow(Pace(), first=True)
    good = (files / "targets.yaml").read_text()
    edit(files, "REBALANCE", bad)
    assert following.follow(pace) == pace
    (files / "targets.yaml").unlink()
    assert following.follow(pace) == pace
    (files / "targets.yaml").write_text(good)
    edit(files, "REBALANCE", '"14:00"')
    assert following.follow(pace).rebalance == "14:00"


@pytest.mark.parametrize("name", ["targets.yaml", "assets.csv"])
def test_a_pipe_or_a_file_without_end_in_a_files_place_does_not_stop_the_market(files: Path, name: str) -> None:
    following = hours(files)
    pace = following.follow(Pace(), first=True)
    good = (files / name).read_text()
    (files / name).unlink()
    os.mkfifo(files / name)
    assert following.follow(pace) == pace
    (files / name).unlink()
    with (files / name).open("wb") as file:
        file.truncate(1 << 40)  # a hole: no memory would hold what is read of it
    assert following.follow(pace) == pace
    (files / name).write_text(good)
    edit(files, "REBALANCE", '"14:00"')
    assert following.follow(pace).rebalance == "14:00"


def test_without_a_file_the_given_time_stays(files: Path) -> None:
    assert DecisionHours(None, files / "assets.csv").follow(Pace(rebalance="12:00")) == Pace(rebalance="12:00")


async def test_a_gateway_moves_with_an_edit_and_a_restart_finds_it_though_the_file_is_bad(
    files: Path, tmp_path: Path
) -> None:
    def streams(gateway: Gateway) -> bool:
        clock = gateway.core.clock
        opens, closes = (f(calendars.MARKET_CALENDAR, DAY) for f in (calendars.session_open, calendars.session_close))
        return clock.pace.leg(clock.now, opens, closes, clock.pace.decisions(DAY), False).streaming

    async with running(state_dir=tmp_path / "state", targets=files / "targets.yaml") as gateway:
        await to(gateway, "12:00")
        edit(files, "REBALANCE", '"14:00"')
        await to(gateway, "13:55")
        assert streams(gateway)
        await to(gateway, "15:15")
        assert not streams(gateway)
        await to(gateway, "15:25")
        assert streams(gateway)  # the planes may not have taken the edit yet
    edit(files, "REBALANCE", "never")
    async with running(state_dir=tmp_path / "state", targets=files / "targets.yaml") as gateway:
        assert gateway.core.clock.pace.rebalance == "14:00"
