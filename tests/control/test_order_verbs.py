"""`triplane order release|resolve` as a person uses them: through the control daemon onto the log."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas import codec
from tests.cli.command import Ran, triplane, variables_of
from tests.control.daemon import Control
from triplane.runtime.kafka_out import TopicWriter
from triplane.runtime.settings import Settings

WHY = ("--reason", "looked at it with the broker", "--actor", "ann")


@pytest.fixture
def control(settings: Settings, tmp_path: Path) -> Iterator[Control]:
    daemon = Control(settings, tmp_path / "files")
    daemon.start()
    yield daemon
    daemon.client.close()
    daemon.end(signal.SIGKILL)


def order(control: Control, *arguments: str) -> Ran:
    variables = {"TRIPLANE_STATE_DIR": str(control.settings.state_dir)}
    return triplane("order", *arguments, cwd=control.folder, variables=variables)


@pytest.mark.integration
def test_what_a_person_says_of_a_name_or_an_order_is_on_the_log(control: Control) -> None:
    ran = order(control, "release", "KO", *WHY)
    assert ran.code == 0, ran
    assert "order.release of KO is on the log" in ran.out
    reference = "DU1234567/12/KO/3/0"
    ran = order(
        control, "resolve", reference, "--outcome", "filled", "--quantity", "7", "--price", "46.5", *WHY, "--json"
    )
    assert ran.code == 0, ran
    assert ran.json["new"] is True
    released, resolved = [record.value for record in control.log("control.commands")]
    assert released is not None
    assert resolved is not None
    assert (released["command"], released["arguments"], released["actor"]) == ("order.release", {"symbol": "KO"}, "ann")
    assert resolved["arguments"] == {"order_ref": reference, "outcome": "filled", "quantity": "7", "price": "46.5"}

    for arguments, words in (
        (("resolve", "17", *WHY), "'17' is not an order reference"),
        (("resolve", reference, "--outcome", "lost", *WHY), "use one of abandoned, cancelled, filled"),
        (("release", "KO", "--reason", " ", "--actor", "ann"), "reason must be given"),
    ):
        ran = order(control, *arguments)
        assert ran.code == 1
        assert words in ran.sentence
    assert len(control.log("control.commands")) == 2

    control.end(signal.SIGKILL)
    ran = order(control, "release", "KO", *WHY)
    assert ran.code == 1
    assert "the control daemon does not answer" in ran.sentence
    assert "`triplane up` starts it" in ran.sentence


@pytest.mark.integration
def test_what_the_log_tells_is_refused_at_once(settings: Settings, tmp_path: Path) -> None:
    """Before a control daemon is asked: there is none here."""
    writer = TopicWriter(settings, "order")
    placed, account = codec.defaults("OrderEvent"), codec.defaults("AccountState")
    writer.send(
        "order.events", placed | {"order_ref": "DU1/12/KO/3/0", "event_id": "e1", "account": "DU1", "kind": "placing"}
    )
    writer.send("order.account", account | {"account": "DU1", "held": ["WMT:UNEXPLAINED"], "excluded": ["KO"]})
    writer.flush(10)
    writer.close()
    for arguments, words in (
        (("resolve", "DU1/12/KO/4/0", *WHY), "no order 'DU1/12/KO/4/0' was ever placed here"),
        (("resolve", "DU1/12/KO/3/0", *WHY), "start one with `triplane up`"),
        (("release", "KO", *WHY), "KO is not held but left alone (FOREIGN_POSITION)"),
        (("release", "AAPL", *WHY), "does not hold 'AAPL'; held: WMT"),
        (("release", "WMT", *WHY), "start one with `triplane up`"),
    ):
        ran = triplane("order", *arguments, cwd=tmp_path, variables=variables_of(settings))
        assert ran.code == 1
        assert words in ran.sentence, arguments


def test_without_a_control_daemon_it_says_how_to_get_one(tmp_path: Path) -> None:
    ran = triplane("order", "release", "KO", *WHY, cwd=tmp_path)
    assert ran.code == 1
    assert "start one with `triplane up`" in ran.sentence
