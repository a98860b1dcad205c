"""From files to versions: every problem told with its place, equal content equal hash, records that read back."""

from __future__ import annotations

import json
import math
import os
import re
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import codec
from triplane.domain.edited_file import FILE_MAX_BYTES
from triplane.domain.targets import Targets
from triplane.domain.targets.consistency import RELATIONS, value_of
from triplane.domain.targets.reading import sections
from triplane.domain.targets.writing import render
from triplane.runtime import configuration
from triplane.runtime.configuration import (
    ConfigError,
    canonical_json,
    changes,
    from_record,
    load_files,
    parse,
    to_record,
)

ROOT = Path(__file__).parents[2]
TARGETS = (ROOT / "targets.yaml").read_text(encoding="utf-8")
DEFAULTS = render(Targets())
ASSETS = (ROOT / "assets.csv").read_text(encoding="utf-8")


def line_of(text: str, parameter: str) -> int:
    return next(number for number, line in enumerate(text.splitlines(), 1) if line.strip().startswith(f"{parameter}:"))


def with_value(text: str, parameter: str, value: str) -> str:
    found, count = re.subn(rf"(?m)^  {parameter}: .*$", f"  {parameter}: {value}", text)
    assert count == 1, parameter
    return found


def sentences(targets: str, assets: str = ASSETS) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse(targets, assets)
    return [str(problem) for problem in caught.value.problems]


def only(targets: str) -> str:
    found = sentences(targets)
    assert len(found) == 1, found
    return found[0]


def test_the_committed_files_agree_with_the_models_in_names_and_defaults():
    config = load_files(ROOT / "targets.yaml", ROOT / "assets.csv")
    assert config.targets == Targets()
    assert config.seq == 0
    assert config.offset == -1


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("1.5", "BOX_LIM = 1.5: allowed is a number > 0 and <= 1 (fraction of NAV)"),
        ("0", "BOX_LIM = 0: allowed is a number > 0 and <= 1"),
        ("-0.1", "BOX_LIM = -0.1"),
        (".nan", "BOX_LIM = .nan: allowed is a number > 0 and <= 1"),
        (".inf", "BOX_LIM = .inf"),
        ("nan", "BOX_LIM = nan"),
        ("a lot", "BOX_LIM = a lot"),
        ('"0.2"', 'BOX_LIM = "0.2"'),
        ("true", "BOX_LIM = true"),
        ("null", "BOX_LIM = null"),
        ("", "BOX_LIM = nothing"),
        ("0,2", "BOX_LIM = 0,2"),
        ("2018-02-05", "BOX_LIM = 2018-02-05"),
        ("[0.2]", "BOX_LIM: is a list or group; allowed is a number > 0 and <= 1"),
        ("{a: 1}", "BOX_LIM: is a list or group"),
        ("!!float x", "BOX_LIM = x"),
        ("!!timestamp x", "BOX_LIM = x"),
        ("9" * 400, "BOX_LIM = 999"),
    ],
)
def test_a_bad_number_is_told_with_file_line_parameter_value_and_range(value: str, wanted: str):
    found = only(with_value(DEFAULTS, "BOX_LIM", value))
    assert found.startswith(f"targets.yaml line {line_of(DEFAULTS, 'BOX_LIM')}: strategy.{wanted}"), found


@pytest.mark.parametrize(
    ("parameter", "value", "wanted"),
    [
        (
            "MOM_LOOKBACK",
            "252.5",
            "strategy.MOM_LOOKBACK = 252.5: allowed is a whole number >= 40 and <= 1260 (sessions)",
        ),
        ("MOM_LOOKBACK", "39", "strategy.MOM_LOOKBACK = 39"),
        (
            "EXECUTION",
            "limits",
            "order.EXECUTION = limits: allowed is one of limit, market, adaptive; did you mean limit?",
        ),
        ("EXECUTION", "3", "order.EXECUTION = 3: allowed is one of"),
        ("REBALANCE", "25:30", "strategy.REBALANCE = 25:30: allowed is text matching"),
        ("REBALANCE", "1530", "strategy.REBALANCE = 1530"),
        ("KILL_PNL", "0.05", "order.KILL_PNL = 0.05: allowed is a number >= -1 and < 0"),
    ],
)
def test_each_type_has_its_range(parameter: str, value: str, wanted: str):
    found = only(with_value(DEFAULTS, parameter, value))
    assert found.startswith(f"targets.yaml line {line_of(DEFAULTS, parameter)}: {wanted}"), found


def every_parameter() -> list[tuple[str, str]]:
    return [(group, parameter) for group, model in sections().items() for parameter in model.model_fields]


@pytest.mark.parametrize(("group", "parameter"), every_parameter())
def test_every_parameter_has_a_unit_a_meaning_and_a_range_and_refuses_what_lies_outside(group: str, parameter: str):
    info = sections()[group].model_fields[parameter]
    extra = info.json_schema_extra
    assert isinstance(extra, dict)
    assert extra["unit"]
    assert (info.description or "").endswith(".")
    if str(extra["unit"]) == "s":
        assert extra["time"] in ("market", "wall"), "seconds must say whose"
    start = f"targets.yaml line {line_of(DEFAULTS, parameter)}: {group}.{parameter} = "
    refused = refusals()
    assert any(sentence.startswith(start) for sentence in refused[0]), refused[0]
    if info.annotation in (int, float):
        assert len(outside(group, parameter)) == 2, "both ends of the range"
        for value, told in zip(outside(group, parameter), refused[1:], strict=True):
            assert any(sentence.startswith(start + value) for sentence in told)


def outside(group: str, parameter: str) -> list[str]:
    """A number below the range and one above it, or nothing where the parameter has none."""
    info = sections()[group].model_fields[parameter]
    if info.annotation not in (int, float):
        return []
    bounds = [
        getattr(item, name)
        for item in info.metadata
        for name in ("ge", "gt", "le", "lt")
        if getattr(item, name, None) is not None
    ]
    numbers = (min(bounds) - 1, max(bounds) + 1)
    return [repr(number if info.annotation is float else math.floor(number)) for number in numbers if len(bounds) == 2]


@cache
def refusals() -> list[list[str]]:
    """What is said of three files: one with text for every parameter, one with each number below its range, one above. Reading takes 20 ms."""
    texts = [DEFAULTS, DEFAULTS, DEFAULTS]
    for group, parameter in every_parameter():
        for number, value in enumerate(['"\u2205"', *outside(group, parameter)]):
            texts[number] = with_value(texts[number], parameter, value)
    return [sentences(text) for text in texts]


def test_unknown_doubled_and_missing_names_are_told_with_the_nearest_known_name():
    line = line_of(DEFAULTS, "VOL_TARGET")
    found = sentences(DEFAULTS.replace("  VOL_TARGET: 0.1", "  VOL_TARGT: 0.07"))
    assert f"targets.yaml line {line}: strategy.VOL_TARGT = 0.07: unknown parameter; did you mean VOL_TARGET?" in found
    assert any(
        "strategy.VOL_TARGET: is missing; add it, or let `python -m triplane.control.document --targets FILE` write it"
        in item
        for item in found
    )
    assert only(DEFAULTS.replace("  VOL_TARGET: 0.1", "  VOL_TARGET: 0.1\n  VOL_TARGET: 0.07")) == (
        f"targets.yaml line {line + 1}: strategy.VOL_TARGET = 0.07: already on line {line}; keep one"
    )
    assert "unknown parameter; it belongs to group order" in only(
        DEFAULTS.replace("  VOL_TARGET:", "  POV_CAP: 0.1\n  VOL_TARGET:")
    )
    assert any(
        "unknown group; did you mean strategy?" in item
        for item in sentences(DEFAULTS.replace("\nstrategy:", "\nstrategie:"))
    )
    assert "strategy: already on line" in " ".join(sentences(DEFAULTS + "strategy:\n  VOL_TARGET: 0.2\n"))
    assert any(
        item
        == "targets.yaml: order: group is missing; add it, or let `python -m triplane.control.document --targets FILE` write it"
        for item in sentences(DEFAULTS[: DEFAULTS.index("# Order Plane")])
    )
    # A file that was cut short is one sentence a group, not a screen of them.
    cut = sentences(DEFAULTS[: DEFAULTS.index("  VOL_TARGET:")])
    assert len(cut) == 2
    assert re.search(
        r"line \d+: strategy: \w+, \w+, \w+ and \d+ more parameters are missing; add it, or let", cut[1]
    ), cut
    assert "order = 3: must be a group of parameters" in only(DEFAULTS[: DEFAULTS.index("\norder:")] + "\norder: 3\n")
    assert any(
        "data.a list or group = 1: unknown parameter" in item
        for item in sentences(DEFAULTS.replace("data:\n", "data:\n  ? [a]\n  : 1\n"))
    )


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("data: [1,\n", "targets.yaml line 2: is not YAML: while parsing a flow node"),
        ("data:\n  A: 1\n B: 2\n", "targets.yaml line 3: is not YAML"),
        ("data:\n\tA: 1\n", "cannot start any token; write spaces instead of the tab"),
        ("data: *nothing\n", "targets.yaml line 1: is not YAML"),
        ("--- 1\n--- 2\n", "is not YAML: expected a single document"),
        ("data:\n  A: \x00\n", "targets.yaml line 2: holds the character"),
        ("[" * 3000, "targets.yaml: holds 3000 brackets and parameters need none; restore the file"),
        ("a: 1\n" * 20_000, "targets.yaml: is 100000 characters long; 65536 hold all parameters; restore the file"),
        ("", "targets.yaml: must hold the groups data, strategy, order"),
        ("# only\n", "targets.yaml: must hold the groups"),
        ("- 1\n", "targets.yaml line 1: must hold the groups"),
        (DEFAULTS[:-1], "has no line end, so it may be half written"),
    ],
)
def test_what_is_no_whole_file_is_told(text: str, wanted: str):
    assert wanted in only(text)


def test_parameters_must_fit_each_other():
    assert RELATIONS
    for relation in RELATIONS:
        for name in (relation.lower, relation.upper):
            assert value_of(Targets(), name) is not None, f"{name} is gone; correct RELATIONS"
        # The lower at the top of its range, the upper at the bottom of its own: a relation that still holds says nothing.
        text = DEFAULTS
        for name, end in ((relation.lower, max), (relation.upper, min)):
            group, parameter = name.split(".")
            info = sections()[group].model_fields[parameter]
            bounds = {
                key: getattr(item, key)
                for item in info.metadata
                for key in ("ge", "gt", "le", "lt")
                if hasattr(item, key)
            }
            limit = end(bounds.values())
            inside = limit if limit in (bounds.get("ge"), bounds.get("le")) else limit + (1e-6 if end is min else -1e-6)
            text = with_value(text, parameter, repr((info.annotation or float)(inside)))
        told = [item for item in sentences(text) if f": {relation.lower} = " in item]
        assert any(f"must be {relation.sign} {relation.upper}" in item for item in told), relation


def test_a_conflict_names_line_values_and_reason():
    assert only(with_value(DEFAULTS, "CANCEL_RESERVE", "40")) == (
        f"targets.yaml line {line_of(DEFAULTS, 'CANCEL_RESERVE')}: order.CANCEL_RESERVE = 40: must be < order.MESSAGES_PER_S, "
        "which is 40.0, or no message would be left for orders"
    )


@pytest.mark.parametrize(
    ("clock", "fits"),
    [("09:30", False), ("09:31", True), ("15:30", True), ("15:54", True), ("15:55", False), ("16:30", False)],
)
def test_the_decision_lies_in_the_session_and_leaves_time_to_trade(clock: str, fits: bool):
    text = with_value(DEFAULTS, "REBALANCE", f'"{clock}"')
    if fits:
        parsed = parse(text, ASSETS)
        assert clock == parsed.targets.strategy.REBALANCE
    else:
        assert "must be from 09:31 and before 15:55 on a regular day of XNYS" in only(text)
        assert "before 15:54:30" in only(
            with_value(with_value(DEFAULTS, "REBALANCE", '"15:55"'), "CLOSE_BUFFER_S", "330")
        )


def test_problems_of_both_files_are_told_together(tmp_path: Path):
    found = sentences(with_value(DEFAULTS, "BOX_LIM", "7"), ASSETS.replace("US0378331005", "US0378331006"))
    assert [sentence.split(" ")[0] for sentence in found] == ["assets.csv", "targets.yaml"]
    with pytest.raises(ConfigError) as caught:
        load_files(tmp_path / "targets.yaml", tmp_path / "assets.csv")
    assert [problem.file for problem in caught.value.problems] == ["assets.csv", "targets.yaml"]
    assert f"targets.yaml: is not in {tmp_path}; restore it, or start where it is" in str(caught.value)
    with pytest.raises(ConfigError, match="is a directory; name the file in it"):
        load_files(tmp_path, tmp_path / "assets.csv")
    (tmp_path / "large.yaml").write_bytes(b"#" * (FILE_MAX_BYTES + 1))
    with pytest.raises(
        ConfigError, match=r"large.yaml: cannot .* \(longer than 4 MiB, which no configuration is\); put the"
    ):
        load_files(tmp_path / "large.yaml", tmp_path / "assets.csv")
    os.mkfifo(tmp_path / "pipe.yaml")
    for endless in (tmp_path / "pipe.yaml", Path("/dev/zero")):
        with pytest.raises(
            ConfigError, match=rf"{endless.name}: cannot be read from {endless.parent} \(not a regular file\)"
        ):
            load_files(endless, tmp_path / "assets.csv")
    (tmp_path / "targets.yaml").write_bytes(b"data:\n  A: \xff\n")
    (tmp_path / "assets.csv").write_text(ASSETS)
    with pytest.raises(ConfigError, match=r"targets\.yaml line 2: holds the byte 0xff, which is not UTF-8"):
        load_files(tmp_path / "targets.yaml", tmp_path / "assets.csv")


def test_spelling_comments_order_and_line_ends_do_not_change_the_hash():
    config = parse(DEFAULTS, ASSETS)
    lines = [line for line in DEFAULTS.splitlines() if not line.strip().startswith("#")]
    spelled = with_value(
        with_value("\n".join(lines) + "\n", "VOL_TARGET", "1.0e-1  # ten per cent"), "KILL_PNL", "-5e-2"
    )
    assert parse(spelled, ASSETS).hash == config.hash
    groups = re.split(r"(?m)^(?=\w+:)", "\n".join(lines) + "\n")[1:]
    assert parse("".join(reversed(groups)), ASSETS).hash == config.hash
    assert configuration.decode_text(b"\xef\xbb\xbfa\r\nb\rc\n", "x") == "a\nb\nc\n"


def test_every_input_of_the_hash_changes_it():
    config = parse(DEFAULTS, ASSETS)
    values, assets = configuration.values_json(config.targets), configuration.assets_json(config.universe)
    hashes = {
        config.hash,
        parse(with_value(DEFAULTS, "VOL_TARGET", "0.07"), ASSETS).hash,
        parse(DEFAULTS, ASSETS.replace("Apple Inc.", "Apple")).hash,
        parse(DEFAULTS, "\n".join([*ASSETS.splitlines()[:1], *ASSETS.splitlines()[:0:-1]]) + "\n").hash,
        configuration.hash_of(values, assets, "0", config.tzdata_version),
        configuration.hash_of(values, assets, config.calendar_version, "0"),
    }
    assert len(hashes) == 6


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(json_values)
def test_canonical_json_is_a_fixed_point(value):
    text = canonical_json(value)
    assert json.loads(text) == value
    assert canonical_json(json.loads(text)) == text


def test_canonical_json_has_one_zero_and_refuses_nan():
    assert canonical_json({"b": -0.0, "a": (1, 0.1)}) == '{"a":[1,0.1],"b":0.0}'
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json(math.nan)


def test_a_record_reads_back_as_the_same_configuration_through_avro():
    config = parse(with_value(DEFAULTS, "VOL_TARGET", "0.07"), ASSETS)
    first = to_record(config, None, actor="ana", event_time=5)
    assert (first["seq"], first["prev_hash"], first["changes"], first["available_time"]) == (1, "", [], 0)
    wire = codec.load()
    read = from_record(wire.decode("ConfigVersion", wire.encode("ConfigVersion", first)), 17)
    assert (read.targets, read.universe, read.hash, read.seq, read.offset) == (
        config.targets,
        config.universe,
        config.hash,
        1,
        17,
    )
    second = to_record(parse(DEFAULTS, ASSETS), first, actor="ana", event_time=6)
    assert (second["seq"], second["prev_hash"]) == (2, first["hash"])
    assert second["changes"] == ["strategy.VOL_TARGET: 0.07 -> 0.1"]
    assert from_record(second).prev_hash == first["hash"]


def test_a_record_that_was_altered_or_comes_from_another_release_is_refused():
    record = to_record(parse(DEFAULTS, ASSETS), None, actor="ana", event_time=5)
    with pytest.raises(ConfigError, match=r"control\.config version 1: hash = .*does not fit the values"):
        from_record(record | {"values": record["values"].replace('"VOL_TARGET":0.1', '"VOL_TARGET":0.9')})

    def rehashed(**values: str) -> dict[str, object]:
        changed = record | values
        parts = (changed["values"], changed["assets"], changed["calendar_version"], changed["tzdata_version"])
        return changed | {"hash": configuration.hash_of(*parts)}

    with pytest.raises(ConfigError, match=r"written by another release \(strategy.GONE: Extra inputs"):
        from_record(rehashed(values=record["values"].replace('"VOL_TARGET"', '"GONE":1,"VOL_TARGET"')))
    with pytest.raises(ConfigError, match="written by another release"):
        from_record(rehashed(assets="[1"))
    for assets in ("null", "1", "{}", "[]", "[null]", "[" * 100_000):  # each with a hash that fits
        odd = rehashed(assets=assets)
        with pytest.raises(ConfigError, match="written by another release"):
            from_record(odd)
        # The version after it says what it adds; it is read where the odd one is not.
        after = to_record(parse(DEFAULTS, ASSETS), odd, actor="ana", event_time=6)
        assert all(change.startswith("assets") for change in after["changes"])
        assert from_record(after).seq == 2
    assert configuration.changes(rehashed(values="[" * 100_000), record)
    older = json.loads(record["values"])
    del older["strategy"]["VOL_TARGET"]
    assert from_record(rehashed(values=canonical_json(older))).targets == Targets()


def test_changes_name_everything_that_differs():
    old = to_record(parse(DEFAULTS, ASSETS), None, actor="", event_time=0)
    lines = ASSETS.splitlines()
    text = "\n".join([lines[0], *lines[2:20], lines[1], *lines[21:]]) + "\n"  # AAPL moved, XOM removed
    text = (
        text.replace("Best Buy Co., Inc.", "Best Buy")
        + "BRK.B"
        + lines[2][3:].replace("US0079031078", "").replace("BBG000BBQCY0", "")
        + "\n"
    )
    new = to_record(
        parse(with_value(with_value(DEFAULTS, "KILL_PNL", "-0.04"), "EXECUTION", "market"), text),
        None,
        actor="",
        event_time=0,
    )
    found = changes(old, new | {"calendar_version": "9", "tzdata_version": "9"})
    assert found[:2] == ["order.EXECUTION: limit -> market", "order.KILL_PNL: -0.05 -> -0.04"]
    assert "assets.BBY.name: Best Buy Co., Inc. -> Best Buy" in found
    assert "assets.XOM: removed" in found
    assert "assets.BRK.B: added" in found
    assert any(item.startswith("assets: order AAPL AMD") for item in found)
    assert found[-2:] == [
        f"calendar_version: {old['calendar_version']} -> 9",
        f"tzdata_version: {old['tzdata_version']} -> 9",
    ]
    assert changes(old, old) == []


def test_versions_with_other_parameters_compare():
    record = to_record(parse(DEFAULTS, ASSETS), None, actor="", event_time=0)
    values = json.loads(record["values"])
    values["strategy"]["GONE"] = values["strategy"].pop("VOL_TARGET")
    assert changes(record | {"values": canonical_json(values)}, record) == [
        "strategy.GONE: 0.1 -> removed",
        "strategy.VOL_TARGET: added -> 0.1",
    ]
