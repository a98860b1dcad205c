"""A whole order plane for tests: real Kafka, the real gateway process, the order daemon as its own process.

The test plays control, data and strategy plane through their own producers. Market time stands still unless the gateway is told to
advance, so runs are repeatable; quotes are the gateway's own.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from schemas import codec
from tests.broker.gateways import ACCOUNT, REPOSITORY, GatewayProcess
from tests.prefork import Forked
from tests.waiting import eventually
from triplane.broker import contracts
from triplane.broker.session import BrokerSession
from triplane.domain.assets import Universe
from triplane.domain.targets import Targets
from triplane.domain.timestamps import MINUTE, SECOND
from triplane.replay.orders import verify
from triplane.replay.recording import read
from triplane.runtime import configuration, loopback
from triplane.runtime.kafka_in import LogRecord, read_all
from triplane.runtime.kafka_out import TopicWriter
from triplane.runtime.settings import Settings

SYMBOLS = ("KO", "PFE", "MSFT", "JPM", "XOM")
UNIVERSE = Universe(asset for asset in Universe.load(REPOSITORY / "assets.csv").assets if asset.symbol in SYMBOLS)


class OrderProcess:
    """`python -m order_plane` with its own environment."""

    def __init__(self, settings: Settings, **environment: str) -> None:
        self.settings = settings
        self.log = settings.state_dir / "order.log"
        settings.state_dir.mkdir(parents=True, exist_ok=True)
        variables = {
            "TRIPLANE_BOOTSTRAP": settings.bootstrap,
            "TRIPLANE_TOPIC_PREFIX": settings.topic_prefix,
            "TRIPLANE_STATE_DIR": str(settings.state_dir),
            "TRIPLANE_ACCOUNT": settings.account,
            "TRIPLANE_GATEWAY_PORT": str(settings.gateway_port),
            "TRIPLANE_MODE": settings.mode,
            "TRIPLANE_HTTP_PORT": "0",
        }
        # What an earlier process left would be read as this one's address.
        (settings.state_dir / "run" / "order.json").unlink(missing_ok=True)
        self.environment = {**os.environ, **variables, **environment}
        self.process = Forked("order_plane", log=self.log, cwd=REPOSITORY, env=self.environment)

    @property
    def pid(self) -> int:
        """Process id."""
        return self.process.pid

    def signal(self, number: int) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def wait(self, timeout: float = 20.0) -> int:
        """Exit code (negative: the signal that ended it)."""
        return self.process.wait(timeout)

    def stop(self) -> None:
        """End it, gently first."""
        if self.process.poll() is None:
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGTERM)
            try:
                self.process.wait(12)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(5)

    def kill(self) -> None:
        """SIGKILL, and wait."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)

    def words(self) -> str:
        """Everything it has written to its log."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    @property
    def url(self) -> str:
        """Address of its HTTP server."""
        path = self.settings.state_dir / "run" / "order.json"

        def described() -> str:
            if self.process.poll() is not None:
                raise AssertionError(f"the order process ended with {self.process.returncode}:\n{self.words()[-3000:]}")
            return str(json.loads(path.read_text())["http"]) if path.exists() else ""

        return str(eventually(described, 20, "the order process's HTTP server"))

    def get(self, path: str) -> httpx.Response:
        """GET from its HTTP server."""
        return loopback.get(f"{self.url}{path}", 5.0)

    def ready(self, timeout: float = 30.0, *, or_dead: bool = False) -> OrderProcess:
        """Wait until /readyz says so; with `or_dead`, its death is as good."""

        def answers() -> bool:
            if self.process.poll() is not None:
                if or_dead:
                    return True
                raise AssertionError(f"the order process ended with {self.process.returncode}:\n{self.words()[-3000:]}")
            try:
                return self.get("/readyz").status_code == 200
            except (httpx.HTTPError, AssertionError):
                return False  # not there yet, or there no more: the next look tells

        try:
            eventually(answers, timeout, "readiness")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.words()[-3000:]}") from None
        return self

    def metric(self, name: str) -> float:
        """Value of a metric without further labels than those in `name`."""
        for line in self.get("/metrics").text.splitlines():
            if line.startswith(f"{name} "):
                return float(line.rpartition(" ")[2])
        raise AssertionError(f"no metric {name}")


class OrderWorld:
    """Gateway, log and order process of one test."""

    def __init__(self, settings: Settings, directory: Path, at: str = "2018-01-19T15:30", **targets: Any) -> None:
        self.writers: dict[str, TopicWriter] = {}
        self.orders: OrderProcess | None = None
        self.seq = 0
        self.targets: dict[int, Mapping[str, float]] = {}
        self._told: dict[int, dict[str, Any]] = {}
        self._con_ids: dict[str, int] = {}
        self._config: dict[str, Any] | None = None
        self.gateway = GatewayProcess(directory / "gateway", "--hold")
        self.settings = settings.model_copy(update={"gateway_port": self.gateway.port})
        try:
            self.gateway.advance(to=at)
            self.now = int(self.gateway.status()["market_time"])
            self.quotes = asyncio.run(self._quotes())
            self.configure(**targets)
        except BaseException:
            self.close()  # nobody else would stop the gateway
            raise

    async def _quotes(self) -> dict[str, tuple[float, float]]:
        session = BrokerSession()
        await session.connect("127.0.0.1", self.gateway.port, 31, ACCOUNT)
        # With contract ids: ib_async refuses to hash a contract without one.
        if not self._con_ids:
            for symbol in SYMBOLS:
                self._con_ids[symbol] = (await contracts.resolve(session, contracts.make_contract(symbol))).con_id
        wanted = [contracts.make_contract(symbol, con_id=self._con_ids[symbol]) for symbol in SYMBOLS]
        tickers = await session.ib.reqTickersAsync(*wanted)
        await session.close()
        return {ticker.contract.symbol: (ticker.bid, ticker.ask) for ticker in tickers}

    # -- the other planes ------------------------------------------------------------------------------------------------------
    def send(self, topic: str, headers: Mapping[str, bytes] | None = None, **fields: Any) -> int:
        """Write one record as the plane that owns the topic; returns its offset."""
        owner = topic.partition(".")[0]
        if owner not in self.writers:
            self.writers[owner] = TopicWriter(self.settings, owner)
        record = codec.defaults(self.writers[owner]._topics[topic].record) | fields
        return self.writers[owner].send(topic, record, headers=headers).result(40)

    def configure(self, *, con_ids: Mapping[str, int] | None = None, **order: Any) -> None:
        """The next version of the configuration, with some of the order plane's parameters changed, and contract ids by symbol."""
        loose = {
            "POV_CAP": 1.0,
            "ORDER_ADV_MAX": 1.0,
            "ADV_DAY_CAP": 1.0,
            "MIN_CHILD_NOTIONAL": 0.0,
            "RECONCILE_S": 3600.0,
        }
        ids = con_ids or {}
        assets = Universe(a.model_copy(update={"con_id": ids.get(a.symbol, a.con_id)}) for a in UNIVERSE.assets)
        made = configuration.make(Targets.model_validate({"order": loose | order}), assets)
        self._config = configuration.to_record(made, self._config, actor="test", event_time=0)
        self.send("control.config", **self._config)

    def market(self, at: int = 0) -> None:
        """A quote slice and a five-second bar at market time `at` (now by default), quotes being the gateway's.

        Told again, a moment is what it was: the log takes one record for each.
        """
        at = at or self.now
        quotes = self._told.setdefault(at, dict(self.quotes))
        common: dict[str, Any] = {
            "event_time": at,
            "available_time": at,
            "group": "main",
            "source": "ibkr",
            "session": "2018-01-19",
            "symbols": list(SYMBOLS),
        }
        n = len(SYMBOLS)
        bid, ask = ([quotes[symbol][side] for symbol in SYMBOLS] for side in (0, 1))
        mid = [(low + high) / 2 for low, high in zip(bid, ask, strict=True)]
        self.send(
            "data.bars",
            interval="5s",
            open=mid,
            high=mid,
            low=mid,
            close=mid,
            wap=mid,
            volume=[1e6] * n,
            trades=[10] * n,
            **common,
        )
        self.send(
            "data.quotes", bid=bid, ask=ask, bid_size=[500.0] * n, ask_size=[500.0] * n, last=mid, volume=[1e6] * n,
            quote_time=[at] * n, status=["live"] * n, halted=[False] * n, **common,
        )  # fmt: skip

    def advance(self, minutes: float) -> None:
        """Let the gateway's market trade on, and tell the log its new quotes."""
        self.now = int(self.gateway.advance(minutes=minutes)["market_time"])
        self.quotes = asyncio.run(self._quotes())
        self.market()

    def intents(self, target: Mapping[str, float] | None = None, /, cause: int = 0, **targets: float) -> int:
        """Publish one barrier's intents: signed target quantities by symbol. Returns the barrier's seq.

        `cause` is the ingest time of the record that completed the barrier (wall ns), for the header.
        """
        target = {**(target or {}), **targets}
        self.targets[self.seq + 1] = target
        headers = {"cause_ingest_time": str(cause).encode()} if cause else None
        self.seq += 1
        names = sorted(target)
        mids = [sum(self.quotes[name]) / 2 for name in names]
        self.send(
            "strategy.intents", headers, event_time=self.now, available_time=self.now, seq=self.seq, intent_id=f"{ACCOUNT}/{self.seq}",
            account=ACCOUNT, config_hash=(self._config or {})["hash"], account_offset=-1, valid_until=self.now + 600 * SECOND,
            outcome="SOLVED", symbols=names, con_ids=[0] * len(names), target_qty=[target[name] for name in names],
            target_weight=[0.0] * len(names), reference_price=mids, sigma_daily=[0.01] * len(names), adv=[1e8] * len(names),
        )  # fmt: skip
        return self.seq

    def positions(self) -> dict[str, float]:
        """Positions other than none that the newest account record tells."""
        account = self.records("order.account")[-1]
        held = zip(account["symbols"], account["position"], strict=True)
        return {symbol: units for symbol, units in held if units}

    def open_market(self) -> None:
        """Slices of the last two minutes, so that volume was observed and quotes are fresh."""
        for back in (120, 60, 30, 5, 0):
            self.market(self.now - back * SECOND)

    # -- the order process -----------------------------------------------------------------------------------------------------
    def start(self, **environment: str) -> OrderProcess:
        """Start the order process (again)."""
        self.orders = OrderProcess(self.settings, **environment)
        return self.orders

    def records(self, topic: str) -> list[dict[str, Any]]:
        """All records of a topic so far."""
        return [record.value for record in self.log(topic) if record.value is not None]

    def log(self, topic: str) -> list[LogRecord]:
        """All records of a topic so far, with headers."""
        return read_all(self.settings, [topic])

    def events(self, kind: str) -> list[dict[str, Any]]:
        """Events of a kind in log order."""
        return [event for event in self.records("order.events") if event["kind"] == kind]

    def until_event(self, kind: str, count: int = 1, timeout: float = 20.0, **fields: Any) -> list[dict[str, Any]]:
        """Wait for events of a kind with these fields."""

        def found() -> list[dict[str, Any]] | None:
            rows = [event for event in self.events(kind) if all(event[name] == value for name, value in fields.items())]
            return rows if len(rows) >= count else None

        try:
            result: list[dict[str, Any]] = eventually(found, timeout, f"{count} event(s) {kind} {fields}")
        except AssertionError as error:
            words = self.orders.words()[-4000:] if self.orders else ""
            kinds = [event["kind"] for event in self.records("order.events")]
            raise AssertionError(f"{error}\nevents: {kinds[-60:]}\n{words}") from None
        return result

    # -- truths ----------------------------------------------------------------------------------------------------------------
    def at_most_once(self) -> dict[str, int]:
        """Law L4: each orderRef reached the gateway at most once, by the gateway's own journal. Returns the counts."""
        counts = self.gateway.sent()
        assert all(count == 1 for count in counts.values()), counts
        return counts

    def fills_equal_the_brokers(self) -> int:
        """Law L5: executions on order.fills are those of the gateway's journal, corrections applied. Returns how many."""
        theirs: dict[str, tuple[float, float]] = {}
        for line in self.gateway.journal():
            if line["kind"] in ("execution", "correction"):
                execution = line["execution"]
                theirs[execution["exec_id"].rpartition(".")[0]] = (execution["quantity"], execution["price"])
        ours: dict[str, tuple[float, float]] = {}
        seen: dict[str, dict[str, Any]] = {}
        for fill in self.records("order.fills"):
            if seen.setdefault(fill["fill_id"], fill) != fill:
                raise AssertionError(f"{fill['fill_id']} was written twice with other values")
            if fill["kind"] in ("execution", "correction"):
                ours[fill["exec_id"].rpartition(".")[0]] = (fill["quantity"], fill["price"])
        assert ours == theirs
        return len(theirs)

    def bounded(self) -> None:
        """Law L4's second half, from the gateway's journal: no fill, and no open order if it filled, passes a target.

        An order of barrier s was allowed by the target of s or of a later barrier, whose orders count what s had open.
        """
        position: dict[str, float] = {}
        for line in self.gateway.journal():
            if line["kind"] == "execution":
                execution = line["execution"]
                symbol, side = execution["symbol"], execution["side"]
                position[symbol] = position.get(symbol, 0.0) + side * execution["quantity"]
                self._within(symbol, side, int(line["orderRef"].split("/")[1]), position[symbol])
        for side in (1, -1):
            working = [
                o for o in self.gateway.orders() if o["status"] in ("Submitted", "PreSubmitted") and o["side"] == side
            ]
            for symbol in {order["symbol"] for order in working}:
                mine = [order for order in working if order["symbol"] == symbol]
                open_ = sum(order["quantity"] - order["filled"] for order in mine)
                oldest = min(int(order["orderRef"].split("/")[1]) for order in mine)
                self._within(symbol, side, oldest, position.get(symbol, 0.0) + side * open_)

    def _within(self, symbol: str, side: int, seq: int, worst: float) -> None:
        targets = [
            side * target[symbol] for number, target in self.targets.items() if number >= seq and symbol in target
        ]
        assert side * worst <= max(targets) + 1e-9, (symbol, side, seq, worst, self.targets)

    def replays(self) -> None:
        """Law L1 for the order plane: the recorded inputs, run again, give the recorded bytes on every topic."""
        for verdict in verify(read(self.settings), ACCOUNT):
            assert verdict.identical, verdict.divergence

    def work_off(self, timeout: float = 40.0) -> None:
        """Let the market trade on until every parent is closed and every order is final."""
        deadline = time.monotonic() + timeout

        def done() -> bool:
            opened = {event["intent_id"] for event in self.events("parent_opened")}
            closed = {event["intent_id"] for event in self.events("parent_closed")}
            idle = opened <= closed and self.gateway.status()["open_orders"] == 0
            if not idle:
                self.advance(0.1)
            return idle

        try:
            while not done():
                if time.monotonic() > deadline:
                    raise AssertionError(f"orders were not worked off within {timeout:g} s")
                time.sleep(0.2)  # wall time in which the order process reacts to the market step
        except AssertionError as error:
            words = self.orders.words()[-3000:] if self.orders else ""
            raise AssertionError(f"{error}\n{self.gateway.orders()}\n{words}") from None

    def close(self) -> None:
        """Stop everything that was started."""
        if self.orders is not None:
            self.orders.stop()
        self.gateway.stop()
        for writer in self.writers.values():
            writer.close()


def minutes(count: float) -> int:
    """Nanoseconds of minutes."""
    return int(count * MINUTE)
