"""Interactive Brokers as a source: `source.py` is the connection, the other modules are what is asked of it."""

from __future__ import annotations

from data_plane.sources.ibkr.source import SOURCE, IbkrSource

__all__ = ["SOURCE", "IbkrSource"]
