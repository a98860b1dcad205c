"""Parameters of the Strategy Plane: barriers, signals, regime, covariance and the optimiser."""

from __future__ import annotations

from triplane.domain.targets.parameter import Section, parameter


class StrategyTargets(Section):
    """What a person tunes in the Strategy Plane."""

    REBALANCE: str = parameter(
        "15:30",
        "Time of the decision barrier on each session, New York; on a half day as far before the early close, but not before 09:31. An hour "
        "that the running session has passed is taken from the next one on.",
        "HH:MM",
        pattern=r"^([01]\d|2[0-3]):[0-5]\d$",
        time="market",
    )
    BARRIER_WAIT_S: float = parameter(
        20.0,
        "How long a barrier waits for a gating partition that is behind, by the other partitions' punctuations.",
        "s",
        gt=0,
        le=3600,
        time="market",
    )
    BARRIER_LATE_S: float = parameter(
        30.0, "A barrier later than this raises the alert.", "s", gt=0, le=3600, time="wall"
    )
    INTENT_VALID_S: float = parameter(300.0, "How long an intent may be acted on.", "s", gt=0, le=86400, time="market")
    UNIVERSE_MISSING_MAX: float = parameter(
        0.2, "Share of names without usable prices above which the whole barrier holds.", "fraction", ge=0, le=1
    )
    MOM_LOOKBACK: int = parameter(252, "Window of the momentum signal, lag included.", "sessions", ge=40, le=1260)
    MOM_LAG: int = parameter(21, "Most recent sessions that momentum leaves out.", "sessions", ge=0, le=63)
    MOM_H: float = parameter(126.0, "Half-life of the weights inside the momentum window.", "sessions", ge=2, le=2520)
    REV_LOOKBACK: int = parameter(21, "Window of short-term reversal.", "sessions", ge=2, le=63)
    REV_H: float = parameter(5.0, "Half-life of the weights inside the reversal window.", "sessions", ge=0.5, le=252)
    POS_LOOKBACK: int = parameter(252, "Window of the excess return in POS.", "sessions", ge=40, le=1260)
    POS_CAP: float = parameter(2.0, "Cap on |POS|.", "standard deviations", gt=0, le=10)
    WINSOR_Z: float = parameter(3.0, "Winsorisation of cross-sectional scores.", "standard deviations", ge=1, le=10)
    SECTOR_MIN_NAMES: int = parameter(
        2,
        "Fewest names of a sector for it to be a factor; smaller ones are neutral to market and size only.",
        "names",
        ge=2,
        le=100,
    )
    FACTS_STALE_DAYS: float = parameter(
        500.0, "Shares outstanding older than this are stale: the name abstains.", "days", ge=30, le=2000, time="market"
    )
    TBILL_SERIES: str = parameter(
        "DTB3",
        "FRED series of the T-bill rate that excess returns subtract.",
        "series id",
        pattern=r"^[A-Z0-9_]{1,32}$",
    )
    TBILL_STALE_DAYS: float = parameter(
        60.0, "A T-bill observation older than this is stale: POS abstains.", "days", ge=1, le=400, time="market"
    )
    IC_HORIZON: int = parameter(
        21, "Horizon over which alpha is a return and scores are judged.", "sessions", ge=1, le=63
    )
    IC_HALF_LIFE: float = parameter(
        126.0, "Half-life of the rolling information coefficient.", "sessions", ge=5, le=2520
    )
    IC_MIN_OBS: int = parameter(
        60, "Observations before the information coefficient departs from its prior.", "sessions", ge=5, le=1260
    )
    IC_PRIOR: float = parameter(
        0.03, "Information coefficient that the estimate is shrunk to.", "correlation", ge=0, le=0.2
    )
    IC_PRIOR_SD: float = parameter(
        0.03,
        "Standard deviation of that prior: the estimate moves half way when its standard error is as large.",
        "correlation",
        gt=0,
        le=0.5,
    )
    ORTHO_HALF_LIFE: float = parameter(126.0, "Half-life of the pooled signal correlation.", "sessions", ge=5, le=2520)
    ORTHO_SHRINK: float = parameter(
        0.1, "Shrinkage of the pooled signal correlation to the identity.", "fraction", ge=0, le=1
    )
    VOL_HALF_LIFE: float = parameter(42.0, "Half-life of volatilities.", "sessions", ge=5, le=1260)
    CORR_HALF_LIFE: float = parameter(252.0, "Half-life of correlations.", "sessions", ge=20, le=2520)
    COV_MIN_OBS: int = parameter(60, "Returns a name needs before it is traded.", "sessions", ge=20, le=1260)
    EIGEN_FLOOR: float = parameter(
        1e-4, "Smallest eigenvalue of the correlation matrix after repair.", "correlation", gt=0, le=0.1
    )
    HMM_STATES: int = parameter(3, "Number of regimes.", "states", ge=2, le=3)
    HMM_MIN_OBS: int = parameter(252, "Sessions before the first fit.", "sessions", ge=100, le=2520)
    HMM_REFIT: int = parameter(63, "Sessions between fits.", "sessions", ge=5, le=1260)
    HMM_ITER: int = parameter(50, "EM iterations of a fit.", "iterations", ge=5, le=1000)
    HMM_HYSTERESIS: float = parameter(
        0.7, "Posterior lead that another state needs before the state changes.", "probability", ge=0, le=0.9
    )
    STORM_BRAKE: float = parameter(0.4, "Multiplier on GROSS_LIM and VOL_TARGET in Storm.", "fraction", ge=0, le=1)
    DRAWDOWN_BRAKE_START: float = parameter(
        0.05, "Drawdown at which the drawdown brake begins.", "fraction of NAV", ge=0, le=0.5
    )
    BRAKE_RELEASE: float = parameter(
        0.1, "Most of gross that brakes give back in one session.", "fraction of GROSS_LIM", gt=0, le=1
    )
    VOL_TARGET: float = parameter(0.10, "Ceiling on the portfolio's volatility.", "annualised fraction", gt=0, le=1)
    RISK_AVERSION: float = parameter(4.0, "Risk aversion.", "1 / return", ge=0, le=1000)
    TURNOVER_PEN: float = parameter(
        0.002, "Penalty per unit of traded weight, on top of learned cost.", "fraction of traded weight", ge=0, le=1
    )
    BOX_LIM: float = parameter(0.25, "Largest |weight| of one name.", "fraction of NAV", gt=0, le=1)
    GROSS_LIM: float = parameter(
        1.5, "Largest sum of |weights|, after risk-weight haircuts.", "fraction of NAV", gt=0, le=10
    )
    NET_LIM: float = parameter(
        0.3, "Largest |sum of weights|, after risk-weight haircuts.", "fraction of NAV", ge=0, le=10
    )
    LAMBDA_INIT: float = parameter(
        5e-4, "Linear cost before any fill was learned from.", "fraction of notional", ge=0, le=0.05
    )
    IMPACT_Y_INIT: float = parameter(
        1.0, "Coefficient of the square-root impact law before any fill.", "1", ge=0.1, le=3
    )
    NO_TRADE_BAND: float = parameter(
        0.001,
        "Smaller changes of weight are not traded, but where a limit needs them.",
        "fraction of NAV",
        ge=0,
        le=0.1,
    )
    ADV_CAP: float = parameter(0.02, "Largest trade of one name at one barrier.", "fraction of adv", gt=0, le=1)
    SOLVER_ITER: int = parameter(200, "Iterations the solver may use.", "iterations", ge=5, le=10000)
    SOLVER_TOL: float = parameter(
        1e-8, "Tolerance of the solver, and of our own feasibility check times 100.", "1", ge=1e-12, le=1e-3
    )
