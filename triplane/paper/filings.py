"""EDGAR's documents of a few companies, in SEC's own shapes, from the committed table of reports (`providers_data/shares_outstanding.csv`)."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from importlib import resources
from typing import Any, Final

_SHARES: Final = {
    "label": "Entity Common Stock, Shares Outstanding",
    "description": "Indicate number of shares or other units outstanding of each of registrant's classes of common stock.",
}


@dataclass(frozen=True, slots=True)
class Report:
    """One filing of one company: `accepted` as EDGAR prints it, `shares` on its cover page."""

    symbol: str
    cik: int
    name: str
    form: str
    period_end: str
    filed: str
    accepted: str
    shares: int
    accession: str


def table_rows(name: str) -> list[dict[str, str]]:
    """Rows of a table; lines that begin with # are its header for people."""
    text = (resources.files("triplane.paper") / "providers_data" / name).read_text(encoding="utf-8")
    return list(csv.DictReader(line for line in text.splitlines() if not line.startswith("#")))


def load_reports() -> list[Report]:
    """Filings of the committed table, oldest first."""
    reports: list[Report] = []
    numbers: dict[tuple[str, str], int] = {}
    for row in sorted(table_rows("shares_outstanding.csv"), key=lambda row: (row["filed"], row["symbol"])):
        year = row["filed"][2:4]
        number = numbers[row["cik"], year] = numbers.get((row["cik"], year), 0) + 1
        accession = f"{int(row['cik']):010d}-{year}-{number:06d}"
        shares = round(float(row["millions"]) * 1_000_000)
        reports.append(
            Report(
                row["symbol"], int(row["cik"]), row["name"], row["form"], row["period_end"], row["filed"], row["accepted"], shares, accession,
            )
        )  # fmt: skip
    return reports


def _instant(day: date) -> str:
    """SEC's name of the frame of balances of a day: the quarter that ends nearest to it."""
    middle = day - timedelta(days=45)  # half a quarter earlier: then the quarter that the day lies in is the one
    return f"CY{middle.year}Q{(middle.month + 2) // 3}I"


def amended(reports: Sequence[Report], symbol: str) -> list[Report]:
    """The reports with an amendment of the second annual report of `symbol` two weeks later, shares in thousands.

    Raises ValueError for a symbol with fewer than two.
    """
    annual = [report for report in reports if report.symbol == symbol and report.form == "10-K"]
    if len(annual) < 2:
        raise ValueError(f"{symbol} has no second annual report here to amend")
    right = annual[1]
    filed = (date.fromisoformat(right.filed) + timedelta(days=14)).isoformat()
    wrong = replace(
        right,
        form="10-K/A",
        filed=filed,
        accepted=f"{filed}{right.accepted[10:]}",
        shares=right.shares // 1000,
        accession=f"{right.accession[:-6]}900000",
    )
    return sorted([*reports, wrong], key=lambda report: (report.filed, report.symbol))


class CompanyFilings:
    """EDGAR's documents over some reports, oldest first."""

    def __init__(self, reports: Sequence[Report]) -> None:
        self._reports = list(reports)

    def tickers(self) -> dict[str, Any]:
        """company_tickers.json."""
        companies = sorted({(report.symbol, report.cik, report.name) for report in self._reports})
        return {
            str(number): {"cik_str": cik, "ticker": symbol, "title": name}
            for number, (symbol, cik, name) in enumerate(companies)
        }

    def _of(self, cik: int) -> list[Report]:
        return [report for report in self._reports if report.cik == cik]

    def submissions(self, cik: int) -> dict[str, Any] | None:
        """CIK##########.json, newest filing first; None for an unknown company."""
        reports = self._of(cik)[::-1]
        if not reports:
            return None
        recent = {
            "accessionNumber": [report.accession for report in reports],
            "filingDate": [report.filed for report in reports],
            "reportDate": [report.period_end for report in reports],
            "acceptanceDateTime": [report.accepted for report in reports],
            "act": ["34" for _ in reports],
            "form": [report.form for report in reports],
            "items": ["" for _ in reports],
            "isXBRL": [1 for _ in reports],
            "isInlineXBRL": [0 for _ in reports],
        }
        first = reports[0]
        return {
            "cik": f"{cik:010d}",
            "entityType": "operating",
            "name": first.name,
            "tickers": [first.symbol],
            "exchanges": ["NYSE"],
            "filings": {"recent": recent, "files": []},
        }

    def company_facts(self, cik: int) -> dict[str, Any] | None:
        """companyfacts of one company; None for an unknown one."""
        reports = self._of(cik)
        if not reports:
            return None
        rows = [
            {
                "end": report.period_end,
                "val": report.shares,
                "accn": report.accession,
                "fy": int(report.period_end[:4]),
                "fp": "FY" if report.form == "10-K" else "Q",
                "form": report.form,
                "filed": report.filed,
            }
            for report in reports
        ]
        concept = {**_SHARES, "units": {"shares": rows}}
        return {
            "cik": cik, "entityName": reports[0].name, "facts": {"dei": {"EntityCommonStockSharesOutstanding": concept}}
        }  # fmt: skip

    def frame(self, taxonomy: str, tag: str, unit: str, period: str) -> dict[str, Any] | None:
        """The shares of all companies nearest to a quarter's end (period CYyyyyQqI), each as filed last; None for another frame."""
        if (taxonomy, tag, unit) != ("dei", "EntityCommonStockSharesOutstanding", "shares"):
            return None
        found: dict[int, Report] = {}
        for report in self._reports:  # oldest first
            if _instant(date.fromisoformat(report.period_end)) == period:
                before = found.get(report.cik)
                if before is None or report.period_end >= before.period_end:
                    found[report.cik] = report
        if not found:
            return None
        return {
            "taxonomy": taxonomy,
            "tag": tag,
            "ccp": period,
            "uom": unit,
            "label": _SHARES["label"],
            "description": _SHARES["description"],
            "pts": len(found),
            "data": [
                {
                    "accn": report.accession,
                    "cik": cik,
                    "entityName": report.name,
                    "loc": "US-NY",
                    "end": report.period_end,
                    "val": report.shares,
                }
                for cik, report in sorted(found.items())
            ],
        }
