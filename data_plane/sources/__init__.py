"""Sources: where observations come from. A source is one module or folder here; nothing else has to know it.

Each module of this package that defines `SOURCE` (a `SourceSpec`) is a source. docs/data.md has a worked example.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module
from importlib.machinery import FileFinder
from pathlib import Path

from data_plane.sources.base import SourceSpec
from triplane.runtime.exit_codes import CONFIG, DaemonExit

_NONE = object()
_REMEDY = "mend it (docs/data.md has an example), or take it out of the folder"


def registered() -> list[SourceSpec]:
    """Every source, reference data before market data, then by name. Raises DaemonExit, which names the file, where a module is not one."""
    specs, problems = look()
    if problems:
        raise DaemonExit(problems[0], CONFIG)
    return specs


def look() -> tuple[list[SourceSpec], list[str]]:
    """The sources that can be had, and a sentence for each module that cannot be imported or whose SOURCE is of another type."""
    specs, problems = list[SourceSpec](), list[str]()
    for module in sorted(pkgutil.iter_modules(__path__), key=lambda info: info.name):
        folder = module.module_finder.path if isinstance(module.module_finder, FileFinder) else __path__[0]
        path = Path(folder) / (f"{module.name}/__init__.py" if module.ispkg else f"{module.name}.py")
        try:
            spec = getattr(import_module(f"{__name__}.{module.name}"), "SOURCE", _NONE)
        except Exception as error:  # whatever a plug-in raises
            why = f"{type(error).__name__}: {' '.join(str(error).split())}"
            problems.append(f"{path} cannot be imported ({why}); {_REMEDY}")
            continue
        if isinstance(spec, SourceSpec):
            specs.append(spec)
        elif spec is not _NONE:
            problems.append(f"{path} has a SOURCE that is no SourceSpec but of type {type(spec).__name__}; {_REMEDY}")
    return sorted(specs, key=lambda spec: (spec.stage, spec.name)), problems
