"""What the daemons' logs say to people, on another terminal."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from triplane.cli.log_relay import LogRelay, relayed, sentence


def test_people_get_sentences_and_accepted_changes_only() -> None:
    refusal = "targets.yaml line 127 VOL_TARGET: 9.5 is not allowed; 0.01 to 1"
    assert sentence(refusal) == refusal
    taken = {"event": "config published", "hash": "ab" * 32, "changes": ["strategy.VOL_TARGET: 0.1 -> 0.06"]}
    assert sentence(json.dumps(taken)) == "configuration abababababab is in force: strategy.VOL_TARGET: 0.1 -> 0.06"
    assert sentence(json.dumps(taken | {"changes": []})) == ""
    assert sentence(json.dumps({"event": "ready"})) == ""


def test_people_get_what_the_order_plane_alerts_them_to() -> None:
    alert = {"event": "alert", "code": "KILL_REQUESTED", "detail": "ops asked for it: drill", "symbol": ""}
    assert sentence(json.dumps(alert)) == "KILL_REQUESTED: ops asked for it: drill"
    assert sentence(json.dumps(alert | {"code": "UNEXPLAINED", "symbol": "KO"})).startswith("UNEXPLAINED KO: ")


def test_people_get_what_a_plane_refuses_and_which_source_is_down() -> None:
    skipped = {"event": "record skipped", "record": "data.bars-0@7", "reason": "no Avro", "barrier": 12}
    assert (
        sentence(json.dumps(skipped)) == "record data.bars-0@7 is skipped (no Avro); barrier 12 holds what rests on it"
    )
    assert (
        sentence(json.dumps(skipped | {"more": 695}))
        == "record data.bars-0@7 and 695 more are skipped (no Avro); barrier 12 holds what rests on it"
    )
    ahead = {"event": "record refused", "record": "data.quotes-0@3", "reason": "stamped ahead"}
    assert sentence(json.dumps(ahead)) == "record data.quotes-0@3 is refused: stamped ahead"
    order = {"event": "record refused", "topic": "data.bars", "offset": 9, "code": "UNDECODABLE", "problem": "no Avro"}
    assert sentence(json.dumps(order)) == "record data.bars@9 is refused: no Avro"
    drops = {"event": "bars came too late", "source": "ibkr", "code": "LATE", "count": 40}
    assert sentence(json.dumps(drops)) == "40 bars of ibkr came after their slices and are dropped (LATE)"
    assert sentence(json.dumps(drops | {"count": 1})) == ""  # a name that was silent is late once when it is back
    page = {"event": "older submissions are missing", "symbol": "KO", "page": "CIK-001.json", "up_to": "2012-03-04"}
    assert sentence(json.dumps(page)).startswith(
        "KO: filings up to 2012-03-04 that only CIK-001.json lists are left out"
    )
    over = {"event": "record passed over", "record": "order.events-0@160", "problem": "no Avro"}
    assert sentence(json.dumps(over)) == "record order.events-0@160 is passed over: no Avro"
    damaged = {"event": "damaged file", "file": "order-seen.json"}
    assert (
        sentence(json.dumps(damaged))
        == "order-seen.json is damaged: it is not used, and the log alone says what it was for"
    )
    assert sentence(json.dumps(damaged | {"instead": "2 lines are left out"})).endswith(
        "is damaged: 2 lines are left out"
    )
    torn = {
        "event": "starting",
        "note": "snapshot checksum differs; the file is damaged and the state is rebuilt from the log",
    }
    assert sentence(json.dumps(torn)) == torn["note"]
    first = {"event": "starting", "note": "no snapshot at x; the state is rebuilt from the log"}
    assert sentence(json.dumps(first)) == ""
    ref = "DU1/754/BRK.B/1/0 came to the broker after its good-till time: error 201"
    late = {"event": "alert", "code": "TOO_LATE", "symbol": "BRK.B", "detail": ref}
    assert sentence(json.dumps(late)).startswith("TOO_LATE: orders of barrier 754 came to the broker after")
    late["detail"] = ref.replace("/1/0", "/12/0")
    assert sentence(json.dumps(late)).startswith("TOO_LATE: later orders of barrier 754 came")
    held = {"event": "decision held", "seq": 7, "code": "HOLD_INFEASIBLE", "detail": "the limits cannot all be met"}
    assert sentence(json.dumps(held)) == "everything is held: HOLD_INFEASIBLE: the limits cannot all be met"
    assert sentence(json.dumps(held | {"detail": ""})) == "everything is held: HOLD_INFEASIBLE"
    assert sentence(json.dumps(held | {"again": True})) == ""
    again = {"event": "decisions resumed", "seq": 8, "after": "HOLD_INFEASIBLE"}
    assert sentence(json.dumps(again)) == "decisions go on with barrier 8, after HOLD_INFEASIBLE"
    passed = {"event": "sessions passed", "count": 1, "first": "2018-02-05", "last": "2018-02-05"}
    assert sentence(json.dumps(passed)).startswith("session 2018-02-05 went by without a decision: ")
    assert sentence(json.dumps(passed | {"count": 2, "last": "2018-02-06"})).startswith(
        "2 sessions, 2018-02-05 to 2018-02-06, went by"
    )
    unknown = {"event": "no contract", "symbol": "UNH", "reason": "contract id 7 is WMT at the broker"}
    assert sentence(json.dumps(unknown)) == "no data of UNH: contract id 7 is WMT at the broker"
    kept_back = unknown | {"event": "no order in this contract leaves"}
    assert sentence(json.dumps(kept_back)) == "no order of UNH leaves: contract id 7 is WMT at the broker"
    unlisted = {"event": "no CIK", "source": "edgar", "symbol": "TGTX"}
    assert sentence(json.dumps(unlisted)) == "no facts of TGTX: the SEC lists no such ticker"
    refused = {"event": "kafka refuses", "reason": "data.bars: not acknowledged: Broker: Invalid timestamp"}
    assert sentence(json.dumps(refused)) == (
        "what is published waits on disk, for Kafka refuses it: data.bars: not acknowledged: Broker: Invalid timestamp"
    )
    down = {"event": "source down", "source": "edgar", "reason": "SEC asks for a name"}
    assert sentence(json.dumps(down)) == "source edgar is down: SEC asks for a name"
    closed = {
        "event": "gate closed",
        "gate": "schema",
        "source": "fred",
        "scope": "",
        "code": "VALUE_UNREADABLE",
        "detail": "DTB3",
    }
    assert sentence(json.dumps(closed)) == "gate schema of fred is closed: VALUE_UNREADABLE DTB3"
    assert sentence(json.dumps(closed | {"gate": "price_sanity"})) == ""


def test_what_is_tried_for_hours_is_told_once_in_a_while(tmp_path: Path) -> None:
    path, told, patient = tmp_path / "data.log", list[str](), list[str]()
    often, seldom = LogRelay(path, told.append), LogRelay(path, patient.append, 600.0)
    for reason in ("away", "slow", "away"):
        with path.open("a") as log:
            log.write(json.dumps({"event": "source down", "source": "fred", "reason": reason}) + "\n")
        often.look()
        seldom.look()
    assert [line.rpartition(" ")[2] for line in told] == ["away", "slow", "away"]
    assert [line.rpartition(" ")[2] for line in patient] == ["away", "slow"]


def test_orders_of_many_names_that_come_too_late_are_told_once(tmp_path: Path) -> None:
    path, told = tmp_path / "order.log", list[str]()
    relay = LogRelay(path, told.append)
    for seq, name, child in ((753, "GE", 1), (753, "KO", 1), (753, "KO", 2), (754, "GE", 1), (754, "KO", 1)):
        detail = f"DU1/{seq}/{name}/{child}/0 came to the broker after its good-till time: error 201"
        entry = {"event": "alert", "code": "TOO_LATE", "symbol": name, "detail": detail}
        with path.open("a") as log:
            log.write(json.dumps(entry) + "\n")
        relay.look()
    assert [line.partition(" came")[0] for line in told] == [
        "TOO_LATE: orders of barrier 753", "TOO_LATE: later orders of barrier 753", "TOO_LATE: orders of barrier 754",
    ]  # fmt: skip


def test_every_hold_is_heard_though_it_is_said_once(tmp_path: Path) -> None:
    path, told, heard = tmp_path / "strategy.log", list[str](), list[Mapping[str, Any]]()
    relay = LogRelay(path, told.append, 600.0, heard.append)
    held = {"event": "decision held", "code": "HOLD_DATA_MISSING", "detail": ""}
    entries = (held | {"seq": 7}, held | {"seq": 8}, held | {"seq": 6, "again": True}, {"event": "config published"})
    path.write_text("")
    with path.open("a") as log:
        log.writelines(json.dumps(entry) + "\n" for entry in entries)
    relay.look()
    assert told == ["everything is held: HOLD_DATA_MISSING"]
    assert [entry["seq"] for entry in heard] == [7, 8]


def test_a_hold_after_decisions_went_on_is_news_again(tmp_path: Path) -> None:
    path, told = tmp_path / "strategy.log", list[str]()
    relay = LogRelay(path, told.append, 600.0)
    held = json.dumps({"event": "decision held", "code": "HOLD_DATA_MISSING", "detail": ""})
    for line in (held, held, json.dumps({"event": "decisions resumed", "seq": 8, "after": "x"}), held):
        with path.open("a") as log:
            log.write(line + "\n")
        relay.look()
    assert [line.partition(":")[0] for line in told] == [
        "everything is held", "decisions go on with barrier 8, after x", "everything is held",
    ]  # fmt: skip


async def test_every_sentence_begins_with_its_daemon(tmp_path: Path) -> None:
    told: list[str] = []
    both = asyncio.Event()

    def tell(line: str) -> None:
        told.append(line)
        if len(told) == 3:
            both.set()

    async with relayed(tmp_path, tell):
        (tmp_path / "order.log").write_text('{"event": "alert", "code": "KILLED", "detail": "why"}\n')
        (tmp_path / "control.log").write_text("targets.yaml line 1\n")
        (tmp_path / "data.log").write_text("data: a daemon that ends names itself\n")
        async with asyncio.timeout(10):
            await both.wait()
    assert sorted(told) == [
        "control: targets.yaml line 1",
        "data: a daemon that ends names itself",
        "order: KILLED: why",
    ]


def test_only_what_is_new_is_told_whole_lines_only_also_after_a_rotation(tmp_path: Path) -> None:
    path, told = tmp_path / "control.log", list[str]()
    path.write_text("of an earlier run\n")
    relay = LogRelay(path, told.append)
    relay.look()
    with path.open("a") as log:
        log.write("one\ntw")
    relay.look()
    assert told == ["one"]
    with path.open("a") as log:
        log.write("o\n")
    relay.look()
    assert told == ["one", "two"]
    path.write_text("new\n")
    relay.look()
    assert told == ["one", "two", "new"]
    path.unlink()
    relay.look()


def test_a_log_that_is_not_there_yet_is_waited_for(tmp_path: Path) -> None:
    told: list[str] = []
    relay = LogRelay(tmp_path / "control.log", told.append)
    relay.look()
    (tmp_path / "control.log").write_text("first\n")
    relay.look()
    assert told == ["first"]
