"""Gates on reported facts: signs, units, balance sheets; what a restatement is and what a conflict; and the real files."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from data_plane.engine import DataEngine
from data_plane.observations import Fact, Filing
from data_plane.outputs import Output
from data_plane.reference_data import ReferenceGates
from data_plane.sources.edgar.companyfacts import concepts
from tests.data_plane.fundamentals_support import FULL, KMB, LPA, acceptance, document, filing, filings_of
from tests.data_plane.support import assert_conserved, assert_outputs_counted, engine, gate_changes, records
from triplane.domain.targets.data import DataTargets

Row = tuple[str, str, str, str, float]
ASSETS, BOTH = "Assets", "LiabilitiesAndStockholdersEquity"
LIABILITIES, EQUITY, ALL = (
    "Liabilities",
    "StockholdersEquity",
    "StockholdersEquityIncludingPortionAttributableToNoncontrollingInterest",
)
COVER, DILUTED, SHARES = (
    "dei:EntityCommonStockSharesOutstanding",
    "WeightedAverageNumberOfDilutedSharesOutstanding",
    "CommonStockSharesOutstanding",
)


def taken_out(outputs: Sequence[Output]) -> list[tuple[str, float, str]]:
    """(concept without its taxonomy, value, code) of each quarantined fact."""
    raws = [(json.loads(record["raw"]), record["code"]) for record in records(outputs, "data.quarantine")]
    return [(raw["concept"].partition(":")[2], raw["value"], code) for raw, code in raws]


def published(outputs: Sequence[Output]) -> dict[tuple[str, int], float]:
    """Published values by concept and end."""
    return {
        (concept.partition(":")[2], end): value
        for record in records(outputs, "data.facts")
        for concept, end, value in zip(record["concepts"], record["period_end"], record["values"], strict=True)
    }


def instants(day: str, **values: float) -> list[Row]:
    """USD instants of a day."""
    return [(concept, "USD", "", day, value) for concept, value in values.items()]


def sheet(day: str, assets: float, liabilities: float, equity: float, **more: float) -> list[Row]:
    """A balance sheet."""
    both = more.pop("both", assets)
    return instants(day, **{ASSETS: assets, BOTH: both, LIABILITIES: liabilities, EQUITY: equity}, **more)


# -- signs -----------------------------------------------------------------------------------------------------------------------
def test_totals_and_counts_are_not_negative_and_what_is_net_of_something_may_be() -> None:
    machine = engine()
    rows = instants("2018-12-31", Assets=-5e9, StockholdersEquity=-2e9, Goodwill=-1.0)
    rows += [
        (COVER, "shares", "", "2018-12-31", -4e8),
        ("Revenues", "USD", "2018-01-01", "2018-12-31", -3e8),
        ("NetIncomeLoss", "USD", "2018-01-01", "2018-12-31", -3e8),
    ]
    outputs = machine.take(filing("1", "2019-02-01", "10-K", rows))
    assert {(concept, code) for concept, _, code in taken_out(outputs)} == {
        ("Assets", "FACT_NEGATIVE"),
        ("Goodwill", "FACT_NEGATIVE"),
        ("EntityCommonStockSharesOutstanding", "FACT_NEGATIVE"),
    }
    assert len(published(outputs)) == 3
    assert_outputs_counted(machine, outputs)
    assert_conserved(machine)


# -- units -----------------------------------------------------------------------------------------------------------------------
def quarter(concept: str, end: str, value: float, unit: str = "USD") -> Row:
    start = {"03-31": "01-01", "06-30": "04-01", "09-30": "07-01", "12-31": "10-01"}[end[5:]]
    return (concept, unit, f"{end[:5]}{start}", end, value)


@pytest.mark.parametrize(
    ("concept", "before", "value", "code"),
    [
        ("Revenues", 5e9, 5.2e6, "FACT_SCALE"),
        ("Revenues", 5e9, 5.2e3, "FACT_SCALE"),
        ("Revenues", 5e9, 5.2e12, "FACT_SCALE"),
        ("Revenues", 5e9, 5e8, ""),  # a tenth is a collapse
        ("Revenues", 5e9, 1e8, ""),
        ("NetIncomeLoss", 5e9, 5.2e6, ""),  # about even
        ("NetIncomeLoss", 5e9, 5.2e3, "FACT_SCALE"),
        ("NetIncomeLoss", 5e9, -5.2e3, "FACT_SCALE"),
        (DILUTED, 8e8, 8.1e2, "FACT_SCALE"),
    ],
)
def test_a_flow_is_in_another_unit_by_its_last_value_of_the_same_length(
    concept: str, before: float, value: float, code: str
) -> None:
    machine = engine()
    machine.take(filing("1", "2018-05-01", "10-Q", [quarter(concept, "2018-03-31", before)]))
    year = (concept, "USD", "2017-01-01", "2017-12-31", value)  # another length: nothing to compare it with
    assert taken_out(machine.take(filing("2", "2018-05-02", "10-K", [year]))) == []
    outputs = machine.take(filing("3", "2018-08-01", "10-Q", [quarter(concept, "2018-06-30", value)]))
    assert [found for _, _, found in taken_out(outputs)] == ([code] if code else [])
    assert_conserved(machine)


def test_a_scale_that_a_later_filing_repeats_is_believed_and_one_filing_does_not_confirm_itself() -> None:
    machine = engine()
    machine.take(filing("1", "2018-05-01", "10-Q", instants("2018-03-31", Assets=2e4)))  # a shell
    merged = instants("2018-06-30", Assets=2.3e7) + instants("2018-04-30", Assets=2.2e7)
    assert len(taken_out(machine.take(filing("2", "2018-08-01", "10-Q", merged)))) == 2
    assert taken_out(machine.take(filing("3", "2018-11-01", "10-Q", instants("2018-09-30", Assets=2.4e7)))) == []


def restarted(log: Sequence[Output]) -> DataEngine:
    """An engine that remembers what an earlier run published."""
    machine = engine()
    for topic in ("data.facts", "data.gates", "data.quarantine"):
        machine.remember(topic, records(log, topic))
    return machine


@given(
    st.lists(st.tuples(st.sampled_from([2e4, 3e5, 2.3e7, 2.5e7, 8e9]), st.booleans()), min_size=2, max_size=7),
    st.sampled_from(["Assets", "NetIncomeLoss", SHARES]),
)
@settings(max_examples=25, deadline=None)
@example([(2e4, True), (2.3e7, True), (2.4e7, True), (2.5e7, True)], "Assets")
@example([(2e4, True), (2.3e7, True), (2.1e4, True), (2.4e7, True)], "Assets")
def test_a_restart_keeps_what_waits_to_be_confirmed(steps: list[tuple[float, bool]], concept: str) -> None:
    ends = ["2018-03-31", "2018-06-30", "2018-09-30", "2018-12-31", "2019-03-31", "2019-06-30", "2019-09-30"]
    machine, again, log = engine(), engine(), list[Output]()
    for number, (value, anew) in enumerate(steps):
        end = ends[number]
        later = ends[number + 1][:8] + "28" if number < 6 else "2019-12-28"
        item = filing(str(number), later, "10-Q", [quarter(concept, end, value), *instants(end, Assets=value)])
        if concept != "NetIncomeLoss":
            item = filing(str(number), later, "10-Q", instants(end, **{concept: value}))
        expected = taken_out(machine.take(item))
        again = restarted(log) if anew else again
        outputs = again.take(item)
        assert taken_out(outputs) == expected
        log += outputs


def test_a_name_that_has_grown_a_thousandfold_is_published_whole_once_confirmed() -> None:
    def grown(day: str, times: float, **more: float) -> list[Row]:
        return sheet(day, 3e5 * times, 1e5 * times, 2e5 * times) + instants(day, **more)

    machine = engine()
    machine.take(filing("1", "2018-05-01", "10-Q", grown("2018-03-31", 1, Cash=1e5)))
    outputs = machine.take(filing("2", "2018-08-01", "10-Q", grown("2018-06-30", 1e3, Cash=9e7, LongTermDebt=5e6)))
    assert len(taken_out(outputs)) == 6
    assert (
        taken_out(machine.take(filing("3", "2018-11-01", "10-Q", grown("2018-09-30", 1e3, Cash=8e7, Debt=5e6)))) == []
    )


def test_the_other_share_counts_tell_which_scale_is_right() -> None:
    def counts(end: str, cover: float, diluted: float, balance: float) -> list[Row]:
        return [
            (COVER, "shares", "", end, cover),
            quarter(DILUTED, end, diluted, "shares"),
            (SHARES, "shares", "", end, balance),
        ]

    machine = engine()
    outputs = machine.take(filing("1", "2018-05-01", "10-Q", counts("2018-03-31", 1.2e9, 1.2e6, 1.2e9)))
    assert taken_out(outputs) == []  # the first values of all: nobody knows
    # Thousands again: the cover and the balance sheet say otherwise, however often it is repeated ...
    for number, end in enumerate(("2018-06-30", "2018-09-30", "2018-12-31")):
        rows = counts(end, 1.2e9, 1.21e9, 1.2e6)
        outputs = machine.take(filing(f"2{number}", end, "10-Q", rows))
        assert taken_out(outputs) == [("CommonStockSharesOutstanding", 1.2e6, "FACT_SCALE")]
        # ... and they vouch for the diluted count, which began in thousands.
        assert 1.21e9 in published(outputs).values()


def test_a_filing_in_another_unit_is_taken_out_with_what_nothing_can_be_compared_to() -> None:
    machine = engine()
    first = instants("2018-03-31", Assets=2e10, StockholdersEquity=8e9, Liabilities=1.2e10)
    eps = quarter("EarningsPerShareDiluted", "2018-03-31", 1.1, "USD/shares")
    machine.take(filing("1", "2018-05-01", "10-Q", [*first, eps]))
    second = instants("2018-06-30", Assets=2.1e4, StockholdersEquity=8.1e3, Liabilities=1.29e4, InventoryNet=2e3)
    eps = quarter("EarningsPerShareDiluted", "2018-06-30", 1.2, "USD/shares")
    outputs = machine.take(filing("2", "2018-08-01", "10-Q", [*second, eps]))
    assert {code for _, _, code in taken_out(outputs)} == {"FACT_SCALE"}
    assert [concept for concept, _ in published(outputs)] == ["EarningsPerShareDiluted"]
    # Amended, all of it passes: nothing of the wrong one was learnt.
    right = [(concept, unit, start, end, value * 1e6) for concept, unit, start, end, value in second]
    assert taken_out(machine.take(filing("3", "2018-08-08", "10-Q/A", right))) == []
    assert_conserved(machine)


# -- restatements ----------------------------------------------------------------------------------------------------------------
def test_a_restated_value_is_published_beside_the_first_and_is_no_conflict() -> None:
    machine = engine()
    rows = [("NetIncomeLoss", "USD", "2017-01-01", "2017-12-31", 9e8), *instants("2017-12-31", Assets=5e9)]
    first = machine.take(filing("1", "2018-02-01", "10-K", rows))
    restated = [("NetIncomeLoss", "USD", "2017-01-01", "2017-12-31", -2e8), *instants("2017-12-31", Assets=4e9)]
    second = machine.take(filing("2", "2019-02-01", "10-K", restated))
    assert taken_out(first) == taken_out(second) == []
    assert list(published(first).values()) == [9e8, 5e9]
    assert list(published(second).values()) == [-2e8, 4e9]
    assert records(second, "data.facts")[0]["available_time"] > records(first, "data.facts")[0]["available_time"]
    # The same two values in one filing contradict each other; told twice alike they are one.
    both = machine.take(filing("3", "2019-03-01", "10-K/A", [rows[0], restated[0], rows[0]]))
    assert taken_out(both) == [("NetIncomeLoss", -2e8, "FACT_CONFLICT")]
    assert list(published(both).values()) == [9e8]
    # Restated by just a thousand it is another unit.
    unit = [("NetIncomeLoss", "USD", "2017-01-01", "2017-12-31", 9e5)]
    assert taken_out(machine.take(filing("4", "2019-04-01", "10-K", unit))) == [("NetIncomeLoss", 9e5, "FACT_SCALE")]
    assert_conserved(machine)


# -- balance sheets --------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("rows", "concepts"),
    [
        (sheet("2018-12-31", 1000, 600, 400), []),
        (sheet("2018-12-31", 1000, 600, 399.5), []),  # rounded
        (sheet("2018-12-31", 1000, 600, 400, both=1100), [ASSETS, BOTH]),
        (sheet("2018-12-31", 1000, 900, 400), [ASSETS, LIABILITIES, EQUITY]),  # less than nothing between
        (sheet("2018-12-31", 1000, 600, 300), []),  # something between that is not told
        (sheet("2018-12-31", 1000, 600, 300, MinorityInterest=100), []),
        (sheet("2018-12-31", 1000, 600, 400, MinorityInterest=100), [ASSETS, LIABILITIES, EQUITY, "MinorityInterest"]),
        (sheet("2018-12-31", 1000, 600, 300, **{ALL: 400}), []),
        (sheet("2018-12-31", 1000, 600, 300, RedeemableNoncontrollingInterestEquityCarryingAmount=100), []),
        # Tesla's equity of all holds the redeemable interests already, in the statement of equity.
        (sheet("2018-12-31", 1000, 600, 300, RedeemableNoncontrollingInterestEquityCarryingAmount=90, **{ALL: 400}), []),
        (instants("2018-12-31", Assets=1000, StockholdersEquity=1100), [ASSETS, EQUITY]),
        (instants("2018-12-31", Assets=1000, StockholdersEquity=-1100), []),
        ([*instants("2018-12-31", Assets=1000), *instants("2018-09-30", StockholdersEquity=1100)], []),
        ([("Assets", "USD", "", "2018-12-31", 1000), ("StockholdersEquity", "EUR", "", "2018-12-31", 1100)], []),
        ([("ifrs-full:Assets", "EUR", "", "2018-12-31", 1000), ("ifrs-full:EquityAndLiabilities", "EUR", "", "2018-12-31", 900)], [ASSETS, "EquityAndLiabilities"]),
    ],
)  # fmt: skip
def test_balance_sheets_balance(rows: Sequence[Row], concepts: list[str]) -> None:
    machine = engine()
    outputs = machine.take(filing("1", "2019-02-01", "10-K", rows))
    assert sorted(taken_out(outputs)) == sorted(
        (concept, value, "FACT_UNBALANCED")
        for tag, _, _, _, value in rows
        if (concept := tag.rpartition(":")[2]) in concepts
    )
    assert len(published(outputs)) == len(rows) - len(concepts)
    if concepts:
        assert gate_changes(outputs) == [("fact_sanity", "X", False, "FACT_UNBALANCED")]
    assert_conserved(machine)


@pytest.mark.parametrize("wrong", [ASSETS, BOTH, LIABILITIES, EQUITY])
@pytest.mark.parametrize("factor", [10.0, 1e3, 1e-3, 4.0])
def test_the_fact_that_its_history_contradicts_is_the_one_that_goes(wrong: str, factor: float) -> None:
    machine = engine()
    machine.take(filing("1", "2019-02-01", "10-K", sheet("2018-12-31", 1000, 600, 400)))
    rows = [
        (concept, unit, start, end, value * factor if concept == wrong else value)
        for concept, unit, start, end, value in sheet("2019-03-31", 1040, 620, 420)
    ]
    outputs = machine.take(filing("2", "2019-05-01", "10-Q", rows))
    assert [concept for concept, _, _ in taken_out(outputs)] == [wrong]
    assert len(published(outputs)) == 3


def test_what_was_reported_for_the_same_date_before_tells_a_slip_of_any_size() -> None:
    machine = engine()
    machine.take(filing("1", "2019-02-01", "10-K", sheet("2018-12-31", 1000, 600, 400)))
    outputs = machine.take(filing("2", "2019-05-01", "10-Q", sheet("2018-12-31", 1000, 600, 400, both=1010)))
    assert taken_out(outputs) == [(BOTH, 1010, "FACT_UNBALANCED")]


# -- real files ------------------------------------------------------------------------------------------------------------------
BALANCE = ("us-gaap:Assets", f"us-gaap:{BOTH}", f"us-gaap:{LIABILITIES}", f"us-gaap:{EQUITY}", f"us-gaap:{ALL}",
           "us-gaap:MinorityInterest", "us-gaap:RedeemableNoncontrollingInterestEquityCarryingAmount",
           "us-gaap:TemporaryEquityCarryingAmountAttributableToParent")  # fmt: skip


IN_MILLIONS = "0000055785-10-000019"


def real_filings(shared: Path, name: str, concepts: Iterable[str]) -> list[Filing]:
    """Filings of a companyfacts file, complete or of the subset."""
    if name in FULL:
        content = document(shared / "sec" / "companyfacts" / f"{name}.json.gz")
        return filings_of(content, acceptance(shared / "sec" / "submissions", int(content["cik"])), concepts)
    return filings_of(document(shared / "sec" / "companyfacts_subset91" / f"{name}.json.gz"), {}, concepts)


def judged(filings: Iterable[Filing]) -> tuple[int, list[tuple[str, str, float, str]]]:
    """(facts, (accession, concept, value, code) of those taken out). The gates alone: what is made of the facts takes ten times as long."""
    gates, targets = ReferenceGates(), DataTargets()
    total, found = 0, []
    for one in filings:
        outputs = gates.filing(one, targets.FACT_JUMP_MAX, targets.BALANCE_MAX, "h").outputs
        total += len(one.facts)
        found += [(one.accession, *bad) for bad in taken_out(outputs)]
    return total, found


def test_what_is_taken_out_of_complete_real_files_is_wrong_there(shared_data: Path) -> None:
    """All concepts that are published. Each accession can be looked up: a count times a million, a filing in millions, one in thousands."""
    total, found = 0, {}
    for name in FULL:
        facts, bad = judged(real_filings(shared_data, name, concepts()))
        total += facts
        found[name] = Counter((accession, concept, code) for accession, concept, _, code in bad)
    assert total > 90_000
    # All of Kimberly-Clark's balance sheet and income of one quarter, in millions.
    assert sum(count for (filed, _, _), count in found[KMB].items() if filed == IN_MILLIONS) > 100
    assert {
        (name, *key): count
        for name, counter in found.items()
        for key, count in counter.items()
        if key[0] != IN_MILLIONS
    } == {
        ("CIK0000002488", "0001193125-12-332074", "EntityCommonStockSharesOutstanding", "FACT_SCALE"): 1,
        ("CIK0000002488", "0000002488-22-000078", "DeferredIncomeTaxLiabilitiesNet", "FACT_FROM_FUTURE"): 1,
        ("CIK0000320193", "0001193125-14-157311", "CommonStockSharesOutstanding", "FACT_SCALE"): 2,
        ("CIK0001318605", "0001193125-12-225825", "ProceedsFromIssuanceOfLongTermDebt", "FACT_FROM_FUTURE"): 1,
        # Real, and accepted once the next filing says the same: a listing, and a split of 20 for 1.
        ("CIK0001640147", "0001640147-21-000073", "StockholdersEquity", "FACT_JUMP"): 1,
        ("CIK0001652044.vintage-2024-08", "0001652044-22-000071", "CommonStockSharesOutstanding", "FACT_JUMP"): 1,
    }


def test_of_the_subset_of_real_files_only_those_known_to_err_lose_facts(shared_data: Path) -> None:
    """A score of concepts and hardly a share count: with one concept alone, COP's thousands and units confirm each other in turn."""
    subset = [
        path.name.removesuffix(".json.gz")
        for path in sorted((shared_data / "sec" / "companyfacts_subset91").glob("*.gz"))
    ]
    found = {}
    for name in subset:
        _, bad = judged(real_filings(shared_data, name, concepts()))
        found[name] = [(concept, value) for _, concept, value, _ in bad]
    assert len(subset) >= 42
    assert {name: sorted({concept for concept, _ in bad}) for name, bad in found.items() if bad} == {
        "ANET": ["NetIncomeLoss"],  # a proxy statement in millions
        "AXP": [DILUTED],  # a 10-Q in millions
        "COP": [DILUTED],
        "DELL": ["Assets"],  # a shell of ten dollars, and what it bought
        "ETN": ["Assets"],  # the same
    }
    assert sorted(value for _, value in found["ANET"]) == [841, 1352, 2087, 2852, 3511]
    assert [value for _, value in found["AXP"]] == [861, 843]
    assert len(found["COP"]) <= 37


def test_real_balance_sheets_balance_and_a_planted_error_is_found(shared_data: Path) -> None:
    planted = caught = alone = 0
    for name in FULL:
        if name == LPA:
            continue
        filings = real_filings(shared_data, name, BALANCE)
        _, found = judged(filings)
        assert [bad for bad in found if bad[3] == "FACT_UNBALANCED"] == []
        for place in range(4, len(filings), 9):
            for number, fact in enumerate(filings[place].facts):
                if fact.concept not in BALANCE[:2] or fact.end < filings[place].facts[0].end:
                    continue
                wrong = fact._replace(value=fact.value * (0.9 if number % 2 else 3.0))
                facts = tuple(wrong if other is fact else other for other in filings[place].facts)
                if not _has_both(facts, fact.end):
                    continue
                _, bad = judged([*filings[max(place - 4, 0) : place], replace(filings[place], facts=facts)])
                mine = {concept for accession, concept, _, _ in bad if accession == filings[place].accession}
                planted += 1
                caught += wrong.concept.partition(":")[2] in mine
                alone += mine == {wrong.concept.partition(":")[2]}
    assert planted >= 40
    assert caught == planted
    assert alone >= 0.5 * planted


def _has_both(facts: Sequence[Fact], end: int) -> bool:
    return {BALANCE[0], BALANCE[1]} <= {fact.concept for fact in facts if fact.end == end}
