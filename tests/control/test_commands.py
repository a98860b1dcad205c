"""What people may ask for, and how a request that asks for something else is refused."""

from __future__ import annotations

import pytest

from triplane.control.commands import COMMANDS, Refused, normalised

WHO = {"actor": " ana ", "reason": "drill"}


def test_defaults_are_filled_in_and_texts_trimmed():
    assert normalised({"command": "kill.trip", **WHO}) == {
        "command": "kill.trip",
        "arguments": {"scope": "account"},
        "actor": "ana",
        "reason": "drill",
        "command_id": "",
    }
    assert normalised({"command": "order.resolve", "arguments": {"order_ref": "DU1/2/AAPL/0/0"}, **WHO})[
        "arguments"
    ] == {
        "order_ref": "DU1/2/AAPL/0/0",
        "outcome": "abandoned",
        "quantity": "0",
        "price": "0",
    }


def test_every_command_says_what_it_does():
    for name, command in COMMANDS.items():
        assert command.meaning.endswith(".")
        assert "." in name
        for argument in command.arguments.values():
            assert argument.meaning
            assert argument.default is None or not argument.choices or argument.default in argument.choices


@pytest.mark.parametrize(
    ("request_", "sentence"),
    [
        (
            {"command": "kill.tripp", **WHO},
            r"unknown command 'kill.tripp'; did you mean kill.trip\?; use one of kill.trip, kill.rearm",
        ),
        ({**WHO}, "command must be given"),
        ({"command": "kill.trip", "reason": "x"}, "actor must be given"),
        ({"command": "kill.trip", "actor": "x", "reason": "  "}, "reason must be given"),
        ({"command": "kill.trip", "actor": "x", "reason": "a\nb"}, "reason must be one line"),
        ({"command": "kill.trip", "actor": "x" * 501, "reason": "a"}, "actor must be one line of at most 500"),
        ({"command": "kill.trip", "actor": 3, "reason": "a"}, "actor must be text"),
        ({"command": "kill.trip", "resaon": "a", **WHO}, r"unknown field 'resaon'; did you mean reason\?"),
        ({"command": "kill.trip", "arguments": ["own"], **WHO}, "arguments must be an object"),
        (
            {"command": "kill.trip", "arguments": {"scop": "own"}, **WHO},
            r"no argument 'scop'; did you mean scope\?; it takes scope",
        ),
        ({"command": "kill.trip", "arguments": {"scope": "all"}, **WHO}, "scope is 'all'; use one of account, own"),
        ({"command": "kill.rearm", "arguments": {"scope": "own"}, **WHO}, "it takes no arguments"),
        ({"command": "order.resolve", **WHO}, "order.resolve needs order_ref"),
        ({"command": "order.resolve", "arguments": {"order_ref": "17"}, **WHO}, "'17' is not an order reference"),
        ({"command": "order.release", "arguments": {"symbol": 3}, **WHO}, "symbol must be text"),
    ],
)
def test_refusals(request_: dict[str, object], sentence: str):
    with pytest.raises(Refused, match=sentence) as caught:
        normalised(request_)
    assert not caught.value.conflict
