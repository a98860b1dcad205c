"""Arrays of a record that run in parallel: element i of each belongs to one name, so all have one length.

Avro cannot say this. A record in which they differ decodes without an error, and whoever reads it by place then fails, or
worse, pairs one name's number with another's. So the codec refuses it like any other malformed record.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

PARALLEL: Final[Mapping[str, tuple[tuple[str, ...], ...]]] = {
    "AccountState": (("symbols", "con_ids", "position", "mark", "avg_cost", "open_buy", "open_sell", "unknown"),),
    "BarSlice": (("symbols", "open", "high", "low", "close", "volume", "wap", "trades"),),
    "CostEstimate": (("profiles", "linear", "linear_sd", "impact", "impact_sd", "parents"),),
    "FactSet": (("concepts", "units", "period_start", "period_end", "values", "fiscal_year", "fiscal_period"),),
    "FundamentalSet": (("names", "bases", "values", "units", "period_start", "period_end"),),
    "IntentSlice": (
        ("symbols", "con_ids", "target_qty", "target_weight", "reference_price", "sigma_daily", "adv"),
        ("held", "held_codes"),
    ),
    "MacroVintage": (("observation_time", "values"),),
    "MicroSlice": (("symbols", "ofi", "depth", "signed_volume", "mid", "spread", "increments"),),
    "QuoteSlice": (
        ("symbols", "bid", "ask", "bid_size", "ask_size", "last", "volume", "quote_time", "status", "halted"),
    ),
    "TradeSlice": (("symbols", "price", "size", "trade_time"),),
}
"""By record: groups of fields, each group of one length."""


def ragged(record: str, value: Mapping[str, Any], unwritten: frozenset[str] = frozenset()) -> str:
    """What is wrong with the lengths of a record's arrays, in one clause; empty when nothing is.

    Fields that an older writer did not have (`unwritten`) are empty by default and are not compared.
    """
    for group in PARALLEL.get(record, ()):
        written = [name for name in group if name not in unwritten]
        for name in written[1:]:
            if len(value[name]) != len(value[written[0]]):
                return f"{name} has {len(value[name])} elements where {written[0]} has {len(value[written[0]])}"
    return ""
