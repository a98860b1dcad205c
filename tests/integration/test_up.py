"""`triplane up`, `status` and `down` as a user lives with them, with too little history for anything to be traded."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import signal
import subprocess
import termios
import uuid
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.cli.command import LINE, Ran, environment, triplane
from tests.integration.demonstrations import MARK, PLANES, edited, marked
from tests.waiting import eventually
from triplane.domain.calendars import MARKET_CALENDAR, decision_time, next_session
from triplane.domain.timestamps import MINUTE, NEW_YORK, to_datetime
from triplane.runtime import loopback
from triplane.runtime.kafka_in import TopicReader
from triplane.runtime.kafka_probe import SILENT
from triplane.runtime.settings import Settings
from triplane.stack.ports import free_ports

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]


@contextlib.contextmanager
def running(folder: Path, said: Path, variables: dict[str, str], *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """`triplane up` with its output in `said`; whatever of it still runs at the end is killed."""
    with said.open("wb") as out:
        process = subprocess.Popen(
            [*LINE, "up", "--no-registry", *arguments], cwd=folder, env=environment(**variables), stdout=out,
            stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(10)
        for left in marked(variables[MARK]):
            left.kill()


def test_a_closed_terminal_stops_everything_in_its_order(tmp_path: Path) -> None:
    """As when a window or a connection is closed: Kafka has written what it had, and no address of it is left."""
    state, mark = tmp_path / "state", uuid.uuid4().hex
    master, slave = pty.openpty()

    def on_the_terminal() -> None:
        fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # these tests may run under nohup(1)

    process = subprocess.Popen(
        [*LINE, "kafka", "up", "--no-registry"], cwd=tmp_path, stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
        env=environment(**{MARK: mark, "TRIPLANE_STATE_DIR": str(state)}),
        preexec_fn=on_the_terminal,
    )  # fmt: skip
    os.close(slave)
    try:
        eventually((state / "environment.json").exists, 120, "Kafka")
        os.close(master)
        process.wait(60)
        assert marked(mark) == []
        assert not (state / "environment.json").exists()
        assert list((state / "kafka").rglob(".kafka_cleanshutdown"))
    finally:
        process.kill()
        for left in marked(mark):
            left.kill()


def test_up_says_what_still_warms_up_and_down_ends_all_of_it(tmp_path: Path) -> None:
    folder, state, mark = edited(tmp_path / "files", 0.7), tmp_path / "state", uuid.uuid4().hex
    said = tmp_path / "out"

    def verb(*arguments: str) -> Ran:
        return triplane(*arguments, cwd=folder, timeout=60, variables={"TRIPLANE_STATE_DIR": str(state)})

    variables = {MARK: mark, "TRIPLANE_STATE_DIR": str(state)}
    with running(folder, said, variables, "--sessions", "8") as process:

        def is_up() -> bool:
            assert process.poll() is None, said.read_text()
            return "up; `triplane status`" in said.read_text()

        eventually(is_up, 150, f"up: {said}")
        # The market stands still between two looks at it, however long they take on this machine.
        there = json.loads((state / "environment.json").read_text())
        gateway = there["TRIPLANE_GATEWAY_HTTP"]
        intents = TopicReader(Settings(bootstrap=there["TRIPLANE_BOOTSTRAP"], state_dir=state), ["strategy.intents"])

        def market(verb: str, **body: object) -> None:
            with loopback.client(60.0) as client:
                assert client.post(f"{gateway}/{verb}", json=body).status_code == 200

        market("pause")

        def is_told(words: str) -> bool:
            return words in said.read_text()

        def decided() -> str:
            """What is told after one more session's decision, which the market, eight sessions long, waits for."""
            clock = re.search(r'(?m)^ *REBALANCE: *"?([0-9:]+)', (folder / "targets.yaml").read_text())
            assert clock is not None
            now = loopback.get(f"{gateway}/status", 10.0).json()["market_time"]
            day = next_session(MARKET_CALENDAR, to_datetime(now, NEW_YORK).date())
            decision = decision_time(MARKET_CALENDAR, day, clock.group(1))
            market("advance", to=decision + 5 * MINUTE)  # it is due once data of a later moment come
            eventually(
                lambda: any(each.value is not None and each.value["event_time"] >= decision for each in intents.poll(0.2)),
                60, f"the intents of {day}",
            )  # fmt: skip
            return verb("status").out

        status = decided()
        assert "everything held: HOLD_WARMING" in status, status
        bars = re.search(r"AAPL held: WARMING.*momentum (\d+)/252 bars", status)
        assert bars is not None, status
        assert 150 < int(bars.group(1)) < 252
        assert "SPY held: CLASS_NOT_TRADED" in status
        found = verb("status", "--json").json
        assert {each["daemon"] for each in found["daemons"]} == {*PLANES, "supervisor"}
        assert {each["service"]: each["state"] for each in found["services"]} == dict.fromkeys(
            ("kafka", "gateway", "providers"), "ready"
        )
        assert "beside them: kafka ready" in status
        assert found["account"]["positions" if "positions" in found["account"] else "position"] == []

        # An edit is answered on this terminal, a bad one and a good one.
        targets = folder / "targets.yaml"
        good = targets.read_text()
        targets.write_text(re.sub(r"(VOL_TARGET:) [0-9.]+", r"\1 9.5", good))
        eventually(lambda: "control: Nothing changed: configuration" in said.read_text(), 20, "the refusal")
        assert re.search(r"control: .*targets\.yaml.*line \d+.*VOL_TARGET.*9\.5", said.read_text())
        assert re.search(r"edit refused, nothing changed: .*VOL_TARGET = 9\.5", verb("status").out)
        targets.write_text(re.sub(r"(VOL_TARGET:) [0-9.]+", r"\1 0.07", good))
        eventually(lambda: "is in force: strategy.VOL_TARGET: 0.1 -> 0.07" in said.read_text(), 20, "the new version")

        # A row that is taken out and put back has its history again, not a year of warming up before it.
        assets = folder / "assets.csv"
        rows = assets.read_text()
        assets.write_text("".join(row for row in rows.splitlines(keepends=True) if not row.startswith("KO,")))
        eventually(lambda: said.read_text().count("is in force: ") == 2, 20, "the version without KO")
        eventually(lambda: "KO held" not in (out := decided()) and "AAPL held" in out, 60, "KO is gone")
        assets.write_text(rows)
        log = state / "logs" / "data.log"
        eventually(lambda: re.search(r'"names": "KO".*loading history', log.read_text()), 20, "its history is loaded")

        def warm() -> int:
            found = re.search(r"KO held: WARMING.*momentum (\d+)/252 bars", decided())
            return int(found.group(1)) if found else 0

        eventually(lambda: warm() >= int(bars.group(1)), 60, "KO is back with its history")

        # The simulated market follows an edit of the decision time: what is then decided on is there.
        for before, after in (("15:30", "14:00"), ("14:00", "15:45")):
            targets.write_text(targets.read_text().replace(f'REBALANCE: "{before}"', f'REBALANCE: "{after}"'))
            eventually(partial(is_told, f"REBALANCE: {before} -> {after}"), 20, f"{after} is in force")
            status = decided()
            if "HOLD_DATA_MISSING" in status:  # the machine was late by a barrier's whole deadline
                status = decided()
            assert "everything held: HOLD_WARMING" in status, status
        intents.close()
        market("start")

        # A market that ends by itself says so, where it was started and whoever asks.
        end = "the simulated market has ended after 8 session(s)"
        eventually(lambda: end in said.read_text(), 120, "the market's end")
        assert end in verb("status").out
        assert verb("status", "--json").json["market_ended"].startswith(end)

        # Kafka stands still: every daemon says so to whoever asks for its readiness.
        def tells_of_silence(url: str) -> bool:
            return SILENT in loopback.get(f"{url}/readyz", 10.0).json()["reason"]

        kafka = next(each["pid"] for each in found["services"] if each["service"] == "kafka")
        os.kill(kafka, signal.SIGSTOP)
        try:
            for plane in PLANES:
                url = json.loads((state / "run" / f"{plane}.json").read_text())["http"]
                eventually(partial(tells_of_silence, url), 20, f"{plane} says that Kafka is silent")
        finally:
            os.kill(kafka, signal.SIGCONT)

        stopped = verb("down", "--json")
        assert stopped.code == 0, stopped
        assert {*PLANES, "gateway", "providers", "kafka"} <= set(stopped.json["stopped"])
        assert process.wait(30) == 0, said.read_text()
        eventually(lambda: not marked(mark), 5, "every process is gone")
        assert "Traceback" not in said.read_text()


def test_up_without_its_gateway_says_so_and_ends_at_ctrl_c(tmp_path: Path) -> None:
    folder, mark, said = edited(tmp_path / "files", 0.7), uuid.uuid4().hex, tmp_path / "out"
    variables = {
        MARK: mark, "TRIPLANE_STATE_DIR": str(tmp_path / "state"), "TRIPLANE_MODE": "paper", "TRIPLANE_ACCOUNT": "DU1234567",
        "TRIPLANE_GATEWAY_PORT": str(port := free_ports(1)[0]),
    }  # fmt: skip
    with running(folder, said, variables) as process:

        def told(plane: str) -> bool:
            return bool(re.search(rf"(?m)^{plane}: still not ready: .*127\.0\.0\.1:{port}", said.read_text()))

        eventually(lambda: told("order") and told("data"), 60, "both say what they wait for")
        process.send_signal(signal.SIGINT)
        process.wait(30)
        eventually(lambda: not marked(mark), 5, "every process is gone")
        assert "Traceback" not in said.read_text()


@pytest.mark.parametrize(
    ("variables", "why"),
    [
        (
            {"TRIPLANE_MODE": "live", "TRIPLANE_GATEWAY_PORT": "4001", "TRIPLANE_ACCOUNT": "U1"},
            "live trading is refused",
        ),
        ({"TRIPLANE_MODE": "shadow"}, "set TRIPLANE_GATEWAY_PORT and TRIPLANE_ACCOUNT"),
        ({"TRIPLANE_ACCOUNT": "DU1,DU2"}, "name exactly one account"),
    ],
    ids=["live", "shadow-of-nothing", "two-accounts"],
)
def test_a_mode_or_account_that_is_refused_starts_nothing(variables: dict[str, str], why: str, tmp_path: Path) -> None:
    ran = triplane("up", cwd=tmp_path, variables=variables | {"TRIPLANE_STATE_DIR": str(tmp_path / "state")})
    assert ran.code == 78
    assert why in ran.sentence
    assert not (tmp_path / "state").exists()


def test_down_where_nothing_runs_says_so(tmp_path: Path) -> None:
    ran = triplane("down", cwd=tmp_path, variables={"TRIPLANE_STATE_DIR": str(tmp_path / os.urandom(2).hex())})
    assert ran.code == 1
    assert "nothing is up on" in ran.sentence
