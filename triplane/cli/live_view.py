"""The live terminal view: planes, flow, gates, regime, weights, orders, fills, PnL and learned cost. Pure drawing.

A terminal that is too small for the panels gets the same lines without frames, in two columns: 80 x 24 shows all of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from rich.columns import Columns
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from triplane.cli.live_state import LiveState

BLOCKS = " ▁▂▃▄▅▆▇█"
MESSAGES = 6
WEIGHTS, WEIGHTS_SMALL = 7, 5
Rows = list[tuple[str, str]]


def sparkline(values: list[float], width: int = 40) -> str:
    """A line of block characters, lowest to highest of `values`."""
    if len(values) < 2:
        return ""
    step = max(1, len(values) // width)
    sampled = values[::step][-width:]
    low, high = min(sampled), max(sampled)
    span = (high - low) or 1.0
    return "".join(BLOCKS[1 + round((value - low) / span * 7)] for value in sampled)


def _grid(rows: Rows) -> Table:
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


def _flow(state: LiveState) -> Rows:
    counts = state.counts
    return [
        ("bar slices", f"{counts['data.bars']:,}"),
        ("quote slices", f"{counts['data.quotes']:,}"),
        ("trade slices", f"{counts['data.trades']:,}"),
        ("facts / macro", f"{counts['data.facts']:,} / {counts['data.macro']:,}"),
        ("quarantined", f"{sum(state.quarantined.values()):,}"),
        ("gates", f"{len(state.closed_gates())} closed" if state.closed_gates() else "all open"),
        *(("closed", f"{gate['gate']} {gate['scope']}: {gate['code']}") for gate in state.closed_gates()[:2]),
        ("barriers", f"{state.barriers['warmup']:,} + {state.barriers['decision']:,}"),
    ]


def _regime(state: LiveState) -> Rows:
    regime = state.regime
    if not regime:
        return [("state", "-")]
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
    return rows


def _weights(state: LiveState, shown: int) -> RenderableType:
    targets = state.targets
    if not targets or not targets["symbols"]:
        return Text("-")
    current = dict(zip(targets["symbols"], targets["current"], strict=True))
    ranked = sorted(zip(targets["symbols"], targets["target"], strict=True), key=lambda item: -abs(item[1]))[:shown]
    table = Table.grid(padding=(0, 1))
    for symbol, weight in ranked:
        bar = "█" * round(abs(weight) * 40)
        style = "green" if weight >= 0 else "red"
        table.add_row(symbol, f"{current[symbol]:+.1%}", "→", f"{weight:+.1%}", Text(bar, style=style))
    return table


def _orders(state: LiveState) -> Rows:
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
            ("PnL (simulated)", f"[{colour}]{state.pnl:+,.0f}[/]"),
            ("drawdown", f"{account['drawdown']:.2%}" if math.isfinite(account["drawdown"]) else "-"),
            ("kill switch", account["kill_level"] or "none"),
        ]
    if state.costs and state.costs["linear"]:
        rows.append(
            ("learned cost", f"{state.costs['linear'][0] * 1e4:.1f} bp + {state.costs['impact'][0]:.2f}·σ√(q/adv)")
        )
    return rows


class LiveView:
    """The whole view. `processes` maps a process to ready, starting, stopped or what went wrong; `messages` are the newest last."""

    def __init__(self, state: LiveState, processes: Mapping[str, str], progress: str, messages: list[str]) -> None:
        self._state, self._processes, self._messages = state, processes, messages[-MESSAGES:]
        self._progress = progress

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The panels when they fit into the terminal, else the lines alone."""
        framed = Group(self._head(), self._panels(), Text("\n".join(self._messages)))
        if len(console.render_lines(framed, options, pad=False)) <= options.size.height:
            yield framed
            return
        bare = Group(self._head(), self._lines())
        room = options.size.height - len(console.render_lines(bare, options, pad=False))
        yield bare
        if room > 0:
            yield Text("\n".join(self._messages[-room:]), no_wrap=True, overflow="ellipsis")

    def _head(self) -> RenderableType:
        title = Text.assemble(
            ("Triplane ", "bold"),
            ("SIMULATED MARKET  ", "bold yellow"),
            (self._state.clock, "cyan"),
            (f"   {self._progress}", "dim"),
        )
        return Group(title, _processes(self._processes))

    def _nav(self) -> RenderableType:
        return Text(sparkline(list(self._state.nav_path)), style="blue")

    def _panels(self) -> RenderableType:
        state = self._state
        orders = Group(_grid(_orders(state)), self._nav())
        panels = [
            Panel(_grid(_flow(state)), title="data → barriers", border_style="cyan"),
            Panel(_grid(_regime(state)), title="regime and targets", border_style="magenta"),
            Panel(_weights(state, WEIGHTS), title="largest weights", border_style="magenta"),
            Panel(orders, title="orders and account (simulated)", border_style="yellow"),
        ]
        return Columns(panels, expand=False, equal=False)

    def _lines(self) -> RenderableType:
        state = self._state
        left = Group(_grid(_flow(state)), _grid(_regime(state)))
        right = Group(_weights(state, WEIGHTS_SMALL), _grid(_orders(state)), self._nav())
        table = Table.grid(padding=(0, 3))
        table.add_row(left, right)
        return table
