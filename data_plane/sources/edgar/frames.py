"""SEC's frames: one concept of one period across all filers, held against what companyfacts said of the names of the universe.

A frame has of each filer the fact that was filed last for the period and the filing that it is from, but neither when that was accepted nor
what was said before. So its values are never published: they are compared (`data_plane/gates/fact_completeness.py`). One request asks for all
names at once. A filing that the list of submissions does not have is not judged: the frame may be newer than the list.
Source: https://www.sec.gov/search-filings/edgar-application-programming-interfaces
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from datetime import date, timedelta
from typing import NamedTuple

import msgspec

from data_plane.fundamentals.definitions import standard
from data_plane.observations import Fact, FramedFact, Frames
from data_plane.sources.base import Context
from data_plane.sources.edgar.companyfacts import SOURCE_NAME, TOPIC, concepts, day_ns
from data_plane.sources.http import BodyMalformed, JsonClient, SourceRefused, json_object
from data_plane.sources.kept import KeptResponses

FIRST_YEAR = 2009
"""Of structured reports (XBRL)."""
AROUND_DAYS = 60
"""How far a fiscal period may end from the calendar's that its frame is named after, and more."""
NO_FRAME = 404
_PER = "-per-"
"""Between numerator and denominator of a unit in an address; companyfacts has a slash."""


class Concept(NamedTuple):
    """What is compared: an entry of EDGAR_FRAMES."""

    taxonomy: str
    tag: str
    unit: str
    """As SEC spells it in an address: USD-per-shares."""

    @property
    def name(self) -> str:
        """As facts have it."""
        return f"{self.taxonomy}:{self.tag}"

    def frame(self, period: str) -> str:
        """SEC's name of the frame of a period."""
        return f"{self.taxonomy}/{self.tag}/{self.unit}/{period}"


class Looked(NamedTuple):
    """Rows of a frame by CIK, how many more could not be read, and the first of these as it came."""

    rows: dict[int, list[FramedFact]]
    unreadable: int
    first: bytes


class _Row(msgspec.Struct, gc=False):
    accn: str
    cik: int
    end: str
    val: float
    start: str | None = None


class _Frame(msgspec.Struct):
    taxonomy: str
    tag: str
    ccp: str
    uom: str
    data: list[msgspec.Raw]


_FRAME = msgspec.json.Decoder(_Frame)
_ROW = msgspec.json.Decoder(_Row)


def wanted(text: str) -> list[Concept]:
    """The entries of EDGAR_FRAMES."""
    return [Concept(*entry.split("/")) for entry in text.split(",") if entry]


def is_instant(concept: str) -> bool:
    """Whether a concept is a balance, by the ladders that name it; one that no ladder names is (a cover page's)."""
    kinds = [each.is_instant for each in standard().values() if any(tag.concept == concept for tag in each.tags)]
    return any(kinds) or not kinds


def periods(instant: bool, since: date, until: date) -> list[str]:
    """SEC's names of the quarters (of flows: of the years, too) that ended within two days, those included; oldest first."""
    found = []
    for year in range(max(since.year, FIRST_YEAR), until.year + 1):
        for quarter, (month, day) in enumerate(((3, 31), (6, 30), (9, 30), (12, 31)), 1):
            if since <= date(year, month, day) <= until:
                found.append(f"CY{year}Q{quarter}{'I' if instant else ''}")
        if not instant and since <= date(year, 12, 31) <= until:
            found.append(f"CY{year}")
    return found


def parse(concept: Concept, period: str, url: str, body: bytes, ciks: Collection[int]) -> Looked:
    """The rows of some filers. Raises BodyMalformed for a body that is no JSON object, ValueError for one that is not this frame."""
    try:
        frame = _FRAME.decode(body)
    except (ValueError, RecursionError):
        json_object(SOURCE_NAME, url, body)
        raise
    told = (frame.taxonomy, frame.tag, frame.uom.replace(_PER, "/"), frame.ccp)
    if told != (concept.taxonomy, concept.tag, concept.unit.replace(_PER, "/"), period):
        raise ValueError(f"{concept.frame(period)} was asked for, and {'/'.join(told)} came")
    name, unit = concept.frame(period), concept.unit.replace(_PER, "/")
    rows: dict[int, list[FramedFact]] = defaultdict(list)
    unreadable, first = 0, b""
    for raw in frame.data:
        try:
            row = _ROW.decode(raw)
            if row.cik in ciks:
                start = day_ns(row.start) if row.start else 0
                fact = Fact(concept.name, unit, start, day_ns(row.end), row.val, 0, "")
                rows[row.cik].append(FramedFact(name, row.accn, fact))
        except (ValueError, OverflowError, RecursionError):
            unreadable, first = unreadable + 1, first or bytes(raw)[:65536]
    return Looked(dict(rows), unreadable, first)


class FrameCheck:
    """Asks for the frames of EDGAR_FRAMES and hands in what they have of each name."""

    def __init__(self, context: Context, http: JsonClient | KeptResponses, base: str) -> None:
        self._context = context
        self._http = http
        self._base = base
        self._told: set[str] = set()

    async def look(
        self, ciks: Mapping[str, int], listed: Mapping[str, Collection[str]], since: date, until: date
    ) -> None:
        """Frames of periods that ended within two days. `listed` has by name the filings that are in question.

        Given up where names join meanwhile: their filings come first. Raises SourceUnavailable or SourceRefused.
        """
        context, numbers = self._context, {ciks[symbol] for symbol in listed}
        found: dict[int, list[FramedFact]] = defaultdict(list)
        answered, whole = False, True
        for concept in self._known(wanted(context.targets.EDGAR_FRAMES)):
            for period in periods(is_instant(concept.name), since + timedelta(days=AROUND_DAYS), until):
                if context.stop.is_set() or context.more_wanted.is_set():
                    return
                looked = await self._frame(concept, period, numbers)
                if looked is None:
                    continue
                answered, whole = True, whole and not looked.unreadable
                for cik, more in looked.rows.items():
                    found[cik] += more
        if not answered:
            return
        for symbol, filings in listed.items():
            cik = ciks[symbol]
            rows_of = tuple(row for row in found.get(cik, ()) if row.accession in filings)
            context.take(Frames(SOURCE_NAME, symbol, cik, context.clock.now(), rows_of, whole))
            await asyncio.sleep(0)

    def _known(self, wishes: Iterable[Concept]) -> list[Concept]:
        """Those whose facts are kept; of the others all would lack."""
        known = []
        for concept in wishes:
            if concept.name in concepts():
                known.append(concept)
            elif concept.name not in self._told:
                self._told.add(concept.name)
                reason = (
                    f"no fundamental is made of {concept.name}, so its facts are not kept; take it out of EDGAR_FRAMES"
                )
                self._context.log.warning("frames are not asked for", source=SOURCE_NAME, reason=reason)
        return known

    async def _frame(self, concept: Concept, period: str, ciks: Collection[int]) -> Looked | None:
        """What a frame has; None where there is no such frame (nobody reported it yet). What cannot be read is told."""
        name = concept.frame(period)
        url = f"{self._base}/api/xbrl/frames/{name}.json"
        try:
            looked = parse(concept, period, url, await self._http.body(url), ciks)
        except SourceRefused as error:
            if error.status != NO_FRAME:
                raise
            return None
        except BodyMalformed as error:
            self._malformed("BODY_MALFORMED", str(error), error.raw)
            return Looked({}, 1, error.raw)
        except (ValueError, RecursionError) as error:
            self._malformed("BODY_SHAPE", f"{name}: {type(error).__name__} {error}", b"")
            return Looked({}, 1, b"")
        if looked.unreadable:
            detail = f"{name}: {looked.unreadable} rows cannot be read; the first is kept"
            self._malformed("FRAME_UNREADABLE", detail, looked.first)
        return looked

    def _malformed(self, code: str, detail: str, raw: bytes) -> None:
        self._context.malformed(SOURCE_NAME, TOPIC, "", code, detail, raw)
