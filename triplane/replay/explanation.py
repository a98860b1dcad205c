"""Why a name was traded at a barrier, or why it was not: one chain from data to cost, read from the log. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from strategy_plane.portfolio.blocking import SOLVED
from triplane.domain.ids import intent_id, parse_order_ref
from triplane.replay.executions import executions
from triplane.replay.recording import Recording
from triplane.replay.summary import values

OWN_ENDS = frozenset({"not_sent", "abandoned", "doubted", "cancelling", "resolved"})
"""What the order plane itself says of an order, with a reason."""
SOLVED_ONLY = frozenset({"binding", "volatility", "gross", "net", "solver"})
"""Figures of the solution: a decision that was held has none."""


class ExplanationError(LookupError):
    """The recording has nothing about what was asked; the message says what it does have."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """The chain of one name at one barrier. Empty parts mean that the log holds nothing of them."""

    symbol: str
    seq: int
    account: str
    barrier: dict[str, Any]
    factors: dict[str, float]
    signals: list[dict[str, float | str]]
    alpha: float
    regime: dict[str, Any]
    target: dict[str, Any]
    intent: dict[str, Any]
    held: str
    decisions: list[dict[str, Any]] = field(default_factory=list)
    orders: list[dict[str, Any]] = field(default_factory=list)
    fills: list[dict[str, Any]] = field(default_factory=list)
    parent: dict[str, Any] = field(default_factory=dict)
    closing: str = ""
    """Code of why the order plane stopped working the intent; empty while it works it, and where it never began."""

    @property
    def verdict(self) -> str:
        """One sentence."""
        if not self.intent:
            outcome = str(self.target.get("outcome", "nothing decided"))
            if outcome == SOLVED or not self.held or self.held == outcome:
                return f"{self.symbol} has no intent at barrier {self.seq}: {self.held or outcome}"
            return f"barrier {self.seq} was held as a whole, {outcome}: {self.target.get('detail', '')}; {self.symbol}: {self.held}"
        filled = sum(f["quantity"] * f["side"] for f in executions(self.fills))
        denied = [d for d in self.decisions if not d["allowed"]]
        want = f"target {self.intent['target_qty']:,.12g} units ({self.intent['target_weight']:+.2%} of NAV)"
        if not self.orders:
            reason = (
                denied[-1]["code"] if denied else (self.decisions[-1]["code"] if self.decisions else "no decision yet")
            )
            ended = f", until {self.closing}" if self.closing and self.closing != reason else ""
            return f"{self.symbol}: {want}; no order was sent: {reason}{ended}"
        return f"{self.symbol}: {want}; {len(self.orders)} order{'' if len(self.orders) == 1 else 's'}, {filled:+,.12g} units filled"


def _at(rows: list[dict[str, Any]], seq: int) -> dict[str, Any]:
    return next((row for row in rows if row["seq"] == seq), {})


def _cell(slice_: dict[str, Any], symbol: str, name: str, rows: str) -> dict[str, float]:
    """Values of one symbol in a flattened rows x symbols array, by row name."""
    if not slice_ or symbol not in slice_["symbols"]:
        return {}
    column = slice_["symbols"].index(symbol)
    matrix = np.asarray(slice_[name]).reshape(len(slice_[rows]), len(slice_["symbols"]))
    return {row: float(matrix[index, column]) for index, row in enumerate(slice_[rows])}


def _element(slice_: dict[str, Any], symbol: str, names: tuple[str, ...]) -> dict[str, Any]:
    if not slice_ or symbol not in slice_.get("symbols", []):
        return {}
    index = slice_["symbols"].index(symbol)
    return {name: slice_[name][index] for name in names if len(slice_[name]) > index}


def _abstains(signals: dict[str, Any], signal: str, symbol: str) -> str:
    """Code of why a signal has no score for a symbol; empty when it has one."""
    prefix = f"{signal}:{symbol}:"
    return next((str(e.removeprefix(prefix)) for e in signals.get("abstained", []) if e.startswith(prefix)), "")


def _orders(events: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    """Placed orders of an intent, each with what became of it: the broker's newest `status`, units `filled`, and its last `answer`."""
    placings = [e for e in events if e["intent_id"] == name and e["kind"] == "placing"]
    refs = {(e["client_id"], e["order_id"]): e["order_ref"] for e in placings}
    about: dict[str, list[dict[str, Any]]] = {e["order_ref"]: [] for e in placings}
    for event in events:
        ref = refs.get((event["client_id"], event["order_id"]), event["order_ref"])
        if ref in about and event["kind"] != "placing":
            about[ref].append(event)
    found = []
    for placed in placings:
        told = about[placed["order_ref"]]
        status = next((e["status"] for e in reversed(told) if e["kind"] == "order_status"), "")
        error = next((f"error {e['code']}: {e['text']}" for e in reversed(told) if e["kind"] == "error"), "")
        own = next((f"{e['kind']}: {e['reason']}" for e in reversed(told) if e["kind"] in OWN_ENDS), "")
        filled = max((e["filled"] for e in told if e["kind"] == "order_status"), default=0.0)
        found.append(placed | {"status": status, "filled": filled, "answer": error or own})
    return found


def _held(slice_: dict[str, Any], targets: dict[str, Any], symbol: str) -> str:
    for entry in targets.get("held", []):
        if entry.startswith(f"{symbol}:"):
            return str(entry.removeprefix(f"{symbol}:"))
    for name, code in zip(slice_.get("held", []), slice_.get("held_codes", []), strict=False):
        if name == symbol:
            return str(code)
    return str(slice_.get("outcome", "")) if slice_.get("outcome") != SOLVED else ""


def explain(recording: Recording, what: str) -> Explanation:
    """Explain an intent (`account/seq/symbol`), an order's intent, or a symbol at its latest decision; raises ExplanationError."""
    if not what.strip():
        raise ExplanationError(
            "nothing was asked for; write SYMBOL, ACCOUNT/SEQ/SYMBOL or ACCOUNT/SEQ/SYMBOL/CHILD/REV"
        )
    intents = values(recording.records["strategy.intents"])
    if not intents:
        raise ExplanationError("no decision has been made yet: the log holds no intents")
    ref = parse_order_ref(what)  # as every list of orders shows it
    order_ref = what if ref else ""
    if "/" in what:
        try:
            account, number, symbol = (ref.intent_id if ref else what).split("/")
            seq = int(number)
        except ValueError:
            raise ExplanationError(
                f"{what!r} is no intent and no order; write SYMBOL, ACCOUNT/SEQ/SYMBOL or ACCOUNT/SEQ/SYMBOL/CHILD/REV"
            ) from None
    else:
        account, symbol, seq = "", what.upper(), intents[-1]["seq"]
    slice_ = _at(intents, seq)
    if not slice_:
        have = ", ".join(str(i["seq"]) for i in intents[-5:])
        raise ExplanationError(f"no decision was made at barrier {seq}; the latest are {have}")
    if account not in ("", slice_["account"]):
        raise ExplanationError(
            f"barrier {seq} was decided for account {slice_['account']}, not for {account}; name that one"
        )
    signals = _at(values(recording.records["strategy.signals"]), seq)
    known = set(signals.get("symbols", [])) | set(slice_["symbols"]) | set(slice_["held"])
    if not known:
        code = slice_.get("outcome", "")
        raise ExplanationError(
            f"barrier {seq} held everything ({code}) before any name was looked at; `triplane status` says more"
        )
    if symbol not in known:
        raise ExplanationError(
            f"{symbol} is not in the universe of barrier {seq}; check assets.csv, and `triplane status` for a position in it"
        )
    scores = _cell(signals, symbol, "scores", "signals")
    raw = _cell(signals, symbol, "raw", "signals")
    weights = dict(zip(signals.get("signals", []), signals.get("weights", []), strict=False))
    ics = dict(zip(signals.get("signals", []), signals.get("ic", []), strict=False))
    targets = _at(values(recording.records["strategy.targets"]), seq)
    target = _element(targets, symbol, ("current", "target", "alpha", "cost", "impact"))
    target |= {
        k: targets[k]
        for k in ("outcome", "detail", "binding", "volatility", "gross", "net", "nav", "solver")
        if k in targets and (k not in SOLVED_ONLY or targets.get("outcome") == SOLVED)
    }
    name = intent_id(slice_["account"], seq, symbol)
    events = values(recording.records["order.events"])
    orders = _orders(events, name)
    if order_ref and order_ref not in [order["order_ref"] for order in orders]:
        have = ", ".join(order["order_ref"] for order in orders[-5:])
        raise ExplanationError(f"{order_ref} was never placed; that intent's latest orders are {have or 'none'}")
    mine = [f for f in values(recording.records["order.fills"]) if f["intent_id"] == name]
    # A commission is a record of its own, which names its execution.
    executed = {f["exec_id"] for f in mine if f["order_ref"] == order_ref}
    element = _element(
        slice_, symbol, ("target_qty", "target_weight", "reference_price", "sigma_daily", "adv", "con_ids")
    )
    if element:
        element |= {k: slice_[k] for k in ("config_hash", "valid_until", "account_offset")}
    return Explanation(
        symbol=symbol,
        seq=seq,
        account=slice_["account"],
        barrier=_at(values(recording.records["strategy.barriers"]), seq),
        factors=_cell(_at(values(recording.records["strategy.factors"]), seq), symbol, "exposures", "factors"),
        signals=[
            {
                "signal": key,
                "raw": raw[key],
                "score": scores[key],
                "ic": ics[key],
                "weight": weights[key],
                "abstains": _abstains(signals, key, symbol),
            }
            for key in scores
        ],
        alpha=float(_element(signals, symbol, ("alpha",)).get("alpha", float("nan"))),
        regime=_at(values(recording.records["strategy.regime"]), seq),
        target=target,
        intent=element,
        held=_held(slice_, targets, symbol),
        decisions=[
            d
            for d in values(recording.records["order.decisions"])
            if d["intent_id"] == name and (not order_ref or d["order_ref"] in ("", order_ref))
        ],
        orders=[order for order in orders if not order_ref or order["order_ref"] == order_ref],
        fills=[f for f in mine if f["kind"] != "parent" and (not order_ref or f["exec_id"] in executed)],
        parent=next((f for f in mine if f["kind"] == "parent"), {}),
        closing=next(
            (str(e["reason"]) for e in events if e["kind"] == "parent_closing" and e["intent_id"] == name), ""
        ),
    )
