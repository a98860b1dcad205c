"""How a tunable number is declared: value, unit, range, market or wall time, and one line of meaning."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

TimeKind = Literal["market", "wall"]


class Section(BaseModel):
    """Base of a group of parameters: unknown names are refused, values are frozen, NaN and infinity are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def parameter(
    default: Any,
    meaning: str,
    unit: str,
    *,
    ge: float | None = None,
    le: float | None = None,
    gt: float | None = None,
    lt: float | None = None,
    time: TimeKind | None = None,
    pattern: str | None = None,
) -> Any:
    """A tunable parameter. `unit` is its unit in words ("fraction of NAV", "sessions", "s"); `time` says whose seconds.

    Market time is the Clock's (the stream's on paper and in replay); wall time is the machine's.
    """
    return Field(
        default,
        description=meaning,
        ge=ge,
        le=le,
        gt=gt,
        lt=lt,
        pattern=pattern,
        json_schema_extra={"unit": unit, "time": time or ""},
    )
