"""Parameters of the Data Plane: history, sources and gates."""

from __future__ import annotations

from triplane.domain.targets.parameter import Section, parameter


class DataTargets(Section):
    """What a person tunes in the Data Plane."""

    BACKFILL_YEARS: float = parameter(3.0, "History loaded at first start.", "years", ge=0.1, le=40)
    BAR_FRESHNESS_S: float = parameter(
        30.0, "A name's bars older than this close its freshness gate.", "s", gt=0, le=3600, time="market"
    )
    QUOTE_FRESHNESS_S: float = parameter(
        30.0, "A name's quote older than this closes its freshness gate.", "s", gt=0, le=3600, time="market"
    )
    QUOTE_SLICE_S: float = parameter(5.0, "Interval between published quote slices.", "s", ge=1, le=60, time="market")
    MICRO_SLICE_S: float = parameter(
        1.0, "Interval between published slices of order flow.", "s", ge=1, le=60, time="market"
    )
    CLOCK_SKEW_MAX_S: float = parameter(
        5.0, "Largest distance from the reference clock before the clock gate closes.", "s", gt=0, le=300, time="market"
    )
    COMPLETENESS_MIN: float = parameter(
        0.9,
        "Share of the universe that a slice must carry for the completeness gate to stay open.",
        "fraction",
        gt=0,
        le=1,
    )
    BAR_JUMP_MAX: float = parameter(0.15, "Largest move from one intraday bar to the next.", "fraction", gt=0, le=1)
    DAILY_JUMP_MAX: float = parameter(0.6, "Largest move from one daily close to the next.", "fraction", gt=0, le=10)
    BAR_GAP_SESSIONS: int = parameter(
        10,
        "Sessions for which a name's last bar is a measure for its next one; after a longer gap the comparison starts anew.",
        "sessions",
        ge=1,
        le=10000,
    )
    FUTURES_ROLL_DAYS: int = parameter(
        5,
        "Business days before the earlier of last trade and first notice up to which a future's contract is the one that counts.",
        "days",
        ge=0,
        le=60,
    )
    FROZEN_BARS: int = parameter(
        60,
        "Traded bars in a row at one price, while other names move, that are a price which has stopped; never less than three times a name's longest earlier run.",
        "bars",
        ge=2,
        le=10000,
    )
    CROSS_SOURCE_MAX: float = parameter(
        0.01, "Largest distance of two sources' daily closes of one name and session.", "fraction", gt=0, le=1
    )
    SPLIT_RATIO_MAX: float = parameter(
        200.0, "Largest ratio of a split, either way, that is believed.", "ratio", gt=1, le=10000
    )
    CLOCK_BACKWARDS_MAX_S: float = parameter(
        60.0,
        "How far a source's bars and trades may lie before its newest ones.",
        "s",
        ge=5,
        le=86400,
        time="market",
    )
    SPREAD_MAX: float = parameter(0.05, "Widest believable spread.", "fraction of mid", gt=0, le=1)
    FACT_JUMP_MAX: float = parameter(
        20.0, "Largest ratio between a fact and its previous value.", "ratio", gt=1, le=10000
    )
    BALANCE_MAX: float = parameter(
        0.001,
        "Largest difference between the two sides of a reported balance sheet.",
        "fraction of assets",
        ge=0,
        le=1,
    )
    MACRO_JUMP_MAX: float = parameter(
        5.0, "Largest change of a macro series in percent between observations.", "percentage points", gt=0, le=10000
    )
    MACRO_REVISION_MAX: float = parameter(
        5.0,
        "Largest revision of a macro value, in usual sizes: of the series' revisions or of its changes, whichever are larger.",
        "ratio",
        gt=0,
        le=10000,
    )
    GATE_REOPEN_SLICES: int = parameter(2, "Good slices in a row that reopen a closed gate.", "slices", ge=1, le=100)
    HISTORICAL_REQUESTS: int = parameter(
        60,
        "Requests for bars under a minute, and new subscriptions of five-second bars, in ten minutes (IB's pacing rule).",
        "requests / 10 min",
        ge=1,
        le=60,
        time="wall",
    )
    ACTION_REQUESTS: int = parameter(
        30,
        "Requests for daily bars in ten minutes by which each stock's dividends and splits are looked for once a session, two a name; 0: none. "
        "IB does not count daily bars among its 60, and half of these would be left if it did.",
        "requests / 10 min",
        ge=0,
        le=600,
        time="wall",
    )
    MARKET_DATA_LINES: int = parameter(
        100,
        "Market data lines that IB grants the data plane; a name that is streamed takes two, of bars and of quotes.",
        "lines",
        ge=4,
        le=10000,
    )
    TICK_BY_TICK_LINES: int = parameter(
        5, "Tick-by-tick lines that IB grants the data plane, for the first of STREAM_FIRST.", "lines", ge=0, le=1000
    )
    STREAM_FIRST: str = parameter(
        "",
        "Names that get market data lines before all others, separated by commas; of the first ones every trade is recorded.",
        "symbols",
        pattern=r"^$|^[A-Z0-9][A-Z0-9.\-]{0,14}(,[A-Z0-9][A-Z0-9.\-]{0,14})*$",
    )
    ROTATION_S: float = parameter(
        10.0,
        "How long a name that is not streamed is quoted when its turn comes.",
        "s",
        ge=1,
        le=600,
        time="market",
    )
    ROTATION_ROUND_S: float = parameter(
        60.0,
        "Within how long each name that is not streamed should have a turn; fewer names are streamed where that needs lines.",
        "s",
        ge=1,
        le=3600,
        time="market",
    )
    EDGAR_REQUESTS_PER_S: float = parameter(
        10.0, "Requests a second to EDGAR (SEC's fair-access limit is 10).", "requests / s", gt=0, le=10, time="wall"
    )
    FRED_REQUESTS_PER_MIN: float = parameter(
        120.0, "Requests a minute to FRED (its limit is 120).", "requests / min", gt=0, le=120, time="wall"
    )
    SOURCE_RETRIES: int = parameter(
        5, "Tries of a provider request before the source is reported down.", "tries", ge=1, le=20
    )
    SOURCE_BACKOFF_S: float = parameter(
        0.5, "First wait between tries; doubles each time.", "s", gt=0, le=60, time="wall"
    )
    EDGAR_POLL_S: float = parameter(3600.0, "Interval between looks for new filings.", "s", ge=1, le=86400, time="wall")
    EDGAR_FRAMES: str = parameter(
        "dei/EntityCommonStockSharesOutstanding/shares,us-gaap/Assets/USD",
        "Concepts whose values are held against SEC's frames at each look, as taxonomy/tag/unit, separated by commas; empty: none.",
        "concepts",
        pattern=r"^$|^(us-gaap|ifrs-full|dei)/[A-Za-z0-9]+/[A-Za-z0-9-]+(,(us-gaap|ifrs-full|dei)/[A-Za-z0-9]+/[A-Za-z0-9-]+)*$",
    )
    FRED_POLL_S: float = parameter(
        3600.0, "Interval between looks for new observations.", "s", ge=1, le=86400, time="wall"
    )
    FRED_SERIES: str = parameter(
        "DTB3", "FRED series to load, separated by commas.", "series ids", pattern=r"^[A-Z0-9_]+(,[A-Z0-9_]+)*$"
    )
    SPOOL_MAX_MB: float = parameter(
        256.0,
        "Disk spool for records while Kafka is away; ticks beyond it are dropped and counted.",
        "MB",
        ge=1,
        le=65536,
    )
