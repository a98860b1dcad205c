"""`triplane data bars`: the bars of one asset that are on the log, and of a future one continuous series, raw or back-adjusted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import typer

from triplane.cli import bars_log, context

if TYPE_CHECKING:
    from triplane.cli.bars_log import Asset, Bars, Series

DAY = ["%Y-%m-%d"]
INTERVALS = ("1d", "1m", "5s")
ADJUSTMENTS = ("none", "difference", "ratio")
SHOWN = 30
ORDER = ("open", "high", "low", "close", "volume", "wap", "trades")
ALL_DAYS = ("", "9999")
DIGITS = 10
"""Significant digits that people read: a shifted or scaled price has more, and they tell nothing."""


def add_to(app: typer.Typer) -> None:
    """Offer the verb in the group of the data plane."""
    app.command("bars")(bars)


def bars(
    symbol: str = typer.Argument(help="The asset, as in assets.csv."),
    start: datetime = typer.Option(None, "--from", formats=DAY, help="First session (YYYY-MM-DD)."),
    end: datetime = typer.Option(None, "--to", formats=DAY, help="Last session, included."),
    interval: str = typer.Option("1d", "--interval", help="1d, 1m or 5s; of what is not traded there are daily bars."),
    adjust: str = typer.Option(
        "none", "--adjust", help="Of a future, prices before a roll: none, difference (points) or ratio (returns)."
    ),
    as_of: datetime = typer.Option(
        None,
        "--as-of",
        formats=DAY,
        help="What was known at the end of this day in New York; everything on the log unless given.",
    ),
    contract: str = typer.Option("", "--contract", help="Of a future, this contract's own bars, such as MESH2018."),
    source: str = typer.Option("", "--source", help="Only from this source."),
    limit: int = typer.Option(SHOWN, "--limit", min=0, help="The newest so many; 0 for all."),
    json_: bool = context.JSON,
) -> None:
    """Bars of an asset of any class. A future is one series of the contracts that were held; --adjust makes its prices comparable."""
    from triplane.domain.problems import nearest
    from triplane.domain.timestamps import NEW_YORK, from_datetime

    for flag, value, allowed in (("--interval", interval, INTERVALS), ("--adjust", adjust, ADJUSTMENTS)):
        if value not in allowed:
            raise context.CommandError(f"{flag} is one of {', '.join(allowed)}{nearest(value, allowed)}", 2)
    days = (start.date().isoformat() if start else "", end.date().isoformat() if end else ALL_DAYS[1])
    if days[0] > days[1]:
        raise context.CommandError(f"--from {days[0]} lies after --to {days[1]}; exchange them", 2)
    if contract and adjust != "none":
        raise context.CommandError("one contract has no rolls to adjust for; leave out --adjust or --contract", 2)
    settings = context.connected_settings()
    classes = bars_log.universe(settings)
    asset_class = classes.get(symbol, "")
    _refuse(symbol, asset_class, interval)
    if asset_class not in ("", "Future"):
        _refuse_contracts(symbol, f"of class {asset_class}", adjust, contract)
    until = None
    if as_of is not None:
        until = from_datetime((as_of + timedelta(days=1)).replace(tzinfo=NEW_YORK)) - 1
    # Earlier prices of a future are adjusted to a contract that may come after --to: only intraday bars, of which there are many, are cut.
    cut = days if interval != "1d" else ALL_DAYS
    found = bars_log.read(settings, _topics(asset_class), symbol, interval, source=source, until=until, days=cut)
    _check(found, symbol, interval, source, as_of, cut, classes)
    future = asset_class == "Future" or found.chained
    if not future:
        _refuse_contracts(symbol, "none", adjust, contract)
    (name,) = [source] if source else found.sources
    rolls = bars_log.in_force([roll for roll in found.rolls if roll["source"] == name])
    if future and not contract:
        everything = _continuous(found.bars, rolls, symbol, adjust, "was known by then" if as_of else "is on the log")
    else:
        everything = _own(found.bars, symbol, contract)
    chosen = bars_log.between(everything, *days)
    if not chosen:
        raise context.CommandError(_none_between(everything, symbol, days))
    shown = bars_log.newest(chosen, limit)
    told = {
        "symbol": symbol,
        "asset_class": asset_class or ("Future" if future else ""),
        "source": name,
        "interval": interval,
        "adjust": adjust,
        "contract": contract or None,
        "as_of": as_of.date().isoformat() if as_of else None,
    }
    if json_:
        listed = [_as_json(roll) for roll in rolls]
        context.print_json({**told, "total": len(chosen), "bars": rows(shown, future), "rolls": listed})
        return
    _print(told, shown, len(chosen), rolls if future and not contract else [], everything.names[-1])


def _continuous(bars: Bars, rolls: Sequence[Mapping[str, Any]], symbol: str, adjust: str, known: str) -> Series:
    if not rolls:
        raise context.CommandError(
            f"no roll of {symbol} {known}, so nothing says which contract was held when; "
            f"`--contract` shows one of {_listed(bars)}"
        )
    return bars_log.chained(bars, rolls, adjust)


def _own(bars: Bars, symbol: str, contract: str) -> Series:
    from triplane.domain.problems import nearest

    if contract and contract not in bars.names:
        close = nearest(contract, sorted(set(bars.names)))
        raise context.CommandError(f"{symbol} has no bar of {contract}{close}; the log has {_listed(bars)}")
    return bars_log.plain(bars, contract or symbol)


# -- what cannot be shown ------------------------------------------------------------------------------------------------------
def _refuse(symbol: str, asset_class: str, interval: str) -> None:
    """Raise CommandError for an interval that the log cannot have of a class; "" is not known."""
    from triplane.domain.assets import TRADED_CLASSES

    if interval != "1d" and asset_class and asset_class not in TRADED_CLASSES:
        raise context.CommandError(
            f"{symbol} is of class {asset_class}, which this release does not trade, so the log has daily bars of it alone; "
            "leave --interval out",
            2,
        )


def _refuse_contracts(symbol: str, kind: str, adjust: str, contract: str) -> None:
    """Raise CommandError for what only futures have; `kind` is what the asset is."""
    for flag, given in (("--adjust", adjust != "none"), ("--contract", bool(contract))):
        if given:
            raise context.CommandError(
                f"{flag} is for futures, whose contracts end, and {symbol} is {kind}; leave it out", 2
            )


def _topics(asset_class: str) -> tuple[str, ...]:
    """Where bars of a class are; of a symbol without a row all are looked through."""
    from triplane.domain.assets import TRADED_CLASSES

    if asset_class in TRADED_CLASSES:
        return (bars_log.BARS,)
    watched = {"": (bars_log.BARS, bars_log.WATCHED, bars_log.ROLLS), "Future": (bars_log.WATCHED, bars_log.ROLLS)}
    return watched.get(asset_class, (bars_log.WATCHED,))


def _check(
    found: Asset,
    symbol: str,
    interval: str,
    source: str,
    as_of: datetime | None,
    days: tuple[str, str],
    classes: Mapping[str, str],
) -> None:
    """Raise CommandError where no bar is left, or those of several sources would be mixed."""
    from triplane.domain.problems import nearest
    from triplane.domain.timestamps import NEW_YORK, to_datetime

    if not found.sources and symbol not in classes:
        raise context.CommandError(
            f"neither assets.csv nor the log has {symbol}{nearest(symbol, sorted(classes))}; `triplane assets add` adds a row"
        )
    if not found.sources:
        within = "" if days == ALL_DAYS else f" {_span(days)}"
        raise context.CommandError(f"no {interval} bar of {symbol} is on the log{within}; {_loads(interval)}")
    if source and source not in found.sources:
        raise context.CommandError(
            f"no {interval} bar of {symbol} came from {source}{nearest(source, found.sources)}; "
            f"the log has those of {', '.join(sorted(found.sources))}"
        )
    if not source and len(found.sources) > 1:
        raise context.CommandError(
            f"bars of {symbol} came from {', '.join(sorted(found.sources))}, which are not to be mixed; name one with --source",
            2,
        )
    if not len(found.bars) and as_of is not None:
        first = to_datetime(found.first_known, NEW_YORK).strftime("%Y-%m-%d %H:%M New York")
        raise context.CommandError(
            f"no {interval} bar of {symbol} was known on {date.isoformat(as_of)}; the first here was at {first}"
        )


def _loads(interval: str) -> str:
    if interval == "5s":
        return "five-second bars come live, while the data plane runs"
    option = "" if interval == "1d" else f" --interval {interval}"
    return (
        f"`triplane data backfill --source ibkr --from YYYY-MM-DD --to YYYY-MM-DD{option}` loads them, "
        "and says so where the broker knows no such contract"
    )


def _span(days: tuple[str, str]) -> str:
    first, last = days
    if first and last != ALL_DAYS[1]:
        return f"from {first} to {last}"
    return f"from {first} on" if first else f"up to {last}"


def _none_between(series: Series, symbol: str, days: tuple[str, str]) -> str:
    if not series:
        return (
            f"the series of {symbol} begins after the bars that the log has; `--contract` shows those of one contract"
        )
    has = f"{len(series)} from {series.sessions[0]} to {series.sessions[-1]}"
    return f"no bar of {symbol} is on the log {_span(days)}; it has {has}"


def _listed(bars: Bars) -> str:
    return ", ".join(sorted(set(bars.names)))


# -- what people see -----------------------------------------------------------------------------------------------------------
def rows(series: Series, future: bool) -> list[dict[str, Any]]:
    """Bars for JSON, of a future with their contract: what is not known is null or NaN; `end` and `available` in UTC."""
    from triplane.domain.timestamps import iso

    of, out = series.bars, []
    for session, name, place, values in zip(
        series.sessions, series.names, series.places.tolist(), series.values.tolist(), strict=True
    ):
        there = place >= 0
        trades = of.trades[place] if there else -1
        known: dict[str, Any] = dict(zip(bars_log.COLUMNS, values, strict=True))
        known["trades"] = trades if trades >= 0 else None
        out.append(
            {
                "session": session,
                "end": iso(of.ends[place]) if there else None,
                **({"contract": name} if future else {}),
                **{key: known[key] for key in ORDER},
                "available": iso(of.available[place]) if there else None,
                "repaired": of.repaired.get(place, ""),
                "released": of.released.get(place, ""),
            }
        )
    return out


def _as_json(roll: Mapping[str, Any]) -> dict[str, Any]:
    """A roll; closes that were not compared are null."""
    compared = bool(roll["compared_session"])
    return {
        **{key: roll[key] for key in ("first_session", "from_contract", "to_contract", "compared_session", "source")},
        **{key: roll[key] if compared else None for key in bars_log.SIDES},
    }


def _print(told: Mapping[str, Any], shown: Series, total: int, rolls: Sequence[Mapping[str, Any]], newest: str) -> None:
    from triplane.domain.timestamps import NEW_YORK, to_datetime

    daily, future = told["interval"] == "1d", bool(rolls)
    listed = rows(shown, future)
    numbers = {key: _aligned([row[key] for row in listed]) for key in ORDER}
    lines: list[list[Any]] = []
    ahead = [roll for roll in rolls if shown.sessions[0] < roll["first_session"] <= shown.sessions[-1]]
    for number, row in enumerate(listed):
        while ahead and ahead[0]["first_session"] <= row["session"]:
            lines.append(_roll_line(ahead.pop(0), len(ORDER)))
        end = shown.bars.ends[shown.places[number]]
        when = row["session"] if daily else to_datetime(end, NEW_YORK).strftime("%Y-%m-%d %H:%M:%S")
        marks = [
            f"repaired {row['repaired']}" if row["repaired"] else "",
            f"released {row['released']}" if row["released"] else "",
        ]
        lines.append([when, *([row["contract"]] if future else []), *(numbers[key][number] for key in ORDER), "; ".join(filter(None, marks))])  # fmt: skip
    columns = ["session" if daily else "end, New York", *(["contract"] if future else []), *ORDER]
    if any(line[-1] for line in lines):
        columns.append("note")
    title = f"{told['symbol']}, {told['interval']} bars of {told['source']}" + (
        f", {told['contract']}" if told["contract"] else ""
    )
    context.print_table(title, columns, [line[: len(columns)] for line in lines])
    if told["adjust"] != "none":
        print(
            f"prices before {newest} are adjusted to it by the {told['adjust']} at each roll; volumes and trades are not"
        )
        print(_apart(rolls, shown.sessions[0], newest), end="")
    rest = "; `--limit 0` shows all" if len(shown) < total else ""
    print(f"{len(shown)} of {total:,} {'sessions' if future else 'bars'}{rest}")


def _apart(rolls: Sequence[Mapping[str, Any]], first: str, newest: str) -> str:
    """A line on the last roll after the session `first`, up to that into the `newest` contract, over which no price can be adjusted."""
    in_force = [roll["to_contract"] for roll in rolls].index(newest) + 1
    apart = [roll for roll in rolls[1:in_force] if roll["first_session"] > first and not roll["compared_session"]]
    if not apart:
        return ""
    left, entered = rolls[rolls.index(apart[-1]) - 1]["to_contract"], apart[-1]["to_contract"]
    return f"before {apart[-1]['first_session']} they are empty: no session on the log has closes of both {left} and {entered}\n"


def _roll_line(roll: Mapping[str, Any], numbers: int) -> list[Any]:
    if not roll["compared_session"]:
        step = "no session with closes of both"
    else:
        left, entered = roll["from_close"], roll["to_close"]
        step = f"{left:.{DIGITS}g} and {entered:.{DIGITS}g} in {roll['compared_session']}, step {entered - left:+.{DIGITS}g}"
    return ["roll", f"{roll['from_contract'] or '?'} to {roll['to_contract']}", *[""] * numbers, step]


def _aligned(values: Sequence[float | None]) -> list[str]:
    """Numbers of a column with as many decimals as the longest needs; empty where there is none."""
    told = ["" if value is None or math.isnan(value) else f"{value:.{DIGITS}g}" for value in values]
    decimals = max((-int(Decimal(text).normalize().as_tuple().exponent) for text in told if text), default=0)
    texts = [text and f"{Decimal(text):.{max(decimals, 0)}f}" for text in told]
    width = max(map(len, texts))
    return [text.rjust(width) for text in texts]
