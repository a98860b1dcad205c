"""A company's standardised fundamentals as known at one time: the newest quarter, twelve months, year and balance sheet of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from data_plane.fundamentals.definitions import Definitions, standard
from data_plane.fundamentals.evaluation import Basis, Context, Evaluation, Missing, Value
from data_plane.fundamentals.history import FactHistory
from data_plane.fundamentals.periods import DAY_NS, Period
from data_plane.fundamentals.reported import Reported
from data_plane.fundamentals.shares import ShareBasis, Split
from data_plane.observations import Filing

# Without a filing for so long a company has stopped reporting: an annual report is due within 12 months and a few weeks.
LIMIT_DAYS = 400
# A period that ended longer ago than this beyond the limit is stale although other filings still come: an annual report takes 5 months.
FILING_DAYS = 150


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What was known at `time` (ns UTC). Each basis has its newest period (None when there is none), values and reasons by name."""

    time: int
    currency: str
    share_basis: ShareBasis
    periods: Mapping[Basis, Period | None]
    values: Mapping[Basis, Mapping[str, Value]]
    absent: Mapping[Basis, Mapping[str, Missing]]

    def get(self, name: str, basis: Basis) -> Value | None:
        """A value, or None where `absent` says why."""
        return self.values[basis].get(name)


class View:
    """Everything that can be asked about one company as known at one time."""

    def __init__(
        self,
        history: FactHistory,
        definitions: Definitions,
        time: int,
        splits: Sequence[Split] | None = None,
        limit_days: int = LIMIT_DAYS,
    ) -> None:
        self.time = time
        self.reported = Reported(history, definitions, time, splits)
        self._definitions = definitions
        self._evaluation = Evaluation(self.reported, definitions)
        self._anchors = [definition.name for definition in definitions.values() if definition.anchor]
        count = history.known_filings(time)
        self._newest_filing = history.filings[count - 1].available if count else None
        self._limit = limit_days * DAY_NS
        self._newest: dict[Basis, Context | Missing] = {basis: self._find_newest(basis) for basis in Basis}

    def newest(self, basis: Basis) -> Context | Missing:
        """The newest period of a basis, or why there is none."""
        return self._newest[basis]

    def value(self, name: str, basis: Basis) -> Value | Missing:
        """A fundamental in the newest period of a basis. Raises KeyError for a name that is not defined."""
        definition = self._definitions[name]
        context = self._newest[basis]
        if isinstance(context, Missing):
            return context
        if definition.is_instant and basis in (Basis.QUARTER, Basis.TTM):
            return Missing("NO_PERIOD", f"{name} is a balance; ask for instant or year")
        return self._evaluation.value(name, context)

    def series(self, name: str, basis: Basis, count: int) -> tuple[Value | None, ...]:
        """(count,) values of the newest periods as known now, oldest first; None where there is none, also before the first period.

        Twelve months and quarters step by quarters, years by years, balances by quarters or, on basis year, by years.
        """
        self._definitions[name]
        found: list[Value | None] = []
        context: Context | Missing | None = self._newest[basis]
        while len(found) < count and isinstance(context, Context):
            value = self._evaluation.value(name, context)
            found.append(value if isinstance(value, Value) else None)
            context = self._step_back(context)
        return tuple(reversed(found + [None] * (count - len(found))))

    def snapshot(self) -> Snapshot:
        """Every definition on every basis."""
        values: dict[Basis, dict[str, Value]] = {basis: {} for basis in Basis}
        absent: dict[Basis, dict[str, Missing]] = {basis: {} for basis in Basis}
        for basis in Basis:
            for name in self._definitions:
                found = self.value(name, basis)
                if isinstance(found, Value):
                    values[basis][name] = found
                else:
                    absent[basis][name] = found
        periods = {
            basis: context.period if isinstance(context, Context) else None for basis, context in self._newest.items()
        }
        return Snapshot(self.time, self.reported.currency, self.reported.share_basis, periods, values, absent)

    def _step_back(self, context: Context) -> Context | None:
        if context.basis is not Basis.TTM:
            return self._evaluation.before(context, 1, years=False)
        calendar = self.reported.calendar
        place = calendar.slot_ending.get(context.period.end)
        if place is None:
            return self._evaluation.before(context, 1, years=True)
        before = calendar.quarter_before(place)
        trailing = None if before is None else calendar.trailing(calendar.slots[before].period.end)
        return None if trailing is None else Context(Basis.TTM, trailing.period)

    def _find_newest(self, basis: Basis) -> Context | Missing:
        if self._newest_filing is None:
            return Missing("STALE", "no filing by then")
        silent = self.time - self._newest_filing
        if silent > self._limit:
            return Missing("STALE", f"no filing for {silent // DAY_NS} days")
        for context in self._candidates(basis):
            if any(isinstance(self._evaluation.value(name, context), Value) for name in self._anchors):
                age = (self.time - context.period.end) // DAY_NS
                if age > self._limit // DAY_NS + FILING_DAYS:
                    return Missing("STALE", f"the newest {basis.value} ended {age} days before")
                return context
        return Missing("NO_PERIOD", f"no {basis.value} can be made of the periods reported by then")

    def _candidates(self, basis: Basis) -> list[Context]:
        """Periods of a basis that may be the newest, newest first.

        A quarter and twelve months must end with the newest period reported: behind a gap an older one would pass for the newest.
        """
        calendar = self.reported.calendar
        if basis is Basis.INSTANT:
            return [Context(basis, Period(0, date)) for date in reversed(self.reported.balance_dates)]
        if basis is Basis.YEAR:
            return [Context(basis, year) for year in reversed(calendar.years)]
        end = calendar.newest_end
        if basis is Basis.QUARTER:
            place = calendar.slot_ending.get(end)
            return [] if place is None else [Context(basis, calendar.slots[place].period)]
        trailing = calendar.trailing(end)
        return [] if trailing is None else [Context(basis, trailing.period)]


class Fundamentals:
    """One company's fundamentals: takes filings as they come, in any order, and answers for any time."""

    def __init__(
        self,
        definitions: Definitions | None = None,
        splits: Sequence[Split] | None = None,
        limit_days: int = LIMIT_DAYS,
    ) -> None:
        self.history = FactHistory()
        self.definitions = standard() if definitions is None else definitions
        self.splits = splits
        self._limit_days = limit_days

    def take(self, filing: Filing) -> int:
        """Add a filing and return how many versions of facts were new. Raises HistoryError for one of another company."""
        return self.history.take(filing)

    def at(self, time: int) -> View:
        """What was known at `time` (ns UTC), to ask single values and series of."""
        return View(self.history, self.definitions, time, self.splits, self._limit_days)

    def as_of(self, time: int) -> Snapshot:
        """Every fundamental as known at `time` (ns UTC)."""
        return self.at(time).snapshot()
