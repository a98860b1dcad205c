"""deploy/setup.sh where an earlier run of it was cut short, or cannot go on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "deploy" / "setup.sh"


def set_up_offline(folder: Path) -> subprocess.CompletedProcess[str]:
    """The script in `folder`, with a pip that may not ask for anything."""
    env = {**os.environ, "PYTHON": sys.executable, "PIP_NO_INDEX": "1"}
    return subprocess.run(
        [SCRIPT, "env"], cwd=folder, env=env, capture_output=True, text=True, timeout=120, check=False
    )


def test_what_worked_before_outlives_a_failed_installation_and_what_was_cut_short_is_made_anew(tmp_path):
    env = tmp_path / "env"
    subprocess.run([sys.executable, "-m", "venv", env], check=True, timeout=120)
    for name in (".ready", "half"):
        (env / name).touch()

    ended = set_up_offline(tmp_path)
    assert ended.returncode == 69
    assert "could not be installed into env (the lines above say why): mend that, then run again" in ended.stderr
    assert (env / "half").exists()
    assert not (env / ".filling").exists()

    (env / ".ready").rename(env / ".filling")  # as a kill in the middle leaves it
    (env / "pyvenv.cfg").unlink()  # and as one leaves it that came while it was made anew
    assert set_up_offline(tmp_path).returncode == 69
    assert not (env / "half").exists()
    assert (env / ".filling").exists()


def test_an_environment_behind_a_link_is_made_anew_where_it_is(tmp_path):
    """Python itself makes none through a link."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / ".filling").touch()
    (tmp_path / "env").symlink_to("elsewhere")

    ended = set_up_offline(tmp_path)
    assert ended.returncode == 69
    assert "could not be installed into env" in ended.stderr
    assert (tmp_path / "elsewhere" / "bin" / "pip").exists()
    assert (tmp_path / "env").is_symlink()
