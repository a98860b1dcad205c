"""The purity lint bites: each way out of an engine is refused by ruff there, and by no other rule that happens to be broken."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ENGINES = (
    "strategy_plane/engine.py",
    "strategy_plane/risk/covariance.py",
    "order_plane/engine.py",
    "order_plane/trading/work.py",
    "order_plane/kill/levels.py",
    "data_plane/engine.py",
    "data_plane/gates/prices.py",
    "triplane/domain/calendars.py",
    "triplane/control/engine.py",
    "triplane/replay/orders.py",
)
WAYS_OUT = (
    "import time\n\nX = time.time()\n",
    "from time import time_ns\n\nX = time_ns()\n",
    "from datetime import datetime\n\nX = datetime.now()\n",
    "import random\n\nX = random.random()\n",
    "import numpy as np\n\nX = np.random.default_rng()\n",
    "from uuid import uuid4\n\nX = uuid4()\n",
    "import os\n\nX = os.environ\n",
    "X = open('file')\n",
    "print('done')\n",
    "from pathlib import Path\n\nX = Path('file').read_text()\n",
    "import io\n\nX = io.open('file')\n",
    "import subprocess\n\nX = subprocess.run(['true'])\n",
    "import socket\n\nX = socket.socket()\n",
    "import urllib.request\n\nX = urllib.request.urlopen('http://localhost')\n",
    "import http.client\n\nX = http.client\n",
    "import httpx\n\nX = httpx.get('http://localhost')\n",
    "from confluent_kafka import Producer\n\nX = Producer({})\n",
    "import aiokafka\n\nX = aiokafka\n",
    "import faust\n\nX = faust\n",
    "import ib_insync\n\nX = ib_insync\n",
    "import asyncio\n\nX = asyncio\n",
    "import threading\n\nX = threading\n",
    "import logging\n\nX = logging.getLogger()\n",
)
PURITY = {"TID251", "T201", "PTH123"}


def broken(path: str, code: str) -> set[str]:
    """Codes of the rules that `code` breaks in the place of the file at `path`."""
    command = [sys.executable, "-m", "ruff", "check", "--output-format=json", f"--stdin-filename={path}", "-"]
    done = subprocess.run(command, input=code, capture_output=True, text=True, check=False, cwd=ROOT)
    return {found["code"] for found in json.loads(done.stdout)}


@pytest.mark.parametrize("code", WAYS_OUT, ids=lambda code: code.splitlines()[0])
def test_an_engine_may_not(code: str) -> None:
    for path in ENGINES:
        assert (ROOT / path).exists(), path
        assert broken(path, code) & PURITY, path


def test_a_daemon_may() -> None:
    """The exemptions are by folder, so the rule is not simply always on."""
    for path in ("strategy_plane/worker/loop.py", "order_plane/daemon/service.py", "data_plane/daemon/service.py"):
        assert not broken(path, WAYS_OUT[0]) & PURITY, path


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("data_plane/engine.py", "from strategy_plane import engine as other"),
        ("order_plane/ledger/book.py", "from order_plane.trading import work as other"),
        ("strategy_plane/engine.py", "from triplane.runtime import kafka_out as other"),
        ("order_plane/trading/work.py", "from triplane.runtime import atomic_file as other"),
    ],
)
def test_the_import_contracts_bite(tmp_path: Path, path: str, line: str) -> None:
    """In a copy of the code with one import too many."""
    for folder in ("schemas", "triplane", "data_plane", "strategy_plane", "order_plane"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__", "*.csv"))
    shutil.copy(ROOT / ".importlinter", tmp_path)
    with (tmp_path / path).open("a", encoding="utf-8") as file:
        file.write(f"\n{line}\n")
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode != 0
    assert "BROKEN" in done.stdout
    assert line.split()[1].split(".")[0] in done.stdout
