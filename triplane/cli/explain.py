"""`triplane explain INTENT|SYMBOL`: data, signals, weights, constraints, risk decision, orders, fills, cost."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

import typer

from triplane.cli import context

TOPICS = (
    "strategy.barriers",
    "strategy.factors",
    "strategy.signals",
    "strategy.regime",
    "strategy.targets",
    "strategy.intents",
    "order.decisions",
    "order.events",
    "order.fills",
)


def explain(
    what: str = typer.Argument(
        help="A symbol for its latest decision, ACCOUNT/SEQ/SYMBOL, or an order's ACCOUNT/SEQ/SYMBOL/CHILD/REV."
    ),
    json_: bool = context.JSON,
) -> None:
    """Why a name was traded at a barrier, or why it was not."""
    from triplane.domain.timestamps import NEW_YORK, to_datetime
    from triplane.replay import recording
    from triplane.replay.explanation import explain as find

    found = find(recording.read(context.connected_settings(), TOPICS), what)
    if json_:
        context.print_json(asdict(found) | {"verdict": found.verdict})
        return
    print(found.verdict)
    if found.barrier:
        when = to_datetime(found.barrier["t"], NEW_YORK).strftime("%Y-%m-%d %H:%M:%S New York")
        late = found.barrier["missing"]
        waited = (
            f"it went on without the partitions {', '.join(late)}" if late else "no input partition was late for it"
        )
        print(f"barrier {found.seq}: {found.barrier['kind']} at {when}; {waited}")
    rows: list[tuple[Any, ...]]
    if found.signals:
        rows = [(s["signal"], s["raw"], s["score"], s["ic"], s["weight"], s["abstains"]) for s in found.signals]
        columns = ("signal", "raw", "score", "ic", "weight", "abstains")
        alpha = f"alpha {found.alpha:+.5f}" if math.isfinite(found.alpha) else "no alpha: every signal abstains"
        context.print_table(f"Signals ({alpha})", columns, rows)
    if found.factors:
        context.print_table("Exposures", ("factor", "exposure"), list(found.factors.items()))
    if found.regime:
        print(
            f"regime {found.regime['state'] or 'not fitted'}, brake {found.regime['brake']:.2f} ({found.regime['brake_reason'] or 'none'})"
        )
    if found.target:
        context.print_table(
            "Optimisation", ("", "value"), [list(item) for item in found.target.items() if item[1] != ""]
        )
    if found.decisions:
        rows = [(d["order_ref"] or "(intent)", d["code"], d["detail"]) for d in found.decisions]
        shown = slice(None if any(detail for *_, detail in rows) else -1)  # an empty column tells nothing
        context.print_table("Risk decisions", ("order", "code", "detail")[shown], [row[shown] for row in rows])
    if found.orders:
        rows = [
            (
                o["order_ref"],
                o["action"],
                o["order_type"],
                o["quantity"],
                o["limit_price"],
                o["status"],
                o["filled"],
                o["answer"],
            )
            for o in found.orders
        ]
        context.print_table(
            "Orders", ("order", "side", "type", "quantity", "limit", "status", "filled", "answer"), rows
        )
    if found.fills:
        # The broker tells what an execution cost in a message of its own, which is a record of its own.
        commissions = {f["exec_id"]: f["commission"] for f in found.fills if f["kind"] == "commission"}
        rows = [
            (
                f["kind"],
                f["order_ref"],
                f["exec_id"],
                f["side"] * f["quantity"],
                f["price"],
                commissions.get(f["exec_id"], float("nan")),
            )
            for f in found.fills
            if f["kind"] != "commission"
        ]
        context.print_table("Fills", ("kind", "order", "execution", "signed quantity", "price", "commission"), rows)
    p = found.parent
    if p and not p["quantity"]:
        print(
            f"nothing of the {p['target_quantity']:,.0f} units between position and target was filled while it lasted"
        )
    elif p.get("arrival_mid"):
        shortfall = p["side"] * (p["price"] - p["arrival_mid"]) / p["arrival_mid"]
        print(
            f"cost {shortfall * 1e4:+.2f} bp against an arrival mid of {p['arrival_mid']:.4f}{'; SIMULATED' if p['simulated'] else ''}"
        )
