"""What doctor finds at a gateway (the account, and the time it lives at), and how it says what it found."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import typer

from strategy_plane.portfolio import blocking
from tests.broker.gateways import GatewayProcess
from triplane.cli import doctor as doctor_verb
from triplane.cli import remedies
from triplane.cli.context import print_table
from triplane.cli.doctor import _gateway
from triplane.cli.finding import Finding
from triplane.runtime.settings import Settings


@pytest.mark.integration
def test_a_gateway_of_the_past_is_for_paper_mode_alone(tmp_path: Path) -> None:
    gateway = GatewayProcess(tmp_path / "gateway", "--hold")

    def found(mode: str, account: str = "DU1234567") -> Finding:
        settings = Settings(gateway_port=gateway.port, mode=mode, account=account, state_dir=tmp_path)
        return list(_gateway(settings))[-1]

    try:
        assert (found("paper").state, found("paper").what) == ("ok", "IB gateway")
        shadow = found("shadow")
        assert shadow.state == "problem"
        assert "behind this machine's: shadow mode needs a gateway at the present time" in shadow.found
        assert "TRIPLANE_GATEWAY_PORT" in shadow.remedy
        other = found("paper", "DU7")
        assert other.state == "problem"
        assert "log in to that account" in other.remedy
        gateway.signal(signal.SIGSTOP)
        standing = found("paper")
        assert "answers at 127.0.0.1" in standing.found
        assert standing.remedy.startswith("continue it if it was stopped")
    finally:
        gateway.stop()


def test_every_code_that_holds_everything_has_a_remedy() -> None:
    for code in blocking.HOLDS:
        assert remedies.remedy_of(f"{code}: some detail") == remedies.HELD_REMEDIES[code]
    assert remedies.remedy_of("SOMETHING_NEW") == "see `triplane status`"


def test_brackets_of_a_bad_value_are_shown_as_they_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A value of targets.yaml is no markup: `[/abc]` ended the verb, `[bold]` was swallowed."""
    bad = Finding("problem", "configuration", "EXECUTION: [/abc] is not allowed", "one of [bold], limit")
    monkeypatch.setattr(doctor_verb, "examine", lambda _: [bad])
    with pytest.raises(typer.Exit):
        doctor_verb.doctor(json_=False)
    print_table("found", ["what"], [["[/abc] [bold]"], [["[red]", "x"]]])
    told = capsys.readouterr().out
    for words in (bad.found, bad.remedy, "[/abc] [bold]", "[red], x"):
        assert words in told
