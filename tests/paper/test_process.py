"""The gateway as a process: its command line, signals, and what it says when something is in its way."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

from tests.paper.harness import ACCOUNT, ASSETS, eventually, ib, stock
from triplane.paper.gateway import main
from triplane.paper.server import options
from triplane.paper.server.options import Options, OptionsError, validate

COMMAND = [sys.executable, "-m", "triplane.paper.gateway", "--port", "0", "--assets", str(ASSETS)]


async def started(*arguments: str) -> asyncio.subprocess.Process:
    """A gateway process that has said where it listens."""
    process = await asyncio.create_subprocess_exec(
        *COMMAND, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    line = await asyncio.wait_for(process.stdout.readline(), 30)
    assert b"SIMULATED" in line, (line, await process.stderr.read() if process.stderr else b"")
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_signals_end_it_cleanly_with_a_client_connected(number: signal.Signals, tmp_path: Path) -> None:
    process = await started("--state-dir", str(tmp_path), "--hold")
    described = json.loads((tmp_path / "gateway.json").read_text())
    assert described["pid"] == process.pid
    client = ib.IB()
    await client.connectAsync("127.0.0.1", described["port"], clientId=1, timeout=5)
    process.send_signal(number)
    assert await asyncio.wait_for(process.wait(), 5) == 0
    assert process.stderr is not None
    assert await process.stderr.read() == b""
    await eventually(lambda: not client.isConnected())


async def test_killed_and_started_again_it_knows_every_fill(tmp_path: Path) -> None:
    arguments = (
        "--state-dir",
        str(tmp_path),
        "--sessions",
        "2",
        "--speed",
        "2000",
        "--approach-speed",
        "20000",
        "--rebalance",
        "09:45",
    )
    process = await started(*arguments)
    described = json.loads((tmp_path / "gateway.json").read_text())
    client = ib.IB()
    await client.connectAsync("127.0.0.1", described["port"], clientId=1, timeout=5)
    order = ib.LimitOrder("BUY", 30_000, 20.0, orderRef=f"{ACCOUNT}/1/RRC/0/0", account=ACCOUNT, tif="DAY")
    trade = client.placeOrder(stock("RRC"), order)
    await eventually(lambda: len(trade.fills) >= 3, 20)
    process.kill()
    await process.wait()
    await eventually(lambda: not client.isConnected())
    told = {fill.execution.execId: fill.execution.shares for fill in trade.fills}
    process = await started(*arguments, "--hold")
    described = json.loads((tmp_path / "gateway.json").read_text())
    again = ib.IB()
    await again.connectAsync("127.0.0.1", described["port"], clientId=1, timeout=5)
    known = {fill.execution.execId: fill.execution.shares for fill in again.fills()}
    assert told.items() <= known.items()
    assert sum(p.position for p in again.positions()) == sum(known.values())
    again.disconnect()
    process.terminate()
    assert await asyncio.wait_for(process.wait(), 5) == 0


@pytest.mark.parametrize("flag", ["--port", "--http-port"])
def test_a_port_in_use_is_one_sentence(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert main(["--port", "0", "--assets", str(ASSETS), flag, port]) == 69
    assert (
        capsys.readouterr().err
        == f"error: port {port} on 127.0.0.1 is in use; stop the process that has it, or choose another {flag} where you start it by hand\n"
    )


def test_an_address_that_is_not_here(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--host", "192.0.2.1", "--port", "0", "--assets", str(ASSETS)]) == 69
    assert "cannot listen on 192.0.2.1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--assets", "/nonexistent.csv"], "nonexistent.csv"),
        (["--assets", str(ASSETS), "--start", "2025-01-02"], "no closes of 2025-01-02"),
        (["--assets", str(ASSETS), "--position", "SPY=3"], "has no market for it"),
    ],
)
def test_inputs_that_cannot_be_used(arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--port", "0", *arguments]) == 78
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert sentence in told
    assert "Traceback" not in told


def test_help_says_what_is_simulated() -> None:
    done = subprocess.run([*COMMAND, "--help"], capture_output=True, text=True, check=True)
    for word in ("SIMULATED", "--rebalance", "--hold", "POST /fault", "gateway-journal.jsonl"):
        assert word in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["--port", "70000"],
        ["--sessions", "0"],
        ["--speed", "0"],
        ["--session-pause", "-1"],
        ["--position", "AAPL"],
        ["--account", "U123"],
        ["--rebalance", "half past three"],
        ["--start", "2035-12-20", "--sessions", "500"],
    ],
)
def test_wrong_options(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        options.parse(arguments)
    assert caught.value.code == 2
    assert "error:" in capsys.readouterr().err


def test_options_of_the_command_line() -> None:
    parsed = options.parse(
        [
            "--position",
            "AAPL=10",
            "--position",
            "KO=-5",
            "--speed",
            "1",
            "--idle-speed",
            "1",
            "--start",
            "2018-02-05",
            "--master-client-id",
            "9",
        ]
    )
    assert parsed.positions == (("AAPL", 10.0), ("KO", -5.0))
    assert (parsed.speed, parsed.idle_speed, parsed.approach_speed) == (1, 1, 1)  # real time has no fast approach
    assert (parsed.days()[0], parsed.master_client_id) == (date(2018, 2, 5), 9)
    assert options.parse([]) == Options()
    with pytest.raises(OptionsError, match="begins with D"):
        validate(Options(account="X"))


async def test_real_time_mode(tmp_path: Path) -> None:
    process = await started("--state-dir", str(tmp_path), "--speed", "1", "--idle-speed", "1")
    described = json.loads((tmp_path / "gateway.json").read_text())
    client = ib.IB()
    await client.connectAsync("127.0.0.1", described["port"], clientId=1, timeout=5)
    began = await client.reqCurrentTimeAsync()
    loop = asyncio.get_running_loop()
    wall = loop.time()
    bars = client.reqRealTimeBars(stock("AAPL"), 5, "TRADES", True)
    await eventually(lambda: bars, 8)
    passed = (await client.reqCurrentTimeAsync() - began).total_seconds()
    assert abs(passed - (loop.time() - wall)) <= 1.5
    client.disconnect()
    process.terminate()
    assert await process.wait() == 0
