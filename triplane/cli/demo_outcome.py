"""What a demonstration came to: the numbers of its summary, and whether it passed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from triplane.runtime import loopback, run_file

if TYPE_CHECKING:
    from triplane.cli.demo_edit import ConfigEdit
    from triplane.cli.demo_faults import Caught
    from triplane.replay.summary import Summary
    from triplane.replay.verification import Verdict

DROPPED = "dropped:"
P95_OF = 20
"""Orders from which on a 95th percentile says anything."""
LATE_SHARE = 0.25
"""Orders that leave later than this share of a parent's life make a summary that says so."""


async def received(directory: Path) -> dict[str, float]:
    """The Data Plane's own conservation counters, by outcome, summed over sources; `dropped:CODE` tells what was dropped why.

    Empty while it does not answer: it is being restarted, and the log, not its counters, is what is judged.
    """
    from prometheus_client.parser import text_string_to_metric_families

    try:
        found = run_file.read(directory, "data")
        if found is None:
            return {}
        async with loopback.async_client(5.0) as client:
            text = (await client.get(found.http + "/metrics")).text
    except (httpx.TransportError, httpx.InvalidURL):
        return {}
    totals: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == "triplane_records_total":
                outcome = sample.labels["outcome"]
                totals[outcome] = totals.get(outcome, 0.0) + sample.value
            elif sample.name == "triplane_records_dropped_total" and sample.value:
                code = f"{DROPPED}{sample.labels['code']}"
                totals[code] = totals.get(code, 0.0) + sample.value
    return totals


def under_way(received: Mapping[str, float]) -> float:
    """What came into the data plane and has not left it yet, by its own counters (`received`)."""
    left = sum(received.get(outcome, 0.0) for outcome in ("published", "quarantined", "deduplicated", "dropped"))
    return received.get("received", 0.0) - left


def untraded(summary: Summary) -> list[str]:
    """A sentence when every decision was held, or no order filled: a demonstration that trades nothing has shown nothing."""
    if summary.fills:
        return []
    if summary.intents:
        codes = ", ".join(f"{code} {count}" for code, count in summary.decisions.items())
        return [
            f"nothing was traded: {summary.intents} intents and {summary.orders} orders, and not one was filled ({codes}); where the machine "
            "is too busy, `triplane demo --speed 60` waits for it"
        ]
    why = ", ".join(f"{code} {count}" for code, count in summary.holds.items()) or "none was made"
    return [
        f"nothing was traded, for no decision was solved ({why}); `triplane explain SYMBOL` and the strategy's log say why"
    ]


@dataclass(frozen=True, slots=True)
class Outcome:
    """Everything that the summary prints."""

    summary: Summary
    verdict: Verdict
    edit: ConfigEdit
    received: dict[str, float]
    missed: list[str]
    """Sessions of the run that passed without a decision."""
    truth: dict[str, Any]
    problems: list[str]
    seconds: dict[str, float]
    speed: float
    """Fastest market clock while an order is open, times real time, as it began."""
    final_speed: float
    """The same as it ended: slower where the machine was too busy (market_pace.py)."""
    parent_life_s: float
    """PARENT_EXPIRY_S, market seconds."""
    restarts: dict[str, int] = field(default_factory=dict)
    """How often each process was started again."""
    unsettled: bool = False
    """Whether the planes still wrote when the log was taken: what came later is in neither the numbers nor the verdict."""
    killed: str = ""
    """Why the kill switch is tripped at the end; empty when it is not."""
    caught: list[Caught] = field(default_factory=list)
    """What the gates made of the faults that the market injected."""

    @property
    def late(self) -> str:
        """That market time outran the planes, in a sentence; empty when it did not.

        The market's clock does not know how busy the machine is: a parent that lives five market minutes has one wall second at 300x.
        """
        slowed = self.final_speed < self.speed
        if not self._delayed and not slowed:
            return ""
        expired = sum(of.get("EXPIRED", 0) for of in (self.summary.decisions, self.summary.later_decisions))
        lost = f", and {expired} intents expired that might have filled" if expired else ""
        slower = f"; the market's clock was slowed to {self.final_speed:g}x for it" if slowed else ""
        delay = self.summary.latency_s[1]
        what = (
            f"orders left up to {delay:.2f} s (p95) after their data, {delay * self.speed:.0f} market seconds at {self.speed:g}x"
            if self._delayed
            else "intents came too late for the market"
        )
        return f"{what}: the machine is busy, or a process stood still{lost}{slower}; {self._remedy}"

    @property
    def _delayed(self) -> bool:
        enough = self.summary.latencies >= P95_OF
        return enough and self.summary.latency_s[1] * self.speed > LATE_SHARE * self.parent_life_s

    @property
    def _remedy(self) -> str:
        """One speed for all that a busy machine did."""
        slower = [self.speed / 5, self.final_speed]
        if self._delayed:
            slower.append(LATE_SHARE * self.parent_life_s / self.summary.latency_s[1] / 2)
        return f"`triplane demo --speed {max(min(slower), 1):.0f}` waits for it"

    @property
    def undecided(self) -> str:
        """Which decisions held every name and how many sessions had none, in a sentence; empty when each was solved."""
        held, missed = sum(self.summary.holds.values()), len(self.missed)
        if not held and not missed:
            return ""
        codes = ", ".join(f"{code} {count}" for code, count in self.summary.holds.items())
        said = [f"{held} of {self.summary.decision_barriers} decisions held every name ({codes})"] if held else []
        if missed:
            said.append(f"{missed} session{'' if missed == 1 else 's'} passed without one")
        return f"{' and '.join(said)}: nothing was traded there; the lines above say why. Where nothing was stopped, edited or refused the machine is too busy, and {self._remedy}"

    @property
    def passed(self) -> bool:
        """True when nothing is unaccounted for and the replay matches."""
        return not self.problems and self.verdict.holds
