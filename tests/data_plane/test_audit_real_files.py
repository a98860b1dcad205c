"""The audit on real price histories: files with documented faults beside their corrected twins, and panels with a few known bad prints."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data_plane.audit.detector import Audit, audit
from data_plane.audit.findings import PRICE_SPIKE, SPLIT_NOT_RECORDED
from data_plane.audit.scoring import matches, repaired, score, truth
from triplane.cli import price_files

Audited = dict[str, tuple[price_files.NamedSeries, Audit]]


def _audited(path: Path) -> list[tuple[price_files.NamedSeries, Audit]]:
    return [(named, audit(named.series)) for named in price_files.read(path)]


@pytest.fixture(scope="module")
def histories(shared_data: Path) -> Audited:
    """Every file of bad_prints by its name."""
    return {
        path.name.removesuffix(".csv.gz"): _audited(path)[0] for path in price_files.find(shared_data / "bad_prints")
    }


def _broken(histories: Audited) -> list[str]:
    return [name for name in histories if f"{name}-fixed" in histories]


def _clean(histories: Audited) -> list[str]:
    return [name for name in histories if name.endswith("-fixed") or "no-bad" in name]


def test_nine_of_ten_faults_are_found_with_their_kind_and_bar_and_none_is_invented(histories: Audited) -> None:
    broken, clean = _broken(histories), _clean(histories)
    assert len(broken) >= 18
    assert len(clean) >= 22
    known = [
        (histories[name][1].findings, truth(histories[name][0].series, histories[f"{name}-fixed"][0].series))
        for name in broken
    ]
    scores = score([*known, *((histories[name][1].findings, None) for name in clean)])
    assert scores["all"].broken == len(broken)
    assert (scores["all"].recall or 0.0) >= 0.9
    assert scores["all"].precision == 1.0
    assert {name: histories[name][1].findings for name in clean if histories[name][1].findings} == {}


def test_the_kind_of_fault_is_the_one_that_its_discoverer_gave_it(histories: Audited) -> None:
    for name in _broken(histories):
        true = truth(histories[name][0].series, histories[f"{name}-fixed"][0].series)
        assert true is not None, name
        assert true.fault in {"100x": ["unit"], "stock": ["split"]}.get(name.split("-")[-2], ["dividend"]), name


def test_what_is_mended_is_the_corrected_twin_within_one_percent(histories: Audited) -> None:
    for name in _broken(histories):
        named, result = histories[name]
        twin = histories[f"{name}-fixed"][0].series
        assert any(finding.repair for finding in result.findings), name
        # Where no repair is claimed, that bar and the adjusted closes before it are as they came.
        unclaimed = [finding.place for finding in result.findings if not finding.repair]
        since = max(unclaimed, default=-1) + 1
        assert since < len(twin) / 2, name
        mended = result.mended
        np.testing.assert_allclose(mended.prices, twin.prices, rtol=0.01, err_msg=name)
        np.testing.assert_allclose(mended.volume, twin.volume, rtol=0.01, err_msg=name)
        assert mended.adjusted is not None
        assert twin.adjusted is not None
        np.testing.assert_allclose(mended.adjusted[since:], twin.adjusted[since:], rtol=0.01, err_msg=name)
        paid = (mended.dividends > 0.0) | (twin.dividends > 0.0)
        paid[: since + 1] = False
        np.testing.assert_allclose(mended.dividends[paid], twin.dividends[paid], rtol=0.01, err_msg=name)
        assert named.series is not mended


def test_every_repair_that_is_claimed_makes_the_twin(histories: Audited) -> None:
    for name in _broken(histories):
        findings, mended = histories[name][1].findings, histories[name][1].mended
        twin = histories[f"{name}-fixed"][0].series
        claimed = [finding for finding in findings if finding.repair]
        assert repaired(findings, mended, twin) == claimed, name
        # As the file came, nothing is.
        assert repaired(findings, histories[name][0].series, twin) == [], name


def test_a_mended_history_has_no_fault_left(histories: Audited) -> None:
    for name in _broken(histories):
        result = histories[name][1]
        left = [finding for finding in audit(result.mended).findings if finding.repair]
        assert left == [], name


def test_the_fault_may_be_read_in_either_order_of_time(histories: Audited) -> None:
    """Some files begin with the newest bar; the audit sorts."""
    named = histories["SSW-JO-1d-100x-error"][0]
    assert (np.diff(named.series.times) > 0).all()
    assert named.labels == sorted(named.labels)


@pytest.fixture(scope="module")
def panel(shared_data: Path) -> list[tuple[price_files.NamedSeries, Audit]]:
    """505 names, five years of daily bars."""
    return _audited(shared_data / "daily" / "sp500_cnuge_2013_2018.parquet")


def test_a_real_panel_raises_few_findings_and_each_is_a_bad_print(
    panel: list[tuple[price_files.NamedSeries, Audit]],
) -> None:
    bars = sum(len(named.series) for named, _ in panel)
    found = {
        (named.symbol, named.labels[finding.place], finding.kind)
        for named, result in panel
        for finding in result.findings
    }
    assert bars > 600_000
    assert 20 <= len(found) <= 0.0005 * bars
    # Rows of another day (2017-09-14 in eighteen names), a close of half the price, a low of a seventh.
    for symbol, day in (("FLR", "2017-09-14"), ("MRK", "2017-09-14"), ("TIF", "2013-12-18"), ("XL", "2015-08-24")):
        assert (symbol, day, PRICE_SPIKE) in found
    assert ("LNT", "2016-05-19") in {(symbol, day) for symbol, day, _ in found}
    assert ("CHD", "2014-05-19") in {(symbol, day) for symbol, day, _ in found}


def test_crashes_and_squeezes_of_a_real_panel_pass(panel: list[tuple[price_files.NamedSeries, Audit]]) -> None:
    days = [named.labels[finding.place] for named, result in panel for finding in result.findings]
    assert "2018-02-05" not in days
    assert "2018-02-06" not in days
    # Stop orders into an empty book at the open of 2015-08-24 moved half the panel; only XL's low of a seventh is beyond belief.
    assert days.count("2015-08-24") == 1
    # The panel's largest overnight moves that stayed are news, and stand.
    for named, result in panel:
        for finding in result.findings:
            if finding.kind == PRICE_SPIKE and 0 < finding.place < len(named.series) - 1:
                before, after = named.series.close[finding.place - 1], named.series.close[finding.place + 1]
                assert abs(after / before - 1.0) < 0.1, (named.symbol, named.labels[finding.place])


def test_raw_daily_bars_show_busted_trades_and_unrecorded_splits_but_no_crash(shared_data: Path) -> None:
    folder = shared_data / "daily" / "lean" / "Data" / "equity" / "usa" / "daily"
    found, notes = {}, {}
    for symbol in ("aapl", "aig", "goog", "spy"):
        ((named, result),) = _audited(folder / f"{symbol}.zip")
        found[symbol] = {named.labels[finding.place][:8]: finding.kind for finding in result.findings}
        notes[symbol] = {named.labels[finding.place][:8]: finding.kind for finding in result.notes}
    assert found["aapl"]["20140609"] == SPLIT_NOT_RECORDED  # 7 for 1
    assert found["goog"]["20080930"] == PRICE_SPIKE  # a low of a cent in the last minutes of the quarter
    # AIG lost 61 % on 2008-09-15 and 52 % on 2008-09-17, AAPL 52 % on 2000-09-29: told, and no fault.
    assert {"20080915", "20080917"} <= notes["aig"].keys()
    assert "20000929" in notes["aapl"]
    assert not {"20080915", "20080916", "20080917", "20081010"} & found["aig"].keys()
    assert "20000929" not in found["aapl"]
    assert found["spy"] == {}


def test_intraday_bars_show_the_open_in_old_shares_after_a_split(shared_data: Path) -> None:
    folder = shared_data / "intraday" / "lean" / "Data" / "equity" / "usa" / "minute" / "aapl"
    bars = findings = 0
    for path in price_files.find(folder):
        try:
            audited = _audited(path)
        except price_files.UnreadableError:
            continue
        for named, result in audited:
            bars += len(named.series)
            findings += len(result.findings)
            if path.name == "20140609_trade.zip":
                assert [finding.kind for finding in result.findings] == [PRICE_SPIKE]
                assert named.labels[result.findings[0].place].startswith("2014-06-09 04:00")
    assert bars > 4_000
    assert findings == 1


def test_a_finding_elsewhere_or_of_another_kind_is_not_counted_as_right(histories: Audited) -> None:
    """The score itself: what it would say of a detector that guesses."""
    name = "MOB-ST-1d-bad-stock-split"
    true = truth(histories[name][0].series, histories[f"{name}-fixed"][0].series)
    (finding,) = histories[name][1].findings
    assert true is not None
    assert matches(finding, true)
    assert not matches(replace(finding, kind="UNIT_100X"), true)
    assert not matches(replace(finding, place=0), true)
    assert score([((), true)])["all"].recall == 0.0
    assert score([((finding,), None)])["all"].precision == 0.0
