"""SEC EDGAR: reported facts, point in time by acceptance of the filing that carries them.

Three documents: the ticker map, each company's submissions (acceptance times, paged into older files) and its companyfacts (values
by concept and filing). SEC asks for a User-Agent with a name and an address and at most ten requests a second.
Source: https://www.sec.gov/search-filings/edgar-application-programming-interfaces
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

from data_plane.observations import Filing, Malformed
from data_plane.sources import companyfacts
from data_plane.sources.base import Context, SourceSpec, Stage
from data_plane.sources.http import BodyMalformed, Policy, SourceRefused, SourceUnavailable
from triplane.domain.timestamps import to_datetime
from triplane.runtime.settings import Settings

NAME = "edgar"
TOPIC = "data.facts"

# How much older than the price history a filing may be: every name then has an annual report from before it, and the one before
# that, to compare with.
MARGIN_DAYS = 800


class Submissions:
    """Acceptance times by accession number, from the columns of one or more submissions documents."""

    def __init__(self) -> None:
        self.acceptance: dict[str, str] = {}
        self.older: list[tuple[str, str]] = []
        """(file name, last filing date) of paged older filings."""

    def add(self, columns: Mapping[str, Any]) -> None:
        """Take the columns of a document or page; raises KeyError, TypeError or ValueError when they do not fit."""
        pairs = zip(columns["accessionNumber"], columns["acceptanceDateTime"], strict=True)
        for accession, acceptance in pairs:
            self.acceptance[str(accession)] = str(acceptance)

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

    def _policy(self) -> Policy:
        targets = self._context.targets
        return Policy(targets.EDGAR_REQUESTS_PER_S, targets.SOURCE_RETRIES, targets.SOURCE_BACKOFF_S)

    async def close(self) -> None:
        """Close connections."""
        await self._http.close()

    async def backfill(self) -> None:
        """Hand in every filing of the history's span that the topic lacks."""
        await self._context.time_known.wait()
        await self._round()

    async def follow(self) -> None:
        """Look for new filings every EDGAR_POLL_S wall seconds, and at once when names join."""
        while not await self._context.until_due(lambda targets: targets.EDGAR_POLL_S):
            self._context.more_wanted.clear()
            await self._round()

    async def _round(self) -> None:
        context = self._context
        try:
            if not self._ciks:
                self._ciks = ticker_map(await self._http.get(f"{self._files}/files/company_tickers.json"))
            for symbol in [asset.symbol for asset in context.assets()]:
                await self._company(symbol)
        except (SourceUnavailable, SourceRefused) as error:
            context.source_state(NAME, False, str(error))
            return
        except BodyMalformed as error:
            context.malformed(NAME, TOPIC, "", "BODY_MALFORMED", str(error), error.raw)
            return
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            context.malformed(
                NAME, TOPIC, "", "BODY_SHAPE", f"company_tickers.json: {type(error).__name__} {error}", b""
            )
            return
        context.source_state(NAME, True, "")

    async def _company(self, symbol: str) -> None:
        """One name; what is wrong with its documents is quarantined, and only a provider that is down ends the round."""
        context = self._context
        cik = self._ciks.get(symbol.replace(".", "-"))
        if cik is None:
            context.log.warning("no CIK", source=NAME, symbol=symbol)
            return
        try:
            submissions = Submissions.parse(await self._http.get(f"{self._base}/submissions/CIK{cik:010d}.json"))
            if self._known.get(symbol) == submissions.acceptance.keys():
                return
            since = to_datetime(context.clock.now()).date() - timedelta(
                days=round(365.25 * context.targets.BACKFILL_YEARS) + MARGIN_DAYS
            )
            recent = set(submissions.acceptance)
            for name, last in submissions.older:
                if last >= since.isoformat():
                    submissions.add(await self._http.get(f"{self._base}/submissions/{name}"))
            url = f"{self._base}/api/xbrl/companyfacts/CIK{cik:010d}.json"
            body = await self._http.body(url)
            self._hand_in(companyfacts.parse(symbol, url, body, submissions.acceptance, since, context.clock.now()))
            self._known[symbol] = recent
        except SourceRefused as error:
            if error.status != 404:  # a name without XBRL has no such document, which is no fault of the provider
                raise
            context.log.warning("no document", source=NAME, symbol=symbol, reason=str(error))
        except BodyMalformed as error:
            context.malformed(NAME, TOPIC, symbol, "BODY_MALFORMED", str(error), error.raw)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            context.malformed(NAME, TOPIC, symbol, "BODY_SHAPE", f"{symbol}: {type(error).__name__} {error}", b"")

    def _hand_in(self, observations: Iterable[Filing | Malformed]) -> None:
        for observation in observations:
            self._context.take(observation)


def _missing(settings: Settings) -> str:
    if settings.user_agent:
        return ""
    return "SEC asks for a name and an e-mail address with each request; set TRIPLANE_USER_AGENT"


SOURCE = SourceSpec(NAME, Stage.REFERENCE, EdgarSource, _missing)
