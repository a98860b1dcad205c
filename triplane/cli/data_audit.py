"""`triplane data audit`: faults of price histories in files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from triplane.cli import context

if TYPE_CHECKING:
    from data_plane.audit.detector import Audit
    from data_plane.audit.findings import Finding
    from data_plane.audit.scoring import Score, Truth
    from data_plane.audit.series import PriceSeries
    from triplane.cli.price_files import NamedSeries

FIXED, CLEAN = "-fixed", "no-bad"
"""What a file's name says of it, for the score alone: the corrected twin of the file without this, and a file without faults."""


@dataclass(slots=True)
class _File:
    path: Path
    bars: int = 0
    audits: list[tuple[NamedSeries, Audit]] = field(default_factory=list)
    problem: str = ""
    unscored: str = ""
    """Why it is not compared with the corrected twin that stands beside it."""
    unmatched: list[Finding] = field(default_factory=list)
    """Findings after whose repair it is not what it should be."""


def add_to(app: typer.Typer) -> None:
    """Offer the verb in the group of the data plane."""
    app.command("audit")(audit)


def audit(
    path: Path = typer.Argument(help="A file, or a directory of them: CSV (also .gz), Parquet, or Lean's zips."),
    notes: bool = typer.Option(False, "--notes", help="Show as well what is odd but may be real or was never traded."),
    json_: bool = context.JSON,
) -> None:
    """Find the faults of price histories: units, splits, dividends and bad prints, each with its bar and what would mend it.

    With --json a stretch of more than five bars has two entries, one dated by its newest bar and one by its oldest (`edge` says which,
    `from` and `to` are both ends); the table shows it once, by the bar on which it shows, and the score counts it once.

    Where a file stands beside its corrected twin (the same name with -fixed), recall and precision are told as well; files
    named no-bad count as clean. The detector sees no names. A repair matches when the series is then its twin within 1 %.

    The exit code is 0 when any file was audited, with findings or without: a directory holds other files as well, and those that could
    not be read are counted and named. It is 2 when none could be read.
    """
    from rich.progress import track

    from triplane.cli import price_files

    if not path.exists():
        raise context.CommandError(f"{path} does not exist; name a file or a directory of price histories", 2)
    found = price_files.find(path)
    if not found:
        raise context.CommandError(f"{path} holds no {', '.join(price_files.SUFFIXES)}", 2)
    from rich.console import Console

    console = Console(stderr=True)
    files = [
        _audited(file)
        for file in track(found, "auditing", console=console, transient=True, disable=not console.is_terminal)
    ]
    if all(file.problem for file in files):
        raise context.CommandError(f"{files[0].path}: {files[0].problem}", 2)
    scores = _scores(files)
    if json_:
        context.print_json(_as_json(files, scores))
    else:
        _print(files, scores, notes)


def _audited(path: Path) -> _File:
    from data_plane.audit.detector import audit as audit_series
    from triplane.cli import price_files

    file = _File(path)
    try:
        for named in price_files.read(path):
            file.bars += len(named.series)
            file.audits.append((named, _with_rows(named, audit_series(named.series))))
    except price_files.UnreadableError as error:
        file.problem = str(error)
    return file


def _with_rows(named: NamedSeries, found: Audit) -> Audit:
    """Beside what is wrong with the bars the rows that are none: those without a close, a fault where other prices stand in them, else a
    note; and those that the last row of the same time contradicts."""
    if not named.absent and not named.repeated:
        return found
    from data_plane.audit.prints import absent_finding, repeated_finding

    odd = [(bool(each.prices), absent_finding(*each)) for each in named.absent]
    odd += [(True, repeated_finding(*each)) for each in named.repeated]

    def joined(before: tuple[Finding, ...], fault: bool) -> tuple[Finding, ...]:
        more = [finding for is_fault, finding in odd if is_fault is fault]
        return tuple(sorted([*before, *more], key=lambda finding: finding.place))

    return replace(found, findings=joined(found.findings, True), notes=joined(found.notes, False))


def _scores(files: list[_File]) -> dict[str, Score] | None:
    """Scores of the files whose truth is known; None when there is no twin."""
    from data_plane.audit.scoring import repaired, score

    by_path = {file.path: file for file in files if len(file.audits) == 1}
    results: list[tuple[tuple[Finding, ...], Truth | None]] = []
    matching: list[list[Finding]] = []
    twins = False
    for path, file in by_path.items():
        known, true, twin = _truth(by_path, path, file)
        if known:
            twins = twins or true is not None
            found = file.audits[0][1]
            right = repaired(found.findings, found.mended, twin)
            file.unmatched = [finding for finding in found.findings if finding.repair and finding not in right]
            results.append((found.findings, true))
            matching.append(right)
    return score(results, matching) if twins else None


def _truth(by_path: dict[Path, _File], path: Path, file: _File) -> tuple[bool, Truth | None, PriceSeries]:
    """Whether the truth of a file is known, what is wrong with it, and the series that it should be."""
    from data_plane.audit.scoring import truth

    series = file.audits[0][0].series
    stem, dot, rest = path.name.partition(".")
    if stem.endswith(FIXED) or CLEAN in stem:
        return True, None, series
    twin = by_path.get(path.with_name(f"{stem}{FIXED}{dot}{rest}"))
    if twin is None:
        return False, None, series
    right = twin.audits[0][0].series
    try:
        return True, truth(series, right), right
    except ValueError as error:
        file.unscored = str(error)
        return False, None, series


def _bars(named: NamedSeries, finding: Finding) -> tuple[str, str, str]:
    """(where it shows, its first bar, its last bar), as the file writes their times."""
    if finding.rows:
        return finding.rows[-1], finding.rows[0], finding.rows[-1]
    return named.labels[finding.place], named.labels[finding.first], named.labels[finding.last]


def _entries(named: NamedSeries, finding: Finding) -> list[dict[str, Any]]:
    """One entry, and for a stretch of more than NEAR_BARS bars one more at its other end, by which it may be looked for as well."""
    from data_plane.audit.scoring import NEAR_BARS

    shows, first, last = _bars(named, finding)
    length = len(finding.rows) or finding.last - finding.first + 1
    # What shows elsewhere, as a dividend does on its ex-date, has one place and no ends.
    ends = (last, first) if shows == last else (first, last)
    dates = ends if length > NEAR_BARS and shows in ends else (shows,)
    entries = []
    for date in dates:
        entry = {
            "kind": finding.kind,
            "date": date,
            "edge": None if len(dates) == 1 else "newest" if date == last else "oldest",
            "from": first,
            "to": last,
            "detail": finding.detail,
            "repair": finding.repair or None,
        }
        entries.append({"symbol": named.symbol, **entry} if named.symbol else entry)
    return entries


def _all_entries(file: _File, of: Callable[[Audit], tuple[Finding, ...]]) -> list[dict[str, Any]]:
    return [entry for named, audit in file.audits for finding in of(audit) for entry in _entries(named, finding)]


def _as_json(files: list[_File], scores: dict[str, Score] | None) -> dict[str, Any]:
    overall = scores["all"] if scores else None
    return {
        "files": [
            {
                "file": str(file.path),
                "bars": file.bars,
                "problem": file.problem or None,
                "unscored": file.unscored or None,
                "findings": _all_entries(file, lambda audit: audit.findings),
                "notes": _all_entries(file, lambda audit: audit.notes),
            }
            for file in files
        ],
        "recall": overall.recall if overall else None,
        "precision": overall.precision if overall else None,
        "repairs": {"claimed": overall.repairs, "matching": overall.matching} if overall else None,
        "unreadable": sum(bool(file.problem) for file in files),
        "by_fault": {
            name: {
                "broken": entry.broken,
                "found": entry.found,
                "findings": entry.findings,
                "right": entry.right,
                "recall": entry.recall,
                "precision": entry.precision,
            }
            for name, entry in sorted((scores or {}).items())
        },
    }


def _print(files: list[_File], scores: dict[str, Score] | None, notes: bool) -> None:
    rows = []
    for file in files:
        for named, audit in file.audits:
            shown = [*audit.findings, *(audit.notes if notes else ())]
            for finding in shown:
                note = finding in audit.notes
                rows.append(
                    [
                        named.symbol or file.path.name.partition(".")[0],
                        _bars(named, finding)[0][:16].removesuffix(" 00:00"),
                        f"{finding.kind} (note)" if note else finding.kind,
                        finding.detail,
                        finding.repair,
                    ]
                )
    if rows:
        context.print_table("Faults", ("series", "bar", "kind", "what", "repair"), rows)
    if scores:
        columns = ("fault", "broken", "found", "recall", "findings", "right", "precision", "repairs matching")
        order = sorted(scores.items(), key=lambda item: (item[0] == "all", item[0]))
        context.print_table(
            "Beside the corrected twins and clean files",
            columns,
            [
                [
                    n, s.broken, s.found, _share(s.recall), s.findings, s.right, _share(s.precision),
                    f"{s.matching} of {s.repairs}" if s.repairs else "-",
                ]
                for n, s in order
            ],
        )  # fmt: skip
    for file in files:
        for finding in file.unmatched if scores else ():
            print(f"not as in the twin: {file.path.name}: {_bars(file.audits[0][0], finding)[0]}: {finding.repair}")
    for file in files:
        if file.unscored:
            print(f"not scored: {file.path.name}: {file.unscored}")
    skipped = [file for file in files if file.problem]
    for file in skipped[:5]:
        print(f"not audited: {file.path.name}: {file.problem}")
    if len(skipped) > 5:
        print(f"not audited: {len(skipped) - 5} more (--json names all)")
    bars = sum(file.bars for file in files)
    affected = sum(len(audit.findings) for file in files for _, audit in file.audits)
    told = sum(len(audit.notes) for file in files for _, audit in file.audits)
    print(
        f"{bars} bars in {len(files) - len(skipped)} files: {affected} findings ({affected / max(bars, 1):.4%} of the bars), "
        f"{told} notes{'' if notes or not told else ' (--notes shows them)'}"
        f"{f'; {len(skipped)} of {len(files)} files could not be read' if skipped else ''}"
    )


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"
