"""Targets -> targets.yaml with a line of meaning above each parameter, and -> docs/configuration.md. Both come from the models."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from pydantic.fields import FieldInfo

from triplane.domain.problems import bounds, choices
from triplane.domain.targets import Targets
from triplane.domain.targets.consistency import RELATIONS
from triplane.domain.targets.reading import sections

TITLES: Final[Mapping[str, str]] = {
    "data": "Data Plane: history, sources and gates",
    "strategy": "Strategy Plane: barriers, signals, regime, covariance and the optimiser",
    "order": "Order Plane: risk limits, throttles, execution, kill switches and learned costs",
}

_HEADER: Final = """\
# What a person tunes. Save this file while the planes run: the control daemon checks it whole and publishes it as a new version,
# or refuses it whole and says file, line, parameter, value and allowed range (`triplane config check` says the same beforehand).
# Above each parameter: its meaning [unit; allowed range; whose time, when it is a time]. Weights are fractions of NAV, costs are
# fractions of notional (1e-4 = 1 bp), volatilities are annualised. Market time is the exchange's (the recorded one on paper and
# in replay); wall time is this machine's. `python -m triplane.control.document` rewrites the comments and keeps the values.
"""

_PAGE: Final = """\
# Configuration

<!-- Generated from the models in triplane/domain/targets by `python -m triplane.control.document`; edit those instead. -->

`targets.yaml` holds every number that a person tunes, `assets.csv` what is traded. The control daemon watches both. It checks an
edit whole: either all of it is published as the next version on `control.config`, with a hash that every intent carries, or
nothing changes and each problem is named by file, line, parameter, value and allowed range, on the terminal, in the log and as
the metric `triplane_config_rejected_total`. Every parameter has to be there: a file that lacks one may be half written.

Each plane takes a version at a place of its own: the strategy at the next barrier, by the offset that the barrier names; the
data plane at its next slice; the order plane on arrival, since a tightened limit must not wait.

Time is *market* time (the exchange's clock; the recorded one on paper and in replay) or *wall* time (this machine's: sockets,
acknowledgements, providers' request limits).
"""


def literal(value: Any) -> str:
    """A value as targets.yaml spells it: the shortest form that reads back as the same value."""
    return json.dumps(value) if isinstance(value, str) else repr(value)


def remark(field: FieldInfo) -> str:
    """The comment above a parameter: meaning, unit, range and kind of time."""
    unit, time = _extra(field)
    # For words the unit is the list of words: say it once.
    parts = [bounds(field)] if choices(field) else [unit, bounds(field)]
    return f"{field.description} [{'; '.join(part for part in [*parts, time and f'{time} time'] if part)}]"


def render(targets: Targets, spelled: Mapping[str, str] | None = None) -> str:
    """targets.yaml with the values of `targets`. `spelled` keeps a value's own spelling (5e-4) where it has one."""
    lines = [_HEADER]
    for group, model in sections().items():
        lines.append(f"# {TITLES[group]}\n{group}:")
        section = getattr(targets, group)
        for parameter, field in model.model_fields.items():
            own = (spelled or {}).get(f"{group}.{parameter}")
            lines.append(f"  # {remark(field)}")
            lines.append(f"  {parameter}: {own or literal(getattr(section, parameter))}")
        lines.append("")
    return "\n".join(lines[:-1]) + "\n"


def page() -> str:
    """docs/configuration.md: one table a plane, then what parameters must be to each other, then assets.csv."""
    from triplane.domain.assets import Asset

    parts = [_PAGE]
    for group, model in sections().items():
        parts.append(f"## {TITLES[group]}\n\n`{group}:` in targets.yaml.\n")
        parts.append("| Parameter | Default | Unit | Allowed | Time | Meaning |\n|---|---|---|---|---|---|")
        for parameter, field in model.model_fields.items():
            unit, time = _extra(field)
            unit = "one word" if choices(field) else unit
            cells = (
                f"`{parameter}`",
                f"`{literal(field.default)}`",
                unit,
                f"`{bounds(field)}`",
                time,
                str(field.description),
            )
            parts.append("| " + " | ".join(_cell(cell) for cell in cells) + " |")
        parts.append("")
    parts.append("## Between parameters\n\nAn edit that breaks one of these is refused like one outside its range.\n")
    parts.append("| Must hold | Otherwise |\n|---|---|")
    parts.extend(f"| `{item.lower} {item.sign} {item.upper}` | {_cell(item.because)} |" for item in RELATIONS)
    parts.append(
        "| `strategy.REBALANCE` within the regular session of every traded asset's calendar, less `order.CLOSE_BUFFER_S` "
        "| no order could follow the decision |\n"
    )
    parts.append(
        "## assets.csv\n\nOne row an asset. A column that has a default may be left out, and so may its cells. The same checks hold "
        "as for targets.yaml;\n`triplane assets check` runs them. Classes other than Equity are read, shown and refused as "
        "`CLASS_NOT_TRADED` until their release.\n"
    )
    parts.append("| Column | Default | Allowed | Meaning |\n|---|---|---|---|")
    for column, field in Asset.model_fields.items():
        default = "" if field.is_required() else f"`{json.dumps(field.default)}`"
        limits = f"`{_cell(bounds(field))}`" if bounds(field) else ""
        parts.append(f"| `{column}` | {default} | {limits} | {_cell(field.description or '')} |")
    return "\n".join(parts) + "\n"


def _extra(field: FieldInfo) -> tuple[str, str]:
    extra = field.json_schema_extra
    assert isinstance(extra, dict)
    return str(extra["unit"]), str(extra["time"])


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
