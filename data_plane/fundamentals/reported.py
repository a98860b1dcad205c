"""What one company had reported by one time: its currency, calendar and balance dates, and the value of a tag for any period.

A period that no filing gives directly is made from others of the same tag: the rest of two cumulative periods, or a sum of
neighbours. Two tags are mixed only where they agreed on every period that both covered. Cumulative values are subtracted in one
vintage: when a later filing recast the nine months and not the year (discontinued operations), both are taken as first reported.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from statistics import median
from typing import NamedTuple

from data_plane.fundamentals.definitions import AVERAGE, COVER, Definition, Definitions, Tag
from data_plane.fundamentals.history import FactHistory, Key, Version, known_versions
from data_plane.fundamentals.periods import DAY_NS, SLIP_DAYS, FiscalCalendar, Period, Slot, Trailing, adjoining
from data_plane.fundamentals.shares import ShareBasis, Split, basis, is_per_share, rebase, scale_between

ANNUAL_FORMS = ("10-K", "20-F", "40-F")
# Two currencies are both in use when their newest values are this close; the one with more values is the company's own, the other a
# translation for convenience.
BOTH_IN_USE = 100 * DAY_NS
# Two tags mean the same for a company when they differ by no more than this wherever both have a value.
SAME_SHARE = 0.005
# A tag is established beside another when it has this many times as many periods around the one at hand.
ESTABLISHED, NEAR = 4, 400 * DAY_NS
# A share count restated for a split is rounded to thousands or millions.
COUNT_ROUNDING = 0.002
# An amount a share restated for a split is rounded to cents, before and after.
CENT = 0.01 + 1e-9
# A cover page dates its share count up to three months after the balance sheet.
COVER_DAYS = 100


class Entry(NamedTuple):
    """A version on the share basis of the time asked. `changes` counts restatements before it; a split is none."""

    available: int
    value: float
    changes: int


class Reading(NamedTuple):
    """A value with the latest availability of its parts, the tag (or tags) it is from and how it was put together."""

    value: float
    available: int
    tag: str
    how: str
    days: int


class Reported:
    """The facts of one company as known at `time` (ns UTC). Shares and per-share values are on the share basis of that time."""

    def __init__(
        self, history: FactHistory, definitions: Definitions, time: int, splits: Sequence[Split] | None
    ) -> None:
        self.time = time
        self._history = history
        self.share_basis: ShareBasis = basis(history, time, splits)
        anchors = [definition for definition in definitions.values() if definition.anchor]
        self.currency = _currency(history, anchors, time)
        self.calendar = self._calendar([definition for definition in anchors if not definition.is_instant])
        self._date_variants: dict[int, list[int]] = {}
        self.balance_dates = self._balance_dates([definition for definition in anchors if definition.is_instant])
        self._balance_places = {date: place for place, date in enumerate(self.balance_dates)}
        self._entries: dict[Key, tuple[Entry, ...]] = {}
        self._densities: dict[tuple[str, str, int], int] = {}
        self._usual: dict[str, float] = {}
        self._counts = {
            tag.concept
            for definition in definitions.values()
            if definition.kind in (AVERAGE, COVER)
            for tag in definition.tags
        }
        self._same: dict[tuple[str, str, str], bool] = {}

    def unit(self, definition: Definition) -> str:
        """The unit of a definition's facts in companyfacts: `money` is the company's currency."""
        return {"money": self.currency, "shares": "shares", "money/shares": f"{self.currency}/shares"}.get(
            definition.unit, "pure"
        )

    def balance_date(self, end: int) -> int:
        """The balance date at the end of a period, which may be a slip away."""
        place = adjoining(self._balance_places, end)
        return end if place is None else self.balance_dates[place]

    def instant(self, definition: Definition, date: int) -> Reading | None:
        """A balance on a balance date (ns UTC); for the cover page's, the newest before the next balance date."""
        unit = self.unit(definition)
        found: list[tuple[Tag, tuple[Entry, ...]]] = []
        for tag in definition.tags:
            cover = definition.kind == COVER
            days = self._cover_dates(tag, unit, date) if cover else self._date_variants.get(date, (date,))
            known = (self.entries(tag.concept, unit, Period(0, day)) for day in days)
            entries = next((entries for entries in known if entries), ())
            if entries and cover:
                return _reading(tag, entries, 0)
            if entries:
                found.append((tag, entries))
        lead = self._lead(found, unit, date)
        return None if lead is None else _reading(*lead, 0)

    def quarter(self, definition: Definition, slot: Slot) -> Reading | None:
        """The value of a fiscal quarter."""
        return self._by_tag(definition, slot.period, lambda tags: self._quarter(definition, tags, slot))

    def trailing(self, definition: Definition, trailing: Trailing) -> Reading | None:
        """The value of twelve months, or of a fiscal year."""
        return self._by_tag(definition, trailing.period, lambda tags: self._trailing(definition, tags, trailing))

    def entries(self, concept: str, unit: str, period: Period) -> tuple[Entry, ...]:
        """What was known of a fact, oldest first, without repetitions; empty when nothing was."""
        key = Key(concept, unit, period)
        found = self._entries.get(key)
        if found is None:
            known = known_versions(self._history.versions(key), self.time)
            for other in self.calendar.variants.get(period, ()) if not known else ():
                known = known or known_versions(self._history.versions(Key(concept, unit, other)), self.time)
            found = self._entries[key] = tuple(self._rebased(known, unit, self._usual_count(concept, unit)))
        return found

    def _usual_count(self, concept: str, unit: str) -> float:
        """Median of a concept that counts the company's shares, 0 for others."""
        if unit != "shares" or concept not in self._counts:
            return 0.0
        if concept not in self._usual:
            values = [
                versions[0].value
                for versions in self._history.periods(concept, unit).values()
                if versions[0].available <= self.time and versions[0].value > 0
            ]
            self._usual[concept] = median(values) if values else 0.0
        return self._usual[concept]

    def _rebased(self, known: list[Version], unit: str, usual: float) -> Iterable[Entry]:
        """Versions on the share basis of now. A share count filed in another scale is left out: the one before it stays."""
        changes, last = 0, None
        for version in known:
            if usual and (version.value <= 0 or scale_between(usual, version.value) != 1):
                continue
            factor = self.share_basis.factor(version.available, self.time)
            value = rebase(version.value, unit, factor)
            if last is not None and not _rounding(last, value, unit):
                changes += 1
            last = value
            yield Entry(version.available, value, changes)

    def _by_tag(
        self, definition: Definition, period: Period, find: Callable[[tuple[Tag, ...]], Reading | None]
    ) -> Reading | None:
        """By the first tag that can alone, that of the period itself before others; else by tags together that mean the same."""
        direct = self._first(definition.tags, self.unit(definition), period)
        tags = definition.tags if direct is None else (direct[0], *definition.tags)
        for tag in tags:
            reading = find((tag,))
            if reading is not None:
                return reading
        return find(tags) if len(tags) > 1 else None

    def _quarter(self, definition: Definition, tags: tuple[Tag, ...], slot: Slot) -> Reading | None:
        direct = self._direct(definition, tags, slot.period)
        if direct is not None:
            return direct
        if slot.year_start == 0 or slot.year_start == slot.period.start:
            return None
        longer = Period(slot.year_start, slot.period.end)
        rest = self._rest(definition, tags, longer, [Period(slot.year_start, slot.period.start - DAY_NS)])
        if rest is not None:
            return rest
        place = self.calendar.slot_ending.get(slot.period.end)
        parts: list[Period] = []
        while place is not None and self.calendar.slots[place].period.start > slot.year_start:
            place = self.calendar.quarter_before(place)
            if place is not None:
                parts.append(self.calendar.slots[place].period)
        if place is None or len(parts) < 2 or parts[-1].start != slot.year_start:
            return None
        return self._rest(definition, tags, longer, parts)

    def _trailing(self, definition: Definition, tags: tuple[Tag, ...], trailing: Trailing) -> Reading | None:
        direct = self._direct(definition, tags, trailing.period)
        if direct is not None:
            return direct
        if trailing.year is not None and trailing.prior is not None and trailing.current is not None:
            rest = self._rest(definition, tags, trailing.year, [trailing.prior])
            current = self._direct(definition, tags, trailing.current)
            if rest is not None and current is not None:
                total = self._total(definition, [rest, current], "year - prior year to date + year to date")
                if total is not None:
                    return total
        place = self.calendar.slot_ending.get(trailing.period.end)
        quarters: list[Reading] = []
        for _ in range(4):
            found = self._quarter(definition, tags, self.calendar.slots[place]) if place is not None else None
            if place is None or found is None:
                return None
            quarters.append(found)
            first = self.calendar.slots[place].period.start
            place = self.calendar.quarter_before(place)
        if abs(first - trailing.period.start) > SLIP_DAYS * DAY_NS:
            return None
        return self._total(definition, quarters, "four quarters")

    def _direct(self, definition: Definition, tags: tuple[Tag, ...], period: Period) -> Reading | None:
        found = self._first(tags, self.unit(definition), period)
        return None if found is None else _reading(*found, period.days)

    def _rest(
        self, definition: Definition, tags: tuple[Tag, ...], longer: Period, parts: list[Period]
    ) -> Reading | None:
        """A longer period less its first parts, all in one vintage: as restated when all were, else as first reported."""
        unit = self.unit(definition)
        whole = self._first(tags, unit, longer)
        if whole is None:
            return None
        tag, entries = whole
        used, originals, newest = [tag.concept], [], []
        for part in parts:
            found = self._first(tags, unit, part)
            if found is None:
                return None
            other, shorter = found
            used.append(other.concept)
            originals.append((other.sign, _as_first_reported(entries, shorter)))
            newest.append((other.sign, shorter[-1]))
        if not self._all_same(used, unit):
            return None
        restated = entries[-1].changes > 0 and all(
            last.changes > original.changes for (_, original), (_, last) in zip(originals, newest, strict=True)
        )
        start = entries[-1] if restated else _last_of(entries, 0)
        taken = newest if restated else originals
        days = longer.days - sum(part.days for part in parts)
        value = _weighted(definition, tag.sign * start.value, longer.days) - sum(
            _weighted(definition, sign * entry.value, part.days)
            for (sign, entry), part in zip(taken, parts, strict=True)
        )
        if definition.kind == AVERAGE:
            value /= days
        how = " - ".join([longer.span.value, *(part.span.value for part in parts)])
        return Reading(value, max(start.available, *(entry.available for _, entry in taken)), _joined(used), how, days)

    def _total(self, definition: Definition, parts: list[Reading], how: str) -> Reading | None:
        used = [concept for part in parts for concept in part.tag.split(" + ")]
        if not self._all_same(used, self.unit(definition)):
            return None
        days = sum(part.days for part in parts)
        value = sum(_weighted(definition, part.value, part.days) for part in parts)
        if definition.kind == AVERAGE:
            value /= days
        return Reading(value, max(part.available for part in parts), _joined(used), how, days)

    def _first(self, tags: tuple[Tag, ...], unit: str, period: Period) -> tuple[Tag, tuple[Entry, ...]] | None:
        """The first tag that has a value for a period, and what was known of it."""
        known = ((tag, self.entries(tag.concept, unit, period)) for tag in tags)
        return self._lead([(tag, entries) for tag, entries in known if entries], unit, period.end)

    def _lead(
        self, found: list[tuple[Tag, tuple[Entry, ...]]], unit: str, end: int
    ) -> tuple[Tag, tuple[Entry, ...]] | None:
        """The first of the ladder, but no zero before a value (ETN tags its revenue 0 under the wrong concept) and no stray tag before
        an established one that says otherwise (PG gives its revenue in one country as Revenues, in annual reports only)."""
        found = [item for item in found if item[1][-1].value] or found[:1]
        if not found:
            return None
        lead = found[0]
        for other in found[1:]:
            a, b = lead[1][-1].value, other[1][-1].value
            if abs(abs(a) - abs(b)) > SAME_SHARE * max(abs(a), abs(b)):
                dense, sparse = (self._density(item[0].concept, unit, end) for item in (other, lead))
                if dense >= ESTABLISHED * sparse:
                    lead = other
        return lead

    def _density(self, concept: str, unit: str, end: int) -> int:
        """How many periods that end within a year or so of a day a concept was known for."""
        key = (concept, unit, end)
        if key not in self._densities:
            self._densities[key] = sum(
                abs(period.end - end) <= NEAR and versions[0].available <= self.time
                for period, versions in self._history.periods(concept, unit).items()
            )
        return self._densities[key]

    def _all_same(self, concepts: Sequence[str], unit: str) -> bool:
        distinct = sorted(set(concepts))
        return all(self._agree(one, other, unit) for one, other in pairwise(distinct))

    def _agree(self, one: str, other: str, unit: str) -> bool:
        """Whether two tags have the same value for every period that both cover, and there is one."""
        key = (one, other, unit)
        if key not in self._same:
            both = self._history.periods(one, unit).keys() & self._history.periods(other, unit).keys()
            pairs = [(self.entries(one, unit, period), self.entries(other, unit, period)) for period in both]
            known = [(a[-1].value, b[-1].value) for a, b in pairs if a and b]
            self._same[key] = bool(known) and all(
                abs(abs(a) - abs(b)) <= SAME_SHARE * max(abs(a), abs(b)) for a, b in known
            )
        return self._same[key]

    def _cover_dates(self, tag: Tag, unit: str, date: int) -> list[int]:
        """Days from a balance date to before the next one for which a tag has a value, newest first."""
        place = self._balance_places.get(date, len(self.balance_dates))
        following = self.balance_dates[place + 1] if place + 1 < len(self.balance_dates) else self.time
        until = min(following, date + COVER_DAYS * DAY_NS)
        days = (period.end for period in self._history.periods(tag.concept, unit) if period.start == 0)
        return sorted((day for day in days if date <= day < until), reverse=True)

    def _calendar(self, anchors: list[Definition]) -> FiscalCalendar:
        reported: Counter[Period] = Counter()
        annual: Counter[Period] = Counter()
        for definition in anchors:
            for tag in definition.tags:
                for period, versions in self._history.periods(tag.concept, self.unit(definition)).items():
                    if period.start and period.end <= self.time and versions[0].available <= self.time:
                        reported[period] += 1
                        if any(
                            self._history.form(known.accession).startswith(ANNUAL_FORMS)
                            for known in versions
                            if known.available <= self.time
                        ):
                            annual[period] += 1
        return FiscalCalendar.of(reported, annual)

    def _balance_dates(self, anchors: list[Definition]) -> tuple[int, ...]:
        """Balance dates, ascending, from the first anchor that has any; of dates a slip apart the one reported first counts."""
        for definition in anchors:
            dates: dict[int, int] = {}
            for tag in definition.tags:
                for period, versions in self._history.periods(tag.concept, self.unit(definition)).items():
                    if period.start == 0 and period.end <= self.time and versions[0].available <= self.time:
                        dates[period.end] = min(versions[0].available, dates.get(period.end, self.time))
            if dates:
                kept: dict[int, int] = {}
                for date in sorted(dates, key=lambda day: (dates[day], day)):
                    owner = adjoining(kept, date)
                    owner = date if owner is None else owner
                    kept[owner] = owner
                    self._date_variants.setdefault(owner, []).append(date)
                return tuple(sorted(kept))
        return ()


def _currency(history: FactHistory, anchors: list[Definition], time: int) -> str:
    """The unit of money in which most values of the newest periods are; USD when nothing is reported."""
    newest: dict[str, int] = {}
    count: Counter[str] = Counter()
    for definition in anchors:
        for tag in definition.tags:
            for unit in history.units(tag.concept):
                ends = [
                    period.end
                    for period, versions in history.periods(tag.concept, unit).items()
                    if versions[0].available <= time and period.end <= time
                ]
                if ends and len(unit) == 3:
                    newest[unit] = max(newest.get(unit, 0), *ends)
                    count[unit] += len(ends)
    if not newest:
        return "USD"
    last = max(newest.values())
    return max((unit for unit in newest if last - newest[unit] <= BOTH_IN_USE), key=lambda unit: (count[unit], unit))


def _reading(tag: Tag, entries: tuple[Entry, ...], days: int) -> Reading:
    return Reading(tag.sign * entries[-1].value, entries[-1].available, tag.concept, "reported", days)


def _as_first_reported(longer: tuple[Entry, ...], shorter: tuple[Entry, ...]) -> Entry:
    """The entry of the shorter period that was known when the longer was first reported, on the newest share basis."""
    known = [entry for entry in shorter if entry.available <= longer[0].available]
    return _last_of(shorter, known[-1].changes if known else 0)


def _last_of(entries: tuple[Entry, ...], changes: int) -> Entry:
    return [entry for entry in entries if entry.changes == changes][-1]


def _weighted(definition: Definition, value: float, days: int) -> float:
    """Averages add up by the days they cover."""
    return value * days if definition.kind == AVERAGE else value


def _rounding(one: float, other: float, unit: str) -> bool:
    if unit == "shares":
        return abs(one - other) <= COUNT_ROUNDING * abs(other)
    return abs(one - other) <= CENT if is_per_share(unit) else one == other


def _joined(concepts: Sequence[str]) -> str:
    return " + ".join(dict.fromkeys(concepts))
