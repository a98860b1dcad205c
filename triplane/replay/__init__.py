"""Recorded topics through the same engines: verification of a recording."""
