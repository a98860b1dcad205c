"""SEC's EDGAR as a source: `source.py` looks for filings, `companyfacts.py` reads their facts, `frames.py` holds a second account against them."""

from __future__ import annotations

from data_plane.sources.edgar.source import SOURCE, EdgarSource

__all__ = ["SOURCE", "EdgarSource"]
