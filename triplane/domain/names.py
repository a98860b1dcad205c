"""Names of instruments as the broker's reports bear them, and several of them in one text.

A name may hold spaces: `BRK B`, the local symbol of any option. So they are not joined by them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

HOME: Final = "USD"
"""The currency in which IB's symbols need no other word."""


def share_name(symbol: str, currency: str) -> str:
    """A share's name: its symbol, with the currency where that is not HOME: T in Toronto is not T in New York."""
    return symbol if currency in ("", HOME) else f"{symbol} {currency}"


def join(names: Iterable[str]) -> str:
    """Names as one text, each closed by a line feed; empty for none."""
    return "".join(f"{name}\n" for name in names)


def split(text: str) -> list[str]:
    """The names of `join`; of a text without a line feed, which older logs have, those between spaces."""
    return text.split("\n")[:-1] if "\n" in text else text.split()
