"""Tests. A package, because a dependency installs a top-level `tests` that would hide this folder's helpers."""
