"""A market for tests: realistic input records of every barrier-input topic, built from real daily closes.

Daily closes are real (skfolio's 20 names); opens, highs, lows, volumes, the path inside a session, facts and rates are made up
from them by arithmetic, without randomness, so that two builds are byte-equal. `Market` builds records; `publish` writes them to
a real Kafka through the producers that the planes use; `LogBuilder` puts them on a log in memory, with offsets.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from schemas import catalogue, codec
from triplane.domain import calendars
from triplane.domain.assets import Universe
from triplane.domain.targets import Targets
from triplane.domain.timestamps import DAY, MINUTE, SECOND, iso
from triplane.paper.market.prices import load_closes
from triplane.runtime import configuration
from triplane.runtime.kafka_in import LogRecord
from triplane.runtime.kafka_out import TopicWriter
from triplane.runtime.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
CALENDAR = "XNYS"
ACCOUNT = "DU1234567"


@dataclass(frozen=True, slots=True)
class Message:
    """One record for one topic."""

    topic: str
    record: dict[str, Any]


def message(topic: str, **fields: Any) -> Message:
    """A message with the defaults of its record."""
    return Message(topic, codec.defaults(catalogue.load()[topic].record) | fields)


def targets(**strategy: Any) -> Targets:
    """Default targets with some of the strategy's parameters changed."""
    return Targets.model_validate({"strategy": strategy})


@dataclass(slots=True)
class Market:
    """Builds input records. `history` and `live` are how many sessions end before and begin at `first_live`."""

    history: int = 300
    live: int = 3
    first_live: date = date(2018, 1, 19)
    account: str = ACCOUNT
    nav: float = 1_000_000.0
    slices_before: int = 12
    """Five-second slices before the decision time; a few follow it."""
    slices_after: int = 6
    _config: dict[str, Any] | None = None
    _states: int = 0
    days: list[date] = field(init=False)
    universe: Universe = field(init=False)
    symbols: tuple[str, ...] = field(init=False)
    _prices: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        closes = load_closes()
        at = closes.row(self.first_live)
        self.days = [closes.day(row) for row in range(at - self.history, at + self.live)]
        # The closes of the day before the first are needed for opens.
        self._prices = closes.values[at - self.history - 1 : at + self.live]
        self.symbols = closes.symbols
        everything = Universe.load(ROOT / "assets.csv")
        self.universe = Universe(asset for asset in everything.assets if asset.symbol in self.symbols)

    @property
    def history_days(self) -> list[date]:
        """Sessions that are loaded in bulk."""
        return self.days[: self.history]

    @property
    def live_days(self) -> list[date]:
        """Sessions that are observed live."""
        return self.days[self.history :]

    def _row(self, day: date) -> tuple[np.ndarray, np.ndarray]:
        """Previous and present closes of a session."""
        at = self.days.index(day)
        return self._prices[at], self._prices[at + 1]

    # Records ------------------------------------------------------------------------------------------------------------

    def config(self, wanted: Targets | None = None, actor: str = "test") -> Message:
        """The next version of the configuration."""
        made = configuration.make(wanted or Targets(), self.universe)
        record = configuration.to_record(made, self._config, actor=actor, event_time=0)
        self._config = record
        return message("control.config", **record)

    def facts(self) -> list[Message]:
        """Shares outstanding, one filing a quarter and name, from a year before the first session on."""
        messages = []
        begin = calendars.session_close(CALENDAR, self.days[0]) - 365 * DAY
        end = calendars.session_close(CALENDAR, self.days[-1])
        for i, symbol in enumerate(self.symbols):
            for quarter, at in enumerate(range(begin + i * DAY, end, 91 * DAY)):
                shares = 1e9 * (1 + i / 7) * 0.995**quarter
                messages.append(
                    message(
                        "data.facts",
                        event_time=at - 20 * DAY,
                        available_time=at,
                        source="edgar",
                        fact_id=f"{symbol}/{quarter:04d}",
                        symbol=symbol,
                        cik=1000 + i,
                        accession=f"{quarter:04d}",
                        form="10-Q",
                        filed=iso(at)[:10],
                        acceptance=iso(at),
                        concepts=["dei:EntityCommonStockSharesOutstanding"],
                        units=["shares"],
                        period_start=[0],
                        period_end=[at - 20 * DAY],
                        values=[shares],
                        fiscal_year=[2017],
                        fiscal_period=[f"Q{quarter % 4 + 1}"],
                    )
                )
        return messages

    def macro(self) -> list[Message]:
        """The three-month T-bill, a vintage a week from two weeks before the first session."""
        begin = calendars.session_close(CALENDAR, self.days[0]) - 14 * DAY
        end = calendars.session_close(CALENDAR, self.days[-1])
        return [
            message(
                "data.macro",
                event_time=at - DAY,
                available_time=at,
                source="fred",
                vintage_id=f"DTB3/{iso(at)[:10]}",
                series="DTB3",
                unit="percent",
                realtime_start=iso(at)[:10],
                observation_time=[(at - DAY) // DAY * DAY],
                values=[0.5 + 0.01 * week],
            )
            for week, at in enumerate(range(begin, end, 7 * DAY))
        ]

    def account_state(self, at: int, positions: Mapping[str, float] | None = None, nav: float | None = None) -> Message:
        """The account as the order plane would write it."""
        self._states += 1
        held = dict(sorted((positions or {}).items()))
        marks = dict(zip(self.symbols, self._prices[-1].tolist(), strict=True))
        return message(
            "order.account",
            event_time=at,
            available_time=at,
            account=self.account,
            epoch=1,
            state_id=f"1/{self._states}",
            events_offset=self._states,
            base_currency="USD",
            nav=nav or self.nav,
            cash=nav or self.nav,
            available_funds=nav or self.nav,
            high_water_mark=self.nav,
            reconciled=True,
            kill_level="none",
            symbols=list(held),
            con_ids=[0] * len(held),
            position=list(held.values()),
            mark=[marks[name] for name in held],
            avg_cost=[marks[name] for name in held],
            open_buy=[0.0] * len(held),
            open_sell=[0.0] * len(held),
            unknown=[0.0] * len(held),
            simulated=True,
        )

    def costs(self, at: int) -> Message:
        """A cost estimate as the order plane would write it."""
        return message(
            "order.costs",
            event_time=at,
            available_time=at,
            estimate_id=f"{self.account}/1",
            account=self.account,
            seq=1,
            profiles=["Standard"],
            linear=[4e-4],
            linear_sd=[2e-4],
            impact=[0.8],
            impact_sd=[0.3],
            parents=[3],
        )

    def daily(self, day: date, history: bool = True) -> Message:
        """The daily slice of a session."""
        before, close = self._row(day)
        opened = before + 0.3 * (close - before)
        high = np.maximum(opened, close) * 1.004
        low = np.minimum(opened, close) * 0.996
        volume = 1e7 * (1 + np.arange(len(close)) % 5) * (1 + 20 * np.abs(close / before - 1))
        at = calendars.session_close(CALENDAR, day)
        return message(
            "data.bars",
            event_time=at,
            available_time=at,
            group="main",
            source="ibkr",
            interval="1d",
            session=day.isoformat(),
            history=history,
            symbols=list(self.symbols),
            open=opened.tolist(),
            high=high.tolist(),
            low=low.tolist(),
            close=close.tolist(),
            volume=np.floor(volume).tolist(),
            wap=((high + low + close) / 3).tolist(),
            trades=[-1] * len(close),
        )

    def _path(self, day: date, at: int) -> np.ndarray:
        """Prices at one moment of a session: the straight line from open to close, with a ripple."""
        before, close = self._row(day)
        opened, closed = calendars.session_open(CALENDAR, day), calendars.session_close(CALENDAR, day)
        fraction = min(max((at - opened) / (closed - opened), 0.0), 1.0)
        start = before + 0.3 * (close - before)
        ripple = 1 + 0.0005 * np.sin(0.7 * np.arange(len(close)) + at / MINUTE)
        path: np.ndarray = np.round((start + fraction * (close - start)) * ripple, 2)
        return path

    def bar(self, day: date, at: int, symbols: bool = True) -> Message:
        """A five-second slice that ends at `at`; without symbols it is a punctuation."""
        price = self._path(day, at).tolist() if symbols else []
        n = len(price)
        return message(
            "data.bars",
            event_time=at,
            available_time=at,
            group="main",
            source="ibkr",
            interval="5s",
            session=day.isoformat(),
            symbols=list(self.symbols[:n]),
            open=price,
            high=price,
            low=price,
            close=price,
            volume=[1000.0] * n,
            wap=price,
            trades=[10] * n,
        )

    def quotes(self, day: date, at: int) -> Message:
        """A quote slice, one cent around the path."""
        price = self._path(day, at)
        n = len(price)
        return message(
            "data.quotes",
            event_time=at,
            available_time=at,
            group="main",
            source="ibkr",
            session=day.isoformat(),
            symbols=list(self.symbols),
            bid=(price - 0.01).tolist(),
            ask=(price + 0.01).tolist(),
            bid_size=[500.0] * n,
            ask_size=[400.0] * n,
            last=price.tolist(),
            volume=[1e6] * n,
            quote_time=[at] * n,
            status=["live"] * n,
            halted=[False] * n,
        )

    # Sequences ----------------------------------------------------------------------------------------------------------

    def opening(self, wanted: Targets | None = None) -> list[Message]:
        """Everything before the history: configuration, facts, rates, account, costs."""
        begin = calendars.session_close(CALENDAR, self.days[0]) - DAY
        return [self.config(wanted), *self.facts(), *self.macro(), self.account_state(begin), self.costs(begin)]

    def history_slices(self) -> list[Message]:
        """One daily slice a session, as loaded in bulk."""
        return [self.daily(day) for day in self.history_days]

    def before_decision(self, day: date, rebalance: str = "15:30") -> list[Message]:
        """What arrives before the decision time: bars, quotes and an account state."""
        t = calendars.decision_time(CALENDAR, day, rebalance)
        result = [self.account_state(t - 5 * MINUTE)]
        for k in range(self.slices_before, 0, -1):
            at = t - k * 5 * SECOND
            result += [self.quotes(day, at + 2 * SECOND), self.bar(day, at + 3 * SECOND)]
        return result

    def gating(self, day: date, rebalance: str = "15:30") -> Message:
        """The first slice at the decision time: it completes the barrier."""
        return self.bar(day, calendars.decision_time(CALENDAR, day, rebalance))

    def after_decision(self, day: date, rebalance: str = "15:30") -> list[Message]:
        """What arrives after: bars, quotes, the account, and at the close the live daily slice."""
        t = calendars.decision_time(CALENDAR, day, rebalance)
        result = []
        for k in range(1, self.slices_after + 1):
            at = t + k * 5 * SECOND
            result += [self.quotes(day, at), self.bar(day, at)]
        positions = {name: 10.0 * (i + 1) for i, name in enumerate(self.symbols[:5])}
        result.append(self.account_state(t + MINUTE, positions, self.nav * (1 + 0.001 * self._states)))
        result.append(self.daily(day, history=False))
        return result

    def session(self, day: date) -> list[Message]:
        """A whole live session."""
        return [*self.before_decision(day), self.gating(day), *self.after_decision(day)]

    def everything(self, wanted: Targets | None = None) -> list[Message]:
        """Opening, history and all live sessions."""
        result = [*self.opening(wanted), *self.history_slices()]
        for day in self.live_days:
            result += self.session(day)
        return result


def publish(settings: Settings, messages: Iterable[Message], timeout_s: float = 60.0) -> None:
    """Write messages in order, each through the producer of the plane that owns its topic; returns when all are acknowledged.

    What a barrier only looks up is acknowledged before the bars that make one due: two partitions keep no order between them.
    """
    writers: dict[str, TopicWriter] = {}
    topics = catalogue.load()
    looked_up = False
    try:
        for item in messages:
            owner = topics[item.topic].owner
            gating = topics[item.topic].role == "gating"
            if gating and looked_up:
                for writer in writers.values():
                    writer.flush(timeout_s)
            looked_up = not gating
            if owner not in writers:
                writers[owner] = TopicWriter(settings, owner)
            writers[owner].send(item.topic, item.record)
        for writer in writers.values():
            writer.flush(timeout_s)
    finally:
        for writer in writers.values():
            writer.close()


class LogBuilder:
    """A log in memory: gives each message its offset. One partition a topic, as the catalogue has it."""

    def __init__(self) -> None:
        self._codec = codec.load()
        self._topics = catalogue.load()
        self.ends: dict[str, int] = {f"{topic.name}-0": 0 for topic in self._topics.barrier_inputs()}
        self.records: list[LogRecord] = []

    def append(self, item: Message) -> LogRecord:
        """Put a message at the end of its partition."""
        entry = self._topics[item.topic]
        return self._put(
            item.topic, entry.key_of(item.record), self._codec.encode(entry.record, item.record), item.record, ""
        )

    def append_malformed(self, topic: str, raw: bytes = b"\x00\x00\x00\x00\x63junk") -> LogRecord:
        """Put bytes that cannot be decoded at the end of a partition."""
        return self._put(topic, b"main", raw, None, "malformed for a test")

    def _put(self, topic: str, key: bytes, raw: bytes, value: dict[str, Any] | None, error: str) -> LogRecord:
        name = f"{topic}-0"
        record = LogRecord(topic, 0, self.ends[name], key, value, error, raw, {})
        self.ends[name] += 1
        self.records.append(record)
        return record
