"""A misspelt variable is told, with the one that was meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from triplane.runtime.unknown_variables import unknown_variables


def test_a_misspelt_variable_is_told_with_the_one_that_was_meant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert unknown_variables() == []
    for name in (
        "TRIPLANE_GATEWAYPORT",
        "TRIPLANE_VOL_TARGET",
        "TRIPLANE_STATE_DIR",
        "TRIPLANE_CACHE",
        "TRIPLANE_PORT_80_TCP",
        "TRIPLANE_SERVICE_HOST",
    ):
        monkeypatch.setenv(name, "x")
    Path(".env").write_text("TRIPLANE_ACOUNT=DU1\nTRIPLANE_MODE=paper\nOTHER=1\ntriplane_log_level=INFO\n")
    assert [str(each) for each in unknown_variables()] == [
        "TRIPLANE_ACOUNT is no variable of Triplane and has no effect; did you mean TRIPLANE_ACCOUNT?",
        "TRIPLANE_GATEWAYPORT is no variable of Triplane and has no effect; did you mean TRIPLANE_GATEWAY_PORT?",
        "TRIPLANE_VOL_TARGET is no variable of Triplane and has no effect, see docs/environment.md",
    ]
