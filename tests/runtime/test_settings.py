"""Variables of the environment that hold what they must not: one sentence that names the variable."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from triplane.runtime import exit_codes
from triplane.runtime.exit_codes import DaemonExit
from triplane.runtime.settings import Settings, from_environment, page

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("TRIPLANE_MODE", "bogus"),
        ("TRIPLANE_GATEWAY_PORT", "abc"),
        ("TRIPLANE_GATEWAY_PORT", "70000"),
        ("TRIPLANE_ORDER_CLIENT_ID", "0"),
        ("TRIPLANE_LOG_LEVEL", "LOUD"),
        ("TRIPLANE_KAFKA_OPTIONS", "not json"),
        ("TRIPLANE_KAFKA_OPTIONS", '{"security.protocol": "nothing"}'),
        ("TRIPLANE_KAFKA_OPTIONS", '{"no.such.property": "1"}'),
    ],
)
def test_a_bad_variable_is_one_sentence(monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(DaemonExit) as caught:
        from_environment()
    said = str(caught.value)
    assert variable.removeprefix("TRIPLANE_").lower() in said.lower()
    assert "correct" in said
    assert "\n" not in said
    assert caught.value.code == exit_codes.CONFIG


def test_a_refused_option_does_not_tell_the_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIPLANE_KAFKA_OPTIONS", '{"sasl.password": "open sesame", "security.protocol": "nothing"}')
    with pytest.raises(
        DaemonExit, match=r"TRIPLANE_KAFKA_OPTIONS: Kafka's client refuses it: .*security\.protocol"
    ) as caught:
        from_environment()
    assert "sesame" not in str(caught.value)


def test_records_to_pass_over_are_named_as_the_refusal_names_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIPLANE_PASS_OVER", "control.config-0@4, order.events-0@160")
    settings = from_environment()
    assert settings.passes_over("order.events-0@160")
    assert not settings.passes_over("order.events-0@16")
    assert not settings.passes_over("")
    monkeypatch.setenv("TRIPLANE_PASS_OVER", "control.config@4")
    with pytest.raises(
        DaemonExit, match=r"TRIPLANE_PASS_OVER: 'control.config@4' is no record; write TOPIC-PARTITION@OFFSET"
    ):
        from_environment()


def test_options_of_a_client_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIPLANE_KAFKA_OPTIONS", '{"client.id": "mine"}')
    assert from_environment().kafka_options == {"client.id": "mine"}


def test_two_connections_with_one_client_id_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIPLANE_ORDER_CLIENT_ID", "11")
    with pytest.raises(DaemonExit, match=r"client ids 11, 11, 13, 14, 15 .* must all differ"):
        from_environment()


@pytest.mark.parametrize(
    "program",
    [["triplane.control"], ["data_plane"], ["strategy_plane"], ["order_plane"], ["triplane.cli.main", "status"]],
    ids=" ".join,
)
def test_a_program_ends_with_that_sentence_and_78(program: list[str]) -> None:
    """Started from nothing: neither what it loads nor how it ends adds a line."""
    done = subprocess.run(
        [sys.executable, "-m", *program],
        env={**os.environ, "TRIPLANE_MODE": "bogus"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == exit_codes.CONFIG
    assert "TRIPLANE_MODE is 'bogus'" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_page_of_variables_is_the_one_that_the_model_gives() -> None:
    committed = ROOT / "docs" / "environment.md"
    assert committed.read_text(encoding="utf-8") == page(), (
        "run python -m triplane.runtime.settings > docs/environment.md"
    )


def test_every_variable_that_anything_reads_is_on_the_page() -> None:
    folders = (
        "data_plane",
        "strategy_plane",
        "order_plane",
        "schemas",
        "triplane",
        "tests",
        "benchmarks",
        "deploy",
        ".ci",
    )
    files = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file()]
    texts = [path.read_bytes().decode("utf-8", "ignore") for path in files if "__pycache__" not in path.parts]
    texts += [(ROOT / name).read_text(encoding="utf-8") for name in ("Makefile", "docker-compose.yml")]
    named = {name for text in texts for name in re.findall(r"\bTRIPLANE_[A-Z_]*[A-Z]\b", text)}
    assert "TRIPLANE_SEED" in named
    page_ = (ROOT / "docs" / "environment.md").read_text(encoding="utf-8")
    assert named - set(re.findall(r"^\| `(\w+)` \|", page_, re.M)) == set()


def test_every_variable_says_what_it_is() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert field.description.endswith("."), name
