"""Handing a command to the control daemon, which writes it to the log for the planes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import typer

from triplane.cli import context
from triplane.runtime import run_file

ACTOR = typer.Option(None, "--actor", help="Who asks; your login name by default.")
REASON = typer.Option(..., "--reason", help="Why; it is written to the log.")


def give(command: str, arguments: Mapping[str, str], actor: str | None, reason: str) -> dict[str, Any]:
    """The Command record as it stands on the log. Raises CommandError with the control daemon's refusal."""
    import httpx

    from triplane.runtime import loopback

    body = {"command": command, "arguments": arguments, "actor": actor or context.user_name(), "reason": reason}
    try:
        with loopback.client(30.0) as client:
            answer = client.post(f"{_control_address()}/commands", json=body)
        told: dict[str, Any] = answer.json()
    except (httpx.HTTPError, ValueError) as error:
        raise context.CommandError(
            f"the control daemon does not answer ({type(error).__name__}); `triplane up` starts it where it is down, `triplane status` says "
            "how it is"
        ) from None
    if answer.status_code != 200:
        raise context.CommandError(str(told.get("error", answer.text)))
    return told


def _control_address() -> str:
    found = run_file.read(context.settings().state_dir, "control")
    if found is None:
        raise context.CommandError("no control daemon has run here; start one with `triplane up`")
    return found.http
