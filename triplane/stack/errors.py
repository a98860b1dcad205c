"""The one error of the local stack."""

from __future__ import annotations


class StackError(RuntimeError):
    """The stack cannot start or is not as it must be. The message is one sentence with cause and remedy."""


class Unavailable(StackError):
    """Something does not answer, and may later."""
