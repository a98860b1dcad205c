"""What fundamentals are: the file that defines them, and the language of its formulas."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_plane.fundamentals import expressions
from data_plane.fundamentals.definitions import DIMENSIONS, KINDS, STATEMENTS, DefinitionError, Tag, load, standard
from data_plane.fundamentals.expressions import Binary, Call, Dimension, ExpressionError, Name, Negative, Number, parse


def entry(name: str = "revenue", **fields: object) -> str:
    """One [[fundamental]] of a definitions.toml; a field of None is left out."""
    values = {"statement": "income", "kind": "flow", "unit": "money", "meaning": "m", "tags": ["us-gaap:R"]} | fields
    lines = [f"{key} = {value!r}" for key, value in values.items() if value is not None]
    return "\n".join(["[[fundamental]]", f"name = {name!r}", *lines, ""])


def test_the_standard_file_has_enough_of_every_statement() -> None:
    definitions = standard()
    assert len(definitions) >= 190
    per_statement = dict.fromkeys(STATEMENTS, 0)
    for definition in definitions.values():
        per_statement[definition.statement] += 1
    assert per_statement["income"] >= 35
    assert per_statement["balance"] >= 50
    assert per_statement["cash_flow"] >= 30
    assert min(per_statement.values()) >= 4
    assert {definition.kind for definition in definitions.values()} == set(KINDS)
    assert {definition.unit for definition in definitions.values()} == set(DIMENSIONS)
    assert all(
        definition.meaning.strip() and not definition.meaning.endswith(".") for definition in definitions.values()
    )


def test_definitions_come_after_what_their_formulas_need() -> None:
    definitions = standard()
    seen: set[str] = set()
    for name, definition in definitions.items():
        if definition.formula is not None:
            assert expressions.names(definition.formula) <= seen
        seen.add(name)


def test_ladders_are_of_three_taxonomies_and_every_concept_is_listed() -> None:
    concepts = standard().concepts()
    assert {concept.split(":")[0] for concept in concepts} == {"us-gaap", "ifrs-full", "dei"}
    assert len(concepts) == len(set(concepts)) >= 350
    assert standard()["revenue"].tags[0] == Tag("us-gaap:Revenues", 1)
    assert (
        Tag("us-gaap:PaymentsForProceedsFromOtherInvestingActivities", -1)
        in standard()["other_investing_cash_flow"].tags
    )


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("[[fundamental", "mend the file"),
        (entry("Revenue"), "small letters"),
        (entry("a") + entry("a"), "defined twice"),
        (entry(colour="red"), "unknown field 'colour'"),
        (entry(statement="poem"), "statement 'poem'"),
        (entry(kind="often"), "kind 'often'"),
        (entry(unit="USD"), "unit 'USD'"),
        (entry(meaning=" "), "no meaning"),
        (entry(tags=["R"]), "taxonomy:Concept"),
        (entry(tags=[1]), "taxonomy:Concept"),
        (entry(tags=["us-gaap:R", "-us-gaap:R"]), "names a tag twice"),
        (entry(tags=None), "neither tags nor a formula"),
        (entry(unit="ratio"), "is a ratio with tags"),
        (entry(formula="revenue +"), "the end"),
        (entry(formula="cost"), "names cost, which is not defined"),
        (entry("a", formula="b") + entry("b", formula="a"), "circle"),
        (entry("a") + entry("b", kind="instant", formula="a"), "over a period"),
        (entry("a") + entry("b", formula="a / a"), "money^0"),
        (entry("a") + entry("b", formula="a - max(a, -opening(a))"), "a is none or has none"),
        (entry("a", kind="instant") + entry("b", kind="instant", formula="2 * average(a)"), "take them out"),
        (entry("a") + entry("b", unit="shares") + entry("c", formula="a + b"), "different units"),
    ],
)
def test_a_faulty_file_is_refused_with_its_cause(text: str, cause: str) -> None:
    with pytest.raises(DefinitionError, match=r"definitions\.toml") as refusal:
        load(text)
    assert cause in str(refusal.value)


def test_a_small_file_is_read() -> None:
    definitions = load(
        entry("margin", statement="margin", unit="ratio", tags=None, formula="income / revenue")
        + entry()
        + entry("income")
    )
    assert list(definitions)[-1] == "margin"
    assert definitions["margin"].text == "income / revenue"
    assert definitions["margin"].formula == Binary("/", Name("income"), Name("revenue"))
    assert definitions.concepts() == ("us-gaap:R",)


def test_operators_bind_as_in_school() -> None:
    assert parse("a - b * 2 - c") == Binary("-", Binary("-", Name("a"), Binary("*", Name("b"), Number(2))), Name("c"))
    assert parse("-(a + b) / 1.5") == Binary("/", Negative(Binary("+", Name("a"), Name("b"))), Number(1.5))
    assert parse(" lag( a , 4 ) ") == Call("lag", (Name("a"),), 4)
    assert parse("first(a, sum(b, c))") == Call("first", (Name("a"), Call("sum", (Name("b"), Name("c")))))


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("", "the end"),
        ("a b", "an operator"),
        ("(a", "'\\)'"),
        ("a + * b", "a name or a number"),
        ("a $ b", "'\\$' is no part"),
        ("a.b", "no part"),
        ("eval(a)", "no function 'eval'"),
        ("max(a)", "does not take 1"),
        ("opening(a, b)", "does not take 2"),
        ("lag(a, 0)", "whole number"),
        ("lag(a, b)", "whole number"),
        ("lag(a, 1.5)", "whole number"),
    ],
)
def test_a_faulty_formula_is_refused_with_its_cause(text: str, cause: str) -> None:
    with pytest.raises(ExpressionError, match=cause):
        parse(text)


def test_units_of_formulas() -> None:
    units = {"money": Dimension(1), "shares": Dimension(0, 1), "ratio": Dimension()}
    for text, expected in {
        "money / shares": Dimension(1, -1),
        "-money * (1 - ratio)": Dimension(1),
        "max(money, 2 * money) / year_ago(money)": Dimension(),
        "average(shares)": Dimension(0, 1),
    }.items():
        assert expressions.dimension(parse(text), units) == expected
    for text in ("money + shares", "first(money, ratio)", "1 - money"):
        with pytest.raises(ExpressionError, match="different units"):
            expressions.dimension(parse(text), units)


@given(st.text(alphabet="ab1.+-*/(), lagsum$\n", max_size=30))
def test_any_text_is_a_formula_or_refused(text: str) -> None:
    try:
        node = parse(text)
    except ExpressionError:
        return
    assert expressions.names(node) <= set(re.findall(r"[a-z_][a-z0-9_]*", text))
