"""Macro series as engines: what was known when, how often a series comes, and FRED-MD's transformations. Pure: no clock, no I/O."""
