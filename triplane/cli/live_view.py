"""The live terminal view: planes, flow, gates, regime, weights, orders, fills, PnL and learned cost. Pure drawing."""

from __future__ import annotations

from collections.abc import Mapping

from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from triplane.cli.live_state import LiveState

BLOCKS = " ▁▂▃▄▅▆▇█"


def sparkline(values: list[float], width: int = 40) -> str:
    """A line of block characters, lowest to highest of `values`."""
    if len(values) < 2:
        return ""
    step = max(1, len(values) // width)
    sampled = values[::step][-width:]
    low, high = min(sampled), max(sampled)
    span = (high - low) or 1.0
    return "".join(BLOCKS[1 + round((value - low) / span * 7)] for value in sampled)


def _grid(rows: list[tuple[str, str]]) -> Table:
    table = Table.grid(padding=(0, 1))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    for left, right in rows:
        table.add_row(left, right)
    return table


def _processes(processes: Mapping[str, str]) -> RenderableType:
    text = Text()
    for name, state in processes.items():
        colour = {"ready": "green", "done": "green", "starting": "yellow", "waiting": "yellow", "stopped": "dim"}.get(
            state, "red"
        )
        text.append(f"● {name} ", style=colour)
        if state != "ready":
            text.append(f"{state} ", style="dim")
    return text


def _flow(state: LiveState) -> RenderableType:
    counts = state.counts
    rows = [
        ("bar slices", f"{counts['data.bars']:,}"),
        ("quote slices", f"{counts['data.quotes']:,}"),
        ("trade slices", f"{counts['data.trades']:,}"),
        ("facts / macro", f"{counts['data.facts']:,} / {counts['data.macro']:,}"),
        ("quarantined", f"{sum(state.quarantined.values()):,}"),
        ("gates", f"{len(state.closed_gates())} closed" if state.closed_gates() else "all open"),
        *(("closed", f"{gate['gate']} {gate['scope']}: {gate['code']}") for gate in state.closed_gates()[:2]),
        ("barriers", f"{state.barriers['warmup']:,} + {state.barriers['decision']:,}"),
    ]
    return Panel(_grid(rows), title="data → barriers", border_style="cyan")


def _regime(state: LiveState) -> RenderableType:
    regime = state.regime
    if not regime:
        return Panel("-", title="regime", border_style="magenta")
    colour = {"Calm": "green", "Normal": "yellow", "Storm": "bold red"}.get(regime["state"], "dim")
    rows = [
        ("state", f"[{colour}]{regime['state'] or 'not fitted'}[/]"),
        ("calm to storm", " ".join(f"{p:.2f}" for p in regime["posterior"])),
        ("brake", f"{regime['brake']:.2f}"),
        ("because", regime["brake_reason"] or "-"),
    ]
    if state.targets:
        targets = state.targets
        rows += [
            ("outcome", targets["outcome"]),
            ("gross / net", f"{targets['gross']:.2f} / {targets['net']:+.2f}"),
            ("volatility", f"{targets['volatility']:.1%}"),
        ]
    return Panel(_grid(rows), title="regime and targets", border_style="magenta")


def _weights(state: LiveState, shown: int = 7) -> RenderableType:
    targets = state.targets
    if not targets or not targets["symbols"]:
        return Panel("-", title="weights", border_style="magenta")
    current = dict(zip(targets["symbols"], targets["current"], strict=True))
    ranked = sorted(zip(targets["symbols"], targets["target"], strict=True), key=lambda item: -abs(item[1]))[:shown]
    table = Table.grid(padding=(0, 1))
    for symbol, weight in ranked:
        bar = "█" * round(abs(weight) * 40)
        style = "green" if weight >= 0 else "red"
        table.add_row(symbol, f"{current[symbol]:+.1%}", "→", f"{weight:+.1%}", Text(bar, style=style))
    return Panel(table, title="largest weights", border_style="magenta")


def _orders(state: LiveState) -> RenderableType:
    account = state.account
    resting = state.open_orders()
    more = f" and {len(resting) - 2} more" if len(resting) > 2 else ""
    rows = [
        ("orders / fills", f"{state.orders:,} / {state.fills:,}"),
        ("open orders", f"{', '.join(resting[:2])}{more}" if resting else "none"),
        ("newest fill", state.newest_fill or "-"),
        ("decisions without order", f"{sum(state.denials.values()):,}"),
    ]
    if account:
        colour = "green" if state.pnl >= 0 else "red"
        rows += [
            ("NAV", f"{account['nav']:,.0f} {account['base_currency']}"),
            ("PnL", f"[{colour}]{state.pnl:+,.0f}[/]"),
            ("drawdown", f"{account['drawdown']:.2%}"),
            ("kill switch", account["kill_level"] or "none"),
        ]
    if state.costs and state.costs["linear"]:
        rows.append(
            ("learned cost", f"{state.costs['linear'][0] * 1e4:.1f} bp + {state.costs['impact'][0]:.2f}·σ√(q/adv)")
        )
    line = sparkline(list(state.nav_path))
    return Panel(
        Group(_grid(rows), Text(line, style="blue")), title="orders and account (simulated)", border_style="yellow"
    )


def render(state: LiveState, processes: Mapping[str, str], progress: str, messages: list[str]) -> RenderableType:
    """The whole view. `processes` maps a process to ready, starting, stopped or what went wrong."""
    header = Text.assemble(
        ("Triplane ", "bold"), ("SIMULATED MARKET  ", "bold yellow"), (state.clock, "cyan"), (f"   {progress}", "dim")
    )
    body = Columns([_flow(state), _regime(state), _weights(state), _orders(state)], expand=False, equal=False)
    tail = Text("\n".join(messages[-6:]))
    return Group(header, _processes(processes), body, tail)
