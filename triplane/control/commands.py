"""The commands that people give the planes over `control.commands`: which there are, and what each needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from triplane.domain.ids import parse_order_ref
from triplane.domain.problems import nearest

_FIELDS: Final = ("command", "arguments", "actor", "reason", "command_id")
_LONGEST: Final = 500


class Refused(ValueError):
    """The request is not carried out; the text is one sentence for its sender. `conflict`: its id is taken."""

    def __init__(self, sentence: str, *, conflict: bool = False) -> None:
        super().__init__(sentence)
        self.conflict = conflict


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a command. `choices` empty: any text. `default` None: must be given."""

    meaning: str
    choices: tuple[str, ...] = ()
    default: str | None = None


@dataclass(frozen=True, slots=True)
class Command:
    """What a command does, and its arguments by name."""

    meaning: str
    arguments: Mapping[str, Argument]


COMMANDS: Final[Mapping[str, Command]] = {
    "kill.trip": Command(
        "Stop new orders and ask for cancels.",
        {"scope": Argument("whose open orders are cancelled", ("account", "own"), "account")},
    ),
    "kill.rearm": Command("Let orders leave again.", {}),
    "order.resolve": Command(
        "Say what became of an order that reconciliation cannot tell.",
        {
            "order_ref": Argument("the order's reference, ACCOUNT/SEQ/SYMBOL/CHILD/REV"),
            "outcome": Argument("what became of it", ("abandoned", "cancelled", "filled"), "abandoned"),
            "quantity": Argument("units filled that no execution shows, to be booked", default="0"),
            "price": Argument("price of those units", default="0"),
        },
    ),
    "order.release": Command(
        "Let a held name, or the whole account, trade again.", {"symbol": Argument("the name, or * for the account")}
    ),
    "data.release": Command(
        "Let what a gate took out onto its topic, known from now on.",
        {
            "quarantine_id": Argument("its id on data.quarantine"),
            "repair": Argument("with the values that a repair suggests", ("no", "yes"), "no"),
        },
    ),
    "data.drop": Command(
        "Say that what was taken out is wrong for good.", {"quarantine_id": Argument("its id on data.quarantine")}
    ),
}


def normalised(request: Mapping[str, Any]) -> dict[str, Any]:
    """A request as Command fields (`command_id` may be empty), defaults filled in. Raises Refused."""
    for name in request:
        if name not in _FIELDS:
            raise Refused(f"unknown field {name!r}{nearest(str(name), _FIELDS)}; send {', '.join(_FIELDS[:4])}")
    command = _text(request, "command", required=True)
    if command not in COMMANDS:
        raise Refused(f"unknown command {command!r}{nearest(command, COMMANDS)}; use one of {', '.join(COMMANDS)}")
    actor = _text(request, "actor", required=True)
    reason = _text(request, "reason", required=True)
    given = request.get("arguments", {})
    if not isinstance(given, Mapping):
        raise Refused('arguments must be an object of texts, such as {"scope": "own"}')
    return {
        "command": command,
        "arguments": _arguments(command, given),
        "actor": actor,
        "reason": reason,
        "command_id": _text(request, "command_id"),
    }


def _arguments(command: str, given: Mapping[str, Any]) -> dict[str, str]:
    known = COMMANDS[command].arguments
    for name in given:
        if name not in known:
            takes = ", ".join(known) or "no arguments"
            raise Refused(f"{command} has no argument {name!r}{nearest(str(name), known)}; it takes {takes}")
    values: dict[str, str] = {}
    for name, argument in known.items():
        value = _text(given, name) or argument.default
        if value is None:
            raise Refused(f"{command} needs {name}: {argument.meaning}")
        if argument.choices and value not in argument.choices:
            raise Refused(
                f"{command}: {name} is {value!r}; use one of {', '.join(argument.choices)}{nearest(value, argument.choices)}"
            )
        values[name] = value
    if "order_ref" in values and parse_order_ref(values["order_ref"]) is None:
        raise Refused(f"{command}: {values['order_ref']!r} is not an order reference ACCOUNT/SEQ/SYMBOL/CHILD/REV")
    return values


def _text(source: Mapping[str, Any], name: str, *, required: bool = False) -> str:
    value = source.get(name, "")
    if not isinstance(value, str):
        raise Refused(f"{name} must be text")
    value = value.strip()
    if required and not value:
        raise Refused(f"{name} must be given")
    if len(value) > _LONGEST or not value.isprintable():
        raise Refused(f"{name} must be one line of at most {_LONGEST} printable characters")
    return value
