"""The kill switch from outside the order process: needs neither Kafka nor that process.

`trip` does, in this order: writes state_dir/KILL (its presence holds every order, also after restarts); tells a running order
process over loopback HTTP; and when that process is dead or does not answer, asks the broker itself to cancel, under the reserved
kill client id. No new order leaves within a second of the file. When the cancels are done is the broker's business: scope account
is one message, scope own one message an order. Only a person re-arms, with name and reason.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass, field
from typing import Any, Literal

import httpx
from filelock import FileLock, Timeout

from order_plane.kill.files import (
    MEANWHILE,
    file_of,
    hold,
    identity,
    one_at_a_time,
    plain,
    read_file,
    rearm_file_of,
    told,
)
from triplane.broker import orders
from triplane.broker.session import BrokerError, BrokerSession, ClientIdInUse
from triplane.domain.ids import parse_order_ref
from triplane.runtime import atomic_file, loopback, run_file
from triplane.runtime.process_identity import start_time
from triplane.runtime.settings import Settings

Scope = Literal["account", "own"]
SCOPES: tuple[Scope, ...] = ("account", "own")


class KillSwitchError(RuntimeError):
    """The request cannot be carried out as asked; the sentence says what is missing."""


@dataclass(slots=True)
class KillReport:
    """What was done, for a person: one sentence a line."""

    tripped: bool
    order_process: Literal["told", "dead", "silent"] = "dead"
    cancels: Literal["asked", "waiting", "none"] = "none"
    lines: list[str] = field(default_factory=list)


def order_process(settings: Settings) -> tuple[str, int] | None:
    """(HTTP address, pid) of the living order process of this state directory, or None.

    Whoever holds the writer's lock lives, whatever is known of its start.
    """
    found = run_file.read(settings.state_dir, "order")
    try:
        alive = found is not None and (
            found.alive or (start_time(found.pid) is not None and not lock_is_free(settings))
        )
    except OSError:
        return None
    return (found.http, found.pid) if found is not None and alive else None


def lock_is_free(settings: Settings) -> bool:
    """True when no order process holds the single-writer lock of the state directory."""
    lock = FileLock(settings.state_dir / "order.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    lock.release()
    return True


def _require(actor: str, reason: str, scope: str = "account") -> None:
    if not actor.strip() or not reason.strip():
        raise KillSwitchError("a name and a reason are required; pass both")
    if scope not in SCOPES:
        raise KillSwitchError(f"scope {scope!r} is not one of {', '.join(SCOPES)}")


async def trip(
    settings: Settings, actor: str, reason: str, scope: Scope = "account", timeout: float = 3.0
) -> KillReport:
    """Trip the kill switch; `timeout` in wall seconds for each of the HTTP and the broker step.

    A disk without room gets an empty file, which holds as well. One that takes none keeps nobody from stopping: process and broker are
    asked all the same. Raises KillSwitchError without a name or a reason, and when neither file nor process holds.
    """
    actor, reason = plain(actor), plain(reason)
    _require(actor, reason, scope)
    document = {"actor": actor, "reason": reason, "scope": scope, "time": str(time.time_ns())}
    report = KillReport(True)
    failed = False
    try:
        with one_at_a_time(settings):
            short = hold(file_of(settings), document)
            with contextlib.suppress(OSError):  # one that cannot be removed is nothing beside a KILL
                rearm_file_of(settings).unlink(missing_ok=True)
        made = f"is there, without this name and reason ({short})" if short else "is written"
        report.lines.append(f"{file_of(settings)} {made}: no new order leaves until `triplane kill rearm`")
    except OSError as error:
        failed = True
        report.lines.append(
            f"{file_of(settings)} could NOT be written ({error.strerror}): the kill may not survive a restart; mend the disk and trip again"
        )
    living = order_process(settings)
    if living is not None:
        address, pid = living
        try:
            async with loopback.async_client(timeout) as client:
                answer = await client.post(f"{address}/kill", json=document)
                answer.raise_for_status()
            report.order_process = "told"
            body = answer.json()
            report.lines.append(f"the order process (pid {pid}) holds: {body.get('sentence', '')}")
            if body.get("cancels") == "asked":
                report.cancels = "asked"
                return report
        except (httpx.HTTPError, ValueError) as error:
            report.order_process = "silent"
            report.lines.append(
                f"the order process (pid {pid}) does not answer ({type(error).__name__}); it will find the file"
            )
    else:
        known = (settings.state_dir / "run" / "order.json").exists()
        report.lines.append(
            "the order process is not running"
            if known
            else f"no order process is known in {settings.state_dir}; one whose state directory was removed reads no file there: end it by its pid"
        )
    await _cancel_at_broker(settings, scope, report, timeout)
    if failed and report.order_process != "told":
        raise KillSwitchError("nothing holds new orders: " + "; ".join(report.lines))
    return report


async def _cancel_at_broker(settings: Settings, scope: Scope, report: KillReport, timeout: float) -> None:
    own = scope == "own"
    if own and (report.order_process != "dead" or not lock_is_free(settings)):
        report.cancels = "waiting"
        report.lines.append(
            "scope own: only the order process's client id may cancel its orders, so cancels wait until it goes on or is ended"
        )
        return
    if not settings.gateway_port:
        report.cancels = "waiting"
        report.lines.append(
            "no gateway is known here, so the broker was not asked to cancel (the simulated one of an installation that was killed is gone with it; for any other set TRIPLANE_GATEWAY_PORT and trip again); open orders end at their good-till time"
        )
        return
    session = BrokerSession(max_requests=0)
    client_id = settings.order_client_id if own else settings.kill_client_id
    where = f"{settings.gateway_host}:{settings.gateway_port}"
    try:
        await session.connect(settings.gateway_host, settings.gateway_port, client_id, settings.account, timeout)
        if own:
            count = await _cancel_own(session, settings, timeout)
            report.lines.append(
                f"asked the broker to cancel {count} open order(s) of Triplane, one message each (some 45 a second)"
            )
        else:
            orders.global_cancel(session)
            # One answered request behind the cancel: the gateway reads in order, so it has the cancel.
            await session.server_time(timeout)
            report.lines.append(
                "asked the broker to cancel every open order of the account, manual and foreign ones included"
            )
        report.cancels = "asked"
    except ClientIdInUse as error:
        report.cancels = "waiting"
        report.lines.append(str(error))
    except BrokerError as error:
        report.cancels = "waiting"
        report.lines.append(
            f"the gateway at {where} could not be asked to cancel: {error}; open orders end at their good-till time"
        )
    finally:
        await session.close()


async def _cancel_own(session: BrokerSession, settings: Settings, timeout: float) -> int:
    rows = await session.collect("open_orders", session.ib.client.reqAllOpenOrders, timeout)
    mine = sorted(
        {
            row["order_id"]
            for row in rows
            if row["client_id"] == settings.order_client_id and parse_order_ref(row["order_ref"]) is not None
        }
    )
    for order_id in mine:
        orders.cancel(session, order_id)
    await session.server_time(timeout)
    return len(mine)


async def rearm(settings: Settings, actor: str, reason: str, timeout: float = 3.0) -> KillReport:
    """Let orders leave again, in the name of a person. Raises KillSwitchError where it stays tripped."""
    actor, reason = plain(actor), plain(reason)
    _require(actor, reason)
    known = told(file_of(settings))
    document = {"actor": actor, "reason": reason, "time": str(time.time_ns())}
    living = order_process(settings)
    if living is not None:
        try:
            async with loopback.async_client(timeout) as client:
                # Half of our own patience: the other half is for the answer, so that nobody is told of a failure that was none.
                limit = {"valid_until": str(time.monotonic_ns() + int(timeout * 0.5e9))}
                answer = await client.post(f"{living[0]}/rearm", json=document | limit | {"known": known})
                refused = "" if answer.is_success else str(answer.json()["error"])
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            raise KillSwitchError(
                f"the order process (pid {living[1]}) does not answer ({type(error).__name__}), so it stays tripped; end it or let it go on, then re-arm"
            ) from None
        if refused:
            raise KillSwitchError(f"the order process (pid {living[1]}) refuses: {refused}")
        return KillReport(
            False, "told", lines=[f"the order process (pid {living[1]}) is re-armed by {actor}: {reason}"]
        )
    with one_at_a_time(settings):
        if told(file_of(settings)) != known:
            raise KillSwitchError(MEANWHILE)
        _rearm_next_start(settings, document)
    unless = "" if known else "no KILL file is there; should trading be stopped by the log, "
    return KillReport(
        False, "dead", lines=[f"the order process is not running; {unless}it starts re-armed by {actor}: {reason}"]
    )


def _rearm_next_start(settings: Settings, document: dict[str, str]) -> None:
    """Leave REARM in the place of KILL, or both as they were: a crash between the two leaves both, and KILL counts then."""
    file, rearm_file = file_of(settings), rearm_file_of(settings)
    at = rearm_file
    try:
        atomic_file.write_json(rearm_file, document, durable=True)
        at = file
        file.unlink(missing_ok=True)
    except OSError as error:
        if at == file:
            rearm_file.unlink(missing_ok=True)
        verb, remedy = ("removed", "remove it by hand") if at == file else ("written", "mend that path")
        so = "it stays tripped" if identity(file) is not None else "nothing was re-armed"
        raise KillSwitchError(
            f"the file {at} cannot be {verb} ({error.strerror}), so {so}; {remedy}, then re-arm"
        ) from None


async def status(settings: Settings, timeout: float = 3.0) -> dict[str, Any]:
    """What is known of the kill switch from here: the file, the process and its own word."""
    document = read_file(file_of(settings))
    written = identity(file_of(settings))
    if document is not None and written is not None:
        document.setdefault("time", str(written[1]))  # a file made by hand: since it is there
    result: dict[str, Any] = {"file": document, "tripped": document is not None, "order_process": "dead"}
    living = order_process(settings)
    if living is None:
        return result
    result["order_process"] = "silent"
    try:
        async with loopback.async_client(timeout) as client:
            answer = await client.get(f"{living[0]}/kill")
            answer.raise_for_status()
            word = answer.json()
    except (httpx.HTTPError, ValueError):
        return result
    result.update(word)
    result["order_process"] = "answers"
    result["tripped"] = bool(word.get("tripped")) or document is not None
    return result


def run(action: Any) -> Any:
    """Run one of these coroutines from synchronous code."""
    return asyncio.run(action)
