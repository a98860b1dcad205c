"""What a person can do about a code that holds everything."""

from __future__ import annotations

_REARM = "`triplane kill status` says who and why; `triplane kill rearm --actor NAME --reason WHY` lifts it"
_RELEASE = "then `triplane order release '*' --reason ...`"

HELD_REMEDIES = {
    "CLOCK_SKEWED": "set the clock of the machine that is named right (`timedatectl set-ntp true`); what is stamped by it is held meanwhile",
    "CLOCK_BACKWARDS": "see to the clock of the source that is named; the gate opens once its time is back where it was",
    "CLOCK_UNKNOWN": "name a time server that answers: TRIPLANE_NTP_SERVER",
    "NAV_UNKNOWN": "wait for quotes, or put the row of the named position back into assets.csv; where NAV is not positive, bring back the cash that left the account",
    "KILL_SWITCH": _REARM,
    "NAV_JUMP": f"compare positions and marks with the broker, {_RELEASE}",
    "NONDETERMINISM": f"find who wrote the same identity twice, {_RELEASE}",
    "FOREIGN_HALT": f"close or set FOREIGN_POSITIONS for what Triplane did not open, {_RELEASE}",
    "NOT_RECONCILED": "see that the gateway answers; `triplane explain` names the difference",
    "HOLD_CONFIG_MISSING": "see that the control daemon runs; the next barrier takes the newest configuration",
    "HOLD_SKIPPED_RECORD": "find who wrote the record that is named; the next barrier decides anew",
    "HOLD_DATA_MISSING": "see why the source of that topic is silent: its gate and its line in `triplane status`",
    "HOLD_KILLED": _REARM,
    "HOLD_ACCOUNT_UNKNOWN": "see to what it names: a gateway that answers, a quote, or a row of assets.csv put back",
    "HOLD_GATE_CLOSED": "see to the cause that `triplane status` names at that gate; it opens by itself once its source is good again",
    "HOLD_WARMING": "wait: `triplane status` counts the bars that are still missing",
    "HOLD_UNIVERSE_MISSING": "see `triplane status` for the cause of each name; where a busy machine is outrun by a simulated market, `--speed 60`",
    "HOLD_FACTS_MISSING": "see that EDGAR answers (its gate in `triplane status`, and TRIPLANE_USER_AGENT); filings older than FACTS_STALE_DAYS do not count, and the simulated ones end in February 2018",
    "HOLD_NOTHING_TRADABLE": "add an equity: `triplane assets add SYMBOL`",
    "HOLD_INFEASIBLE": "widen one of the limits that it names in targets.yaml, or reduce what exceeds it",
    "HOLD_SOLVER": "wait for the next barrier; if it holds as well, `triplane explain SYMBOL` has the program's limits",
    "HOLD_ROUNDING": "wait for the next barrier, or widen the limit that it names in targets.yaml",
}


def remedy_of(reason: str) -> str:
    """What to do about the first code that `reason` names."""
    return next((words for code, words in HELD_REMEDIES.items() if code in reason), "see `triplane status`")
