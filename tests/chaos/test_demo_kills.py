"""The whole system under kills and stops: nothing is lost, and the replay of the log is the log."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.demonstrations import PLANES, SHORT_HISTORY, Demo
from tests.waiting import wait

pytestmark = [pytest.mark.integration, pytest.mark.chaos, pytest.mark.timeout(600)]
KILLED = (*PLANES, "gateway")


def test_killed_and_stopped_planes_lose_nothing(tmp_path: Path, seed: int, counts: Callable[[int, int], int]) -> None:
    """Each plane and the gateway are SIGKILLed while the market trades, one is stopped and continued; the run ends whole and replays equal."""
    rounds = counts(1, 3)
    sessions = counts(5, 30)
    killed = random.Random(seed).sample(KILLED, counts(2, len(KILLED)))
    order = killed * rounds
    standing = random.Random(seed + 1).choice(("data", "strategy", "order"))
    # A sixth of the usual pace, so that the market still trades when a killed plane is back, on a busy machine, too.
    with Demo(
        tmp_path, "--json", "--sessions", str(sessions), "--speed", "50", "--no-registry", years=SHORT_HISTORY
    ) as demo:
        demo.until(lambda: demo.gateway().get("sessions_done", 0) >= 1, 240, "the first session's end")
        for plane in order:
            pid = demo.another(plane)
            assert not demo.gateway().get("finished"), f"the market ended before every plane was killed: {demo.err}"
            os.kill(pid, signal.SIGKILL)
            demo.another(plane, than=pid)
        pid = demo.another(standing)
        os.kill(pid, signal.SIGSTOP)
        wait(counts(5, 60))
        os.kill(pid, signal.SIGCONT)
        outcome = demo.outcome(300)
        code = demo.end()
        words = demo.words()
    assert outcome["problems"] == [], words
    assert outcome["verdict"].startswith("identical "), words
    assert outcome["killed"] == "", words
    assert code == 0
    restarts = {plane: demo.err.count(f"{plane}: restarting: {plane} was ended by SIGKILL") for plane in killed}
    assert restarts == outcome["restarts"] == dict.fromkeys(killed, rounds), demo.err
    # A session that passes as a whole while nobody observes it is not decided; every other one is.
    assert sessions - 2 * rounds <= outcome["decision_barriers"] <= sessions
    assert len(outcome["missed"]) == sessions - outcome["decision_barriers"]
    assert outcome["fills"] > 0
    assert "Traceback" not in words
