"""Sources: where observations come from. A source is one module here; nothing else has to know it.

Each module of this package that defines `SOURCE` (a `SourceSpec`) is a source. docs/data.md has a worked example.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module

from data_plane.sources.base import SourceSpec


def registered() -> list[SourceSpec]:
    """Every source, reference data before market data, then by name."""
    found = []
    for module in sorted(pkgutil.iter_modules(__path__), key=lambda info: info.name):
        spec = getattr(import_module(f"{__name__}.{module.name}"), "SOURCE", None)
        if isinstance(spec, SourceSpec):
            found.append(spec)
    return sorted(found, key=lambda spec: (spec.stage, spec.name))
