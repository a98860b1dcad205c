"""FRED and ALFRED as a source: `source.py` looks for releases, `answers.py` reads them, `kept.py` reads again what was kept."""

from __future__ import annotations

from data_plane.sources.fred.source import SOURCE, FredSource

__all__ = ["SOURCE", "FredSource"]
