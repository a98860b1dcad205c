"""`python -m strategy_plane` where it must not start: one sentence and a code."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.prefork import to_its_end
from triplane.runtime import exit_codes
from triplane.runtime.daemon import lock
from triplane.runtime.settings import Settings

pytestmark = pytest.mark.integration
ROOT = Path(__file__).resolve().parents[2]


def run_daemon(settings: Settings, **environment: str) -> subprocess.CompletedProcess[str]:
    """`python -m strategy_plane` to its end."""
    variables = {
        **os.environ,
        "TRIPLANE_BOOTSTRAP": settings.bootstrap,
        "TRIPLANE_TOPIC_PREFIX": settings.topic_prefix,
        "TRIPLANE_STATE_DIR": str(settings.state_dir),
        "TRIPLANE_ACCOUNT": settings.account,
        **environment,
    }
    return to_its_end("strategy_plane", cwd=ROOT, env=variables, timeout=90)


def sentence(done: subprocess.CompletedProcess[str]) -> str:
    """The one line on stderr that is not a log line."""
    lines = [line for line in done.stderr.splitlines() if not line.startswith("{")]
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in done.stderr
    return lines[0]


def test_a_second_instance_ends_with_78_and_one_sentence(settings: Settings) -> None:
    held = lock(settings, "strategy")
    try:
        done = run_daemon(settings)
    finally:
        held.release()
    assert done.returncode == exit_codes.CONFIG
    assert "already running" in sentence(done)


@pytest.mark.parametrize(
    ("variable", "value", "code", "words"),
    [
        ("TRIPLANE_TOPIC_PREFIX", "nowhere.", exit_codes.UNAVAILABLE, "topics create"),
        ("TRIPLANE_BOOTSTRAP", "127.0.0.1:9", exit_codes.UNAVAILABLE, "does not answer"),
        ("TRIPLANE_ACCOUNT", "", exit_codes.CONFIG, "TRIPLANE_ACCOUNT"),
    ],
    ids=["missing topics", "no Kafka", "no account"],
)
def test_a_wrong_setting_ends_with_one_sentence(
    settings: Settings, variable: str, value: str, code: int, words: str
) -> None:
    done = run_daemon(settings, **{variable: value})
    assert done.returncode == code
    assert words in sentence(done)
