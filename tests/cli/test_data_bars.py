"""`triplane data bars` against a real Kafka: one asset's bars, and a future's contracts as one series, as known on a day."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from tests.cli.command import ROOT, Ran, triplane, variables_of
from tests.recordings import Message, message, publish
from triplane.cli import bars_log, data_bars
from triplane.domain import calendars
from triplane.domain.timestamps import DAY, SECOND
from triplane.runtime.settings import Settings

pytestmark = pytest.mark.integration

NAN = float("nan")
SESSIONS = ("2018-03-06", "2018-03-07", "2018-03-08", "2018-03-09", "2018-03-12")
HELD: dict[str, tuple[float | None, ...]] = {
    "MESH2018": (2700.25, 2710.5, 2720.0, None, None),
    "MESM2018": (None, 2712.5, 2723.0, None, 2733.75),
}
"""Closes by contract. The March one is left after the 8th; on the 9th the June one has no bar, another contract has."""


def bars(
    topic: str, group: str, session: str, closes: dict[str, float], calendar: str = "CMES", **fields: Any
) -> Message:
    """A slice with a range of a point around each close."""
    at = fields.pop("at", calendars.session_close(calendar, date.fromisoformat(session)))
    prices, n = list(closes.values()), len(closes)
    columns = {
        "open": prices,
        "high": [price + 0.5 for price in prices],
        "low": [price - 0.5 for price in prices],
        "close": prices,
        "volume": [1000.0] * n,
        "wap": [NAN] * n,
        "trades": [-1] * n,
    }
    given = {"event_time": at, "available_time": at, "source": "ibkr", "interval": "1d", "session": session}
    return message(topic, **given | columns | {"group": group, "symbols": list(closes)} | fields)


def roll(
    left: str, entered: str, first: str, compared: str = "", closes: tuple[float, float] = (NAN, NAN), **fields: Any
) -> Message:
    at = calendars.session_open("CMES", date.fromisoformat(first))
    given: dict[str, Any] = {
        "event_time": at,
        "available_time": at,
        "source": "ibkr",
        "roll_id": f"ibkr/MES/{left}/{entered}",
        "symbol": "MES",
        "from_contract": left,
        "to_contract": entered,
        "first_session": first,
        "compared_session": compared,
        "from_close": closes[0],
        "to_close": closes[1],
    }
    return message("data.rolls", **given | fields)


def chain() -> list[Message]:
    """The June contract was loaded first, so its series began there; then the older one."""
    slices = []
    for k, session in enumerate(SESSIONS):
        closes = {name: close for name, row in HELD.items() if (close := row[k]) is not None}
        slices.append(bars("data.watched", "MES", session, closes or {"MESU2018": 2735.0}))
    return [
        roll("", "MESM2018", "2018-03-12"),
        *slices,
        roll("", "MESH2018", "2018-03-06"),
        roll("MESH2018", "MESM2018", "2018-03-09", "2018-03-08", (2720.0, 2723.0)),
    ]


def market() -> list[Message]:
    """Two names on data.bars: a session twice, a bar let out of quarantine where there was one and where there was none, minutes."""
    close = calendars.session_close("XNYS", date(2018, 3, 7))
    again: dict[str, Any] = {"calendar": "XNYS", "released": ["ibkr/1"], "repaired": ["AAPL:UNIT_100X"]}
    minutes = [
        bars("data.bars", "main", "2018-03-07", {"AAPL": 100.0 + k}, at=close - (3 - k) * 60 * SECOND, interval="1m")
        for k in range(3)
    ]
    return [
        bars("data.bars", "main", "2018-03-06", {"AAPL": 176.67, "KO": 43.5}, "XNYS", trades=[7, -1]),
        bars("data.bars", "main", "2018-03-06", {"AAPL": 1.0, "LATE": 2.0}, "XNYS"),  # a second record of one identity
        bars("data.bars", "main", "2018-03-07", {"KO": 43.6}, "XNYS"),
        *minutes,
        bars(
            "data.bars", "main", "2018-03-07", {"AAPL": 175.03}, at=close, **again | {"available_time": close + 7 * DAY}
        ),
        bars("data.bars", "main", "2018-03-06", {"AAPL": 2.0}, **again | {"available_time": close + 8 * DAY}),
        bars("data.watched", "SPY", "2018-03-06", {"SPY": 272.88}, "XNYS"),
        bars("data.watched", "SPY", "2018-03-06", {"SPY": 272.5}, "XNYS", source="other"),
        bars("data.bars", "main", "2018-03-06", {"GONE": 9.5}, "XNYS", available_time=close),
        bars("data.watched", "MNQ", "2018-03-06", {"MNQH8": 6800.0}),
        bars("data.watched", "MGC", "2018-03-06", {"MGCJ8": 1335.0}),
        roll("", "MGCJ8", "2018-03-06", symbol="MGC", roll_id="ibkr/MGC//MGCJ8"),
        bars("data.watched", "MGC", "2018-03-12", {"MGCM8": 1330.0}),
        roll("", "MGCM8", "2018-03-12", symbol="MGC", roll_id="ibkr/MGC//MGCM8"),
        roll(
            "MGCJ8",
            "MGCM8",
            "2018-03-12",
            "2018-03-09",
            (1331.0, 1334.0),
            symbol="MGC",
            roll_id="ibkr/MGC/MGCJ8/MGCM8",
            available_time=close + 30 * DAY,
        ),
        bars("data.watched", "EUR.USD", "2018-03-06", {"EUR.USD": 1.24035}, "24/5"),
    ]


class Verb:
    """`triplane data bars` on the log of a test."""

    def __init__(self, settings: Settings, cwd: Path) -> None:
        self._variables, self._cwd = variables_of(settings), cwd

    def __call__(self, *arguments: str) -> Ran:
        return triplane("data", "bars", *arguments, cwd=self._cwd, variables=self._variables)

    def closes(self, *arguments: str) -> dict[str, float | None]:
        """Closes by session."""
        return {row["session"]: row["close"] for row in self(*arguments, "--json").json["bars"]}


@pytest.fixture
def verb(settings: Settings, tmp_path: Path) -> Verb:
    publish(settings, [*chain(), *market()])
    return Verb(settings.model_copy(update={"assets_path": ROOT / "assets.csv"}), tmp_path)


def test_the_contracts_of_a_future_are_one_series(verb: Verb) -> None:
    raw = verb("MES", "--json").json
    assert [(row["session"], row["contract"], row["close"]) for row in raw["bars"]] == [
        ("2018-03-06", "MESH2018", 2700.25),
        ("2018-03-07", "MESH2018", 2710.5),
        ("2018-03-08", "MESH2018", 2720.0),
        ("2018-03-09", "MESM2018", None),
        ("2018-03-12", "MESM2018", 2733.75),
    ]
    assert raw["total"] == 5
    assert raw["bars"][0]["end"] == "2018-03-06T23:00:00Z"
    assert (raw["bars"][0]["wap"], raw["bars"][0]["trades"], raw["bars"][3]["volume"]) == (None, None, None)
    assert [(each["from_contract"], each["to_contract"], each["from_close"]) for each in raw["rolls"]] == [
        ("", "MESH2018", None),
        ("MESH2018", "MESM2018", 2720.0),
    ]
    shifted = verb.closes("MES", "--adjust", "difference", "--to", "2018-03-08")  # the newest contract comes after that
    assert list(shifted.values()) == [2703.25, 2713.5, 2723.0]
    scaled = verb("MES", "--adjust", "ratio", "--json").json["bars"]
    assert scaled[0]["high"] == pytest.approx(2700.75 * 2723.0 / 2720.0)
    assert (scaled[0]["volume"], scaled[4]["close"]) == (1000.0, 2733.75)
    assert verb.closes("MES", "--contract", "MESM2018") == {
        "2018-03-07": 2712.5,
        "2018-03-08": 2723.0,
        "2018-03-12": 2733.75,
    }
    text = verb("MES", "--adjust", "difference", "--limit", "4")
    lines = [line.split() for line in text.out.splitlines()]
    places = [k for k, words in enumerate(lines) if {"2018-03-08", "roll", "2018-03-09"} & set(words)]
    assert len(places) == 3, text
    assert "MESH2018 to MESM2018" in text.out.splitlines()[places[1]]
    assert "2720 and 2723 in 2018-03-08, step +3" in text.out.splitlines()[places[1]]
    assert "prices before MESM2018 are adjusted to it by the difference at each roll" in text.out
    assert "4 of 5 sessions; `--limit 0` shows all" in text.out
    assert "nan" not in text.out


def test_a_series_has_what_was_known_on_the_day_and_joins_what_can_be_compared(verb: Verb) -> None:
    """Before the roll the older contract is the newest, and stays as it trades."""
    known = verb.closes("MES", "--adjust", "difference", "--as-of", "2018-03-07")
    assert known == {"2018-03-06": 2700.25, "2018-03-07": 2710.5}
    early = verb("MES", "--as-of", "2018-03-05")
    assert (early.code, early.sentence) == (
        1,
        "triplane: no 1d bar of MES was known on 2018-03-05; the first here was at 2018-03-06 18:00 New York",
    )
    assert verb.closes("AAPL", "--as-of", "2018-03-13") == {"2018-03-06": 176.67}
    # Two spans of a future; what connects them was known later.
    apart = ("MGC", "--as-of", "2018-03-12")
    assert verb.closes(*apart) == {"2018-03-06": 1335.0, "2018-03-12": 1330.0}
    assert verb.closes(*apart, "--adjust", "difference") == {"2018-03-06": None, "2018-03-12": 1330.0}
    assert verb.closes("MGC", "--adjust", "difference") == {"2018-03-06": 1338.0, "2018-03-12": 1330.0}
    said = "before 2018-03-12 they are empty: no session on the log has closes of both MGCJ8 and MGCM8"
    assert said in verb(*apart, "--adjust", "difference", "--to", "2018-03-06").out
    assert said not in verb(*apart, "--adjust", "difference", "--from", "2018-03-12").out


def test_bars_of_other_classes_and_intervals(verb: Verb) -> None:
    apple = verb("AAPL", "--json").json
    assert [(row["close"], row["trades"]) for row in apple["bars"]] == [(176.67, 7), (175.03, None)]
    assert [row["released"] for row in apple["bars"]] == ["", "ibkr/1"]
    assert "contract" not in apple["bars"][0]
    assert re.search(r"2018-03-07.* repaired UNIT_100X; released ibkr/1", verb("AAPL").out)
    minutes = verb("AAPL", "--interval", "1m", "--from", "2018-03-07", "--limit", "2")
    assert re.search(r"2018-03-07 15:58:00 +│ +101", minutes.out), minutes
    assert "2 of 3 bars" in minutes.out
    assert verb.closes("EUR.USD") == {"2018-03-06": 1.24035}
    assert verb.closes("GONE") == {"2018-03-06": 9.5}  # no row of assets.csv any more
    assert verb.closes("MNQ", "--contract", "MNQH8") == {"2018-03-06": 6800.0}
    assert verb.closes("SPY", "--source", "other") == {"2018-03-06": 272.5}


REFUSED = [
    ("EUR.USD --adjust ratio", 2, "--adjust is for futures, whose contracts end, and EUR.USD is of class FX"),
    ("KO --contract KOH8", 2, "--contract is for futures, whose contracts end, and KO is of class Equity"),
    ("MES --contract MESH2018 --adjust ratio", 2, "one contract has no rolls to adjust for"),
    ("MES --interval 1m", 2, "which this release does not trade, so the log has daily bars of it alone"),
    ("MES --adjust ratios", 2, "--adjust is one of none, difference, ratio; did you mean ratio?"),
    ("KO --from 2018-03-08 --to 2018-03-07", 2, "--from 2018-03-08 lies after --to 2018-03-07"),
    ("SPY", 2, "bars of SPY came from ibkr, other, which are not to be mixed; name one with --source"),
    ("SPY --source iex", 1, "no 1d bar of SPY came from iex; the log has those of ibkr, other"),
    ("MSF", 1, "neither assets.csv nor the log has MSF; did you mean MSFT?"),
    ("LATE", 1, "neither assets.csv nor the log has LATE"),
    ("BTC.USD", 1, "no 1d bar of BTC.USD is on the log; `triplane data backfill --source ibkr --from YYYY-MM-DD --to"),
    ("KO --interval 1m --to 2018-03-07", 1, "no 1m bar of KO is on the log up to 2018-03-07; `triplane data backfill"),
    ("MNQ", 1, "no roll of MNQ is on the log, so nothing says which contract was held when; `--contract` shows one of MNQH8"),
    ("GONE --adjust ratio", 2, "--adjust is for futures, whose contracts end, and GONE is none"),
    ("MES --contract MESM2019", 1, "MES has no bar of MESM2019; did you mean MESM2018?; the log has MESH2018, MESM2018, MESU2018"),
    ("KO --from 2018-03-08", 1, "no bar of KO is on the log from 2018-03-08 on; it has 2 from 2018-03-06 to 2018-03-07"),
]  # fmt: skip


def test_what_cannot_be_shown_is_one_sentence(verb: Verb) -> None:
    for line, code, said in REFUSED:
        ran = verb(*line.split())
        assert (ran.code, said in ran.sentence) == (code, True), (line, ran)


def test_the_roll_that_names_the_contract_before_it_counts() -> None:
    rolls = [dict(each.record) for each in chain() if each.topic == "data.rolls"]
    expected = [("", "MESH2018"), ("MESH2018", "MESM2018")]
    for given in (rolls, rolls[::-1]):
        assert [(each["from_contract"], each["to_contract"]) for each in bars_log.in_force(given)] == expected


def test_numbers_of_a_column_have_the_same_decimals() -> None:
    assert data_bars._aligned([2700.25, NAN, 12.5, None, 2723.000000000004]) == ["2700.25", "       ", "  12.50", "       ", "2723.00"]  # fmt: skip
    assert data_bars._aligned([0.00005, 12.0, -37.63]) == ["  0.00005", " 12.00000", "-37.63000"]
    assert data_bars._aligned([120_000_000_000.0, 1e-5]) == ["120000000000.00000", "           0.00001"]
    assert data_bars._aligned([None, NAN]) == ["", ""]
