"""deploy/setup.sh where an earlier run of it was cut short, or cannot go on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "deploy" / "setup.sh"


def set_up_offline(folder: Path) -> None:
    """The script in `folder`, with a pip that may not ask for anything: it says so and ends."""
    env = {**os.environ, "PYTHON": sys.executable, "PIP_NO_INDEX": "1"}
    ended = subprocess.run(
        [SCRIPT, "env"], cwd=folder, env=env, capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 69
    assert "could not be installed into env (the lines above say why): mend that, then run again" in ended.stderr


def test_what_worked_before_outlives_a_failed_installation_and_what_was_cut_short_is_made_anew(tmp_path):
    """All of it behind a link, through which Python itself makes no environment."""
    there, env = tmp_path / "elsewhere", tmp_path / "env"
    there.mkdir()
    (there / ".filling").touch()  # a kill in the middle leaves it, and one while all was made anew leaves no pyvenv.cfg
    (there / "half").touch()
    env.symlink_to("elsewhere")
    set_up_offline(tmp_path)
    assert (there / "bin" / "pip").exists()
    assert not (there / "half").exists()
    assert env.is_symlink()
    assert (env / ".filling").exists()

    (env / ".filling").rename(env / ".ready")  # as after an installation that worked
    (env / "half").touch()
    set_up_offline(tmp_path)
    assert (env / "half").exists()
    assert (env / ".ready").exists()
    assert not (env / ".filling").exists()
