"""The Strategy Plane's engine: folds the inputs of a cut and steps on a barrier. Pure: no clock, no I/O, no randomness.

This module only wires: each concept has its own. A step takes, in this order: the configuration that the barrier names, what was
folded, new daily rows one by one (market model, covariance, regime, signals, information coefficients), and at a decision barrier the
account, quotes and gates for the program and its intents.

When a parameter changes, the state built so far stays and the new value applies from that barrier on: windows and thresholds at
once, half-lives to what is added from then on. Nothing is recomputed from history, so a change costs what no change costs and
a restart in between gives the same bytes. The regime model is fitted anew when HMM_STATES or HMM_ITER change.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from strategy_plane.inputs.account import AccountBook
from strategy_plane.inputs.assets_table import AssetsTable
from strategy_plane.inputs.gates import GateBoard
from strategy_plane.inputs.panel import PricePanel
from strategy_plane.inputs.point_in_time import FactBook, MacroBook
from strategy_plane.inputs.quotes import QuoteBoard
from strategy_plane.inputs.window import Array
from strategy_plane.outputs import Output, View, described
from strategy_plane.portfolio import blocking, decision, intents
from strategy_plane.portfolio.blocking import Block
from strategy_plane.portfolio.book import Book, price_book
from strategy_plane.portfolio.decision import Decision, hold
from strategy_plane.portfolio.optimiser import Program
from strategy_plane.risk.brakes import Brake, BrakeMemory, drawdown_brake
from strategy_plane.risk.covariance import EwmaMoments, estimate
from strategy_plane.risk.market_model import MarketModel
from strategy_plane.risk.regime import FitJob, Regime
from strategy_plane.signals import alpha as alphas
from strategy_plane.signals import cross_section as signals
from strategy_plane.signals.cross_section import SIGNALS, Signals
from strategy_plane.signals.information_coefficient import InformationCoefficients, shrink
from strategy_plane.signals.orthogonalisation import SignalMoments, orthogonalise
from triplane.domain import calendars
from triplane.domain.assets import Universe
from triplane.domain.targets import Targets

__all__ = ["FitJob", "StrategyEngine"]


class StrategyEngine:
    """A deterministic state machine: `fold` the cut's records in order, then `step` on the barrier."""

    def __init__(self, account: str) -> None:
        self.account = account
        self._configs: dict[int, dict[str, str]] = {}
        self._offset = -1
        self._hash = ""
        self._targets = Targets()
        self._table = AssetsTable.of(Universe(()))
        self._program: Program | None = None
        self._panel = PricePanel(())
        self._market = MarketModel(0)
        self._moments = EwmaMoments(0)
        self._signal_moments = SignalMoments(len(SIGNALS))
        self._ic = InformationCoefficients(len(SIGNALS), 0)
        self._regime = Regime()
        self._quotes = QuoteBoard(())
        self._facts = FactBook()
        self._macro = MacroBook()
        self._gates = GateBoard()
        self._book = AccountBook(account)
        self._brake = BrakeMemory()
        self._inbox: list[tuple[str, Mapping[str, Any]]] = []
        self._job: FitJob | None = None

    # Folding -----------------------------------------------------------------------------------------------------------

    def fold(self, topic: str, partition: int, offset: int, record: Mapping[str, Any]) -> None:
        """Take one input record; callers fold in the order (available_time, rank, partition, offset).

        Topics that the engine does not read are left out, so that a cut may name more than it needs.
        """
        if topic == "data.quotes":
            self._gates.observe(record["source"])
            self._inbox.append((topic, record))
        elif topic == "data.bars":
            self._gates.observe(record["source"])
            if record["interval"] == "1d":
                self._inbox.append((topic, record))
        elif topic == "data.actions":
            self._inbox.append((topic, record))
        elif topic == "data.facts":
            self._facts.fold(record)
        elif topic == "data.macro":
            self._macro.fold(record)
        elif topic == "data.gates":
            self._gates.fold(record)
        elif topic == "order.account":
            self._book.fold_account(offset, record)
        elif topic == "order.costs":
            self._book.fold_costs(record)
        elif topic == "strategy.models":
            self._regime.offer(record)
        elif topic == "control.config":
            self._configs[offset] = {name: record[name] for name in ("values", "assets", "hash")}

    def _configure(self, offset: int) -> bool:
        """Bring the configuration at an offset into force; False when it was never folded."""
        if offset == self._offset:
            return True
        record = self._configs.get(offset)
        if record is None:
            return False
        self._apply(record)
        self._offset = offset
        self._configs = {known: value for known, value in self._configs.items() if known >= offset}
        return True

    def _apply(self, record: Mapping[str, str]) -> None:
        self._targets = Targets.model_validate_json(record["values"])
        table = AssetsTable.of(Universe.from_canonical(json.loads(record["assets"])))
        self._hash = record["hash"]
        if table.symbols != self._panel.symbols:
            source = self._panel.reindex(table.symbols)
            self._market.reindex(source)
            self._moments.reindex(source)
            self._ic.reindex(source)
            self._quotes.reindex(table.symbols, source)
        self._table = table
        self._compile()

    def _compile(self) -> None:
        n = len(self._table.tradable)
        if n and (self._program is None or self._program.n != n):
            self._program = Program(n)
            self._program.compile()
            calendars.table(self._table.calendar)

    # Stepping ----------------------------------------------------------------------------------------------------------

    def step(self, barrier: Mapping[str, Any], barrier_sha: str) -> list[Output]:
        """Outputs of one barrier, in the order in which they are to be appended; `barrier_sha` is the hex of its body.

        A warmup barrier gives factors, signals and regime. A decision barrier gives target weights and one IntentSlice as well,
        also when it holds.
        """
        self._job = None
        deciding = barrier["kind"] == "decision"
        if not self._configure(int(barrier["config_offset"])):
            return self._held_without_config(barrier, barrier_sha) if deciding else []
        targets = self._targets.strategy
        self._drain()
        self._regime.adopt(targets.HMM_HYSTERESIS)
        fresh: tuple[Signals, Array] | None = None
        for session in self._panel.pending():
            fresh = self._advance(session, int(barrier["t"]))
        if fresh is None:
            computed = self._compute(int(barrier["t"]))
            fresh = computed, self._orthogonal(computed)
        view = self._view(*fresh)
        known = not np.isnan(self._book.drawdown)
        brake = self._brake.step(barrier["session"], self._brakes(), targets.BRAKE_RELEASE, known)
        self._job = self._regime.schedule(
            int(barrier["seq"]), int(barrier["t"]), states=targets.HMM_STATES, iterations=targets.HMM_ITER,
            min_obs=targets.HMM_MIN_OBS, refit=targets.HMM_REFIT,
        )  # fmt: skip
        outputs = described(barrier, view, self._table, self._regime, brake)
        if deciding:
            outputs += self._decide(barrier, barrier_sha, view, brake)
        return outputs

    def fit_due(self) -> FitJob | None:
        """The regime fit that the last step found due, or None; the same answer until the next step."""
        return self._job

    def _drain(self) -> None:
        """Hand what waited for the universe to its owners."""
        for topic, record in self._inbox:
            if topic == "data.quotes":
                self._quotes.offer(record)
            elif topic == "data.actions":
                if record["kind"] == "split":
                    self._panel.split(record["symbol"], record["event_time"], record["ratio"])
            else:
                for symbol, time, ratio in self._panel.offer(record):
                    self._facts.split(symbol, time, ratio)
        self._inbox = []
        self._quotes.settle()
        joined = self._panel.fill()
        if joined:
            self._rebuild(joined)

    def _rebuild(self, columns: list[int]) -> None:
        """Give names whose history came late the moments that they would have had, had it come in time."""
        targets, table, returns = self._targets.strategy, self._table, self._panel.returns.all()
        self._moments.rebuild(columns, returns, targets.VOL_HALF_LIFE, targets.CORR_HALF_LIFE)
        model = MarketModel(len(table.symbols))
        for row in returns:
            model.update(row, table.members, table.sectors, targets)
        self._market.adopt(columns, model)

    def _advance(self, session: str, t: int) -> tuple[Signals, Array]:
        """Close one session: every recursion takes its row once. The signals (K x N) and their orthogonalised scores."""
        targets, table = self._targets.strategy, self._table
        returns = self._panel.advance(session)
        market = self._market.update(returns, table.members, table.sectors, targets)
        self._moments.update(returns, targets.VOL_HALF_LIFE, targets.CORR_HALF_LIFE)
        self._regime.update(market, targets.HMM_HYSTERESIS)
        computed = self._compute(t)
        self._signal_moments.update(computed.scores, targets.ORTHO_HALF_LIFE)
        scores = self._orthogonal(computed)
        residuals = self._market.residuals.tail(targets.IC_HORIZON)
        self._ic.update(scores, self._market.specific_volatility(), residuals, targets.IC_HORIZON)
        return computed, scores

    def _compute(self, t: int) -> Signals:
        return signals.compute(
            self._panel, self._market, self._moments, self._facts, self._macro, self._table, self._targets.strategy, t
        )

    def _orthogonal(self, computed: Signals) -> Array:
        correlation = self._signal_moments.correlation(self._targets.strategy.ORTHO_SHRINK)
        return orthogonalise(computed.scores, correlation, self._signal_moments.scale())

    def _view(self, computed: Signals, scores: Array) -> View:
        """Mix the signals, whose orthogonalised scores are `scores`, by what their coefficients are worth now."""
        targets = self._targets.strategy
        mean, error, count = self._ic.estimate(targets.IC_HALF_LIFE, targets.IC_HORIZON, len(self._table.tradable))
        coefficients = shrink(
            mean, error, count, prior=targets.IC_PRIOR, prior_sd=targets.IC_PRIOR_SD, min_obs=targets.IC_MIN_OBS
        )
        weights = alphas.mixing_weights(coefficients)
        half_lives = np.array([targets.MOM_H, targets.REV_H, 0.5 * targets.POS_LOOKBACK])
        specific = self._market.specific_volatility() * np.sqrt(targets.IC_HORIZON)
        return View(
            signals=computed,
            scores=scores,
            ic=coefficients,
            ic_se=error,
            weights=weights,
            alpha=alphas.expected_returns(scores, weights, coefficients, specific),
            specific_vol=specific,
            cost_share=alphas.cost_share(weights, half_lives, targets.IC_HORIZON),
        )

    def _brakes(self) -> list[Brake]:
        targets = self._targets
        storm = targets.strategy.STORM_BRAKE if self._regime.storm else 1.0
        drawdown = drawdown_brake(
            self._book.drawdown, targets.strategy.DRAWDOWN_BRAKE_START, targets.order.MAX_DD_KILL_SWITCH
        )
        halved = 0.5 if self._book.kill_level == "halved" else 1.0
        cause = "NAV_UNKNOWN" if np.isnan(self._book.drawdown) else "DRAWDOWN"
        return [Brake(storm, "REGIME_STORM"), Brake(drawdown, cause), Brake(halved, "KILL_HALVED")]

    # Outputs -----------------------------------------------------------------------------------------------------------

    def _held_without_config(self, barrier: Mapping[str, Any], barrier_sha: str) -> list[Output]:
        return self._records(barrier, barrier_sha, hold("HOLD_CONFIG_MISSING"), None, np.zeros(0), 0.0)

    def _records(
        self,
        barrier: Mapping[str, Any],
        barrier_sha: str,
        made: Decision,
        book: Book | None,
        sigma: Array,
        brake: float,
    ) -> list[Output]:
        configured = made.outcome != "HOLD_CONFIG_MISSING"
        header = {
            "event_time": int(barrier["t"]),
            "available_time": int(barrier["t"]),
            "seq": int(barrier["seq"]),
            "account": self.account,
            "config_hash": self._hash if configured else "",
            "config_offset": int(barrier["config_offset"]),
        }
        nav = self._book.nav
        weights = intents.target_weights(made, self._table, header, nav=nav, brake=brake)
        slice_ = intents.intent_slice(
            made, book, sigma, self._table, header, account_offset=self._book.offset, barrier_sha=barrier_sha,
            valid_s=self._targets.strategy.INTENT_VALID_S,
        )  # fmt: skip
        return [Output("strategy.targets", weights), Output("strategy.intents", slice_)]

    # Deciding ----------------------------------------------------------------------------------------------------------

    def _decide(self, barrier: Mapping[str, Any], barrier_sha: str, view: View, brake: Brake) -> list[Output]:
        early = self._early_hold(barrier)
        if early is not None:
            return self._records(barrier, barrier_sha, early, None, np.zeros(0), brake.value)
        names = self._table.tradable
        targets = self._targets.strategy
        assert self._program is not None  # there are tradable names, so their program was compiled
        covariance = estimate(self._moments, names, targets.EIGEN_FLOOR)
        book, unpriced = price_book(self._table, self._book, self._quotes, self._panel, targets)
        if unpriced:
            made = hold("HOLD_UNIVERSE_MISSING", f"{unpriced} is held and has no price at all")
            return self._records(barrier, barrier_sha, made, None, np.zeros(0), brake.value)
        blocks = self._blocks(barrier, view, book)
        code, detail = decision.universe_hold(blocks, view.signals.size_usable[names], targets.UNIVERSE_MISSING_MAX)
        if code:
            made = hold(code, detail, blocks=blocks, current=book.current, target=book.current)
        else:
            free = np.array([block is None for block in blocks])
            limits = decision.limits_of(book, covariance, free, brake.value, targets)
            problem = decision.problem_of(book, limits, covariance, view.alpha[names], view.cost_share, targets)
            symbols = [self._table.symbols[column] for column in names]
            made = decision.decide(self._program, problem, book, blocks, symbols, targets)
        return self._records(barrier, barrier_sha, made, book, covariance.sigma, brake.value)

    def _early_hold(self, barrier: Mapping[str, Any]) -> Decision | None:
        """What holds a decision before any number is looked at."""
        if barrier["skipped"]:
            return hold("HOLD_SKIPPED_RECORD", ", ".join(barrier["skipped"]))
        if barrier["missing"]:
            return hold("HOLD_DATA_MISSING", ", ".join(barrier["missing"]))
        if self._book.kill_level == "stopped":
            return hold("HOLD_KILLED", self._book.kill_reason)
        if not self._book.known:
            return hold("HOLD_ACCOUNT_UNKNOWN", self._book.unknown_because(self._table.symbols))
        if len(self._table.tradable) == 0:
            return hold("HOLD_NOTHING_TRADABLE", "assets.csv has no asset of a traded class")
        symbols = {symbol: column for column, symbol in enumerate(self._table.symbols)}
        gate, _ = self._gates.closed(symbols, self._table.groups)
        return hold("HOLD_GATE_CLOSED", gate) if gate else None

    def _blocks(self, barrier: Mapping[str, Any], view: View, book: Book) -> list[Block | None]:
        """What blocks each tradable name."""
        table, targets = self._table, self._targets
        names = table.tradable
        n = len(table.symbols)
        adv, costs = np.full(n, np.nan), np.full(n, np.nan)
        adv[names], costs[names] = book.adv, book.linear + book.impact
        _, gates = self._gates.closed({symbol: column for column, symbol in enumerate(table.symbols)}, table.groups)
        blocks = blocking.name_blocks(
            table.symbols,
            class_codes=table.class_codes,
            currencies=table.currencies,
            base_currency=self._book.base_currency,
            account_held=self._book.held(),
            gates=gates,
            quote_codes=self._quotes.codes(int(barrier["t"]), targets.data.QUOTE_FRESHNESS_S),
            idle=self._panel.idle,
            bars_behind=self._panel.behind(barrier["session"], table.calendar),
            warm=blocking.warming(self._panel.age, self._moments.count, targets.strategy),
            adv=adv,
            costs=costs,
            spoke=np.isfinite(view.alpha),
        )
        return [blocks[column] for column in names]

    # State -------------------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Everything that later outputs depend on, for runtime.snapshots (arrays, and values JSON can hold)."""
        return {
            "account": self.account,
            "configs": {str(offset): dict(record) for offset, record in sorted(self._configs.items())},
            "offset": self._offset,
            "panel": self._panel.state(),
            "market": self._market.state(),
            "moments": self._moments.state(),
            "signal_moments": self._signal_moments.state(),
            "ic": self._ic.state(),
            "regime": self._regime.state(),
            "quotes": self._quotes.state(),
            "facts": self._facts.state(),
            "macro": self._macro.state(),
            "gates": self._gates.state(),
            "book": self._book.state(),
            "brake": self._brake.state(),
            "inbox": [[topic, dict(record)] for topic, record in self._inbox],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from `state()` of an engine of the same account."""
        if state["account"] != self.account:
            raise ValueError(
                f"snapshot is of account {state['account']}, not {self.account}; remove it, it is rebuilt from the log"
            )
        self._configs = {int(offset): dict(record) for offset, record in state["configs"].items()}
        self._panel = PricePanel.restored(state["panel"])
        self._market = MarketModel.restored(state["market"])
        self._moments = EwmaMoments.restored(state["moments"])
        self._signal_moments = SignalMoments.restored(state["signal_moments"])
        self._ic = InformationCoefficients.restored(state["ic"])
        self._regime = Regime.restored(state["regime"])
        self._quotes = QuoteBoard.restored(state["quotes"])
        self._facts = FactBook.restored(state["facts"])
        self._macro = MacroBook.restored(state["macro"])
        self._gates = GateBoard.restored(state["gates"])
        self._book = AccountBook.restored(self.account, state["book"])
        self._brake = BrakeMemory(*state["brake"])
        self._inbox = [(topic, record) for topic, record in state["inbox"]]
        self._job = None
        self._offset = int(state["offset"])
        if self._offset >= 0:
            self._apply(self._configs[self._offset])
