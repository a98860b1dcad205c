"""Parameters of the Order Plane: risk limits, throttles, execution, kill switches and learned costs."""

from __future__ import annotations

from typing import Literal

from triplane.domain.targets.parameter import Section, parameter


class OrderTargets(Section):
    """What a person tunes in the Order Plane."""

    POV_CAP: float = parameter(
        0.08, "Largest share of observed volume that a parent may be.", "fraction of volume", gt=0, le=1
    )
    POV_WINDOW_S: float = parameter(60.0, "Window over which volume is observed.", "s", gt=0, le=3600, time="market")
    ADV_DAY_CAP: float = parameter(
        0.05, "Largest share of adv traded in one name in one session.", "fraction of adv", gt=0, le=1
    )
    MESSAGES_PER_S: float = parameter(
        40.0,
        "Messages a second to the broker (its limit is 50 for all clients together).",
        "messages / s",
        gt=0,
        le=50,
        time="wall",
    )
    CANCEL_RESERVE: int = parameter(10, "Messages of each second's budget kept for cancels.", "messages", ge=0, le=40)
    PARENT_EXPIRY_S: float = parameter(
        300.0, "How long a parent works before what is left is cancelled.", "s", gt=0, le=23400, time="market"
    )
    CHILD_GOOD_TILL_S: float = parameter(
        360.0, "Dead man's timer on each child order.", "s", gt=0, le=23400, time="market"
    )
    EXECUTION: Literal["limit", "market", "adaptive"] = parameter(
        "limit", "Order type of children.", "limit | market | adaptive"
    )
    ADAPTIVE_PRIORITY: Literal["Urgent", "Normal", "Patient"] = parameter(
        "Normal", "Priority handed to the broker's Adaptive algorithm.", "Urgent | Normal | Patient"
    )
    REQUOTE_S: float = parameter(
        30.0,
        "A limit child that rests away from the market for this long is cancelled and replaced.",
        "s",
        gt=0,
        le=23400,
        time="market",
    )
    LIMIT_OFFSET: float = parameter(
        0.0005, "How far through the touch a limit order may reach.", "fraction of price", ge=0, le=0.05
    )
    MIN_CHILD_NOTIONAL: float = parameter(
        500.0, "Smaller children wait for more volume or the parent's end.", "base currency", ge=0, le=1e7
    )
    ORDER_NOTIONAL_MAX: float = parameter(500000.0, "Largest notional of one order.", "base currency", gt=0, le=1e9)
    ORDER_QTY_MAX: float = parameter(100000.0, "Largest quantity of one order.", "units", gt=0, le=1e9)
    ORDER_ADV_MAX: float = parameter(0.02, "Largest order as a share of adv.", "fraction of adv", gt=0, le=1)
    COLLAR: float = parameter(
        0.02, "Largest distance of an order's price from the last good quote.", "fraction of mid", gt=0, le=0.5
    )
    QUOTE_STALE_S: float = parameter(
        20.0, "A quote older than this denies new orders of the name.", "s", gt=0, le=3600, time="market"
    )
    BOX_HARD: float = parameter(0.30, "Hard limit on a name's worst case per side.", "fraction of NAV", gt=0, le=2)
    GROSS_HARD: float = parameter(1.7, "Hard limit on gross, worst case.", "fraction of NAV", gt=0, le=20)
    NET_HARD: float = parameter(0.6, "Hard limit on |net|, worst case.", "fraction of NAV", gt=0, le=20)
    ACTIVE_PER_SIDE: int = parameter(
        15, "Active orders per contract and side (IB refuses more than 20).", "orders", ge=1, le=20
    )
    ORDERS_PER_MINUTE: int = parameter(20, "Orders per name and minute.", "orders / min", ge=1, le=1000, time="market")
    NOTIONAL_PER_MINUTE: float = parameter(
        2000000.0, "Notional of all orders per minute.", "base currency / min", gt=0, le=1e10, time="market"
    )
    BUYING_POWER_USE: float = parameter(
        0.95, "Share of available funds that orders may reserve.", "fraction", gt=0, le=1
    )
    INITIAL_MARGIN: float = parameter(
        0.5,
        "Share of its notional that an order which adds exposure reserves (Regulation T asks half).",
        "fraction of notional",
        gt=0,
        le=2,
    )
    CLOSE_BUFFER_S: float = parameter(
        300.0, "No new orders this close to the session's end.", "s", ge=0, le=7200, time="market"
    )
    ACK_TIMEOUT_S: float = parameter(
        12.0,
        "Longest wait for Kafka's acknowledgement of a write-ahead record; then hold.",
        "s",
        gt=0,
        le=120,
        time="wall",
    )
    BROKER_TIMEOUT_S: float = parameter(
        5.0, "An order without any sign from the broker for this long is unknown.", "s", gt=0, le=120, time="wall"
    )
    RECONCILE_S: float = parameter(60.0, "Interval between reconciliation passes.", "s", ge=1, le=3600, time="wall")
    ABSENT_AFTER_S: float = parameter(
        3.0,
        "Two complete snapshots at least this far apart that do not know an order prove it absent.",
        "s",
        gt=0,
        le=600,
        time="wall",
    )
    FOREIGN_POSITIONS: Literal["exclude", "adopt", "halt"] = parameter(
        "exclude", "What to do with positions that Triplane did not open.", "exclude | adopt | halt"
    )
    NAV_JUMP_MAX: float = parameter(0.2, "An unexplained jump of NAV above this holds.", "fraction of NAV", gt=0, le=1)
    KILL_PNL: float = parameter(-0.05, "Today's PnL at which trading stops.", "fraction of prior NAV", ge=-1, lt=0)
    MAX_DD_KILL_SWITCH: float = parameter(
        0.15, "Drawdown at which trading stops.", "fraction of high-water mark", gt=0, le=1
    )
    PSR_KILL_SWITCH: float = parameter(
        0.20, "Probabilistic Sharpe ratio below which gross is halved, then stopped.", "probability", ge=0, le=1
    )
    PSR_BENCHMARK: float = parameter(0.0, "Sharpe ratio that PSR compares with.", "annualised", ge=-5, le=5)
    PSR_MIN_OBS: int = parameter(252, "Daily returns before PSR is judged.", "sessions", ge=20, le=2520)
    REJECTS_KILL: int = parameter(
        20, "Rejects within a minute that trip the kill switch.", "rejects / min", ge=1, le=1000, time="market"
    )
    KILL_SCOPE: Literal["own", "account"] = parameter(
        "own", "Whose open orders a level that trips cancels.", "own | account"
    )
    COST_HALF_LIFE: float = parameter(250.0, "Half-life of the cost estimator's memory.", "parents", ge=10, le=100000)
    COST_PRIOR_PARENTS: float = parameter(25.0, "Weight of the prior.", "parents", gt=0, le=100000)
    COST_OUTLIER_SD: float = parameter(
        4.0, "Parents whose cost lies further from the expected one get no weight.", "standard deviations", gt=0, le=20
    )
    LINEAR_MAX: float = parameter(
        0.005, "Upper bound of the learned linear cost.", "fraction of notional", gt=0, le=0.1
    )
    IMPACT_Y_MIN: float = parameter(0.1, "Lower bound of the learned impact coefficient.", "1", ge=0.01, le=3)
    IMPACT_Y_MAX: float = parameter(3.0, "Upper bound of the learned impact coefficient.", "1", ge=0.1, le=30)
