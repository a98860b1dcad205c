"""A small local server with EDGAR's and FRED's payloads in their own shapes, for the demonstration and for tests.

`python -m triplane.paper.providers --port P [--as-of YYYY-MM-DD] [--restated SYMBOL]` serves, on loopback,

    /files/company_tickers.json  /submissions/CIK##########.json  /api/xbrl/companyfacts/CIK##########.json
    /api/xbrl/frames/TAXONOMY/TAG/UNIT/PERIOD.json
    /fred/series  /fred/series/vintagedates  /fred/series/observations

from the committed tables in providers_data/ (their headers say where the figures are from and how far they are rounded). As the real
ones do, it refuses EDGAR requests without a User-Agent (403) and FRED requests without an API key (400, JSON). With --as-of it shows
what had been filed or released by that day. With --restated one company amends an annual report, and its number of shares comes out in
thousands: a mistake that real filers make. Exit status: 0 after SIGINT or SIGTERM, 69 when the port is taken.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final

from aiohttp import web

from triplane.paper.filings import CompanyFilings, amended, load_reports, table_rows

UNAVAILABLE: Final = 69
SERIES: Final = "DTB3"
END_OF_TIME: Final = "9999-12-31"
MAX_LIMIT: Final = 100_000
MAX_DATES: Final = 10_000
MAX_VINTAGES: Final = 2_000

_UNDECLARED: Final = (
    "<!DOCTYPE html><html><head><title>SEC.gov | Request Rate Threshold Exceeded</title></head><body><h1>Your Request Originates from an "
    "Undeclared Automated Tool</h1><p>Please declare your traffic by updating your user agent to include company specific "
    "information.</p></body></html>"
)
_NO_KEY: Final = "Bad Request.  Variable api_key is not set.  Read https://fred.stlouisfed.org/docs/api/api_key.html for more information."


@dataclass(frozen=True, slots=True)
class Rate:
    """One observation: value as FRED prints it, known from `released`."""

    day: str
    value: str
    released: str


def load_rates() -> list[Rate]:
    """Observations of the committed table. Each was released with the next one that has a value: the next business day."""
    rows = table_rows("treasury_bill_3m.csv")
    rates: list[Rate] = []
    following = (date.fromisoformat(rows[-1]["date"]) + timedelta(days=1)).isoformat()
    for row in reversed(rows):
        rates.append(Rate(row["date"], row["value"], following))
        if row["value"] != ".":
            following = row["date"]
    return rates[::-1]


class Providers(CompanyFilings):
    """The server's content as of a day (ISO; END_OF_TIME shows everything); `restated` as in `amended`, empty for none."""

    def __init__(self, as_of: str = END_OF_TIME, restated: str = "") -> None:
        self._as_of = as_of
        reports = amended(load_reports(), restated) if restated else load_reports()
        super().__init__([report for report in reports if report.filed <= as_of])
        self._rates = [rate for rate in load_rates() if rate.released <= as_of]

    def _refusal(self, query: dict[str, str]) -> tuple[int, dict[str, Any]] | None:
        if not query.get("api_key"):
            return 400, {"error_code": 400, "error_message": _NO_KEY}
        if query.get("series_id") != SERIES:
            return 400, {"error_code": 400, "error_message": "Bad Request.  The series does not exist."}
        return None

    def _today(self) -> str:
        return self._as_of if self._as_of != END_OF_TIME else date.max.isoformat()

    def series(self, query: dict[str, str]) -> tuple[int, dict[str, Any]]:
        """(HTTP status, body) of /fred/series."""
        refusal = self._refusal(query)
        if refusal is not None:
            return refusal
        period = {"realtime_start": self._today(), "realtime_end": self._today()}
        days = [rate.day for rate in self._rates] or [END_OF_TIME]
        entry = {
            "id": SERIES,
            **period,
            "title": "3-Month Treasury Bill Secondary Market Rate, Discount Basis",
            "observation_start": days[0],
            "observation_end": days[-1],
            "frequency": "Daily",
            "frequency_short": "D",
            "units": "Percent",
            "units_short": "%",
            "seasonal_adjustment": "Not Seasonally Adjusted",
            "seasonal_adjustment_short": "NSA",
            "last_updated": f"{max((rate.released for rate in self._rates), default=END_OF_TIME)} 15:16:00-06",
            "popularity": 75,
            "notes": "",
        }
        return 200, {**period, "seriess": [entry]}

    def vintage_dates(self, query: dict[str, str]) -> tuple[int, dict[str, Any]]:
        """(HTTP status, body) of /fred/series/vintagedates."""
        refusal = self._refusal(query)
        if refusal is not None:
            return refusal
        limit, offset = int(query.get("limit", MAX_DATES)), int(query.get("offset", 0))
        dates = sorted({rate.released for rate in self._rates})
        return 200, {
            "realtime_start": "1776-07-04",
            "realtime_end": END_OF_TIME,
            "order_by": "vintage_date",
            "sort_order": "asc",
            "count": len(dates),
            "offset": offset,
            "limit": limit,
            "vintage_dates": dates[offset : offset + limit],
        }

    def observations(self, query: dict[str, str]) -> tuple[int, dict[str, Any]]:
        """(HTTP status, body) of /fred/series/observations."""
        refusal = self._refusal(query)
        if refusal is not None:
            return refusal
        today = self._today()
        start, end = query.get("realtime_start", today), query.get("realtime_end", today)
        first, last = query.get("observation_start", "1600-01-01"), query.get("observation_end", END_OF_TIME)
        try:
            for text in (start, end, first, last):
                date.fromisoformat(text)
            limit, offset = int(query.get("limit", MAX_LIMIT)), int(query.get("offset", 0))
        except ValueError as error:
            return 400, {"error_code": 400, "error_message": f"Bad Request.  {error}"}
        vintages = len({rate.released for rate in self._rates if start <= rate.released <= end})
        if vintages > MAX_VINTAGES:
            return 400, {
                "error_code": 400,
                "error_message": f"Bad Request.  There are {vintages} vintage dates in the specified real-time period: {start} to {end}.  "
                f"This exceeds the maximum number of vintage dates allowed ({MAX_VINTAGES}).",
            }
        rows = [
            {
                "realtime_start": max(rate.released, start),
                "realtime_end": end,
                "date": rate.day,
                "value": rate.value,
            }
            for rate in self._rates
            if rate.released <= end and first <= rate.day <= last
        ]
        return 200, {
            "realtime_start": start,
            "realtime_end": end,
            "observation_start": first,
            "observation_end": last,
            "units": "lin",
            "output_type": 1,
            "file_type": "json",
            "order_by": "observation_date",
            "sort_order": "asc",
            "count": len(rows),
            "offset": offset,
            "limit": limit,
            "observations": rows[offset : offset + limit],
        }


def application(providers: Providers) -> web.Application:
    """The HTTP application."""
    app = web.Application()

    def edgar(request: web.Request, document: dict[str, Any] | None) -> web.Response:
        if not request.headers.get("User-Agent", "").strip():
            return web.Response(status=403, text=_UNDECLARED, content_type="text/html")
        if document is None:
            missing = '<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>NoSuchKey</Code></Error>'
            return web.Response(status=404, text=missing, content_type="application/xml")
        return web.json_response(document)

    async def tickers(request: web.Request) -> web.Response:
        return edgar(request, providers.tickers())

    async def submissions(request: web.Request) -> web.Response:
        return edgar(request, providers.submissions(int(request.match_info["cik"])))

    async def facts(request: web.Request) -> web.Response:
        return edgar(request, providers.company_facts(int(request.match_info["cik"])))

    async def frame(request: web.Request) -> web.Response:
        return edgar(request, providers.frame(**request.match_info))

    async def observations(request: web.Request) -> web.Response:
        status, body = providers.observations(dict(request.query))
        return web.json_response(body, status=status)

    async def series(request: web.Request) -> web.Response:
        status, body = providers.series(dict(request.query))
        return web.json_response(body, status=status)

    async def vintage_dates(request: web.Request) -> web.Response:
        status, body = providers.vintage_dates(dict(request.query))
        return web.json_response(body, status=status)

    async def health(_: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    app.router.add_get("/files/company_tickers.json", tickers)
    app.router.add_get(r"/submissions/CIK{cik:\d{10}}.json", submissions)
    app.router.add_get(r"/api/xbrl/companyfacts/CIK{cik:\d{10}}.json", facts)
    app.router.add_get("/api/xbrl/frames/{taxonomy}/{tag}/{unit}/{period}.json", frame)
    app.router.add_get("/fred/series", series)
    app.router.add_get("/fred/series/vintagedates", vintage_dates)
    app.router.add_get("/fred/series/observations", observations)
    app.router.add_get("/healthz", health)
    return app


async def serve(host: str, port: int, providers: Providers) -> None:
    """Serve until SIGINT or SIGTERM. Raises OSError when the port is taken."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    runner = web.AppRunner(application(providers), access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        print(f"providers: EDGAR and FRED payloads at http://{host}:{runner.addresses[0][1]}", flush=True)
        await stop.wait()
    finally:
        await runner.cleanup()


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m triplane.paper.providers", description=__doc__.split("\n\n")[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one and prints it")
    parser.add_argument(
        "--as-of", type=date.fromisoformat, default=None, help="show what was public on this day (YYYY-MM-DD)"
    )
    parser.add_argument(
        "--restated", default="", metavar="SYMBOL", help="a company that amends a report with a mistake"
    )
    options = parser.parse_args(argv)
    try:
        providers = Providers(options.as_of.isoformat() if options.as_of else END_OF_TIME, options.restated)
    except ValueError as error:
        parser.error(f"--restated: {error}")
    try:
        asyncio.run(serve(options.host, options.port, providers))
    except OSError as error:
        print(
            f"providers: {options.host}:{options.port} cannot be listened on ({error.strerror}); "
            "stop what uses it or choose another --port",
            file=sys.stderr,
        )
        return UNAVAILABLE
    return 0


if __name__ == "__main__":
    sys.exit(main())
