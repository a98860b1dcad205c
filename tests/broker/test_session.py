"""Connecting to a real gateway process: whom, as whom, and what ends it."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from functools import partial

import pytest

from tests.broker.gateways import ACCOUNT, GatewayProcess
from tests.broker.sessions import Recorder, connected
from tests.waiting import eventually, wait
from triplane.broker.client_library import LIBRARIES, LIBRARY
from triplane.broker.contracts import make_contract
from triplane.broker.market_data import history
from triplane.broker.session import READ_BYTES, BrokerSession, BrokerUnavailable, ClientIdInUse, WrongAccount

pytestmark = pytest.mark.integration


async def test_connects_reports_it_and_tells_the_brokers_time(gateway: GatewayProcess) -> None:
    session, recorder = await connected(gateway)
    assert LIBRARY in LIBRARIES
    assert (session.is_connected, session.link.up) == (True, True)
    assert session.account == ACCOUNT
    first = recorder.reports[0]
    assert (first["kind"], first["account"], first["client_id"]) == ("connected", ACCOUNT, 12)
    assert first["order_id"] >= 1
    assert await session.server_time() == gateway.status()["market_time"]
    assert await session.heartbeat() < 1.0
    await session.close()
    assert (session.is_connected, recorder.reports[-1]["kind"]) == (False, "disconnected")


async def test_a_client_id_in_use_is_named_at_once_and_the_first_holder_stays(gateway: GatewayProcess) -> None:
    first, _ = await connected(gateway)
    second = BrokerSession()
    started = time.monotonic()
    with pytest.raises(ClientIdInUse, match="client id 12 is in use"):
        await second.connect("127.0.0.1", gateway.port, 12, ACCOUNT, timeout=10)
    assert time.monotonic() - started < 2.0  # the client library alone would wait out its timeout
    assert await first.heartbeat() < 1.0
    await first.close()
    # The same session object connects once the id is free.
    eventually(lambda: not gateway.status()["clients"])
    assert await second.connect("127.0.0.1", gateway.port, 12, ACCOUNT) == ACCOUNT
    await second.close()


async def test_what_a_process_stood_still_itself_is_not_the_gateway_s_silence(gateway: GatewayProcess) -> None:
    """A machine that sleeps, or has no core for either of them, would cost the connection and every subscription."""
    session, _ = await connected(gateway)
    assert gateway.process is not None
    await session.server_time()
    os.kill(gateway.process.pid, signal.SIGSTOP)
    asking = asyncio.create_task(session.server_time(1.5))
    await asyncio.sleep(0)
    wait(2.0)  # on the loop's own thread
    os.kill(gateway.process.pid, signal.SIGCONT)
    assert await asking > 0
    # The gateway's alone is.
    os.kill(gateway.process.pid, signal.SIGSTOP)
    began = time.monotonic()
    with pytest.raises(BrokerUnavailable, match=r"did not tell its time within 0\.6 s"):
        await session.server_time(0.6)
    assert time.monotonic() - began >= 0.6
    os.kill(gateway.process.pid, signal.SIGCONT)
    await session.close()


async def test_a_burst_is_read_in_pieces(gateway: GatewayProcess) -> None:
    """Between two reads the loop serves others: at an open of 60 names one read held it for 0.3 s of a busy machine."""
    session, _ = await connected(gateway)
    sizes: list[int] = []

    def read(data: bytes) -> None:
        sizes.append(len(data))

    session.ib.client.conn.hasData += read
    bars = await history(session, make_contract("KO"), bar_size="1 day", duration="3 Y")
    assert len(bars.starts) > 700
    assert sum(sizes) > 2 * READ_BYTES
    assert max(sizes) <= READ_BYTES
    await session.close()


async def test_another_account_is_refused(gateway: GatewayProcess) -> None:
    session = BrokerSession()
    with pytest.raises(WrongAccount, match="logged in to DU1234567, but TRIPLANE_ACCOUNT is DU7654321"):
        await session.connect("127.0.0.1", gateway.port, 12, "DU7654321")
    assert not session.is_connected


@pytest.mark.parametrize(
    ("managed", "sentence"),
    [
        (["DU1", "DU2"], "manages 2 accounts"),
        ([], "manages 0 accounts"),
        (["DF1234"], "adviser's account"),
        (["F1234"], "adviser's account"),
    ],
)
def test_adviser_and_group_logins_are_refused(managed: list[str], sentence: str) -> None:
    with pytest.raises(WrongAccount, match=sentence):
        BrokerSession._check_account(managed, "")


async def test_nobody_listening_is_one_sentence(gateway: GatewayProcess) -> None:
    gateway.stop()
    with pytest.raises(BrokerUnavailable, match=r"no TWS or IB Gateway answers at 127\.0\.0\.1"):
        await BrokerSession().connect("127.0.0.1", gateway.port, 12, ACCOUNT)


async def test_a_listener_that_says_nothing_times_out() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(BrokerUnavailable, match="answers at"):
        await BrokerSession().connect("127.0.0.1", port, 12, ACCOUNT, timeout=0.3)
    server.close()


async def test_a_cut_connection_is_reported_and_the_session_connects_again(gateway: GatewayProcess) -> None:
    session, recorder = await connected(gateway)
    gateway.fault("drop")
    await asyncio.wait_for(session.disconnected.wait(), 5)
    assert recorder.of("disconnected")
    assert not session.link.up
    with pytest.raises(BrokerUnavailable):
        await session.server_time()
    await session.connect("127.0.0.1", gateway.port, 12, ACCOUNT)
    assert await session.heartbeat() < 1.0
    await session.close()


async def test_a_cancel_that_comes_with_the_answer_ends_the_caller_all_the_same(gateway: GatewayProcess) -> None:
    """A lost cancel left the order plane hanging on its way out: its heartbeat went on and was waited for."""
    session, _ = await connected(gateway)
    asking = asyncio.create_task(session.heartbeat())
    await asyncio.sleep(0)
    request = session._time_request
    assert request is not None
    request.add_done_callback(lambda _: asking.cancel())
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert request.done()
    await session.close()


async def test_a_gateway_that_stops_answering_fails_the_heartbeat_and_later_answers_again(
    gateway: GatewayProcess,
) -> None:
    session, _ = await connected(gateway)
    gateway.signal(signal.SIGSTOP)
    try:
        with pytest.raises(BrokerUnavailable, match="did not tell its time"):
            await session.heartbeat(0.3)
    finally:
        gateway.signal(signal.SIGCONT)
    assert await session.heartbeat(5) < 5
    await session.close()


async def test_everyone_who_waits_for_the_same_silent_answer_is_told(gateway: GatewayProcess) -> None:
    """One caller gives up first and takes the shared request with it: the others get a sentence, not a cancel."""
    session, _ = await connected(gateway)
    gateway.signal(signal.SIGSTOP)
    try:
        told = await asyncio.gather(
            session.heartbeat(0.3), session.heartbeat(5), session.heartbeat(0.4), return_exceptions=True
        )
    finally:
        gateway.signal(signal.SIGCONT)
    assert [type(error) for error in told] == [BrokerUnavailable] * 3
    await session.close()


async def test_a_connection_cut_during_a_time_request_is_called_an_ended_connection(gateway: GatewayProcess) -> None:
    session, _ = await connected(gateway)
    gateway.signal(signal.SIGSTOP)
    asking = asyncio.create_task(session.heartbeat(5))
    try:
        await asyncio.sleep(0)
        session.ib.client.conn.disconnect()
        with pytest.raises(BrokerUnavailable, match="connection ended"):
            await asking
    finally:
        gateway.signal(signal.SIGCONT)
    await session.close()


async def test_notices_move_the_link_state(gateway: GatewayProcess, caplog: pytest.LogCaptureFixture) -> None:
    session, recorder = await connected(gateway)
    heard: list[int] = []
    session.errors.append(lambda _, code, __: heard.append(code))

    def told(code: int, times: int) -> bool:
        return len(recorder.of("error", code=code)) == times

    for code, up in ((1100, False), (1102, True), (2110, False), (1101, True), (2110, False), (1102, True)):
        before = len(recorder.of("error", code=code))
        gateway.fault("notice", code=code, text="notice")
        await recorder.until(partial(told, code, before + 1))
        assert session.link.up is up, code
        assert session.link.data_lost is (1101 in heard)  # and what follows brings no subscription back
    # What the gateway says of its data farms after a connect may still come in between.
    assert [code for code in heard if code not in (2104, 2106, 2158)] == [1100, 1102, 2110, 1101, 2110, 1102]
    assert all(report["order_id"] == 0 for report in recorder.of("error"))
    # Each is an event that the planes handle: the client's log keeps its words, and calls none an error of the program.
    words = [record for record in caplog.records if record.name == f"{LIBRARY}.wrapper" and "1100" in record.message]
    assert [(record.levelname, "notice" in record.message) for record in words] == [("WARNING", True)]
    await session.close()


async def test_farm_notices_are_no_orders_business(gateway: GatewayProcess) -> None:
    session, recorder = await connected(gateway)
    gateway.fault("notice", code=2103, text="broken")
    await recorder.until(lambda: recorder.of("error", code=2103))
    assert (session.link.farms_broken, session.link.up) == (True, True)
    gateway.fault("notice", code=2104, text="OK")
    await session.heartbeat()
    assert (session.link.farms_broken, recorder.of("error", code=2104)) == (False, [])
    await session.close()


async def test_what_cannot_be_decoded_is_reported_because_it_may_have_been_a_fill() -> None:
    recorder = Recorder()
    session = BrokerSession(reports=recorder)
    session.ib.client.decoder.serverVersion = 176
    session.ib.client.decoder.interpret(["11", "-1", "7", "too", "short"])
    (report,) = recorder.reports
    assert report["kind"] == "undecodable"
    assert report["labels"]["message"] == "11"
