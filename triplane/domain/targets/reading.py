"""targets.yaml as text -> Targets, with the line of every parameter; or everything that is wrong with it.

Every parameter has to be there. Were a missing one to take its default, the first half of a file that is being written would be
a valid edit that resets the second half.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode
from ruamel.yaml.reader import ReaderError

from triplane.domain.problems import Problem, allowed, choices, nearest
from triplane.domain.targets import Targets
from triplane.domain.targets.parameter import Section

REGENERATE = "add it, or let `python -m triplane.control.document --targets FILE` write it"
BRACKETS = 1_000
"""More of them are no parameters: a deep nest keeps the parser, and with it whoever asks the daemon, for many seconds."""
LONGEST = 1 << 16
"""Characters, four times of what all parameters and their meanings take. Of more a parser in Python makes half a minute a megabyte, and as many
problems as lines; whoever reads the file (control, the simulated market) answers nobody meanwhile."""
NAMED_ALONE = 3
"""So many missing parameters of a group are told one by one."""


def sections() -> dict[str, type[Section]]:
    """The groups of targets.yaml and their models, in file order."""
    found: dict[str, type[Section]] = {}
    for name, info in Targets.model_fields.items():
        assert isinstance(info.annotation, type)
        assert issubclass(info.annotation, Section)
        found[name] = info.annotation
    return found


@dataclass(slots=True)
class Reading:
    """What was read. `targets` is None when there are problems. By `plane.PARAMETER`: the line (from 1), the value, the value
    as the file spells it; `faulty` are those with a problem of their own. `is_yaml` is False when no line could be told."""

    targets: Targets | None = None
    problems: list[Problem] = field(default_factory=list)
    lines: dict[str, int] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)
    spelled: dict[str, str] = field(default_factory=dict)
    faulty: set[str] = field(default_factory=set)
    is_yaml: bool = False


def read(text: str, name: str = "targets.yaml") -> Reading:
    """Parse and validate; `name` is the file named in the problems. Never raises on any text."""
    reading = Reading()
    problems = reading.problems
    yaml = YAML(typ="safe", pure=True)
    if len(text) > LONGEST:
        problems.append(
            Problem(name, 0, "", "", f"is {len(text)} characters long; {LONGEST} hold all parameters; restore the file")
        )
        return reading
    brackets = text.count("[") + text.count("{")
    if brackets > BRACKETS:
        problems.append(
            Problem(name, 0, "", "", f"holds {brackets} brackets and parameters need none; restore the file")
        )
        return reading
    try:
        root = yaml.compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reason = " ".join(part for part in (error.context, error.problem) if part)
        remedy = "write spaces instead of the tab" if "'\\t'" in reason else "correct the line"
        problems.append(Problem(name, mark.line + 1 if mark else 0, "", "", f"is not YAML: {reason}; {remedy}"))
        return reading
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        problems.append(
            Problem(name, line, "", "", f"holds the character {error.character!r}, which YAML refuses; remove it")
        )
        return reading
    except (YAMLError, RecursionError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        problems.append(Problem(name, 0, "", "", f"is not YAML: {type(error).__name__} {reason}; restore the file"))
        return reading
    if not isinstance(root, MappingNode):
        line = root.start_mark.line + 1 if root is not None else 0
        problems.append(Problem(name, line, "", "", f"must hold the groups {', '.join(sections())}; restore the file"))
        return reading
    reading.is_yaml = True
    if not text.endswith("\n"):
        last = text.count("\n") + 1
        problems.append(Problem(name, last, "", "", "has no line end, so it may be half written; end the last line"))

    values = _values(root, name, reading, yaml)
    try:
        parsed = Targets.model_validate(values, strict=True)
    except ValidationError as error:
        problems.extend(_invalid(error, name, reading))
    else:
        if not problems:
            reading.targets = parsed
    return reading


def _values(root: MappingNode, name: str, reading: Reading, yaml: YAML) -> dict[str, dict[str, Any]]:
    """Plain values by group; unknown, doubled and missing names and values that are no scalars go to `reading.problems`."""
    known = sections()
    problems = reading.problems
    values: dict[str, dict[str, Any]] = {}
    for group, line, node in _entries(root, name, "", reading):
        if group not in known:
            problems.append(Problem(name, line, group, "", f"unknown group{nearest(group, known)}"))
            continue
        if not isinstance(node, MappingNode):
            problems.append(Problem(name, line, group, _spelled(node), "must be a group of parameters, one a line"))
            continue
        found: dict[str, Any] = {}
        for parameter, at_line, value in _entries(node, name, f"{group}.", reading):
            full = f"{group}.{parameter}"
            fields = known[group].model_fields
            if parameter not in fields:
                elsewhere = [f"{other}.{parameter}" for other in known if parameter in known[other].model_fields]
                hint = (
                    f"; it belongs to group {elsewhere[0].partition('.')[0]}"
                    if elsewhere
                    else nearest(parameter, fields)
                )
                problems.append(Problem(name, at_line, full, _spelled(value), f"unknown parameter{hint}"))
                continue
            reading.lines[full] = at_line
            reading.spelled[full] = _spelled(value)
            if isinstance(value, ScalarNode):
                found[parameter] = reading.values[full] = _scalar(value, yaml)
            else:
                reading.faulty.add(full)
                problems.append(Problem(name, at_line, full, "", f"is a list or group; {allowed(fields[parameter])}"))
        values[group] = found
        missing = [parameter for parameter in known[group].model_fields if f"{group}.{parameter}" not in reading.lines]
        problems.extend(_missing(name, line, group, missing))
    present = {label for label, _, _ in _entries(root, name, "", Reading())}
    problems.extend(
        Problem(name, 0, group, "", f"group is missing; {REGENERATE}") for group in known if group not in present
    )
    return values


def _missing(name: str, line: int, group: str, parameters: list[str]) -> list[Problem]:
    """A problem for each, or one for all of a file that was cut short: a terminal full of lines says no more."""
    if len(parameters) <= NAMED_ALONE:
        return [Problem(name, line, f"{group}.{each}", "", f"is missing; {REGENERATE}") for each in parameters]
    told = f"{', '.join(parameters[:NAMED_ALONE])} and {len(parameters) - NAMED_ALONE} more parameters are missing"
    return [Problem(name, line, group, "", f"{told}; {REGENERATE}")]


def _entries(node: MappingNode, name: str, prefix: str, reading: Reading) -> list[tuple[str, int, Node]]:
    """Key, line and value of a mapping; a repeated key is a problem and its later value is left out."""
    entries: list[tuple[str, int, Node]] = []
    first: dict[str, int] = {}
    for key, value in node.value:
        line = key.start_mark.line + 1
        label = key.value if isinstance(key, ScalarNode) else "a list or group"
        if label in first:
            reading.problems.append(
                Problem(name, line, prefix + label, _spelled(value), f"already on line {first[label]}; keep one")
            )
            continue
        first[label] = line
        entries.append((label, line, value))
    return entries


def _scalar(node: ScalarNode, yaml: YAML) -> Any:
    """The node's value; what its tag cannot be made of stays text, which the model then refuses."""
    try:
        return yaml.constructor.construct_object(node)
    except (YAMLError, ValueError, OverflowError):
        return node.value


def _spelled(node: Node) -> str:
    if not isinstance(node, ScalarNode):
        return ""
    return f'"{node.value}"' if node.style in ("'", '"') else str(node.value)


def _invalid(error: ValidationError, name: str, reading: Reading) -> list[Problem]:
    known: Mapping[str, type[Section]] = sections()
    found = []
    for details in error.errors():
        # Every value here is a scalar of a known group and parameter: what was not has been told and left out already.
        group, parameter = str(details["loc"][0]), str(details["loc"][1])
        full = f"{group}.{parameter}"
        info = known[group].model_fields[parameter]
        extra = info.json_schema_extra
        unit = f" ({extra['unit']})" if isinstance(extra, dict) and not choices(info) else ""
        spelled = reading.spelled.get(full, "")
        reading.faulty.add(full)
        found.append(
            Problem(name, reading.lines.get(full, 0), full, spelled or "nothing", allowed(info, spelled) + unit)
        )
    return found
