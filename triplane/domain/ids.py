"""Identities as pure functions of their inputs, so that a restart computes the same ones.

An intent is (account, barrier seq, symbol). A child order is (intent, child, revision) and its key is the broker's `orderRef`:
ASCII, at most 40 characters, sent at most once (reference: Interactive Brokers order_ref field).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

ORDER_REF_MAX = 40
_REF = re.compile(
    r"(?P<account>[A-Z0-9]+)/(?P<seq>[0-9]+)/(?P<symbol>[A-Z0-9.\-]+)/(?P<child>[0-9]+)/(?P<revision>[0-9]+)"
)


@dataclass(frozen=True, slots=True, order=True)
class OrderRef:
    """Key of a child order."""

    account: str
    seq: int
    symbol: str
    child: int
    revision: int

    def __str__(self) -> str:
        text = f"{self.account}/{self.seq}/{self.symbol}/{self.child}/{self.revision}"
        if len(text) > ORDER_REF_MAX or not _REF.fullmatch(text):
            raise ValueError(f"order ref {text!r} is not A-Z0-9 within {ORDER_REF_MAX} characters; shorten the symbol")
        return text

    @property
    def intent_id(self) -> str:
        """The intent that this child belongs to."""
        return intent_id(self.account, self.seq, self.symbol)


def intent_id(account: str, seq: int, symbol: str) -> str:
    """Identity of one name's intent: `account/seq/symbol`."""
    return f"{account}/{seq}/{symbol}"


def intent_slice_id(account: str, seq: int) -> str:
    """Identity of all intents of one barrier and account: `account/seq`."""
    return f"{account}/{seq}"


def parse_order_ref(text: str) -> OrderRef | None:
    """The child key in an `orderRef`, or None when Triplane did not write it."""
    match = _REF.fullmatch(text)
    if match is None:
        return None
    return OrderRef(match["account"], int(match["seq"]), match["symbol"], int(match["child"]), int(match["revision"]))
