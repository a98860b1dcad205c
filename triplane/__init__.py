"""Triplane outside the planes: domain words, runtime, broker client, control, replay, paper market and command line."""

__version__ = "0.1.0"
