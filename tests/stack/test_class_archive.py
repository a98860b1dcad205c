"""Class data archives with a real Java and Kafka's own jars."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from triplane.stack import class_archive, java

NAME = "kafka"


@pytest.fixture
def class_path() -> str:
    """Kafka's jars, from the cache that every test uses."""
    if java.find_java() is None:
        pytest.skip("no Java on this machine")
    return f"{java.kafka_jars()}{os.sep}*"


@pytest.fixture
def program(class_path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A Java, and an empty cache for its archives."""
    monkeypatch.setenv("TRIPLANE_CACHE", str(tmp_path / "cache"))
    found = java.find_java()
    assert found is not None
    return found


def random_id(program: str, options: tuple[str, ...], class_path: str) -> str:
    """Output of a small program of Kafka's that loads a few hundred of its classes, with a line for each loaded class."""
    done = subprocess.run(
        [program, *options, "-Xlog:class+load:stdout", "-cp", class_path, "kafka.tools.StorageTool", "random-uuid"],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert done.stderr == ""
    return done.stdout


@pytest.mark.integration
def test_a_run_writes_what_the_next_ones_load(program: str, class_path: str, tmp_path: Path) -> None:
    """One run writes, meanwhile others start without; then the classes come from the archive and no longer from the jars."""
    assert class_archive.options(program, NAME, class_path, 1, may_write=False) == ()
    writing = class_archive.options(program, NAME, class_path, 1)
    assert "ArchiveClassesAtExit" in writing[0]
    assert class_archive.options(program, NAME, class_path, 1) == ()
    before = random_id(program, writing, class_path)
    assert "kafka.tools.StorageTool source: file:" in before
    assert class_archive.options(program, NAME, class_path, 1000) == ()  # too small to be all that is needed
    sharing = class_archive.options(program, NAME, class_path, 1, may_write=False)
    assert "SharedArchiveFile" in sharing[0]
    assert class_archive.options(program, NAME, class_path, 1) == sharing
    after = random_id(program, sharing, class_path)
    assert "kafka.tools.StorageTool source: shared objects file (top)" in after
    assert after.count("source: file:") < before.count("source: file:") / 10
    # Another Java or other jars have another archive; one that does not fit is passed over.
    assert class_archive.options(program, NAME, class_path + os.pathsep + str(tmp_path), 1, may_write=False) == ()
    assert "kafka.tools.StorageTool" in random_id(program, sharing, f"{tmp_path}{os.pathsep}{class_path}")


@pytest.mark.integration
def test_a_damaged_archive_is_not_used(program: str, class_path: str) -> None:
    """Half a draft, of a run that was killed as it wrote, is not taken; an archive that was cut short is thrown away."""
    cache = Path(os.environ["TRIPLANE_CACHE"])
    random_id(program, class_archive.options(program, NAME, class_path, 1), class_path)
    (draft,) = cache.glob("*.draft")
    whole = draft.read_bytes()
    draft.write_bytes(whole[: len(whole) // 2])
    assert class_archive.options(program, NAME, class_path, 1) == ()
    draft.write_bytes(whole[: len(whole) // 2] + bytes(len(whole) - len(whole) // 2))
    assert class_archive.options(program, NAME, class_path, 1) == ()
    os.utime(draft, (0, 0))
    assert "ArchiveClassesAtExit" in class_archive.options(program, NAME, class_path, 1)[0]
    assert not draft.exists()
    (draft,) = cache.glob("*.draft")
    draft.write_bytes(whole)
    assert "SharedArchiveFile" in class_archive.options(program, NAME, class_path, 1)[0]
    (archive,) = cache.glob("*.jsa")
    archive.write_bytes(whole[:1000])
    assert "ArchiveClassesAtExit" in class_archive.options(program, NAME, class_path, 1)[0]
    assert not archive.exists()


def test_without_a_cache_java_starts_as_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache that cannot be made, and a Java that is not there, give no options and no error."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TRIPLANE_CACHE", str(tmp_path / "file" / "cache"))
    assert class_archive.options(os.devnull, NAME, "x.jar", 1) == ()
    assert class_archive.options(str(tmp_path / "no-java"), NAME, "x.jar", 1) == ()
