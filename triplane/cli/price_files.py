"""Price histories in files: CSV with the usual column names, Parquet, and the zipped bars of QuantConnect's Lean."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from data_plane.audit.series import PriceSeries
from data_plane.observations import Floats

SUFFIXES = (".csv", ".csv.gz", ".parquet", ".zip")
_NAMES = {
    "time": ("datetime", "date", "time", "timestamp"),
    "open": ("open",),
    "high": ("high",),
    "low": ("low",),
    "close": ("close",),
    "adjusted": ("adj close", "adj_close", "adjclose", "adjusted_close"),
    "volume": ("volume",),
    "dividends": ("dividends", "dividend"),
    "splits": ("stock splits", "splits", "split"),
    "symbol": ("symbol", "ticker"),
}
_NEEDED = ("time", "open", "high", "low", "close")
_FORMATS = (
    "%Y-%m-%d %H:%M:%S%#z",
    "%Y-%m-%dT%H:%M:%S%#z",
    "%Y-%m-%d %H:%M:%S%.f%#z",
    "%Y-%m-%dT%H:%M:%S%.f%#z",
    "%Y-%m-%d %H:%M:%S",
    "%Y-%m-%dT%H:%M:%S",
    "%Y-%m-%d %H:%M:%S%.f",
    "%Y-%m-%dT%H:%M:%S%.f",
    "%Y-%m-%d",
    "%Y%m%d %H:%M",
    "%Y%m%d",
)
# What files write where there is no value.
_NOTHING = ("", "null", "nan", "n/a", "none", "-")
_FIRST_YEAR, _LAST_YEAR = 1700, 2200
# Lean writes bars without a header: a bar of trades has six columns, one of quotes eleven (bid, its size, ask, its size).
_LEAN_TRADES, _LEAN_QUOTES = 6, 11
# Two sides farther apart than this share of their middle are no price.
_SPREAD_MAX = 0.05
# Prices of two rows are the same up to this share, which is what writing them in decimals leaves.
_SAME_SHARE = 1e-6


class UnreadableError(ValueError):
    """A file holds no bars that can be audited; the sentence says why."""


class Absent(NamedTuple):
    """Rows in a run that have a time and no close."""

    rows: tuple[str, ...]
    """Their times as the file writes them."""
    place: int
    """The bar after them, or the last one."""
    prices: str
    """What the first of them has: open, high, low; empty where none of the run has any."""


class Repeated(NamedTuple):
    """Rows of one time that say different prices."""

    row: str
    """Their time as the file writes it."""
    place: int
    """The bar that the last of them is."""
    closes: tuple[float, ...]
    """In the file's order."""


@dataclass(frozen=True, slots=True)
class NamedSeries:
    """One name's bars in a file; `labels` are the bars' times as the file writes them."""

    symbol: str
    series: PriceSeries
    labels: list[str]
    absent: tuple[Absent, ...] = ()
    repeated: tuple[Repeated, ...] = ()


def find(path: Path) -> list[Path]:
    """The files to audit: one, or all below a directory, sorted."""
    if path.is_file():
        return [path]
    return sorted(file for file in path.rglob("*") if file.is_file() and file.name.lower().endswith(SUFFIXES))


def read(path: Path) -> Iterator[NamedSeries]:
    """All series of a file. Raises UnreadableError with the reason, also where the file itself cannot be read."""
    try:
        yield from _read(path)
    except OSError as error:
        raise UnreadableError(error.strerror or str(error) or type(error).__name__) from error
    except (
        pl.exceptions.PolarsError,
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        RuntimeError,
        NotImplementedError,
    ) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UnreadableError(f"it is no such file as its name says ({reason})") from error


def _read(path: Path) -> Iterator[NamedSeries]:
    name = path.name.lower()
    if name.endswith(".zip"):
        yield from _lean(path)
        return
    frame = pl.read_parquet(path) if name.endswith(".parquet") else pl.read_csv(path, infer_schema=False)
    frame = _named(frame)
    if "symbol" not in frame.columns:
        yield _series("", frame)
        return
    for (symbol,), rows in frame.group_by(["symbol"], maintain_order=True):
        yield _series(str(symbol), rows)


def _named(frame: pl.DataFrame) -> pl.DataFrame:
    """The columns that matter, under one name each."""
    by_lower = {column.strip().lower(): column for column in frame.columns}
    found: dict[str, str] = {}
    for name, aliases in _NAMES.items():
        for alias in aliases:
            if alias in by_lower:  # the first of them counts
                found.setdefault(name, by_lower[alias])
    missing = [name for name in _NEEDED if name not in found]
    if missing:
        raise UnreadableError(f"it has no column for {', '.join(missing)}; it has {', '.join(frame.columns[:8])}")
    return frame.select(**{name: pl.col(column) for name, column in found.items()})


def _series(symbol: str, frame: pl.DataFrame) -> NamedSeries:
    frame = frame.filter(_given("time", frame["time"].dtype))
    if frame.is_empty():
        raise UnreadableError("it has no bar with a time")
    labels = frame["time"].cast(pl.String) if frame["time"].dtype != pl.String else frame["time"]
    frame = frame.with_columns(_label=labels, time=_times(frame["time"]))
    numbers = [name for name in frame.columns if name not in ("time", "symbol", "_label")]
    frame = frame.with_columns(_numbers(name, frame[name]) for name in numbers)
    # A second row of a time is the newer answer.
    closed = pl.col("close").is_not_null() & pl.col("close").is_not_nan()
    without = frame.filter(~closed)
    every = frame.filter(closed)
    frame = every.unique("time", keep="last").sort("time")
    if frame.is_empty():
        raise UnreadableError("it has no bar with a close")
    absent = _absent(without, frame) if len(without) else ()
    repeated = _repeated(every, frame) if len(every) > len(frame) else ()

    def column(name: str, default: float) -> Floats:
        return frame[name].fill_null(default).to_numpy() if name in frame.columns else np.full(len(frame), default)

    prices = np.stack([column(name, np.nan) for name in ("open", "high", "low", "close")], axis=1)
    series = PriceSeries(
        frame["time"].to_numpy(),
        prices,
        np.nan_to_num(column("volume", 0.0)),
        _adjusted(column("adjusted", np.nan)),
        np.nan_to_num(column("dividends", 0.0)),
        np.nan_to_num(column("splits", 0.0)),
    )
    return NamedSeries(symbol, series, frame["_label"].to_list(), absent, repeated)


def _absent(without: pl.DataFrame, bars: pl.DataFrame) -> tuple[Absent, ...]:
    """Rows without a close at times of no bar, in runs between two bars. Rows without any price before the first bar and after the last
    are no fault: a panel has a name's place before it was listed and after it was gone."""
    rows = without.join(bars, on="time", how="anti").unique("time", keep="last").sort("time")
    times = bars["time"].to_numpy()
    found = []
    for time, label, *row in rows.select("time", "_label", "open", "high", "low").iter_rows():
        prices = ["" if price is None or price != price else f"{price:g}" for price in row]
        place = int(np.searchsorted(times, time))
        if any(prices) or 0 < place < len(times):
            found.append((min(place, len(times) - 1), label, ", ".join(prices) if any(prices) else ""))
    runs = [list(run) for _, run in groupby(found, key=lambda row: (row[0], bool(row[2])))]
    return tuple(Absent(tuple(label for _, label, _ in run), run[0][0], run[0][2]) for run in runs)


def _repeated(every: pl.DataFrame, bars: pl.DataFrame) -> tuple[Repeated, ...]:
    """Rows of one time of which the prices differ; the same answer twice is no fault."""
    prices = ("open", "high", "low", "close")
    apart = [pl.col(name).max() - pl.col(name).min() > _SAME_SHARE * pl.col(name).abs().max() for name in prices]
    groups = every.group_by("time").agg(
        pl.col("_label").last(), pl.any_horizontal(apart).alias("_differ"), pl.col("close")
    )
    times = bars["time"].to_numpy()
    rows = groups.filter("_differ").sort("time").select("time", "_label", "close").iter_rows()
    return tuple(Repeated(label, int(np.searchsorted(times, time)), tuple(closes)) for time, label, closes in rows)


def _adjusted(values: Floats) -> Floats | None:
    """Adjusted closes, or None where there is not one that could be."""
    return values if (np.isfinite(values) & (values > 0.0)).any() else None


def _given(name: str, dtype: pl.DataType) -> pl.Expr:
    """Rows in which a column holds something."""
    column = pl.col(name)
    if dtype == pl.String:
        return column.is_not_null() & ~column.str.strip_chars().str.to_lowercase().is_in(_NOTHING)
    return column.is_not_null()


def _numbers(name: str, column: pl.Series) -> pl.Series:
    """A column as numbers; empty places are null. Raises UnreadableError for a text that is none."""
    if column.dtype == pl.String:
        text = column.str.strip_chars()
        column = text.set(text.str.to_lowercase().is_in(_NOTHING), None)
    numbers = column.cast(pl.Float64, strict=False)
    wrong = column.filter(numbers.is_null() & column.is_not_null())
    if len(wrong):
        raise UnreadableError(f"its {name} {wrong[0]!r} is no number (write 1234.5)")
    return numbers


def _times(column: pl.Series) -> pl.Series:
    """Nanoseconds UTC; times without a zone are taken for UTC."""
    if column.dtype == pl.String:
        column = _parsed(column)
    if column.dtype != pl.Date and column.dtype != pl.Datetime:
        raise UnreadableError(f"its times are {column.dtype} and no dates")
    years = column.dt.year()
    if years.min() < _FIRST_YEAR or years.max() > _LAST_YEAR:  # type: ignore[operator]
        raise UnreadableError(
            f"it has times from the year {years.min()!r} to {years.max()!r}, in which no market was open"
        )
    return column.cast(pl.Datetime("ns", getattr(column.dtype, "time_zone", None))).dt.epoch("ns")


def _parsed(column: pl.Series) -> pl.Series:
    """Times by the first format that reads them all; the sentence names the one that the best format does not read."""
    best, failed = -1, column[0]
    for pattern in _FORMATS:
        zone = "UTC" if pattern.endswith("z") else None
        parsed = column.str.to_datetime(pattern, time_unit="us", time_zone=zone, strict=False)
        if parsed.null_count() == 0:
            return parsed
        read = len(column) - parsed.null_count()
        if read > best:
            best, failed = read, column.filter(parsed.is_null())[0]
    raise UnreadableError(f"its times are in no format that is known, such as {failed!r}")


def _lean(path: Path) -> Iterator[NamedSeries]:
    """Each entry of a zip is a series; intraday times are milliseconds since the midnight of the day in the zip's name."""
    with zipfile.ZipFile(path) as archive:
        entries = archive.namelist()
        read = 0
        for entry in entries:
            if "tick" in entry.lower():  # as many columns as a bar, of other things
                continue
            frame = pl.read_csv(io.BytesIO(archive.read(entry)), has_header=False, infer_schema=False)
            if frame.width not in (_LEAN_TRADES, _LEAN_QUOTES) or frame.is_empty():
                continue
            bars = _lean_trades(frame) if frame.width == _LEAN_TRADES else _lean_quotes(frame)
            if bars.is_empty():
                continue
            read += 1
            yield _series(Path(entry).stem if len(entries) > 1 else "", bars.with_columns(time=_lean_times(bars, path)))
    if not read:
        raise UnreadableError("it holds no bars (ticks and open interest are not audited)")


def _lean_trades(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.rename(dict(zip(frame.columns, ("time", "open", "high", "low", "close", "volume"), strict=True)))


def _lean_quotes(frame: pl.DataFrame) -> pl.DataFrame:
    """Bars of the middle, where both sides are there and belong together."""
    numbers = frame.select(
        pl.col(frame.columns[0]).alias("time"),
        *(
            (pl.col(frame.columns[1 + place]).cast(pl.Float64) + pl.col(frame.columns[6 + place]).cast(pl.Float64)) / 2
            for place in range(4)
        ),
        spread=pl.col(frame.columns[9]).cast(pl.Float64) / pl.col(frame.columns[4]).cast(pl.Float64) - 1.0,
    )
    named = numbers.rename(dict(zip(numbers.columns, ("time", "open", "high", "low", "close", "spread"), strict=True)))
    return named.filter(pl.col("spread").abs() <= _SPREAD_MAX).drop("spread")


def _lean_times(bars: pl.DataFrame, path: Path) -> pl.Series:
    day = path.name[:8]
    if " " in str(bars["time"][0]) or not day.isdigit():
        return bars["time"]
    midnight = pl.Series([day]).str.to_datetime("%Y%m%d", time_unit="ns")[0]
    return bars.select(midnight + pl.duration(milliseconds=pl.col("time").cast(pl.Float64).cast(pl.Int64))).to_series()
