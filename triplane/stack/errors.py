"""The one error of the local stack."""

from __future__ import annotations


class StackError(RuntimeError):
    """The stack cannot start or is not as it must be. The message is one sentence with cause and remedy.

    `code` is what a command ends with for it: 78 where a process ended because of something that a person has to mend.
    """

    def __init__(self, sentence: str, code: int = 1) -> None:
        super().__init__(sentence)
        self.code = code


class Unavailable(StackError):
    """Something does not answer, and may later."""
