"""Numeric pins: set before numpy, verified by what numpy reports, and by bytes."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from triplane.runtime import numerics

PROBE = """
import hashlib, numpy as np
from triplane.runtime import numerics
rng = np.random.default_rng(1)
a = rng.standard_normal((60, 60)); s = a @ a.T
out = [s, np.linalg.eigh(s)[1], np.linalg.solve(s, a), np.exp(a), np.log(np.abs(a)), np.power(np.abs(a), 1.5)]
print(hashlib.sha256(b"".join(x.tobytes() for x in out)).hexdigest(), numerics.fingerprint())
"""


def probe(**environment: str) -> list[str]:
    clean = {k: v for k, v in os.environ.items() if k not in numerics.required_pins()}
    run = subprocess.run(
        [sys.executable, "-c", PROBE], env=clean | environment, capture_output=True, text=True, check=True
    )
    return run.stdout.split()


def test_this_process_is_pinned():
    assert all(os.environ.get(name) == value for name, value in numerics.required_pins().items())


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="the pins of core type exist on x86 only")
def test_numpy_obeys_the_feature_pin():
    # Detected single bits such as AVX512F stay listed; what numpy dispatches on are these groups.
    assert not {"AVX512_ICL", "AVX512_SPR", "X86_V4"} & set(numerics.active_features())


def test_pinned_processes_agree_in_bytes_and_fingerprint():
    pins = numerics.required_pins()
    first, second = probe(**pins), probe(**pins, PYTHONHASHSEED="7")
    assert first == second


def test_fingerprint_shows_a_missing_pin():
    assert probe(**numerics.required_pins())[1] != probe()[1]


def test_pin_refuses_once_numpy_is_loaded():
    code = "import os\nos.environ.pop('OPENBLAS_NUM_THREADS', None)\nimport numpy\nfrom triplane.runtime import numerics\nnumerics.pin()"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode != 0
    assert "numpy was imported before" in run.stderr


def test_ensure_pinned_reexecutes_with_the_same_arguments(tmp_path):
    script = tmp_path / "daemon.py"
    script.write_text(
        "import sys, numpy\nfrom triplane.runtime import numerics\nnumerics.ensure_pinned()\nimport os\n"
        "print(sys.argv[1:], os.environ['OPENBLAS_NUM_THREADS'])\n"
    )
    clean = {k: v for k, v in os.environ.items() if k not in numerics.required_pins()}
    run = subprocess.run(
        [sys.executable, str(script), "--x", "1"], env=clean, capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "['--x', '1'] 1"


def test_ensure_pinned_sets_the_pins_in_place_where_numpy_is_not_loaded_yet():
    code = (
        "import os, sys\nfrom triplane.runtime import numerics\nsys.marker = True\n"
        "numerics.ensure_pinned()\nprint(sys.marker, numerics.fingerprint())"
    )
    clean = {k: v for k, v in os.environ.items() if k not in numerics.required_pins()}
    told = [
        subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True).stdout
        for env in (clean, clean | numerics.required_pins())
    ]
    assert told[0].startswith("True ")
    assert told[0] == told[1]  # numpy took them as it takes those of the shell
