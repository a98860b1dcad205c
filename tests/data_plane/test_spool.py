"""The file of records that could not be sent: whole, bounded, and readable whatever happened to it."""

from __future__ import annotations

import random
import resource
import struct
import tracemalloc
from pathlib import Path

import pytest

from data_plane.daemon.spool import Spool, Spooled
from tests.data_plane.outlets import kept, output
from triplane.runtime.exit_codes import UNAVAILABLE, DaemonExit


def test_a_torn_end_of_the_spool_is_left_out_kept_and_told(tmp_path: Path) -> None:
    path = tmp_path / "s"
    spool = Spool(path, 10**6)
    assert spool.append(output(1), 5)
    assert spool.append(output(2), 6)
    size = spool.size
    assert spool.append(output(3), 7)
    spool.close()
    data = path.read_bytes()
    for cut in (size, size + 2, size + 9, len(data) - 1):
        path.write_bytes(data[:cut])
        again = Spool(path, 10**6)
        assert [item.record["event_time"] for item in again.contents()] == [1, 2]
        assert path.stat().st_size == size
        again.close()
        assert (again.damage.size if again.damage is not None else 0) == cut - size
    (tmp_path / "flipped").write_bytes(data[:size] + bytes([data[size] ^ 1]) + data[size + 1 :])
    with_a_wrong_length = Spool(tmp_path / "flipped", 10**6)
    assert with_a_wrong_length.damage is not None
    assert (len(with_a_wrong_length), with_a_wrong_length.damage.size) == (2, len(data) - size)
    with_a_wrong_length.close()
    for header in (b"[]", b"null", b"{}", b"7"):
        path.write_bytes(data[:size] + struct.pack(">I", len(header)) + header + struct.pack(">I", 2) + b"xx")
        again = Spool(path, 10**6)
        assert len(again) == 2
        again.close()
    path.write_bytes(data[: size + 4] + b"{" * (len(data) - size - 4))
    again = Spool(path, 10**6)
    assert len(again) == 2
    first = again.peek()
    assert first is not None
    assert (first.ingest_time, first.output.record["event_time"]) == (5, 1)
    again.pop()
    again.forget_taken()
    assert len(again) == 1  # one waits still, so nothing is cut
    again.pop()
    again.pop()
    assert again.peek() is None
    again.forget_taken()
    assert path.stat().st_size == 0


def test_what_a_disk_damaged_is_left_out_and_told_and_the_rest_is_taken_up(tmp_path: Path) -> None:
    path = tmp_path / "s"
    spool = Spool(path, 10**6)
    ends = [0]
    for number in range(20):
        assert spool.append(output(number), number)
        ends.append(spool.size)
    spool.close()
    data = path.read_bytes()

    def damaged(content: bytes, lost: set[int]) -> None:
        path.write_bytes(content)
        again = Spool(path, 10**6)
        assert again.damage is not None
        assert again.damage.kept.read_bytes() == content
        left = [number for number in range(20) if number not in lost]
        assert [item.record["event_time"] for item in again.contents()] == left
        assert len(again) == len(left)
        assert path.read_bytes() == b"".join(data[ends[number] : ends[number + 1]] for number in left)
        assert again.append(output(99), 0)
        assert [item.record["event_time"] for item in again.contents()][-1] == 99
        again.close()
        found = Spool(path, 10**6)
        assert found.damage is None  # the next run finds a whole one
        assert len(found) == len(left) + 1
        found.close()

    for at in range(
        ends[5], ends[6]
    ):  # a length, the header, the body's length, the body: it would be another record in many places
        damaged(data[:at] + bytes([data[at] ^ 0x02]) + data[at + 1 :], {5})
    damaged(data[: ends[5]] + bytes([data[ends[5]] ^ 0x80]) + data[ends[5] + 1 :], {5})
    damaged(data[: ends[7]] + b"\0" * 4096 + data[ends[9] :], {7, 8})
    damaged(b"junk" + data, set())
    damaged(data + b"junk and more junk", set())
    damaged(random.Random(7).randbytes(300_000), set(range(20)))
    damaged(data[: ends[19]] + b"\0\0\0\4[[[[" + struct.pack(">I", 2) + b"xx", {19})
    deep = b'{"topic": ' + b"[" * 200_000
    damaged(data[: ends[19]] + struct.pack(">I", len(deep)) + deep + struct.pack(">I", 2) + b"xx", {19})


def test_a_length_that_cannot_be_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "s"
    spool = Spool(path, 10**6)
    assert spool.append(output(0), 0)
    size = spool.size
    assert spool.append(output(1), 1)
    spool.close()
    data = path.read_bytes()
    path.write_bytes(data[:size] + b"\xf0\xff\xff\xff" + data[size:])
    tracemalloc.start()
    again = Spool(path, 10**6)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [item.record["event_time"] for item in again.contents()] == [0, 1]
    assert peak < 2**20
    again.close()


def test_a_full_disk_takes_a_record_whole_or_not_at_all(tmp_path: Path) -> None:
    """The limit on file sizes ends a write in the middle, as a disk without room does."""
    path = tmp_path / "s"
    spool = Spool(path, 10**9)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, hard))
    try:
        taken = [spool.append(output(number, "data.quarantine", 300), 0) for number in range(30)]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    fitted = sum(taken)
    assert taken == [True] * fitted + [False] * (30 - fitted)
    assert 0 < fitted < 30
    assert spool.append(output(99), 0)
    spool.close()
    again = Spool(path, 10**9)
    assert again.damage is None
    assert [found.record.get("quarantine_id", "later") for found in again.contents()] == [
        *map(str, range(fitted)),
        "later",
    ]


def test_what_is_put_before_the_others_keeps_the_bound_and_survives_a_restart(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s", 2_000)
    for number in range(4, 7):
        spool.append(output(number), number)
    spool.pop()
    refused = spool.prepend([Spooled(output(number), number) for number in range(1, 30)])
    fits = 29 - len(refused)
    assert 0 < fits < 29
    assert spool.size <= 2_000
    assert len(spool) == fits + 2
    spool.close()
    assert kept(tmp_path / "s")[: fits + 2] == [*range(1, fits + 1), 5, 6]


def test_what_is_damaged_while_the_plane_runs_ends_it_and_the_next_start_takes_up_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "s"
    spool = Spool(path, 10**6)
    for number in range(1, 5):
        assert spool.append(output(number), number)
    spool.pop()
    at = spool.size // 4 + 9
    with path.open("r+b") as file:
        file.seek(at)
        file.write(b"\xff\xff")
    with pytest.raises(
        DaemonExit, match=r"spool .* was damaged at byte \d+ while this plane ran; the next start"
    ) as ended:
        spool.peek()
    assert ended.value.code == UNAVAILABLE
    assert len(spool) == 3
    spool.close()
    assert kept(path) == [1, 3, 4]


def test_what_was_taken_makes_room_and_each_source_is_counted(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s", 10**6)
    for number in range(1, 9):
        assert spool.append(output(number), number)
    spool.max_bytes = spool.size
    assert not spool.append(output(9), 9)
    for _ in range(4):
        spool.pop()
    first = [Spooled(output(number)._replace(source="edgar", units=2), number) for number in range(1, 5)]
    left = spool.prepend(first)
    assert len(left) <= 1  # "edgar" is longer than "ibkr"
    assert spool.size <= spool.max_bytes
    assert spool.waiting == [("edgar", 2)] * (4 - len(left)) + [("ibkr", 1)] * 4
    spool.pop()
    assert spool.waiting == [("edgar", 2)] * (3 - len(left)) + [("ibkr", 1)] * 4
    spool.close()


def test_a_copy_that_was_cut_short_leaves_the_spool_as_it_was(tmp_path: Path) -> None:
    """There is room for one of the two files only."""
    spool = Spool(tmp_path / "s", 10**6)
    for number in range(4, 30):
        spool.append(output(number), number)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (spool.size, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            spool.prepend([Spooled(output(1), 1)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [each.name for each in tmp_path.iterdir()] == ["s"]
    spool.append(output(30), 30)
    spool.close()
    (tmp_path / ".s.tmp").write_bytes(b"of a run that was killed")
    assert kept(tmp_path / "s") == list(range(4, 31))
    assert [each.name for each in tmp_path.iterdir()] == ["s"]
