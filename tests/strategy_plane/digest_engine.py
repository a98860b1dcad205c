"""A small engine whose outputs are digests of everything it was ever given, in order: any change of order or content shows."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from schemas import catalogue, codec
from strategy_plane.outputs import Output
from strategy_plane.risk.regime import FitJob


class DigestEngine:
    """Folds into one running SHA-256; a step writes it into every output of the real engine's topics."""

    def __init__(self, account: str) -> None:
        self.account = account
        self.digest = bytes(32)
        self.folded = 0

    def fold(self, topic: str, partition: int, offset: int, record: Mapping[str, Any]) -> None:
        body = codec.encode_body(catalogue.load()[topic].record, record)
        self.digest = hashlib.sha256(self.digest + f"{topic}/{partition}/{offset}/".encode() + body).digest()
        self.folded += 1

    def step(self, barrier: Mapping[str, Any], barrier_sha: str) -> list[Output]:
        self.digest = hashlib.sha256(self.digest + barrier_sha.encode()).digest()
        seq, t = barrier["seq"], barrier["t"]
        common = {"event_time": t, "available_time": t, "seq": seq}
        outputs = [
            Output("strategy.factors", {**common, "factors": [self.digest.hex()]}),
            Output(
                "strategy.signals",
                {**common, "signals": [self.digest.hex()], "symbols": [str(self.folded)], "abstained": []},
            ),
            Output("strategy.regime", {**common, "state": self.digest.hex()}),
        ]
        if barrier["kind"] == "decision":
            outcome = "HOLD_SKIPPED" if barrier["skipped"] else "SOLVED"
            own = {**common, "account": self.account, "outcome": outcome}
            outputs.append(Output("strategy.targets", {**own, "detail": self.digest.hex()}))
            outputs.append(
                Output(
                    "strategy.intents",
                    {
                        **own,
                        "intent_id": f"{self.account}/{seq}",
                        "barrier_sha": barrier_sha,
                        "config_hash": self.digest.hex(),
                    },
                )
            )
        return outputs

    def fit_due(self) -> FitJob | None:
        return None

    def state(self) -> dict[str, Any]:
        return {"digest": self.digest.hex(), "folded": self.folded}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.digest, self.folded = bytes.fromhex(state["digest"]), int(state["folded"])
