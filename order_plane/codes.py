"""Every coded reason of the order plane, with one line of meaning.

A code says why an intent or a child order did not go on, why a name or the account is held, or what a person is alerted to. Codes
are strings on the log: adding one is always compatible, renaming one is not.
"""

from __future__ import annotations

from enum import StrEnum


class Code(StrEnum):
    """A reason. `group` is where it appears; `meaning` is one line for people."""

    group: str
    meaning: str

    def __new__(cls, value: str, group: str, meaning: str) -> Code:
        """Members are written as (value, group, meaning)."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.group = group
        member.meaning = meaning
        return member

    OK = "OK", "allowed", "It may go on."
    SHADOW = "SHADOW", "allowed", "Every check passed; in shadow mode nothing is sent."

    # An intent as a whole
    SUPERSEDED = "SUPERSEDED", "intent", "A newer barrier's intents were taken before these."
    EXPIRED = "EXPIRED", "intent", "It came after its valid_until."
    NONDETERMINISM = (
        "NONDETERMINISM",
        "intent",
        "The same identity came with other bytes; the account is held until a person looks.",
    )
    AT_TARGET = "AT_TARGET", "intent", "Position, open and unknown orders already make the target."
    BELOW_MIN_ORDER = (
        "BELOW_MIN_ORDER",
        "intent",
        "The difference to the target is less than a lot or the smallest order.",
    )
    UNKNOWN_SYMBOL = "UNKNOWN_SYMBOL", "intent", "The name is not in the configured universe."
    CLASS_NOT_TRADED = "CLASS_NOT_TRADED", "intent", "This release does not trade the asset's class."
    CONTRACT_MISMATCH = (
        "CONTRACT_MISMATCH",
        "intent",
        "The contract id is not the configured one, or not this name's at the broker.",
    )
    NOT_A_NUMBER = "NOT_A_NUMBER", "intent", "A quantity, price or volume that decides is not a finite number."
    NO_CONFIG = "NO_CONFIG", "intent", "No configuration was taken yet."

    # A record that is not taken at all
    FROM_THE_FUTURE = "FROM_THE_FUTURE", "record", "It is stamped ahead of this machine's clock; it is in quarantine."
    SEQ_JUMP = "SEQ_JUMP", "record", "Its barrier does not follow the last one taken; it is in quarantine."

    # What holds a name or the account
    KILLED = "KILLED", "hold", "The kill switch is tripped; only a person re-arms it."
    UNRECONCILED = (
        "UNRECONCILED",
        "hold",
        "No reconciliation has passed since start, link loss or an unclear difference.",
    )
    DISCONNECTED = "DISCONNECTED", "hold", "The link to the broker or to its servers is down."
    FIRST_ORDER_ALONE = (
        "FIRST_ORDER_ALONE",
        "hold",
        "The first order after a connect travels alone until it is acknowledged.",
    )
    SYMBOL_HELD = (
        "SYMBOL_HELD",
        "hold",
        "Something about the name could not be explained; `triplane order release` lets it trade again.",
    )
    ACCOUNT_HELD = (
        "ACCOUNT_HELD",
        "hold",
        "Something about the account could not be explained; `triplane order release '*'` lifts it.",
    )
    FOREIGN_POSITION = (
        "FOREIGN_POSITION",
        "hold",
        "Triplane did not open the position in this name and leaves it alone.",
    )
    FOREIGN_HALT = (
        "FOREIGN_HALT",
        "hold",
        "FOREIGN_POSITIONS is halt and there are positions that Triplane did not open.",
    )
    NAV_UNKNOWN = (
        "NAV_UNKNOWN",
        "hold",
        "A held position has no fresh mark, or NAV is not positive, so limits in NAV cannot be judged.",
    )
    NAV_JUMP = "NAV_JUMP", "hold", "NAV moved further between two marks than NAV_JUMP_MAX allows."

    # One child order
    SESSION_CLOSED = "SESSION_CLOSED", "session", "The exchange is not open."
    CLOSE_BUFFER = "CLOSE_BUFFER", "session", "The session ends within CLOSE_BUFFER_S."
    QUOTE_MISSING = "QUOTE_MISSING", "quote", "No two-sided quote."
    QUOTE_STALE = "QUOTE_STALE", "quote", "The last quote is older than QUOTE_STALE_S."
    QUOTE_DELAYED = "QUOTE_DELAYED", "quote", "The quote is delayed, frozen or not subscribed."
    QUOTE_HALTED = "QUOTE_HALTED", "quote", "The name is halted."
    QUOTE_CROSSED = "QUOTE_CROSSED", "quote", "The bid is above the ask."
    LOT = "LOT", "order", "The quantity is not a positive multiple of the lot, or less than the smallest order."
    TICK = "TICK", "order", "The price is not a multiple of the tick."
    COLLAR = "COLLAR", "order", "The price is further from the mid than COLLAR."
    ORDER_QTY = "ORDER_QTY", "order", "The quantity exceeds ORDER_QTY_MAX."
    ORDER_NOTIONAL = "ORDER_NOTIONAL", "order", "The notional exceeds ORDER_NOTIONAL_MAX."
    ORDER_ADV = "ORDER_ADV", "order", "The quantity exceeds ORDER_ADV_MAX of adv."
    DAY_ADV = "DAY_ADV", "order", "Traded, open and new quantity exceed ADV_DAY_CAP of adv in this session."
    CHILD_OVER_PARENT = "CHILD_OVER_PARENT", "order", "Filled, open, unknown and new quantity would pass the target."
    DUPLICATE_KEY = (
        "DUPLICATE_KEY",
        "order",
        "The order's key or order id was written ahead before; it is never sent again.",
    )
    SELF_CROSS = "SELF_CROSS", "order", "An own order on the other side of the name may still be live."
    ACTIVE_PER_SIDE = "ACTIVE_PER_SIDE", "order", "Too many active orders of the name on this side."
    ORDERS_PER_MINUTE = "ORDERS_PER_MINUTE", "order", "Too many orders of the name within a minute."
    NOTIONAL_PER_MINUTE = "NOTIONAL_PER_MINUTE", "order", "Too much notional within a minute."
    VOLUME_WAIT = "VOLUME_WAIT", "order", "Observed volume does not allow a child of useful size yet."
    UNANSWERED = (
        "UNANSWERED",
        "order",
        "The broker has yet to answer several orders of the intent; no other is sent before.",
    )
    MESSAGE_RATE = "MESSAGE_RATE", "order", "The message budget that is left is kept for cancels."
    NO_SHORT = "NO_SHORT", "order", "The worst case is short and the name may not be shorted."
    BOX = "BOX", "portfolio", "The name's worst case exceeds BOX_HARD."
    GROSS = "GROSS", "portfolio", "The worst case of gross exceeds GROSS_HARD."
    NET = "NET", "portfolio", "The worst case of |net| exceeds NET_HARD."
    BUYING_POWER = "BUYING_POWER", "portfolio", "Reserved funds would exceed BUYING_POWER_USE of what is available."

    # Why an order was cancelled or its state changed
    DONE = "DONE", "cancel", "The target is reached as far as lots allow."
    PARENT_EXPIRED = "PARENT_EXPIRED", "cancel", "The parent's time is over."
    REQUOTE = (
        "REQUOTE",
        "cancel",
        "The order rests away from the market; a new child replaces it once this one is final.",
    )
    FOREIGN_CANCEL = (
        "FOREIGN_CANCEL",
        "cancel",
        "Somebody else, or the broker itself, cancelled an order of the intent; the next barrier decides again.",
    )
    DOUBLE_ORDER = (
        "DOUBLE_ORDER",
        "cancel",
        "Two live orders carry one key; what is ours of them is cancelled and the name is held.",
    )
    BROKER_TIMEOUT = "BROKER_TIMEOUT", "state", "No sign from the broker within BROKER_TIMEOUT_S."
    RESTART = "RESTART", "state", "Written ahead before a restart, without a trace since."
    ABSENT = "ABSENT", "state", "Two complete snapshots do not know it; it is never sent again."
    NOT_SENT = "NOT_SENT", "state", "The write-ahead was not acknowledged in time, so it was not sent."
    UNLISTED_ERROR = (
        "UNLISTED_ERROR",
        "state",
        "The broker's error code is not on our list; the order's fate is unknown.",
    )
    REJECTED = "REJECTED", "state", "The broker refused the order."
    MARK_KEPT = "MARK_KEPT", "state", "A held name has had no mark for a minute; levels are judged with its last one."
    TOO_LATE = "TOO_LATE", "state", "The order reached the broker after its good-till time, which refused it."
    ANOMALY = "ANOMALY", "state", "A report contradicts what was known of the order."
    HELD_AT_BROKER = "HELD_AT_BROKER", "state", "The broker holds the order; it counts as open."
    UNKNOWN_ORDER = "UNKNOWN_ORDER", "state", "The broker knows an order under our key that our log does not."
    LATE_EXECUTION = "LATE_EXECUTION", "state", "An execution came for an order believed to be dead; it was booked."
    UNDECODABLE = "UNDECODABLE", "state", "A message of the broker could not be decoded; it may have been a fill."

    # Reconciliation: causes of differences
    EXECUTION_MISSED = "EXECUTION_MISSED", "difference", "An execution was learned from a snapshot."
    FOREIGN_EXECUTION = "FOREIGN_EXECUTION", "difference", "Somebody else traded the name in this account."
    CORPORATE_ACTION = "CORPORATE_ACTION", "difference", "A split explains the change of position."
    CASH_FLOW = "CASH_FLOW", "difference", "Cash changed without a trade of ours."
    UNEXPLAINED = (
        "UNEXPLAINED",
        "difference",
        "Nothing explains the broker's position; it is taken over and the name is held.",
    )
    SNAPSHOT_INCOMPLETE = "SNAPSHOT_INCOMPLETE", "difference", "The broker's answer was cut short; it proves nothing."

    # Kill reasons
    KILL_PNL = "KILL_PNL", "kill", "Today's PnL fell below KILL_PNL."
    KILL_DRAWDOWN = "KILL_DRAWDOWN", "kill", "The drawdown exceeded MAX_DD_KILL_SWITCH."
    KILL_PSR = "KILL_PSR", "kill", "The probabilistic Sharpe ratio fell below PSR_KILL_SWITCH."
    REJECT_STORM = "REJECT_STORM", "kill", "Too many rejects within a minute."
    BROKER_LIQUIDATION = "BROKER_LIQUIDATION", "kill", "The broker liquidated a position."
    KILL_REQUESTED = "KILL_REQUESTED", "kill", "A person or a monitor asked for it."
    REARMED = "REARMED", "kill", "A person lifted the kill switch."
    REARM_REFUSED = (
        "REARM_REFUSED",
        "kill",
        "Re-arming needs a name and a reason, and lifts only a kill that was there when it was asked for.",
    )
    BAD_COMMAND = (
        "BAD_COMMAND",
        "kill",
        "The command's arguments are incomplete or name nothing that exists, or its id is another command's.",
    )
