"""Numeric pins and fingerprint: what makes the same inputs give the same bytes on the same kind of machine.

matmul, eigh, solve and Clarabel differ in their last bits by OpenBLAS core type, BLAS results by thread count, exp/log/pow by
AVX-512. The libraries read the pins from the environment when numpy is imported, so they are set before; a process that has it
already re-executes itself.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import sys
from collections.abc import MutableMapping
from functools import cache

PINS = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}
X86_PINS = {
    "OPENBLAS_CORETYPE": "Haswell",
    "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",
}
WHEELS = ("numpy", "scipy", "clarabel", "cvxpy-base", "hmmlearn", "scikit-learn")


def required_pins() -> dict[str, str]:
    """Environment variables this machine needs; off x86 only the thread counts are pinned."""
    return {**PINS, **(X86_PINS if platform.machine() in ("x86_64", "AMD64") else {})}


def pin(environment: MutableMapping[str, str] = os.environ) -> None:
    """Set the pins; RuntimeError when numpy is loaded already, for then they would have no effect."""
    missing = {name: value for name, value in required_pins().items() if environment.get(name) != value}
    if missing and environment is os.environ and "numpy" in sys.modules:
        raise RuntimeError(f"numpy was imported before {sorted(missing)[0]} was pinned; call numerics.pin() first")
    environment.update(missing)


def ensure_pinned() -> None:
    """Set the pins; where it is too late for that, re-execute this process with them. Returns when they are in force."""
    if all(os.environ.get(name) == value for name, value in required_pins().items()):
        return
    if "numpy" not in sys.modules:
        pin()
        return
    environment = dict(os.environ)
    environment.update(required_pins())
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)


def active_features() -> tuple[str, ...]:
    """numpy's enabled CPU features, sorted; a pin that numpy ignored shows here."""
    from numpy._core._multiarray_umath import __cpu_features__

    return tuple(sorted(name for name, enabled in __cpu_features__.items() if enabled))


@cache
def fingerprint() -> str:
    """Short identity of everything that may change the last bits: architecture, wheels, pins, CPU features.

    Two machines with one fingerprint give byte-identical outputs (law L1); on different ones floats agree within 1e-9.
    """
    digest = hashlib.sha256()
    for wheel in WHEELS:
        record = importlib.metadata.distribution(wheel).read_text("RECORD") or ""
        binaries = sorted(line for line in record.splitlines() if ".so" in line or ".pyd" in line or ".dylib" in line)
        digest.update(f"{wheel} {importlib.metadata.version(wheel)}\n".encode())
        digest.update("\n".join(binaries).encode())
    for name, value in sorted(required_pins().items()):
        digest.update(f"{name}={os.environ.get(name, '')} wanted {value}\n".encode())
    digest.update(" ".join(active_features()).encode())
    pinned = all(os.environ.get(name) == value for name, value in required_pins().items())
    state = "pinned" if pinned and platform.machine() in ("x86_64", "AMD64") else "unpinned"
    return f"{platform.machine()}-{state}-{digest.hexdigest()[:16]}"
