"""What of a span can be asked for: days before the calendar begins, and days that are still to come."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from data_plane.daemon.reporting import told_log
from data_plane.sources import registered
from data_plane.sources.base import SourceSpec
from data_plane.sources.ibkr.span import SpanHistory
from data_plane.sources.span import NothingToAskError, Span
from tests.data_plane.support import Bench, config, day_close
from triplane.cli import data_backfill
from triplane.cli.context import CommandError
from triplane.domain.calendars import sessions
from triplane.runtime.settings import Settings

TODAY = date(2026, 11, 30)


class Answered:
    """Requests of a gateway that has no bars, and the names that it was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.contracts: dict[str, object] = {}
        self.left_out: dict[str, str] = {}
        self.refusals: dict[str, str] = {}

    def names(self) -> list[str]:
        return []

    async def bars(self, bar_size: str, duration: str, *_: object, end: str) -> dict[str, Any]:
        self.asked.append(duration)
        return {}


async def loaded(first: str, last: str, now: int = day_close("2018-01-19")) -> tuple[list[str], list[str]]:
    """(durations that were asked for, what was told)."""
    bench, told, requests = Bench(Settings(), config(), now), list[str](), Answered()
    span = Span(date.fromisoformat(first), date.fromisoformat(last))
    log = told_log(lambda line, _: told.append(line))
    await SpanHistory(replace(bench.context, span=span, log=log), "ibkr", requests).load()  # type: ignore[arg-type]
    return requests.asked, told


@pytest.mark.parametrize(
    ("first", "last", "why"),
    [
        ("1985-01-02", "1985-02-01", "days before 1990-01-01, where the calendar of sessions begins"),
        ("2030-01-02", "2030-02-01", "sessions from 2030-01-02 on, which are not over at 2018-01-19 21:00 UTC"),
        ("2018-01-20", "2018-01-31", "sessions from 2018-01-22 on"),
        ("2036-01-01", "2040-01-01", "days after 2035-12-31, where the calendar of sessions ends"),
    ],
)
async def test_a_span_of_which_no_session_can_be_asked_for_says_so(first: str, last: str, why: str) -> None:
    with pytest.raises(NothingToAskError) as refused:
        await loaded(first, last)
    assert f"nothing of {first} to {last} can be asked for: {why}" in str(refused.value)


async def test_what_is_left_out_of_a_span_is_told_and_the_rest_asked_for() -> None:
    asked, told = await loaded("1989-12-01", "1990-01-05")
    assert asked == [f"{len(sessions('XNYS', date(1990, 1, 1), date(1990, 1, 5)))} D"]
    assert told == ["left out of the span: days before 1990-01-01, where the calendar of sessions begins"]
    asked, told = await loaded("2018-01-18", "2018-01-31", day_close("2018-01-19") - 1)
    assert asked == ["1 D"]
    assert told == [
        "left out of the span: sessions from 2018-01-19 on, which are not over at 2018-01-19 20:59 UTC of the market"
    ]
    assert (await loaded("2018-01-18", "2018-01-19"))[1] == []
    assert await loaded("2018-01-20", "2018-01-21") == ([], [])  # a weekend has none to ask for


def _spec(name: str) -> SourceSpec:
    return next(each for each in registered() if each.name == name)


@pytest.mark.parametrize(
    ("source", "first", "last", "why"),
    [
        ("ibkr", (1985, 1, 2), (1985, 2, 1), "the calendar of sessions begins on 1990-01-01; name a later --to"),
        ("ibkr", (2030, 1, 2), (2030, 2, 1), "today is 2026-11-30 (UTC); name an earlier --from"),
        ("edgar", (2026, 12, 1), (2030, 2, 1), "today is 2026-11-30 (UTC); name an earlier --from"),
    ],
)
def test_the_verb_asks_nobody_for_such_a_span(source: str, first: Any, last: Any, why: str) -> None:
    with pytest.raises(CommandError) as refused:
        data_backfill._left_out(_spec(source), Span(date(*first), date(*last)), TODAY)
    assert str(refused.value).endswith(why)
    assert refused.value.code == 2


def test_the_verb_says_what_it_leaves_out() -> None:
    across = Span(date(2026, 11, 1), date(2026, 12, 24))
    said = data_backfill._left_out(_spec("fred"), across, TODAY)
    assert said == "left out of the span: days after 2026-11-30 (UTC), which is today"
    assert data_backfill._left_out(_spec("fred"), Span(date(1985, 1, 2), TODAY), TODAY) == ""
    assert data_backfill._left_out(_spec("ibkr"), across, TODAY) == ""  # it asks for the market's time


def test_a_span_that_the_market_has_not_reached_ends_with_two() -> None:
    async def load() -> None:
        raise NothingToAskError("nothing of it can be asked for")

    with pytest.raises(CommandError) as refused:
        data_backfill._in_a_loop(Settings(), load())
    assert refused.value.code == 2
