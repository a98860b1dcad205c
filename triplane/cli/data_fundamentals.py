"""`triplane data fundamentals`: a company's standardised fundamentals as known on a day, from the log."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any

import typer

from triplane.cli import context

TOPIC = "data.fundamentals"
DIGITS = 14
"""Significant digits told: a sum of reported decimals (0.57 + 0.64 + 0.68 + 0.79) is no decimal any more in its last bits."""
BASES = ("quarter", "ttm", "year", "instant")


def add_to(app: typer.Typer) -> None:
    """Offer the verb in the group of the data plane."""
    app.command("fundamentals")(fundamentals)


def fundamentals(
    symbol: str = typer.Argument(help="The name, as in assets.csv."),
    as_of: datetime = typer.Option(
        None,
        "--as-of",
        formats=["%Y-%m-%d"],
        help="What was known at the end of this day in New York; the newest on the log unless given.",
    ),
    basis: str = typer.Option("", "--basis", help="Only quarter, ttm, year or instant."),
    json_: bool = context.JSON,
) -> None:
    """Income, balance sheet, cash flow and ratios of a company: quarter, twelve months, year and balance, point in time."""
    from triplane.domain.problems import nearest
    from triplane.domain.timestamps import NEW_YORK, from_datetime, to_datetime
    from triplane.runtime.kafka_in import read_all

    if basis and basis not in BASES:
        raise context.CommandError(f"--basis is one of {', '.join(BASES)}{nearest(basis, BASES)}", 2)
    records = [record.value for record in read_all(context.connected_settings(), (TOPIC,)) if record.value is not None]
    if not any(record["symbol"] == symbol for record in records):
        known = {record["symbol"] for record in records}
        raise context.CommandError(
            f"{TOPIC} has nothing of {symbol}{nearest(symbol, sorted(known))}; it comes with the filings of the names in assets.csv from "
            "SEC itself, while the simulated market of `demo` and `up` files numbers of shares only"
        )
    until = None
    if as_of is not None:
        until = from_datetime((as_of + timedelta(days=1)).replace(tzinfo=NEW_YORK)) - 1
    found = newest(records, symbol, until)
    if found is None:
        raise context.CommandError(
            f"nothing of {symbol} was known on {date.isoformat(as_of)}; the first filing here is later"
        )
    rows = chosen(found, basis)
    if json_:
        context.print_json(
            {**{key: value for key, value in found.items() if not isinstance(value, list)}, "values": rows}
        )
        return
    since = to_datetime(found["available_time"], NEW_YORK).strftime("%Y-%m-%d %H:%M New York")
    print(
        f"{symbol} after the {found['form']} {found['accession']}, known since {since}; money in {found['currency'] or '-'}"
    )
    context.print_table(
        "Fundamentals",
        ("name", "basis", "value", "unit", "from", "to"),
        [(row["name"], row["basis"], f"{row['value']:,.6g}", row["unit"], row["start"], row["end"]) for row in rows],
    )


def newest(records: Iterable[Mapping[str, Any]], symbol: str, until: int | None) -> Mapping[str, Any] | None:
    """The record of a name that was known last by `until` (ns UTC; None: of all)."""
    mine = [
        record
        for record in records
        if record["symbol"] == symbol and (until is None or record["available_time"] <= until)
    ]
    return max(mine, key=lambda record: (record["available_time"], record["fundamental_id"]), default=None)


def chosen(record: Mapping[str, Any], basis: str) -> Sequence[dict[str, Any]]:
    """Its values as rows, those of one basis or all; days as YYYY-MM-DD."""
    from triplane.domain.timestamps import to_datetime

    columns = ("names", "bases", "values", "units", "period_start", "period_end")
    return [
        {
            "name": name,
            "basis": on,
            "value": float(f"{value:.{DIGITS}g}"),
            "unit": unit,
            "start": f"{to_datetime(start):%Y-%m-%d}" if start else "",
            "end": f"{to_datetime(end):%Y-%m-%d}",
        }
        for name, on, value, unit, start, end in zip(*(record[column] for column in columns), strict=True)
        if basis in ("", on)
    ]
