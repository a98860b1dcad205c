"""`triplane order release|resolve`: what only a person can say of a held name or of an order that reconciliation cannot tell."""

from __future__ import annotations

import math
from typing import Any

import typer

from triplane.cli import context
from triplane.cli.control_commands import ACTOR, REASON, give


def add_to(app: typer.Typer) -> None:
    """Offer both verbs in the group of the order plane."""
    app.command("release")(release)
    app.command("resolve")(resolve)


def release(
    symbol: str = typer.Argument(help="The held name, or * for the account."),
    reason: str = REASON,
    actor: str | None = ACTOR,
    json_: bool = context.JSON,
) -> None:
    """Let a held name, or the whole account, trade again; `triplane status` says what is held and why."""
    account = _account()
    held = None if account is None else {entry.partition(":")[0] for entry in account["held"]}
    if account is not None and symbol in account["excluded"]:
        raise context.CommandError(
            f"{symbol} is not held but left alone (FOREIGN_POSITION), until that position is closed where it was opened"
        )
    if held is not None and symbol not in held:
        have = ", ".join(sorted(held)) or "nothing is"
        raise context.CommandError(f"the order plane does not hold {symbol!r}; held: {have}")
    _give("order.release", {"symbol": symbol}, actor, reason, json_)


def resolve(
    order_ref: str = typer.Argument(help="The order's reference, ACCOUNT/SEQ/SYMBOL/CHILD/REV."),
    outcome: str = typer.Option("abandoned", "--outcome", help="What became of it: abandoned, cancelled or filled."),
    quantity: float = typer.Option(
        0.0, "--quantity", min=0, help="Units filled that no execution shows, to be booked."
    ),
    price: float = typer.Option(0.0, "--price", min=0, help="Price of those units."),
    reason: str = REASON,
    actor: str | None = ACTOR,
    json_: bool = context.JSON,
) -> None:
    """Say what became of an order that reconciliation cannot tell; ask the broker first."""
    from triplane.domain.ids import parse_order_ref

    if parse_order_ref(order_ref) and not _was_placed(order_ref):
        raise context.CommandError(
            f"no order {order_ref!r} was ever placed here; `triplane explain SYMBOL` lists those of a name"
        )
    if not (math.isfinite(quantity) and math.isfinite(price)):
        raise context.CommandError("--quantity and --price are finite numbers; ask the broker for them")
    arguments = {"order_ref": order_ref, "outcome": outcome, "quantity": f"{quantity:.17g}", "price": f"{price:.17g}"}
    _give("order.resolve", arguments, actor, reason, json_)


def _account() -> dict[str, Any] | None:
    """The newest account record; None where the log does not tell."""
    from triplane.cli.status import latest
    from triplane.runtime.kafka_in import LogUnavailable

    settings = context.settings()
    if not settings.bootstrap:
        return None
    try:
        found = latest(settings, {"order.account": 1})["order.account"]
    except LogUnavailable:
        return None
    return found[-1] if found else None


def _was_placed(order_ref: str) -> bool:
    """Whether order.events knows the order; True where the log does not tell, for then the order plane judges it."""
    from triplane.runtime.kafka_in import LogUnavailable, read_all

    settings = context.settings()
    if not settings.bootstrap:
        return True
    try:
        records = read_all(settings, ["order.events"])
    except LogUnavailable:
        return True
    return any(record.value is not None and record.value["order_ref"] == order_ref for record in records)


def _give(command: str, arguments: dict[str, str], actor: str | None, reason: str, json_: bool) -> None:
    """Hand a command to the control daemon, which writes it to the log. Raises CommandError with its refusal."""
    told = give(command, arguments, actor, reason)
    if json_:
        context.print_json(told)
    else:
        about = next(iter(arguments.values()))
        print(
            f"{command} of {about} is on the log; `triplane status` shows what is still held, and `triplane explain` what it did; what "
            "the order plane cannot follow it tells as BAD_COMMAND, on the terminal of `triplane up` and in its log"
        )
