"""`triplane quarantine list|show`: what the gates and planes took out, why, what would mend it, and what people decided on it."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import typer

from triplane.cli import context, quarantine_decisions, quarantine_log
from triplane.cli.quarantine_log import plain

STATES = ("open", "released", "dropped", "all")
SHOWN = 20
TIMES = frozenset({"start", "end", "time", "since", "until"})
"""Fields that hold a moment, beside those that end in _time."""

app = typer.Typer(no_args_is_help=True, help="What was taken out of the data, and why.")
quarantine_decisions.add_to(app)


@app.command("list")
def list_(
    source: str = typer.Option("", "--source", help="Only of this source (ibkr, edgar, fred), or topic."),
    code: str = typer.Option("", "--code", help="Only with this code."),
    symbol: str = typer.Option("", "--symbol", help="Only of this name or series."),
    state: str = typer.Option("open", "--state", help="open (nobody decided yet), released, dropped or all."),
    limit: int = typer.Option(SHOWN, "--limit", min=1, help="The newest so many."),
    json_: bool = context.JSON,
) -> None:
    """The newest of what was taken out, and how many of each code. Those of one name and code share a row, unless both are asked for.

    With --json each is listed by itself.
    """
    from triplane.domain.timestamps import NEW_YORK, to_datetime

    if state not in STATES:
        raise context.CommandError(f"--state is one of {', '.join(STATES)}; open is the default", 2)
    records, decided = quarantine_log.read(), quarantine_log.decisions()
    for record in records:
        record["state"] = quarantine_log.state_of(decided.get(record["quarantine_id"], ()))
    wanted = {"source": source, "code": code, "symbol": symbol, "state": "" if state == "all" else state}
    chosen = [record for record in records if all(not want or record[name] == want for name, want in wanted.items())]
    newest = sorted(chosen, key=lambda record: record["available_time"])[-limit:]
    if json_:
        context.print_json({"total": len(chosen), "by_code": counts(chosen), "records": [plain(r) for r in newest]})
        return
    if not chosen:
        print(nothing(len(records), state))
        return
    together = groups(chosen) if not (code and symbol) else [[record] for record in newest]
    rows = []
    for group in together[-limit:]:
        last, number = group[-1], len(group)
        # What could not be decoded has no time.
        first, until = (
            f"{to_datetime(at, NEW_YORK):%Y-%m-%d %H:%M:%S}" if (at := each["available_time"]) > 0 else ""
            for each in (group[0], last)
        )
        when = until if number == 1 else f"{first} to {until}"
        why = last["detail"] if number == 1 else f"{number} of them, the last: {last['detail']}"
        rows.append((when, last["source"], last["symbol"], last["code"], why, last["state"], last["quarantine_id"]))
    context.print_table("Quarantine", ("New York", "source", "name", "code", "why", "state", "id"), rows)
    told = ", ".join(f"{code} {count}" for code, count in counts(chosen).items())
    shared = any(len(group) > 1 for group in together)
    each = "; --symbol and --code together list each by itself" if shared else ""
    print(f"{len(chosen)} in all: {told}; `triplane quarantine show ID` shows one whole{each}")


@app.command("show")
def show(
    quarantine_id: str = typer.Argument(help="Its id, or the beginning of it."),
    json_: bool = context.JSON,
) -> None:
    """One of them whole: what came in, what stood before it on the topic, and what a repair would change."""
    from triplane.domain.timestamps import NEW_YORK, to_datetime

    record = quarantine_log.one(quarantine_log.read(), quarantine_id)
    decided = quarantine_log.decisions().get(record["quarantine_id"], [])
    came = quarantine_log.decoded(record["raw"])
    ((repair, last_good),) = quarantine_log.repairs_of([record])
    if json_:
        mended = {"values": dict(repair.values), "reason": repair.reason} if repair else None
        told = {"state": quarantine_log.state_of(decided), "decisions": [plain(each) for each in decided]}
        context.print_json(plain(record) | {"last_good_close": last_good, "repair": mended} | told)
        return
    when = to_datetime(record["event_time"], NEW_YORK).strftime("%Y-%m-%d %H:%M:%S New York")
    print(f"{record['quarantine_id']}: {record['source']} {record['symbol']} for {record['topic']}, {when}")
    print(f"{record['code']}: {record['detail']}")
    if record["offset"] >= 0:
        print(f"it stands on {record['topic']}-{record['partition']} at {record['offset']}")
    for each in decided:
        at = to_datetime(each["event_time"], NEW_YORK).strftime("%Y-%m-%d %H:%M:%S New York")
        print(f"{each['action']} at {at} for {each['actor']} ({each['reason']}): {each['detail']}")
    if not came:
        print(f"{len(record['raw'])} bytes that are no document, beginning with {record['raw'][:200]!r}")
        return
    after = dict(repair.values) if repair else {}
    rows = [
        (name, _text(name, value), _text(name, after[name]) if name in after else "") for name, value in came.items()
    ]
    context.print_table(
        "What came in", ("field", "value", "a repair would make it")[: 3 if after else 2], _cut(rows, after)
    )
    if math.isfinite(last_good):
        print(f"the last good close before it: {last_good:g}")
    print(
        f"repair: {repair.reason}"
        if repair
        else "no repair suggests itself: whether it was real is for a person to say"
    )


def groups(records: Iterable[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Records of one source, name, code and state together, oldest first, in the order of their newest; what names none stands alone."""
    found: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for record in sorted(records, key=lambda record: record["available_time"]):
        alone = "" if record["symbol"] else record["quarantine_id"]
        key = (record["source"], record["symbol"], record["code"], record["state"], alone)
        found.setdefault(key, []).append(record)
    return sorted(found.values(), key=lambda group: group[-1]["available_time"])


def counts(records: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """How many have each code, most first."""
    return dict(Counter(record["code"] for record in records).most_common())


def nothing(kept: int, state: str) -> str:
    """What is said where none of `kept` records was chosen, in words."""
    if not kept:
        return "nothing is in quarantine"
    hint = "; those that were decided on are left out, and `--state all` has them" if state == "open" else ""
    return f"none of {kept} matches{hint}"


def _cut(rows: Sequence[tuple[str, str, str]], after: Mapping[str, float]) -> list[Sequence[str]]:
    return [row if after else row[:2] for row in rows]


def _text(name: str, value: Any) -> str:
    """A field for people: a moment (ns UTC) as New York tells it, and midnight UTC as the day that it stands for."""
    from data_plane.gates.schema import FIRST_TIME, LAST_TIME
    from triplane.domain.timestamps import DAY, NEW_YORK, to_datetime

    if type(value) is int and (name in TIMES or name.endswith("_time")) and FIRST_TIME <= value <= LAST_TIME:
        return (
            f"{to_datetime(value):%Y-%m-%d}"
            if value % DAY == 0
            else f"{to_datetime(value, NEW_YORK):%Y-%m-%d %H:%M:%S} New York"
        )
    return f"{value:.10g}" if isinstance(value, float) else json.dumps(value) if not isinstance(value, str) else value
