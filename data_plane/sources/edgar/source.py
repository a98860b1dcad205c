"""SEC EDGAR: reported facts, point in time by acceptance of the filing that carries them.

Three documents: the ticker map, each company's submissions (acceptance times, paged into older files) and its companyfacts (values
by concept and filing). What was read from them is held against SEC's frames (`frames.py`). SEC asks for a User-Agent with a name and
an address and at most ten requests a second.
Source: https://www.sec.gov/search-filings/edgar-application-programming-interfaces
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from typing import Any

from data_plane.observations import Filing, Malformed
from data_plane.point_in_time import EDGAR_BEGAN, read_acceptance
from data_plane.sources.base import Context, SourceSpec, Stage
from data_plane.sources.edgar import companyfacts
from data_plane.sources.edgar.frames import FrameCheck
from data_plane.sources.http import AWAY_AFTER, BodyMalformed, Policy, SourceRefused, SourceUnavailable
from data_plane.sources.kept import NOT_KEPT
from data_plane.sources.span import Span
from triplane.domain.timestamps import NEW_YORK, to_datetime
from triplane.runtime.settings import Settings

NAME = "edgar"
TOPIC = "data.facts"

# How much older than the price history a filing may be: every name then has an annual report from before it, and the one before
# that, to compare with.
MARGIN_DAYS = 800
# A filing carries the date of its acceptance or that of a business day after it; some were accepted days after their date.
FILED_AROUND_DAYS = 14
_SHAPE = (KeyError, TypeError, ValueError, AttributeError, OverflowError)
"""What a body of another shape raises."""
MISSING = NOT_KEPT
"""The provider, or the archive, has no such document."""
LAST_DAY = date.max - timedelta(days=1)


class Submissions:
    """Acceptance times by accession number, from the columns of one or more submissions documents."""

    def __init__(self) -> None:
        self.acceptance: dict[str, str] = {}
        self.older: list[tuple[str, str]] = []
        """(file name, last filing date) of paged older filings."""
        self.xbrl = False
        """Whether a filing has structured facts, or may have: a list that does not say so."""

    def add(self, columns: Mapping[str, Any]) -> None:
        """Take the columns of a document or page; raises KeyError, TypeError or ValueError when they do not fit."""
        pairs = zip(columns["accessionNumber"], columns["acceptanceDateTime"], strict=True)
        for accession, acceptance in pairs:
            self.acceptance[str(accession)] = str(acceptance)
        self.xbrl |= any(columns.get("isXBRL", (True,)))

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> Submissions:
        """The document of /submissions/CIK##########.json."""
        submissions = cls()
        filings = document["filings"]
        submissions.add(filings["recent"])
        submissions.older = [(str(page["name"]), str(page["filingTo"])) for page in filings.get("files", [])]
        return submissions


def ticker_map(document: Mapping[str, Any]) -> dict[str, int]:
    """CIK by ticker from company_tickers.json; SEC writes share classes with a dash (BRK-B)."""
    return {str(entry["ticker"]).upper(): int(entry["cik_str"]) for entry in document.values()}


def accepted_on(filing: Filing) -> date:
    """The day of acceptance in New York; of a filing without an acceptance time its own date."""
    return _day(filing.acceptance) if filing.acceptance else date.fromisoformat(filing.filed)


def _day(acceptance: str) -> date:
    return to_datetime(read_acceptance(acceptance).time, NEW_YORK).date()


def accepted_within(span: Span, acceptance: Mapping[str, str]) -> set[str]:
    """Accession numbers of the filings that were accepted on a day of the span; not of those whose time cannot be read."""
    found = set()
    first, after = span.start.isoformat(), (min(span.end, LAST_DAY) + timedelta(days=1)).isoformat()
    for accession, text in acceptance.items():
        if first <= text[:10] <= after:  # as printed it is the day in New York, or the one after it
            with contextlib.suppress(ValueError):
                if span.holds(_day(text)):
                    found.add(accession)
    return found


class EdgarSource:
    """Downloads and hands in filings of the tradable universe."""

    def __init__(self, context: Context) -> None:
        self._context = context
        settings = context.settings
        self._base = settings.edgar_url.rstrip("/")
        self._files = settings.edgar_files_url.rstrip("/")
        self._http = context.client(
            NAME, self._policy, {"User-Agent": settings.user_agent, "Accept": "application/json"}
        )
        self._ciks: dict[str, int] = {}
        self._known: dict[str, set[str]] = {}
        self._listed: dict[str, set[str]] = {}
        """Filings of the names whose documents could be read, which are then in question where a frame says something else of one."""
        self._absent: set[tuple[str, str]] = set()
        """Names and their pages of older filings that the provider has not, each told once while it is so."""
        self._frames = FrameCheck(context, self._http, self._base)
        self._problems: list[str] = []
        """Which names the provider did not give at the last look, and why."""

    def _policy(self) -> Policy:
        targets = self._context.targets
        return Policy(targets.EDGAR_REQUESTS_PER_S, targets.SOURCE_RETRIES, targets.SOURCE_BACKOFF_S)

    async def close(self) -> None:
        """Close connections."""
        await self._http.close()

    async def backfill(self) -> None:
        """Hand in every filing of the history's span that the topic lacks."""
        await self._context.time_known.wait()
        loaded = await self._round()
        if loaded and self._context.span is not None:
            await self._check()

    async def follow(self) -> None:
        """Look for new filings every EDGAR_POLL_S wall seconds, and at once when names join; after each look at the frames.

        At the start they are asked for here: nothing waits for them.
        """
        loaded = bool(self._listed)
        while True:
            if loaded:
                await self._check()
            if await self._context.until_due(lambda targets: targets.EDGAR_POLL_S):
                return
            self._context.more_wanted.clear()
            loaded = await self._round()

    async def _check(self) -> None:
        """Hold what was handed in against the frames."""
        context = self._context
        names = {asset.symbol for asset in context.assets()}
        listed = {symbol: filings for symbol, filings in self._listed.items() if symbol in names}
        today = to_datetime(context.clock.now()).date()
        until = min(today, context.span.end) if context.span is not None else today
        ciks = {symbol: self._ciks[symbol.replace(".", "-")] for symbol in listed}
        try:
            await self._frames.look(ciks, listed, self._since(), until)
        except (SourceUnavailable, SourceRefused) as error:
            self._problems.append(str(error))
            context.source_state(NAME, False, "; ".join(self._problems))

    async def _round(self) -> bool:
        """Look at all names; whether the provider answered. One that it does not give leaves the others alone, unless it is away."""
        context = self._context
        self._problems = []
        if not await self._mapped():
            return False
        away, symbols = 0, [asset.symbol for asset in context.assets()]
        for count, symbol in enumerate(symbols, 1):
            await context.room()
            try:
                await self._company(symbol)
                away = 0
            except (SourceUnavailable, SourceRefused) as error:
                self._problems.append(f"{symbol}: {error}")
                away += 1
                if away == AWAY_AFTER:
                    break
            context.progress(count, len(symbols), symbol)
        context.source_state(NAME, not self._problems, "; ".join(self._problems))
        return away < AWAY_AFTER

    async def _mapped(self) -> bool:
        """Whether the map of tickers is at hand; it is asked for once."""
        context = self._context
        if self._ciks:
            return True
        try:
            self._ciks = ticker_map(await self._http.get(f"{self._files}/files/company_tickers.json"))
        except (SourceUnavailable, SourceRefused) as error:
            context.source_state(NAME, False, str(error))
            return False
        except BodyMalformed as error:
            context.malformed(NAME, TOPIC, "", "BODY_MALFORMED", str(error), error.raw)
            return False
        except _SHAPE as error:
            context.malformed(
                NAME, TOPIC, "", "BODY_SHAPE", f"company_tickers.json: {type(error).__name__} {error}", b""
            )
            return False
        return True

    async def _company(self, symbol: str) -> None:
        """One name; what is wrong with its documents is quarantined. Raises SourceUnavailable, and SourceRefused but for a missing document."""
        context = self._context
        cik = self._ciks.get(symbol.replace(".", "-"))
        if cik is None:
            context.log.warning("no CIK", source=NAME, symbol=symbol)
            return
        listed: set[str] | None = None
        lists, document = f"submissions/CIK{cik:010d}.json", f"companyfacts/CIK{cik:010d}.json"
        reading, expected = lists, True
        try:
            submissions = Submissions.parse(await self._http.get(f"{self._base}/{lists}"))
            if self._known.get(symbol) == submissions.acceptance.keys():
                return
            since = self._since()
            recent, unlisted = set(submissions.acceptance), ""
            for name, last in submissions.older:
                if last >= since.isoformat() and not await self._page(symbol, submissions, name, last):
                    unlisted = max(unlisted, last)
            span = self._context.span
            accepted = submissions.acceptance
            listed = set(accepted) if span is None else accepted_within(span, accepted)
            reading, expected = document, submissions.xbrl
            await self._hand_in(
                each
                for each in await self._filings(symbol, cik, accepted, since)
                # Of those of a missing page nobody knows when the world could know them.
                if not (isinstance(each, Filing) and not each.acceptance and each.filed <= unlisted)
            )
            self._listed[symbol] = listed
            if not unlisted:  # else it is looked for again
                self._known[symbol] = recent
        except SourceRefused as error:
            if error.status != MISSING:
                raise
            if listed is not None:
                self._listed[symbol] = listed
            context.log.warning("no document", source=NAME, symbol=symbol, reason=str(error))
            if expected and not context.reread:  # a name without XBRL has no facts, which is no fault of the provider
                context.incomplete(NAME, f"{symbol}: {error}")
        except BodyMalformed as error:
            context.malformed(NAME, TOPIC, symbol, "BODY_MALFORMED", str(error), error.raw)
        except _SHAPE as error:
            detail = f"{symbol}: {reading}: {type(error).__name__} {error}"
            context.malformed(NAME, TOPIC, symbol, "BODY_SHAPE", detail, b"")

    async def _page(self, symbol: str, submissions: Submissions, name: str, last: str) -> bool:
        """Take a page of older filings, up to a day; whether it could be had. A page that was not kept was not wanted then."""
        context = self._context
        try:
            submissions.add(await self._http.get(f"{self._base}/submissions/{name}"))
        except SourceRefused as error:
            if error.status != MISSING:
                raise
            if (symbol, name) not in self._absent:
                self._absent.add((symbol, name))
                context.log.warning("older submissions are missing", source=NAME, symbol=symbol, page=name, up_to=last)
            if not context.reread:
                context.incomplete(
                    NAME, f"{symbol}: filings up to {last} that only {name} lists are left out, for {error}"
                )
            return False
        except BodyMalformed as error:
            context.malformed(NAME, TOPIC, symbol, "BODY_MALFORMED", str(error), error.raw)
            return False
        except _SHAPE as error:
            detail = f"{symbol}: {name}: {type(error).__name__} {error}"
            context.malformed(NAME, TOPIC, symbol, "BODY_SHAPE", detail, b"")
            return False
        self._absent.discard((symbol, name))
        return True

    def _since(self) -> date:
        """The first day of filing that is wanted."""
        context = self._context
        if context.span is not None:
            return max(context.span.start, date(EDGAR_BEGAN, 1, 1)) - timedelta(days=FILED_AROUND_DAYS)
        days = round(365.25 * context.targets.BACKFILL_YEARS) + MARGIN_DAYS
        return to_datetime(context.clock.now()).date() - timedelta(days=days)

    async def _filings(
        self, symbol: str, cik: int, acceptance: Mapping[str, str], since: date
    ) -> list[Filing | Malformed]:
        """What the document of facts has, in order of availability, with filings that only an earlier state of it had."""
        url, now = f"{self._base}/api/xbrl/companyfacts/CIK{cik:010d}.json", self._context.clock.now()
        found = companyfacts.parse(symbol, url, await self._http.body(url), acceptance, since, now)
        older = await self._http.older(url)
        if not older:
            return found
        malformed = [each for each in found if isinstance(each, Malformed)]
        filings = {each.accession: each for each in found if isinstance(each, Filing)}
        for body in older:
            for each in companyfacts.parse(symbol, url, body, acceptance, since, now):
                if isinstance(each, Filing):
                    filings.setdefault(each.accession, each)
        return [*malformed, *sorted(filings.values(), key=lambda each: (each.available_time, each.accession))]

    async def _hand_in(self, observations: Iterable[Filing | Malformed]) -> None:
        """One after another: what is known after each takes some 30 ms to work out, and market data must not wait for a company's all."""
        span = self._context.span
        for observation in observations:
            if span is None or isinstance(observation, Malformed) or span.holds(accepted_on(observation)):
                self._context.take(observation)
                await asyncio.sleep(0)


def _missing(settings: Settings) -> str:
    if settings.user_agent:
        return ""
    return "SEC asks for a name and an e-mail address with each request; set TRIPLANE_USER_AGENT"


SOURCE = SourceSpec(NAME, Stage.REFERENCE, EdgarSource, _missing)
