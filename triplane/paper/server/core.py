"""The gateway without its sockets: market, desk, account, journal and clock wired together, and what each step of time does."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import date
from typing import Any, Final

from triplane.domain import calendars
from triplane.domain.timestamps import NEW_YORK, iso, to_datetime
from triplane.paper.desk.account import CURRENCY, Account
from triplane.paper.desk.journal import JOURNAL_NAME, Journal, JournalError
from triplane.paper.desk.order_checks import Terms
from triplane.paper.desk.orders import Desk
from triplane.paper.market.actions import SimulatedActions
from triplane.paper.market.clock import MarketClock, Pace
from triplane.paper.market.history import History
from triplane.paper.market.liquidity import TrueCost, true_cost
from triplane.paper.market.matching import MatchingEngine
from triplane.paper.market.moment import Market
from triplane.paper.market.path import STEP
from triplane.paper.market.prices import load_closes
from triplane.paper.protocol import messages as m
from triplane.paper.protocol.contracts import Contracts
from triplane.paper.protocol.decoding import query_of
from triplane.paper.protocol.messages import Execution
from triplane.paper.protocol.requests import PlaceOrder
from triplane.paper.server import faults
from triplane.paper.server.client import Client
from triplane.paper.server.data_client import DataClient
from triplane.paper.server.decision_hours import DecisionHours
from triplane.paper.server.faults import Faults
from triplane.paper.server.feed import Feed
from triplane.paper.server.kept_universe import kept_universe
from triplane.paper.server.options import Options, OptionsError
from triplane.paper.server.reports import Reports

CLOCK_STEPS: Final = 12  # a journal line of the time reached, and no more than this is repeated after a kill
ACCOUNT_STEPS: Final = 36  # account values without a trade: every three minutes, as TWS sends them


class Core:
    """All state of the simulated broker."""

    def __init__(self, options: Options) -> None:
        """Raises AssetsError, PricesError or OptionsError for inputs that cannot be used."""
        closes = load_closes()
        days = options.days()
        for day in days:
            closes.row(day)
        self.options = options
        self.universe = kept_universe(options)
        self.contracts = Contracts(self.universe.assets, closes.symbols)
        self.costs = {c.symbol: _cost(c.symbol, options.impact_y) for c in self.contracts.priced}
        self.history = History(closes, options.seed)
        self.actions = SimulatedActions(options.dividends, options.splits)
        self.engine = MatchingEngine()
        self.market = Market(self.history, self.engine, self.costs)
        self.account = Account(options.account, options.cash)
        self.desk = Desk(self.account, self.contracts, self.engine, self.market)
        self.faults = Faults()
        self.feed = Feed(self.market, self.faults, self.actions)
        self.journal = Journal(options.state_dir / JOURNAL_NAME if options.state_dir else None)
        self.clients: dict[int, Client] = {}
        self.data_client = DataClient(options.data_client_id, self.clients)
        self.reports = Reports(self.desk, self.journal, self.faults, self.clients.values, options.master_client_id)
        self.alive = asyncio.Event()  # cleared while a fault lets everything hang
        self.alive.set()
        pace = Pace(options.speed, options.approach_speed, options.idle_speed, rebalance=options.rebalance)
        self.decision_hours = DecisionHours(options.targets, options.assets)
        self.clock = MarketClock(
            days,
            self.decision_hours.follow(pace, first=True),
            on_open=self._open,
            on_leg=self._leg,
            on_close=self._close,
            open_orders=lambda: bool(self.desk.active()),
            traders_away=self._traders_away,
            days_unasked=self._days_unasked,
            silence=self.data_client.silence,
            session_pause=options.session_pause,
        )
        self.market.now = self.clock.now
        for symbol, units in options.positions:
            if symbol not in self.costs:
                raise OptionsError(
                    f"--position {symbol}: the simulation has no market for it; use one of {', '.join(self.costs)}"
                )
            self.account.open_position(symbol, units, self.market.mark(symbol))
        if unknown := {action.symbol for action in (*options.dividends, *options.splits)} - self.costs.keys():
            raise OptionsError(
                f"--dividend or --split: no market for {min(unknown)}; use one of {', '.join(self.costs)}"
            )
        self.equity_at_close = self.values()["NetLiquidation"]

    def _traders_away(self) -> bool:
        """Whether a client that is waited for has executions of the session that nobody has told it."""
        awaited = self.options.awaited_client_id
        day = self.clock.day
        opened = calendars.session_open(calendars.MARKET_CALENDAR, day) if day else 0
        for execution in reversed(self.desk.executions):
            if execution.ns < opened:
                break
            if awaited is not None and execution.client_id != awaited:
                continue  # who trades by hand and leaves does not come back for the report
            client = self.clients.get(execution.client_id)
            if client is None or execution.ns <= client.told_from:
                return True
        return False

    def _days_unasked(self) -> bool:
        days, index = self.clock.days, self.clock.index
        return index > 0 and self.data_client.lacks(calendars.session_close(calendars.MARKET_CALENDAR, days[index - 1]))

    @property
    def now(self) -> int:
        """Market time of the last step, ns UTC."""
        return self.market.now

    def values(self) -> dict[str, float]:
        """Account values at the marks of the moment."""
        return self.account.values({symbol: self.market.mark(symbol) for symbol in self.account.positions})

    def _follow_decision_hours(self) -> None:
        pace = self.decision_hours.follow(self.clock.pace)
        changed = (pace.rebalance, pace.stream_after) != (self.clock.pace.rebalance, self.clock.pace.stream_after)
        self.clock.pace = pace
        if changed:
            self._journal_pace()

    def slow_down(self, speed: float) -> None:
        """The fastest clock while a barrier is due or an order is open, from the next step on and until this process ends."""
        self.clock.pace = replace(self.clock.pace, speed=speed)

    def _journal_pace(self) -> None:
        pace = self.clock.pace
        self.journal.append("pace", self.now, rebalance=pace.rebalance, stream_after=pace.stream_after)

    # --- steps of time --------------------------------------------------------------------------------------------------------

    async def _open(self, day: date) -> None:
        await self.alive.wait()
        self._follow_decision_hours()
        self.market.open(day)
        self.journal.append("clock", self.now, at="open", session=day.isoformat())
        self.reports.publish(self.desk.market_opened(), self.now)

    async def _leg(self, until: int, streaming: bool) -> None:
        await self.alive.wait()
        self._follow_decision_hours()
        session = self.market.session
        assert session is not None
        for body in self.faults.due(until, self.costs.keys()):
            self.journal.append("fault", until, fault=body)
        trades = self.market.advance((until - session.open_ns) // STEP)
        events = self.desk.traded(trades, self.now) + self.desk.sweep(self.now) + self.desk.expire(self.now)
        if self.reports.publish(events, self.now) or (streaming and self.market.step % ACCOUNT_STEPS == 0):
            self.tell_account()
        if not streaming:
            return
        if self.market.step % CLOCK_STEPS == 0:
            self.journal.append("clock", self.now, at="step", session=session.day.isoformat())
        for client in list(self.clients.values()):
            if client.subscriptions.any:
                client.send(self.feed.step(client.subscriptions))
        for client in list(self.clients.values()):
            await client.drain()

    async def _close(self) -> None:
        day = self.clock.day
        self.market.close()
        self.equity_at_close = self.values()["NetLiquidation"]
        self.journal.append("clock", self.now, at="close", session=str(day), net_liquidation=self.equity_at_close)
        self.tell_account()

    # --- the account, for clients ---------------------------------------------------------------------------------------------

    def tell_account(self) -> None:
        """Account values, portfolio and profit to everybody who subscribed to them."""
        texts = self.account_texts()
        for client in list(self.clients.values()):
            if client.account_updates:
                client.send(self.account_frames(texts))
            for req_id, model in client.account_multi.items():
                client.send(b"".join(m.account_multi(req_id, self.account.name, model, *text) for text in texts))
            for req_id, con_id in client.pnl.items():
                client.send(self.pnl_frame(req_id, con_id))

    def account_texts(self) -> list[tuple[str, str, str]]:
        """Account values as (tag, value, currency)."""
        values = self.values()
        equity = values["NetLiquidation"]
        cushion = values["ExcessLiquidity"] / equity if equity > 0 else 0.0
        plain = [
            ("AccountCode", self.account.name, ""),
            ("AccountReady", "true", ""),
            ("AccountType", "INDIVIDUAL", ""),
            ("Cushion", f"{cushion:.6f}", ""),
            ("Currency", CURRENCY, CURRENCY),
            ("DayTradesRemaining", "-1", ""),
            ("ExchangeRate", "1.00", CURRENCY),
            ("PreviousDayEquityWithLoanValue", f"{self.equity_at_close:.2f}", CURRENCY),
            ("Simulated", "true", ""),
        ]
        return plain + [(tag, f"{value:.2f}", CURRENCY) for tag, value in sorted(values.items())]

    def account_frames(self, texts: list[tuple[str, str, str]]) -> bytes:
        """updateAccountValue and updatePortfolio of everything, and the time."""
        account = self.account
        out = [m.account_value(tag, value, currency, account.name) for tag, value, currency in texts]
        for symbol, position in sorted(account.positions.items()):
            mark = self.market.mark(symbol)
            unrealised = position.quantity * (mark - position.average_cost)
            contract = self.contracts.by_symbol[symbol]
            out.append(
                m.portfolio(
                    contract,
                    position.quantity,
                    mark,
                    position.average_cost,
                    unrealised,
                    position.realised,
                    account.name,
                )
            )
        out.append(m.simple(8, "1", f"{to_datetime(self.now, NEW_YORK):%H:%M}"))
        return b"".join(out)

    def pnl_frame(self, req_id: int, con_id: int | None) -> bytes:
        """pnl of the account, or pnlSingle of one contract."""
        values = self.values()
        if con_id is None:
            daily = values["NetLiquidation"] - self.equity_at_close
            return m.simple(94, req_id, daily, values["UnrealizedPnL"], values["RealizedPnL"])
        contract = next((c for c in self.contracts.priced if c.con_id == con_id), None)
        position = self.account.positions.get(contract.symbol) if contract else None
        if contract is None or position is None:
            return m.simple(95, req_id, 0, 0.0, 0.0, 0.0, 0.0)
        mark = self.market.mark(contract.symbol)
        unrealised = position.quantity * (mark - position.average_cost)
        return m.simple(
            95,
            req_id,
            position.quantity,
            unrealised + position.realised,
            unrealised,
            position.realised,
            position.quantity * mark,
        )

    # --- restart --------------------------------------------------------------------------------------------------------------

    def restore(self) -> bool:
        """Continue from the journal, if there is one: account, orders, executions and market time.

        Returns whether it had been let go by POST /start under the same start id, and not paused since: another start of the whole
        installation lets its market go when its planes are there.

        A journal of another run raises JournalError.
        """
        lines = self.journal.open()
        run = self._run()
        if not lines:
            self.journal.append("start", self.now, simulated=True, run=run)
            self._journal_pace()
            return False
        first = lines[0].get("run", {})
        other = [f"{key} {first.get(key)} there, {value} here" for key, value in run.items() if first.get(key) != value]
        if lines[0]["kind"] != "start" or other:
            raise JournalError(
                f"{self.journal.path} is of another run ({'; '.join(other)}); use another --state-dir or the same options"
            )
        for line in lines:
            try:
                self._replay(line)
            except (KeyError, ValueError, StopIteration) as error:
                raise JournalError(
                    f"{self.journal.path} cannot be replayed ({error}); use another --state-dir"
                ) from None
        reached = max(line["ns"] for line in lines)
        self._resume([line for line in lines if line["kind"] == "clock"], reached)
        self.faults.waiting = [pair for pair in self.faults.waiting if pair[0] > reached]
        self._resume_pace(next((line for line in reversed(lines) if line["kind"] == "pace"), None))
        last = next((line for line in reversed(lines) if line["kind"] == "control"), None)
        return last is not None and last["running"] and last.get("start_id", "") == self.options.start_id

    def _resume_pace(self, last: Mapping[str, Any] | None) -> None:
        """Edited files that cannot be taken leave the planes, and so this market, at what was taken last."""
        if self.options.targets is not None and not self.decision_hours.taken and last is not None:
            self.clock.pace = replace(self.clock.pace, rebalance=last["rebalance"], stream_after=last["stream_after"])
        self._journal_pace()

    def _replay(self, line: Mapping[str, Any]) -> None:
        match line["kind"]:
            case "ack":
                values = line["values"]
                request = PlaceOrder(line["order_id"], values, (), query_of(values))
                status, terms = line["status"], Terms(**line["terms"])
                self.desk.restore_order(line["client_id"], line["order_id"], line["perm_id"], request, terms, status)
            case "execution":
                self.desk.restore_execution(Execution(**line["execution"]))
            case "correction":
                old = next(e for e in self.desk.executions if e.exec_id == line["replaces"])
                self.desk.correct(old, line["execution"]["price"])
            case "fault" if faults.AT in line["fault"]:
                self.faults.arm(line["fault"], self.costs.keys())
            case "fault" if line["fault"].get("fault") == faults.CLEAR:
                self.faults.waiting.clear()
            case "ended":
                order = self.desk.orders[line["perm_id"]]
                order.status, order.ended = line["status"], line["ns"]

    def _resume(self, clocks: list[dict[str, Any]], reached: int) -> None:
        if clocks:
            day = date.fromisoformat(clocks[-1]["session"])
            if day not in self.clock.days:
                lived = len(calendars.sessions(calendars.MARKET_CALENDAR, self.options.start, day))
                raise JournalError(
                    f"the simulated market stands in its session {lived}, {day}, and is to have {len(self.clock.days)}; "
                    f"start it with `--sessions N`, N above {lived}"
                )
            index = self.clock.days.index(day)
            opens = calendars.session_open(calendars.MARKET_CALENDAR, day)
            # A kill between two lines: the orders' own times count as time reached too, on the grid of steps.
            now = min(
                opens + -(-(reached - opens) // STEP) * STEP, calendars.session_close(calendars.MARKET_CALENDAR, day)
            )
            self.clock.resume_at(index, now)
            self.market.now = now
            if self.clock.in_session:
                self.market.open(day)
                self.market.advance((now - opens) // STEP)
            ends = [line["net_liquidation"] for line in clocks if line["at"] == "close"]
            self.equity_at_close = ends[-1] if ends else self.equity_at_close
        self.reports.publish(self.desk.resume(self.now), self.now)

    def _run(self) -> dict[str, Any]:
        o = self.options
        return {
            "seed": o.seed,
            "start": o.start.isoformat(),
            "account": o.account,
            "cash": o.cash,
            "positions": [list(pair) for pair in o.positions],
            "impact_y": o.impact_y,
        }

    # --- looking at it --------------------------------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """Everything that GET /status tells, as plain values."""
        clock, options = self.clock, self.options
        return {
            "simulated": True,
            "market_time": clock.reading(),
            "market_time_iso": iso(clock.reading()),
            "phase": clock.phase,
            "running": clock.running,
            "streaming": clock.streaming,
            "speed": clock.current_speed,
            "fastest": clock.pace.speed,
            "session": str(clock.day) if clock.day else None,
            "session_open": clock.in_session,
            "sessions_done": clock.index + (0 if clock.in_session else 1),
            "sessions": len(clock.days),
            "finished": clock.finished,
            "seed": options.seed,
            "account": {"id": self.account.name, **{tag: round(value, 2) for tag, value in self.values().items()}},
            "positions": {symbol: self.account.positions[symbol].quantity for symbol in self.account.held()},
            "open_orders": len(self.desk.active()),
            "orders": len(self.desk.orders),
            "executions": len(self.desk.executions),
            "commissions": round(self.account.commissions, 4),
            "order_refs": self.journal.by_ref(),
            "journal": dict(sorted(self.journal.kinds.items())),
            "clients": [dict(self._client_status(client)) for client in list(self.clients.values())],
            "faults": self.faults.armed(),
            "true_costs": {
                s: {"half_spread": c.half_spread, "impact_y": c.impact_y, "adv": c.adv}
                for s, c in sorted(self.costs.items())
            },
        }

    @staticmethod
    def _client_status(client: Client) -> Iterator[tuple[str, Any]]:
        subscriptions = client.subscriptions
        yield "client_id", client.client_id
        yield "messages", client.messages
        yield "quotes", len(subscriptions.quotes)
        yield "bars", len(subscriptions.bars)
        yield "unsent_bytes", client.writer.transport.get_write_buffer_size()


def _cost(symbol: str, impact_y: float) -> TrueCost:
    truth = true_cost(symbol)
    return TrueCost(truth.half_spread, impact_y, truth.adv)
