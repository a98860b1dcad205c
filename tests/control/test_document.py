"""The committed targets.yaml and docs/configuration.md are those that the models give; edited values survive a rewrite."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.control.contents import ROOT, TARGETS, with_value
from triplane.control import document
from triplane.domain.problems import ProblemsError
from triplane.domain.targets import Targets
from triplane.domain.targets.reading import read
from triplane.domain.targets.writing import page, render

REMEDY = "run python -m triplane.control.document and commit the result"


def test_targets_yaml_is_not_stale():
    text = (ROOT / "targets.yaml").read_text(encoding="utf-8")
    rewritten, lost = document.document(text)
    assert not lost, lost
    assert text == rewritten, REMEDY
    assert read(text).targets == Targets(), "the committed values are the models' defaults"


def test_the_page_is_not_stale():
    assert (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8") == page(), REMEDY


def test_the_page_names_every_parameter_and_column():
    text = page()
    for group, values in Targets().model_dump().items():
        assert f"`{group}:` in targets.yaml" in text
        for parameter in values:
            assert f"| `{parameter}` |" in text
    assert "| `risk_weight` | `1.0` | `> 0 and <= 10` |" in text
    widths = {line.replace("\\|", "").count("|") for line in text.splitlines() if line.startswith("|")}
    assert widths == {3, 5, 7}, "a cell holds an unescaped bar"


def test_edited_values_and_their_spelling_survive_and_comments_come_back():
    edited = with_value("VOL_TARGET", "7e-2", with_value("EXECUTION", "market"))
    bare = "\n".join(line for line in edited.splitlines() if not line.strip().startswith("#")) + "\n"
    rewritten, lost = document.document(bare)
    assert rewritten == edited
    assert not lost
    targets = read(rewritten).targets
    assert targets is not None
    assert (targets.strategy.VOL_TARGET, targets.order.EXECUTION) == (0.07, "market")


def test_any_values_survive_rendering():
    changed = Targets.model_validate(
        {
            "strategy": {"SOLVER_TOL": 1e-12, "REBALANCE": "10:00", "MOM_LAG": 0},
            "order": {"NOTIONAL_PER_MINUTE": 1e10, "KILL_PNL": -0.012345678901234567},
        }
    )
    assert read(render(changed)).targets == changed
    assert "SOLVER_TOL: 1e-12" in render(changed)


def test_new_parameters_take_their_default_and_lost_values_are_named():
    old = TARGETS.replace("  VOL_TARGET: 0.1\n", "  VOL_AIM: 0.07\n").replace("  BOX_LIM: 0.25", "  BOX_LIM: 25")
    rewritten, lost = document.document(old)
    assert rewritten == TARGETS
    assert len(lost) == 2
    assert "strategy.VOL_AIM = 0.07: unknown parameter" in lost[0]
    assert "strategy.BOX_LIM = 25: allowed is" in lost[1]


def test_no_file_gives_the_defaults_and_what_is_no_yaml_is_left_alone():
    assert document.document("") == (TARGETS, [])
    with pytest.raises(ProblemsError, match="is not YAML"):
        document.document("data: [1,\n")


def test_the_command_writes_checks_and_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    targets, markdown = tmp_path / "targets.yaml", tmp_path / "docs" / "configuration.md"
    arguments = ["--targets", str(targets), "--page", str(markdown)]
    assert document.main([*arguments, "--check"]) == 1
    assert not targets.exists()
    assert "stale; run python -m triplane.control.document" in capsys.readouterr().out
    assert document.main(arguments) == 0
    assert targets.read_text(encoding="utf-8") == TARGETS
    assert markdown.read_text(encoding="utf-8") == page()
    assert document.main([*arguments, "--check"]) == 0
    assert capsys.readouterr().out.count("rewritten") == 2
    targets.write_text(with_value("BOX_LIM", "25"), encoding="utf-8")
    assert document.main(arguments) == 0
    assert "given up: targets.yaml line" in capsys.readouterr().err
    targets.write_text("data: [1,\n", encoding="utf-8")
    assert document.main(arguments) == 1
    assert targets.read_text(encoding="utf-8") == "data: [1,\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["docs", "targets.yaml"]
