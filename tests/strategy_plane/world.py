"""A small world for engine tests: records around given closes, one barrier a session, fills at the mid when asked for."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from datetime import date, timedelta
from typing import Any

import numpy as np

from schemas import codec
from strategy_plane.engine import StrategyEngine
from strategy_plane.outputs import Output
from strategy_plane.risk.regime import fit
from triplane.domain import calendars
from triplane.domain.assets import Asset, Universe
from triplane.domain.targets import Targets
from triplane.domain.timestamps import DAY, MINUTE, SECOND, to_datetime

ACCOUNT = "DU1234567"
SECTORS = ("Energy", "Financials", "Health Care", "Information Technology", "Utilities")


def asset(symbol: str, sector: str = "Energy", **fields: Any) -> Asset:
    """An equity row of assets.csv."""
    return Asset(
        symbol=symbol, name=symbol, asset_class="Equity", exchange="SMART", primary_exchange="NYSE", currency="USD",
        sec_type="STK", sector=sector, cost_profile="Standard", **fields,
    )  # fmt: skip


def etf(symbol: str) -> Asset:
    """An exchange-traded fund: typed, and refused with a code."""
    return Asset(
        symbol=symbol, name=symbol, asset_class="ETF", exchange="SMART", primary_exchange="ARCA", currency="USD",
        sec_type="STK", cost_profile="ETF",
    )  # fmt: skip


def universe_of(n: int) -> list[Asset]:
    """n equities in five sectors, the last alone in its own when n is 1 more than a multiple of four."""
    return [asset(f"S{i:03d}", SECTORS[4] if i == n - 1 else SECTORS[i % 4]) for i in range(n)]


def xnys(start: str, count: int) -> list[str]:
    """`count` sessions from `start` on."""
    first = date.fromisoformat(start)
    days = calendars.sessions("XNYS", first, first + timedelta(days=2 * count + 20))
    return [day.isoformat() for day in days[:count]]


def random_closes(sessions: int, n: int, seed: int) -> np.ndarray:
    """Closes T x N of names with a common factor, momentum of its own kind, and a calm and a wild stretch."""
    rng = np.random.default_rng(seed)
    wild = np.where((np.arange(sessions) // 60) % 4 == 3, 2.5, 1.0)
    common = rng.normal(0.0004, 0.008, sessions) * wild
    own = rng.normal(0, 0.012, (sessions, n)) + rng.normal(0, 0.0006, n)
    beta = rng.uniform(0.6, 1.4, n)
    return 100.0 * np.exp(np.cumsum(common[:, None] * beta + own, axis=0)) * rng.uniform(0.3, 3.0, n)


class World:
    """Feeds an engine. `closes` T x N with NaN where a name has no bar; one row a session."""

    def __init__(
        self,
        closes: np.ndarray,
        sessions: Sequence[str],
        assets: Sequence[Asset],
        *,
        targets: Mapping[str, Mapping[str, Any]] | None = None,
        facts: bool = True,
        macro: bool = True,
        nav: float = 1_000_000.0,
        fits: bool = True,
    ) -> None:
        self.engine = StrategyEngine(ACCOUNT)
        self.closes, self.sessions, self.assets = closes, list(sessions), list(assets)
        self.symbols = [a.symbol for a in assets]
        self.nav, self.fits = nav, fits
        self.position = np.zeros(len(assets))
        self.seq = 0
        self.offsets: dict[str, int] = {}
        self.config_offset = -1
        self.models: list[dict[str, Any]] = []
        self.fold_log: list[tuple[str, dict[str, Any]]] = []
        self.configure(targets or {})
        self.publishes_facts, self.publishes_macro = facts, macro
        self.published = -1

    # Records -----------------------------------------------------------------------------------------------------------

    def fold(self, topic: str, record: Mapping[str, Any], record_type: str | None = None) -> int:
        """Fold a record with the schema's defaults filled in; returns its offset."""
        kind = record_type or RECORDS[topic]
        full = {**deepcopy(codec.defaults(kind)), **record}
        offset = self.offsets.get(topic, 0)
        self.offsets[topic] = offset + 1
        self.fold_log.append((topic, full))
        self.engine.fold(topic, 0, offset, full)
        return offset

    def configure(self, targets: Mapping[str, Mapping[str, Any]], assets: Sequence[Asset] | None = None) -> None:
        """Publish a configuration: section -> parameter -> value on top of the defaults."""
        values = Targets.model_validate(targets)
        universe = Universe(assets if assets is not None else self.assets)
        self.config_offset = self.fold(
            "control.config",
            {
                "values": values.model_dump_json(),
                "assets": json.dumps(universe.canonical()),
                "hash": f"hash-{self.offsets.get('control.config', 0)}",
            },
        )

    def close_time(self, row: int) -> int:
        return calendars.session_close("XNYS", date.fromisoformat(self.sessions[row]))

    def bars(
        self, row: int, *, history: bool = True, volume: float = 5e6, columns: Sequence[int] | None = None
    ) -> dict[str, Any]:
        """Daily slice of a session."""
        close = self.closes[row]
        present = [i for i in (columns if columns is not None else range(len(self.symbols))) if np.isfinite(close[i])]
        return {
            "event_time": self.close_time(row), "available_time": self.close_time(row), "group": "main", "source": "ibkr",
            "interval": "1d", "session": self.sessions[row], "history": history,
            "symbols": [self.symbols[i] for i in present], "close": [float(close[i]) for i in present],
            "volume": [volume] * len(present),
        }  # fmt: skip

    def quotes(
        self, t: int, prices: np.ndarray, *, status: str = "live", age_s: float = 1.0, **overrides: Any
    ) -> dict[str, Any]:
        """Quote slice one cent around the prices."""
        return {
            "event_time": t - SECOND, "available_time": t - SECOND, "group": "main", "source": "ibkr",
            "symbols": list(self.symbols), "bid": (prices - 0.01).tolist(), "ask": (prices + 0.01).tolist(),
            "bid_size": [100.0] * len(prices), "ask_size": [100.0] * len(prices), "last": prices.tolist(),
            "volume": [1e6] * len(prices), "quote_time": [t - round(age_s * SECOND)] * len(prices),
            "status": [status] * len(prices), "halted": [False] * len(prices), **overrides,
        }  # fmt: skip

    def account(self, t: int, prices: np.ndarray, **overrides: Any) -> dict[str, Any]:
        """Reconciled account at the prices."""
        held = [i for i in range(len(self.symbols)) if self.position[i] != 0]
        return {
            "event_time": t - 2 * SECOND, "available_time": t - 2 * SECOND, "account": ACCOUNT, "base_currency": "USD",
            "nav": self.nav, "reconciled": True, "kill_level": "none", "symbols": [self.symbols[i] for i in held],
            "position": [float(self.position[i]) for i in held], "mark": [float(prices[i]) for i in held], "simulated": True,
            **overrides,
        }  # fmt: skip

    # Barriers ----------------------------------------------------------------------------------------------------------

    def barrier(self, kind: str, session: str, t: int, **overrides: Any) -> dict[str, Any]:
        self.seq += 1
        return {
            **deepcopy(codec.defaults("Barrier")), "event_time": t, "available_time": t, "seq": self.seq, "t": t,
            "kind": kind, "session": session, "config_offset": self.config_offset, **overrides,
        }  # fmt: skip

    def step(self, barrier: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """Step, publish a fit that is due; outputs by topic."""
        outputs = self.engine.step(barrier, f"{barrier['seq']:064x}")
        job = self.engine.fit_due()
        if job is not None and self.fits:
            record = fit(job)
            self.models.append(record)
            self.fold("strategy.models", record)
        return {output.topic: output.record for output in outputs}

    def lookups(self, row: int) -> None:
        """Filings each quarter and a T-bill vintage each month, known a day before the session's close."""
        for day in range(self.published + 1, row + 1):
            known = self.close_time(day) - DAY
            if self.publishes_facts and day % 63 == 0:
                for i, symbol in enumerate(self.symbols):
                    self.fold("data.facts", fact_record(symbol, 1e8 * (1 + i), known))
            if self.publishes_macro and day % 21 == 0:
                midnight = known // DAY * DAY
                self.fold(
                    "data.macro", macro_record("DTB3", known, [midnight], [1.2 + 0.001 * day], self.sessions[day])
                )
        self.published = max(self.published, row)

    def warmup(self, rows: Sequence[int] | range) -> dict[str, dict[str, Any]]:
        """One warmup barrier a row; outputs of the last."""
        outputs: dict[str, dict[str, Any]] = {}
        for row in rows:
            self.lookups(row)
            self.fold("data.bars", self.bars(row))
            outputs = self.step(self.barrier("warmup", self.sessions[row], self.close_time(row) + 1))
        return outputs

    def decide(
        self,
        row: int,
        *,
        prices: np.ndarray | None = None,
        quotes: Mapping[str, Any] | None = None,
        account: Mapping[str, Any] | None = None,
        fill: bool = False,
        **overrides: Any,
    ) -> dict[str, dict[str, Any]]:
        """Decision barrier of session `row`, whose own bar is not seen; `fill` moves the position to the intents."""
        t = self.close_time(row) - 30 * MINUTE
        self.lookups(row)
        mids = prices if prices is not None else np.where(np.isfinite(self.closes[row]), self.closes[row], 50.0)
        self.fold("order.account", {**self.account(t, mids), **(account or {})})
        self.fold("data.quotes", {**self.quotes(t, mids), **(quotes or {})})
        outputs = self.step(self.barrier("decision", self.sessions[row], t, **overrides))
        intents = outputs["strategy.intents"]
        if fill:
            for symbol, quantity in zip(intents["symbols"], intents["target_qty"], strict=True):
                self.position[self.symbols.index(symbol)] = quantity
        return outputs

    def live_close(self, row: int) -> None:
        """The session's own daily bar arrives, live."""
        self.fold("data.bars", self.bars(row, history=False))


RECORDS = {
    "data.bars": "BarSlice", "data.quotes": "QuoteSlice", "data.facts": "FactSet", "data.macro": "MacroVintage",
    "data.gates": "GateState", "data.actions": "CorporateAction", "order.account": "AccountState",
    "order.costs": "CostEstimate", "control.config": "ConfigVersion", "strategy.models": "FittedModel",
    "data.micro": "MicroSlice",
}  # fmt: skip


def fact_record(
    symbol: str, shares: float, known: int, *, end: int | None = None, concept: str | None = None
) -> dict[str, Any]:
    """FactSet with one count of shares, as of a day before it was known."""
    return {
        "event_time": known, "available_time": known, "source": "edgar", "fact_id": f"{symbol}/{known}", "symbol": symbol,
        "concepts": [concept or "dei:EntityCommonStockSharesOutstanding"], "units": ["shares"], "period_start": [0],
        "period_end": [end if end is not None else known - DAY], "values": [shares], "fiscal_year": [0],
        "fiscal_period": [""], "filed": to_datetime(known).date().isoformat(), "acceptance": "",
    }  # fmt: skip


def macro_record(
    series: str, known: int, times: Sequence[int], values: Sequence[float], vintage: str
) -> dict[str, Any]:
    """MacroVintage."""
    return {
        "event_time": known, "available_time": known, "source": "fred", "vintage_id": f"{series}/{vintage}", "series": series,
        "unit": "Percent", "realtime_start": vintage, "observation_time": list(times), "values": list(values),
    }  # fmt: skip


def digest_bytes(outputs: Sequence[Output] | Mapping[str, Mapping[str, Any]]) -> bytes:
    """Avro bodies of outputs, in order."""
    names = {
        "strategy.factors": "FactorSlice", "strategy.signals": "SignalSlice", "strategy.regime": "RegimeState",
        "strategy.targets": "TargetWeights", "strategy.intents": "IntentSlice",
    }  # fmt: skip
    pairs = outputs.items() if isinstance(outputs, Mapping) else [(o.topic, o.record) for o in outputs]
    return b"".join(codec.encode_body(names[topic], record) for topic, record in pairs)


def demo_world(rows: int = 780, **options: Any) -> World:
    """World over the 20 real closes from 2015 on, with the repository's 24 assets."""
    from pathlib import Path

    from skfolio.datasets import load_sp500_dataset

    frame = load_sp500_dataset()["2015-01-02":].iloc[:rows]
    universe = Universe.load(Path(__file__).resolve().parents[2] / "assets.csv")
    closes = np.full((len(frame), len(universe)), np.nan)
    for column, symbol in enumerate(universe.symbols):
        if symbol in frame.columns:
            closes[:, column] = frame[symbol].to_numpy()
    return World(closes, [stamp.date().isoformat() for stamp in frame.index], universe.assets, **options)
