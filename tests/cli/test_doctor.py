"""What doctor finds at a gateway: the account, and the time it lives at."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.broker.gateways import GatewayProcess
from triplane.cli.doctor import Finding, _gateway
from triplane.runtime.settings import Settings

pytestmark = pytest.mark.integration


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
    finally:
        gateway.stop()
