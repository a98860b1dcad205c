"""A misspelt variable is told, with the one that was meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from triplane.runtime.unknown_variables import PREFIX, unknown_variables


def test_a_misspelt_variable_is_told_with_the_one_that_was_meant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert unknown_variables() == []
    for name in ("GATEWAYPORT", "VOL_TARGET", "STATE_DIR", "CACHE", "PORT_80_TCP", "SERVICE_HOST"):
        monkeypatch.setenv(PREFIX + name, "x")
    Path(".env").write_text(f"{PREFIX}ACOUNT=DU1\n{PREFIX}MODE=paper\nOTHER=1\ntriplane_log_level=INFO\n")
    told = [str(each).removeprefix(PREFIX) for each in unknown_variables()]
    assert told == [
        f"ACOUNT is no variable of Triplane and has no effect; did you mean {PREFIX}ACCOUNT?",
        f"GATEWAYPORT is no variable of Triplane and has no effect; did you mean {PREFIX}GATEWAY_PORT?",
        "VOL_TARGET is no variable of Triplane and has no effect, see docs/environment.md",
    ]
