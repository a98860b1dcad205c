"""`triplane assets check|add`: assets.csv."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import typer

from triplane.cli import context

if TYPE_CHECKING:
    from triplane.control.report import AssetsCheck

app = typer.Typer(no_args_is_help=True, help="Check assets.csv, or add a symbol from the broker's contract details.")


@app.command("check")
def check(json_: bool = context.JSON) -> None:
    """Check every row of assets.csv; exits 1 when one is wrong."""
    from triplane.control.report import assets_check

    path = context.settings().assets_path.absolute()
    found = assets_check(path)
    if json_:
        context.print_json({"file": str(path), **found.as_json()})
    else:
        print(f"checking {path}")
        _print(found)
    if not found.ok:
        raise typer.Exit(1)


def _print(found: AssetsCheck) -> None:
    if found.ok:
        print(", ".join(f"{count} {name}" for name, count in sorted(found.classes.items())))
        print(f"traded: {' '.join(found.tradable)}")
        for symbol, code in found.refused.items():
            print(f"refused: {symbol} {code}")
    else:
        for problem in found.problems:
            print(problem)


@app.command("add")
def add(
    symbol: str = typer.Argument(help="The broker's symbol; of a currency or crypto pair also EUR.USD."),
    sec_type: str = typer.Option("", "--type", help="STK, FUT, CASH or CRYPTO; STK unless SYMBOL is a pair."),
    exchange: str = typer.Option("", "--exchange", help="Where orders go; each type has its usual one."),
    primary: str = typer.Option("", "--primary", help="Listing exchange, when the symbol is ambiguous."),
    currency: str = typer.Option("USD", "--currency", help="Currency of the instrument."),
    expiry: str = typer.Option("", "--expiry", help="Month or last trading day of a future."),
    dry_run: bool = typer.Option(False, "--dry-run", help="Print the row; write nothing."),
    json_: bool = context.JSON,
) -> None:
    """Add a symbol to assets.csv; the rest comes from the broker's contract details."""
    from triplane.broker import contracts
    from triplane.broker.session import BrokerSession
    from triplane.control.contract_row import USUAL_EXCHANGE, assets_row_from_contract_details, pair_type, with_row
    from triplane.domain.assets import SEC_TYPES
    from triplane.runtime import atomic_file

    if not symbol.strip():
        raise context.CommandError("SYMBOL is empty; name the broker's symbol", 2)
    sec_type = sec_type.upper() or pair_type(symbol.upper())
    if sec_type not in SEC_TYPES.values():
        raise context.CommandError(f"--type {sec_type} is not one of {', '.join(dict.fromkeys(SEC_TYPES.values()))}", 2)
    if sec_type in ("CASH", "CRYPTO") and "." in symbol:  # the pair as assets.csv and `status` name it
        symbol, _, currency = symbol.partition(".")
    settings = context.settings()
    if not settings.gateway_port:
        raise context.CommandError(
            "no gateway is known here: run `triplane up` first, or set TRIPLANE_GATEWAY_PORT and TRIPLANE_ACCOUNT"
        )
    wanted = contracts.make_contract(
        symbol.upper(),
        sec_type=sec_type,
        exchange=exchange or USUAL_EXCHANGE[sec_type],
        primary_exchange=primary,
        currency=currency.upper(),
        expiry=expiry,
    )

    async def ask() -> list[object]:
        session = BrokerSession()
        try:
            await session.connect(
                settings.gateway_host, settings.gateway_port, settings.kill_client_id + 1, settings.account
            )
            return await contracts.raw_details(session, wanted)
        finally:
            await session.close()

    found = asyncio.run(ask())
    if len(found) != 1:
        which = f"{len(found)} contracts match" if found else "the broker knows no contract"
        remedy = "name --primary, --type (CASH of a currency pair, CRYPTO, FUT), --exchange or --expiry"
        if settings.gateway_http and not found:
            remedy += "; the simulated market knows only the rows that assets.csv had when it started, a real gateway the others"
        raise context.CommandError(f"{which} for {sec_type} {symbol.upper()} in {currency}: {remedy}")
    asset, notes = assets_row_from_contract_details(found[0])
    path = settings.assets_path
    text = path.read_text(encoding="utf-8")
    updated = with_row(text, asset, str(path))
    row = updated.splitlines()[-1]
    if not json_:
        print(row)
        for note in notes:
            print(f"note: {note}")
    if not dry_run:
        atomic_file.write(path, updated, through_links=True)
    if json_:
        context.print_json({"row": row, "notes": notes, "file": str(path), "added": not dry_run})
    elif not dry_run:
        print(f"added to {path}; the control daemon takes it when it runs")
