"""`triplane data|strategy|order|control run` and `triplane paper run|providers`: one daemon in the foreground."""

from __future__ import annotations

import os
import sys

import typer

from triplane.cli import context

PLANES = {
    "data": ("data_plane", "The Data Plane: sources -> gates -> topics."),
    "strategy": ("strategy_plane", "The Strategy Plane: barriers -> factors -> signals -> targets -> intents."),
    "order": ("order_plane", "The Order Plane: intents -> risk -> throttle -> broker -> fills -> costs."),
    "control": ("triplane.control", "The control daemon: validates targets.yaml edits, takes commands."),
    "paper": ("triplane.paper.gateway", "The paper market: a gateway that speaks the TWS protocol."),
}
_FORWARD = {"allow_extra_args": True, "ignore_unknown_options": True}


def _become(module: str, arguments: list[str]) -> None:
    """Replace this process by the daemon, so that signals and exit codes are the daemon's own."""
    environment = dict(os.environ)
    environment.update(context.environment())
    os.execve(sys.executable, [sys.executable, "-m", module, *arguments], environment)


def app_for(plane: str) -> typer.Typer:
    """The verb group of one daemon."""
    module, help_line = PLANES[plane]
    app = typer.Typer(no_args_is_help=True, help=help_line)

    @app.command("run", context_settings=_FORWARD | {"help_option_names": [] if plane == "paper" else ["-h", "--help"]})
    def run(ctx: typer.Context) -> None:
        """Run the daemon in the foreground; further arguments go to it. Settings come from TRIPLANE_* variables."""
        _become(module, ctx.args)

    if plane == "paper":

        @app.command("providers", context_settings=_FORWARD | {"help_option_names": []})
        def providers(ctx: typer.Context) -> None:
            """Run the local server that answers like EDGAR and FRED."""
            _become("triplane.paper.providers", ctx.args)

    return app
