"""Alert rules: unit tests by promtool, each proved able to fail; names agree with the documents and the code."""

from __future__ import annotations

import functools
import json
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[2]
DIRECTORY = ROOT / "deploy" / "prometheus"
YAML_SAFE = YAML(typ="safe")
RULES: list[dict[str, Any]] = YAML_SAFE.load((DIRECTORY / "alerts.yml").read_text())["groups"][0]["rules"]
UNIT_TESTS: dict[str, Any] = YAML_SAFE.load((DIRECTORY / "alerts_test.yml").read_text())
TESTS: list[dict[str, Any]] = UNIT_TESTS["tests"]
EVALUATION_INTERVAL: str = UNIT_TESTS["evaluation_interval"]
NAMES = [rule["alert"] for rule in RULES]


@pytest.fixture(scope="session")
def promtool() -> str:
    """The program, or a skip."""
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("promtool is not installed (Debian's package `prometheus` has it)")
    return found


def run(promtool: str, *arguments: str, cwd: Path = DIRECTORY) -> subprocess.CompletedProcess[str]:
    """promtool's verdict."""
    return subprocess.run([promtool, *arguments], cwd=cwd, capture_output=True, text=True, check=False)


def test_rules_and_configuration_are_valid(promtool: str) -> None:
    """As Prometheus reads them."""
    for arguments in (("check", "rules", "alerts.yml"), ("check", "config", "prometheus.yml")):
        done = run(promtool, *arguments)
        assert done.returncode == 0, done.stdout + done.stderr


def test_every_rule_fires_and_does_not_fire(promtool: str) -> None:
    """The unit tests pass."""
    done = run(promtool, "test", "rules", "alerts_test.yml")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_every_rule_has_both_cases(name: str) -> None:
    """At least one moment with and one without the alert."""
    cases = [case for test in TESTS for case in test["alert_rule_test"] if case["alertname"] == name]
    assert any(case.get("exp_alerts") for case in cases)
    assert any(not case.get("exp_alerts") for case in cases)


def judge(promtool: str, name: str, rules: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """The verdict of one rule's cases alone: all of them take promtool a second, and there are many rules to break."""
    cases = [test for test in TESTS if any(case["alertname"] == name for case in test["alert_rule_test"])]
    document = {"rule_files": ["alerts.yml"], "evaluation_interval": EVALUATION_INTERVAL, "tests": cases}
    (folder / "alerts_test.yml").write_text(json.dumps(document))
    (folder / "alerts.yml").write_text(rules)
    return run(promtool, "test", "rules", "alerts_test.yml", cwd=folder)


@functools.cache
def holds(promtool: str, name: str, rules: str) -> bool:
    """Whether the whole rule passes its cases, asked once for all the ways to break it."""
    with tempfile.TemporaryDirectory() as folder:
        return judge(promtool, name, rules, Path(folder)).returncode == 0


@pytest.mark.parametrize(
    ("name", "change"),
    [
        (rule["alert"], change)
        for rule in RULES
        for change in ("never", "always", *(("at once",) if "for" in rule else ()))
    ],
)
def test_a_broken_rule_fails_the_unit_tests(promtool: str, tmp_path: Path, name: str, change: str) -> None:
    """A rule that never fires, one that always does, and one that does not wait are all noticed."""
    text = (DIRECTORY / "alerts.yml").read_text()
    start = text.index(f"- alert: {name}\n")
    end = text.find("- alert: ", start + 1)
    rule = text[start : end if end > 0 else len(text)]
    expression = re.search(r"expr: (.*)\n", rule)
    assert expression is not None
    if change == "at once":
        broken = re.sub(r"\n +for: .*\n", "\n", rule)
    elif change == "never":
        broken = rule.replace(expression.group(1), f"({expression.group(1)}) and vector(1) == 2")
    else:
        first = re.search(r"triplane_\w+|\bup\b", expression.group(1))
        assert first is not None
        broken = rule.replace(expression.group(1), f"{first.group(0)} > -1e99")
    assert broken != rule
    assert holds(promtool, name, text)
    done = judge(promtool, name, text.replace(rule, broken), tmp_path)
    assert done.returncode != 0
    assert name in done.stdout + done.stderr


def test_names_agree_with_the_page_and_with_the_code() -> None:
    """Every metric of a rule is in docs/metrics.md and is served by some daemon; every alert is in the page's table."""
    page = (ROOT / "docs" / "metrics.md").read_text()
    used = {name for rule in RULES for name in re.findall(r"triplane_\w+", rule["expr"])}
    assert used
    code = "".join(
        path.read_text()
        for folder in ("data_plane", "strategy_plane", "order_plane", "triplane")
        for path in sorted((ROOT / folder).rglob("*.py"))
    )
    for name in sorted(used):
        assert f"| `{name}` |" in page, f"{name} is not in docs/metrics.md"
        assert f'"{name.removesuffix("_total")}"' in code, f"no daemon serves {name}"
    listed = re.findall(r"^\| `(triplane_\w+)`", page.split("## Alerts")[0], re.MULTILINE)
    assert sorted(listed) == sorted(used), "the page's first table is of the metrics that alerts use"
    for name in NAMES:
        assert f"| `{name}` |" in page, f"alert {name} is not in docs/metrics.md"
    for name in re.findall(r"^\| `([A-Z]\w+)` \|", page, re.MULTILINE):
        assert name in NAMES, f"docs/metrics.md has an alert {name} that is no rule"


def test_every_rule_says_what_to_do() -> None:
    """Severity, summary and remedy."""
    for rule in RULES:
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"].keys() == {"summary", "remedy"}


def test_every_metric_of_the_code_is_in_the_document_and_no_other() -> None:
    """docs/metrics.md is the list that a user has."""
    code: set[str] = set()
    for package in ("data_plane", "strategy_plane", "order_plane", "triplane"):
        for path in sorted((ROOT / package).rglob("*.py")):
            text = path.read_text(encoding="utf-8")
            if "metrics" in text or "MetricFamily" in text:
                code |= set(re.findall(r'(?:gauge|counter|histogram|MetricFamily)\(\s*"(triplane_[a-z_]+)"', text))
    assert len(code) > 40
    page = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    documented = {name.removesuffix("_total") for name in re.findall(r"`(triplane_[a-z_]+)`", page)}
    assert code - documented == set()
    assert documented - {name.removesuffix("_total") for name in code} == set()
