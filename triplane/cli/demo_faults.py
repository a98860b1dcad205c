"""The faults that a demonstration's simulated market injects, and what the gates made of each, judged from the log.

| fault | when | what must be on the log |
|---|---|---|
| a bad print: one five-second bar of a name at a hundred times its price | eight minutes before a decision | the bar in quarantine, the name's gate closed and open again |
| a silent symbol: no data of a name for 90 s | nine minutes before a decision | the name's freshness gate closed and open again |
| a skewed clock: the gateway tells a time of two days ago, once | two minutes after a decision | the clock gate closed and open again |
| a restated fact: an amended report with the number of shares in thousands | in the loaded history | the fact in quarantine, the company's gate closed and open again |

All but the clock are over before the decision, which must not be different for them; the clock's is over before the next one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import TYPE_CHECKING, Any

import httpx

from triplane.cli.demo_directory import DemoError
from triplane.domain import calendars
from triplane.domain.timestamps import MINUTE, NEW_YORK, SECOND, to_datetime
from triplane.runtime.configuration import Config
from triplane.runtime.settings import from_environment
from triplane.stack.installation import PaperMarket

if TYPE_CHECKING:
    from triplane.replay.recording import Recording

PRINTED, SILENT, RESTATED = "KO", "PFE", "AAPL"
"""The names that are hit, where they are in the universe."""
MARKET = "ibkr"
SILENT_S = 90
"""Three times BAR_FRESHNESS_S as shipped."""


@dataclass(frozen=True, slots=True)
class Injection:
    """One fault. `at` is the market time from which the gates can notice it, ns UTC; 0 for what is in the loaded history.

    `quarantine` says whether something must be in quarantine; `bodies` are what the gateway is asked for.
    """

    what: str
    source: str
    scope: str
    gate: str
    at: int
    quarantine: bool
    bodies: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Caught:
    """What became of an injection. `code` is the gate's reason, empty when it did not close."""

    injection: Injection
    code: str
    reopened: bool
    quarantined: int

    @property
    def whole(self) -> bool:
        """Whether it was noticed as it should be, and is over."""
        return bool(self.code) and self.reopened and (self.quarantined > 0 or not self.injection.quarantine)

    @property
    def told(self) -> str:
        """In a few words."""
        if not self.code:
            return f"{self.injection.what}: not caught"
        where = f", {self.quarantined} in quarantine" if self.injection.quarantine else ""
        return f"{self.injection.what}: {self.code}{where}{'' if self.reopened else ', and its gate stays closed'}"


@dataclass(slots=True)
class MarketFaults:
    """The faults of one run."""

    planned: list[Injection] = field(default_factory=list)

    def prepare(self, market: PaperMarket, config: Config) -> PaperMarket:
        """Plan the faults of a run under this configuration; the market with what has to be known before it starts."""
        tradable = {asset.symbol for asset in config.universe.tradable}
        rebalance, client_id = config.targets.strategy.REBALANCE, from_environment().data_client_id
        self.planned = plan(market.start, market.sessions, rebalance, tradable, client_id)
        return replace(market, restated=RESTATED if RESTATED in tradable else "")

    @property
    def announced(self) -> str:
        """What the market will do, in a line."""
        times = [f"{each.what}{f' on {_when(each.at)}' if each.at else ''}" for each in self.planned]
        return f"the market injects faults for the gates to catch: {'; '.join(times) or 'none, its names are not in assets.csv'}"

    async def inject(self, client: httpx.AsyncClient, url: str) -> None:
        """Hand the plan to the gateway at `url`. Raises DemoError when it is not taken."""
        for body in [body for each in self.planned for body in each.bodies]:
            answer = await client.post(f"{url}/fault", json=body)
            if answer.status_code != 200:
                raise DemoError(f"the paper gateway does not take a fault: {answer.text}")

    def caught(self, found: Recording, now: int) -> list[Caught]:
        """What the log says of each that was due by `now` (market time, ns UTC)."""
        gates = [record.value for record in found.records["data.gates"] if record.value]
        quarantine = [record.value for record in found.records["data.quarantine"] if record.value]
        return [_caught(each, gates, quarantine) for each in self.planned if each.at <= now]


def plan(start: str, sessions: int, rebalance: str, tradable: Collection[str], client_id: int) -> list[Injection]:
    """Faults for a run of so many sessions from `start` (YYYY-MM-DD), in the first three of its second quarter.

    `rebalance` is the decision's hour, `client_id` the Data Plane's at the gateway. A decision within ten minutes of the open leaves no
    room before it, and only the clock and the fact are left.
    """
    found: list[Injection] = []
    if RESTATED in tradable:
        found.append(Injection(f"restated fact of {RESTATED}", "edgar", RESTATED, "fact_sanity", 0, True))
    day, days = date.fromisoformat(start), []
    for _ in range(sessions):
        days.append(day)
        day = calendars.next_session(calendars.MARKET_CALENDAR, day)
    decided = [
        calendars.decision_time(calendars.MARKET_CALENDAR, days[place], rebalance)
        for place in sorted(min(sessions - 1, sessions // 4 + more) for more in range(3))
    ]
    opens = calendars.session_open(calendars.MARKET_CALENDAR, days[min(sessions - 1, sessions // 4)])
    room = decided[0] - 10 * MINUTE >= opens
    if room and PRINTED in tradable:
        at = decided[0] - 8 * MINUTE
        body = {"fault": "bad_print", "symbol": PRINTED, "factor": 100, "at": at}
        found.append(Injection(f"bad print of {PRINTED}", MARKET, PRINTED, "price_sanity", at, True, (body,)))
    if room and SILENT in tradable:
        at = decided[1] - 9 * MINUTE
        modes = ((at, "silent"), (at + SILENT_S * SECOND, "live"))
        bodies = tuple({"fault": "market_data", "symbol": SILENT, "mode": mode, "at": when} for when, mode in modes)
        found.append(Injection(f"silent {SILENT}", MARKET, SILENT, "freshness", at, False, bodies))
    at = decided[2] + 2 * MINUTE
    clock = {"fault": "clock", "client_id": client_id, "at": at}
    found.append(Injection("skewed clock", MARKET, "", "clock", at, False, (clock,)))
    return found


def _caught(
    injection: Injection, gates: Sequence[Mapping[str, Any]], quarantine: Iterable[Mapping[str, Any]]
) -> Caught:
    scope = (injection.gate, injection.source, injection.scope)
    since = [
        record
        for record in gates
        if (record["gate"], record["source"], record["scope"]) == scope and record["event_time"] >= injection.at
    ]
    closed = next((place for place, record in enumerate(since) if not record["open"]), None)
    code = since[closed]["code"] if closed is not None else ""
    reopened = closed is not None and any(record["open"] for record in since[closed:])
    taken = [
        record
        for record in quarantine
        if (record["source"], record["symbol"], record["code"]) == (injection.source, injection.scope, code)
        and record["available_time"] >= injection.at
    ]
    return Caught(injection, code, reopened, len(taken))


def told(caught: Sequence[Caught]) -> str:
    """All of them in a line."""
    return "; ".join(each.told for each in caught) or "none was injected"


def problems(caught: Sequence[Caught], restarts: Mapping[str, int]) -> list[str]:
    """A sentence for each fault that the gates missed. What a restart of the gateway or the Data Plane swallowed is none of theirs."""
    if restarts.keys() & {"data", "gateway", "providers"}:
        return []
    return [
        f"the gates did not deal with an injected fault: {each.told} ({_when(each.injection.at)})"
        for each in caught
        if not each.whole
    ]


def _when(at: int) -> str:
    return f"{to_datetime(at, NEW_YORK):%Y-%m-%d %H:%M} New York" if at else "in the loaded history"
