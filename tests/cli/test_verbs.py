"""Every verb as its own process, without an installation: help, usage errors, what is missing, JSON, exit codes."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.cli.command import LINE, ROOT, environment, killed, triplane
from tests.waiting import eventually
from triplane.cli import context, main
from triplane.cli.main import app
from triplane.stack import state_file

VERBS = {
    (): ("demo", "up", "status", "doctor", "replay", "explain", "config", "assets", "kill", "kafka", "topics"),
    ("demo",): ("--sessions", "--keep", "--seed", "--directory", "--json"),
    ("up",): ("--sessions", "--registry"),
    ("down",): ("--json",),
    ("status",): ("--json",),
    ("doctor",): ("--json",),
    ("explain",): ("--json", "ACCOUNT/SEQ/SYMBOL"),
    ("replay",): ("--verify", "--quiet", "--json"),
    ("config",): ("check", "diff", "history"),
    ("config", "check"): ("--json",),
    ("config", "diff"): ("--json",),
    ("config", "history"): ("--json",),
    ("assets",): ("check", "add"),
    ("assets", "check"): ("--json",),
    ("assets", "add"): ("--type", "--dry-run", "--json"),
    ("kill",): ("trip", "rearm", "status"),
    ("kill", "trip"): ("--reason", "--actor", "--scope"),
    ("kill", "rearm"): ("--reason", "--actor"),
    ("kill", "status"): ("--json",),
    ("kafka",): ("up", "down", "status"),
    ("kafka", "up"): ("--registry", "--refill-registry"),
    ("kafka", "down"): ("--help",),
    ("kafka", "status"): ("--json",),
    ("quarantine",): ("list", "show", "release", "drop"),
    ("quarantine", "list"): ("--source", "--code", "--symbol", "--state", "--limit", "--json"),
    ("quarantine", "show"): ("--json",),
    ("quarantine", "release"): ("ID", "--reason", "--repair", "--actor", "--json"),
    ("quarantine", "drop"): ("ID", "--reason", "--actor", "--json"),
    ("topics",): ("create", "list", "diff", "restore"),
    ("topics", "create"): ("--help",),
    ("topics", "list"): ("--json",),
    ("topics", "diff"): ("--json",),
    ("topics", "restore"): ("--help",),
    ("schemas",): ("lock", "list"),
    ("schemas", "lock"): ("--help",),
    ("schemas", "list"): ("--json",),
    ("data",): ("run", "audit", "backfill", "reparse"),
    ("data", "backfill"): ("--source", "--from", "--to", "--interval", "--json"),
    ("data", "reparse"): ("--source", "--from", "--to", "--json"),
    ("data", "audit"): ("--notes", "--json", "-fixed"),
    ("data", "bars"): (
        "--from",
        "--to",
        "--interval",
        "--adjust",
        "--as-of",
        "--contract",
        "--source",
        "--limit",
        "--json",
    ),
    ("data", "fundamentals"): ("--as-of", "--basis", "--json"),
    ("strategy",): ("run",),
    ("order",): ("run", "release", "resolve"),
    ("order", "release"): ("--reason", "--actor", "--json"),
    ("order", "resolve"): ("--outcome", "--quantity", "--price", "--reason", "--actor", "--json"),
    ("control",): ("run",),
    ("paper",): ("run", "providers"),
    ("data", "run"): ("TRIPLANE_",),
}


def test_every_verb_of_the_command_is_in_the_table() -> None:
    def names(typer_app, before=()):
        for command in typer_app.registered_commands:
            yield (*before, command.name)
        for group in typer_app.registered_groups:
            yield (*before, group.name)
            yield from names(group.typer_instance, (*before, group.name))

    planes = {(plane, "run") for plane in ("strategy", "order", "control", "paper")} | {("paper", "providers")}
    assert set(names(app)) == (set(VERBS) | planes) - {()}


@pytest.mark.parametrize("verb", [(), ("demo",), ("kill", "trip")], ids=lambda verb: " ".join(verb) or "triplane")
def test_help_of_a_process(verb: tuple[str, ...], tmp_path: Path) -> None:
    ran = triplane(*verb, "--help", cwd=tmp_path)
    assert ran.code == 0, ran
    assert ran.err == ""
    missing = [word for word in VERBS[verb] if word not in ran.out]
    assert not missing, (missing, ran.out)
    assert list(tmp_path.iterdir()) == []  # asking leaves nothing behind


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: " ".join(verb) or "triplane")
def test_help(verb: tuple[str, ...]) -> None:
    ran = CliRunner(env={"COLUMNS": "200"}).invoke(app, [*verb, "--help"])
    assert ran.exit_code == 0, ran.output
    missing = [word for word in VERBS[verb] if word not in ran.output]
    assert not missing, (missing, ran.output)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (("nonsense",), "No such command 'nonsense'"),
        (("status", "--nonsense"), "--nonsense"),
        (("kill", "trip"), "Missing option '--reason'"),
        (("kill", "rearm", "--reason", "r"), "Missing option '--actor'"),
        (("kill", "trip", "--reason", "r", "--scope", "all"), "--scope is account or own"),
        (("demo", "--sessions", "1"), "greater than or equal to 2"),
        (("demo", "--speed", "fast"), "should be a valid number"),
        (("replay",), "--verify"),
        (("explain",), "Missing argument"),
        (("assets", "add", "AAPL", "--type", "FOO"), "--type FOO is not one of STK, FUT, CASH, CRYPTO"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_wrong_line_is_one_sentence_and_code_2(line: tuple[str, ...], words: str, tmp_path: Path) -> None:
    ran = triplane(*line, cwd=tmp_path)
    assert ran.code == 2
    assert words in ran.sentence
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "line",
    [
        ("explain", "AAPL"),
        ("replay", "--verify"),
        ("config", "history"),
        ("config", "diff"),
        ("topics", "create"),
        ("topics", "diff"),
        ("topics", "restore"),
        ("kafka", "status"),
    ],
    ids=" ".join,
)
def test_without_an_installation_it_says_how_to_get_one(line: tuple[str, ...], tmp_path: Path) -> None:
    ran = triplane(*line, cwd=tmp_path)
    assert ran.code == 1
    assert "no Kafka is known here: run `triplane up`" in ran.sentence
    assert "KAFKA_BOOTSTRAP_SERVERS" in ran.sentence


def test_status_and_down_of_nothing(tmp_path: Path) -> None:
    ran = triplane("status", cwd=tmp_path)
    assert ran.code == 1
    assert "`triplane up`" in ran.out
    document = triplane("status", "--json", cwd=tmp_path).json
    assert document["daemons"] == []
    assert document["problem"]
    ran = triplane("down", cwd=tmp_path)
    assert ran.code == 1
    assert "nothing is up" in ran.sentence


def test_a_damaged_environment_file_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / ".triplane").mkdir()
    (tmp_path / ".triplane" / "environment.json").write_text('{"TRIPLANE_BOOTSTRAP')
    ran = triplane("status", cwd=tmp_path)
    assert ran.code == 1
    assert "environment.json is damaged" in ran.sentence


def test_an_installation_that_runs_comes_before_one_that_was_ended_by_force(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its environment file is newer, and names a Kafka that is gone."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TRIPLANE_STATE_DIR", raising=False)
    for state in context.CANDIDATES:
        context.write_environment(state, {})
    assert context.state_dir() == context.CANDIDATES[1]
    held = state_file.take(context.CANDIDATES[0])
    state_file.write(context.CANDIDATES[0], [])
    os.utime(context.CANDIDATES[0] / context.ENVIRONMENT_FILE, (1, 1))
    assert context.state_dir() == context.CANDIDATES[0]
    assert context.running_beside(context.CANDIDATES[1]) == context.CANDIDATES[0]
    assert context.running_beside(context.CANDIDATES[0].absolute()) is None
    held.release()


def test_what_an_installation_left_that_was_killed_names_no_kafka(tmp_path: Path) -> None:
    """Its Kafka died with it: what helps is `triplane up`, not another address. `down` clears the rest."""
    state = tmp_path / ".triplane"
    killed(state, {"TRIPLANE_BOOTSTRAP": "127.0.0.1:9", "TRIPLANE_GATEWAY_PORT": "10"}, "kafka", "gateway")
    for line in ("replay", "--verify"), ("explain", "AAPL"):
        assert "no Kafka is known here: run `triplane up`" in triplane(*line, cwd=tmp_path).sentence
    assert "`triplane up`" in triplane("status", cwd=tmp_path).out
    assert triplane("down", cwd=tmp_path).out == "stopped nothing that still ran\n"
    assert not list(state.glob("*.json"))


def test_a_path_of_the_cache_is_mended_by_naming_another_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIPLANE_CACHE", "/some/cache")
    error = PermissionError(13, "Permission denied", "/some/cache/kafka.lock")
    assert main._sentence(error, "").endswith("mend that path, or name another cache with TRIPLANE_CACHE")
    error = PermissionError(13, "Permission denied", "/some/state/order.lock")
    words = "or name another directory (`--directory` of the demonstration, else TRIPLANE_STATE_DIR)"
    assert main._sentence(error, "").endswith(f"Permission denied; mend that path, {words}")
    exists = FileExistsError(17, "File exists", "/dev/null")
    assert main._sentence(exists, "").endswith(f"/dev/null: it is a file, no directory; mend that path, {words}")


def test_the_version_is_the_packages(tmp_path: Path) -> None:
    ran = triplane("--version", cwd=tmp_path)
    assert (ran.code, ran.out) == (0, f"triplane {version('triplane')}\n")


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    ran = triplane("down", "--debug", cwd=tmp_path)
    assert ran.code == 1
    assert "Traceback" in ran.err


# Files --------------------------------------------------------------------------------------------------------------------


def test_the_demonstration_empties_no_directory_but_its_own(folder: Path) -> None:
    """Whoever names the folder with their files keeps them; nothing is started."""
    thesis = folder / "thesis.txt"
    thesis.write_text("years of work")
    for directory in (".", str(folder)):
        ran = triplane("demo", "--plain", "--directory", directory, cwd=folder)
        assert ran.code == 1
        assert "holds files that no demonstration wrote" in ran.sentence
    assert thesis.read_text() == "years of work"
    assert sorted(path.name for path in folder.iterdir()) == ["assets.csv", "targets.yaml", "thesis.txt"]
    ran = triplane("demo", "--plain", "--directory", str(thesis), cwd=folder)
    assert "is not a directory" in ran.sentence
    thesis.unlink()
    ran = triplane("demo", "--plain", "--directory", str(folder / "new"), cwd=folder.parent)
    assert "targets.yaml is not here" in ran.sentence


def test_up_names_every_problem_of_the_files_before_it_starts_anything(folder: Path) -> None:
    targets = folder / "targets.yaml"
    targets.write_text(
        re.sub(r"(BOX_LIM:) [0-9.]+", r"\1 -1", re.sub(r"(VOL_TARGET:) [0-9.]+", r"\1 7", targets.read_text()))
    )
    ran = triplane("up", cwd=folder)
    assert ran.code == 78
    assert ran.out == ""
    assert "nothing was started" in ran.err
    assert "VOL_TARGET = 7" in ran.err
    assert "BOX_LIM = -1" in ran.err
    assert not (folder / ".triplane").exists()


def test_a_state_directory_that_cannot_be_made_is_one_sentence(folder: Path) -> None:
    place = folder / "targets.yaml" / "state"
    ran = triplane("up", cwd=folder, variables={"TRIPLANE_STATE_DIR": str(place)})
    assert ran.code == 1
    assert ran.sentence.startswith(f"triplane: {place}: Not a directory; ")
    assert "TRIPLANE_STATE_DIR" in ran.sentence


def test_config_check(folder: Path) -> None:
    assert triplane("config", "check", cwd=folder).code == 0
    assert triplane("config", "check", "--json", cwd=folder).json["ok"] is True
    path = folder / "targets.yaml"
    path.write_text(path.read_text().replace("VOL_TARGET: 0.1", "VOL_TARGET: 7"))
    line = next(n for n, text in enumerate(path.read_text().splitlines(), 1) if "VOL_TARGET: 7" in text)
    ran = triplane("config", "check", cwd=folder)
    assert ran.code == 1
    assert ran.err == ""
    (problem,) = [text for text in ran.out.splitlines() if "VOL_TARGET" in text]
    for part in ("targets.yaml", str(line), "7"):
        assert part in problem
    found = triplane("config", "check", "--json", cwd=folder)
    assert found.code == 1
    assert found.json["ok"] is False


@pytest.mark.parametrize(
    "content",
    ["", "strategy: [", "\x00\x01\x02", "strategy:\n  NO_SUCH: 1\n"],
    ids=["empty", "torn", "binary", "unknown"],
)
def test_config_check_of_corrupt_targets(folder: Path, content: str) -> None:
    (folder / "targets.yaml").write_text(content)
    ran = triplane("config", "check", cwd=folder)
    if content:
        assert ran.code == 1
        assert "targets.yaml" in ran.out
    assert "Traceback" not in ran.out + ran.err


def test_assets_check(folder: Path) -> None:
    found = triplane("assets", "check", "--json", cwd=folder)
    assert found.code == 0
    assert len(found.json["tradable"]) == 20
    assert set(found.json["refused"].values()) == {"CLASS_NOT_TRADED"}
    path = folder / "assets.csv"
    path.write_text(path.read_text().replace("US0378331005", "US0378331006"))  # its check digit is wrong
    bad = triplane("assets", "check", cwd=folder)
    assert bad.code == 1
    assert bad.out.startswith(f"checking {found.json['file']}")
    assert Path(found.json["file"]).samefile(path)
    assert "assets.csv line 2" in bad.out
    assert triplane("assets", "check", "--json", cwd=folder).code == 1
    path.unlink()
    assert "cannot be read" in triplane("assets", "check", cwd=folder).out


def test_lists_of_topics_and_schemas(tmp_path: Path) -> None:
    topics = triplane("topics", "list", "--json", cwd=tmp_path).json
    schemas = triplane("schemas", "list", "--json", cwd=tmp_path).json
    assert {topic["owner"] for topic in topics} >= {"data", "strategy", "order", "control"}
    assert {topic["record"] for topic in topics} <= {entry["record"] for entry in schemas}
    assert all(topic["topic"] in triplane("topics", "list", cwd=tmp_path).out for topic in topics[:1])


# Daemons ------------------------------------------------------------------------------------------------------------------


def test_run_becomes_the_daemon(folder: Path) -> None:
    """`control run` is the daemon itself: its exit code and its sentence."""
    variables = {"TRIPLANE_BOOTSTRAP": "127.0.0.1:9", "TRIPLANE_STATE_DIR": str(folder / "state")}
    ran = triplane("control", "run", cwd=folder, variables=variables)
    assert ran.code == 69
    words = [line for line in ran.err.splitlines() if not line.startswith("{")]
    assert len(words) == 1, ran.err
    assert "127.0.0.1:9" in words[0]


def test_paper_run_passes_arguments_and_signals_on(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    state = tmp_path / "gateway"
    process = subprocess.Popen(
        [*LINE, "paper", "run", "--port", str(port), "--http-port", "0", "--state-dir", str(state), "--assets", str(ROOT / "assets.csv"), "--account", "DU1234567", "--hold"],
        cwd=tmp_path, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        eventually(
            lambda: (state / "gateway.json").is_file() and (state / "gateway.json").read_text(), 60, "the gateway"
        )
        assert json.loads((state / "gateway.json").read_text())["port"] == port
        os.kill(process.pid, signal.SIGTERM)
        _, errors = process.communicate(timeout=20)
        assert process.returncode == 0, errors
    finally:
        process.kill()
        process.wait()
