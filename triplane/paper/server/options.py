"""Options of the paper gateway: its command line, typed."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final

from triplane.domain import calendars
from triplane.paper.market.actions import Action
from triplane.paper.market.liquidity import IMPACT_Y

DESCRIPTION: Final = """\
Paper gateway: a SIMULATED market that speaks the TWS wire protocol (server version 176) to an unmodified ib_insync or ib_async client.

Daily closes are real (20 S&P 500 names of the package skfolio, 1990-2022); intraday paths, book, volume, fills and the account are
simulated from the seed. Nothing reaches a broker."""
EPILOG: Final = """\
HTTP on 127.0.0.1: GET /status, GET /orders, GET /healthz, POST /start, POST /pause, POST /advance {"to": "2018-01-19T15:25"} or
{"minutes": 5}, POST /speed {"speed": 100} (at most --speed), POST /fault {"fault": "drop"} (GET /fault lists them). Journal: <state-dir>/gateway-journal.jsonl; started again on the
same state directory, the gateway continues with its account, orders and market time."""


class OptionsError(ValueError):
    """Options that do not fit together."""


@dataclass(frozen=True, slots=True)
class Options:
    """What run of the market this is. Speeds are market seconds per wall second."""

    host: str = "127.0.0.1"
    port: int = 4002
    http_port: int = 0
    state_dir: Path | None = None
    assets: Path = Path("assets.csv")
    targets: Path | None = None
    """Whose REBALANCE and PARENT_EXPIRY_S the clock follows, edits included; None: `rebalance`."""
    start: date = date(2018, 1, 19)
    sessions: int = 25
    seed: int = 7
    account: str = "DU1234567"
    cash: float = 1_000_000.0
    positions: tuple[tuple[str, float], ...] = ()
    hold: bool = False
    rebalance: str = "15:30"
    speed: float = 300.0
    approach_speed: float = 1500.0
    idle_speed: float = 200_000.0
    session_pause: float = 0.05
    impact_y: float = IMPACT_Y
    master_client_id: int | None = None
    awaited_client_id: int | None = None
    """The one client whose return the night after its trades waits for; None: every client's."""
    data_client_id: int = -1
    """The client that feeds the planes: a decision waits for its request for the last session's daily bars, and a stream for what it is
    behind; -1: nobody."""
    lines: int = 100
    """Market data lines: subscriptions of quotes and of five-second bars of all clients together."""
    tick_by_tick_lines: int = 5
    pacing: float = 0.0
    """Wall seconds that IB's ten minutes of its pacing rules last; 0: no rules."""
    start_id: str = ""
    """Which start of an installation this market belongs to: let go under one, it goes on by itself under that one only."""
    dividends: tuple[Action, ...] = ()
    splits: tuple[Action, ...] = ()

    def days(self) -> list[date]:
        """The sessions to simulate, in order."""
        found = calendars.sessions(
            calendars.MARKET_CALENDAR,
            self.start,
            min(date.fromordinal(self.start.toordinal() + 2 * self.sessions + 20), calendars.LAST_DAY),
        )
        return found[: self.sessions]


def parse(argv: Sequence[str] | None = None) -> Options:
    """Options from a command line; a wrong one exits with status 2 and a sentence, as argparse does."""
    d = Options()
    parser = argparse.ArgumentParser(
        prog="python -m triplane.paper.gateway",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "--host",
        default=d.host,
        help=f"address to listen on ({d.host}); HTTP always stays on 127.0.0.1 unless this is 0.0.0.0",
    )
    add("--port", type=_port, default=d.port, help=f"TWS port; 0 takes a free one ({d.port})")
    add("--http-port", type=_port, default=d.http_port, help="port of status and control; 0 takes a free one (0)")
    add(
        "--state-dir",
        type=Path,
        help="directory of the journal and of gateway.json with pid and ports; without it nothing is kept",
    )
    add("--assets", type=Path, default=d.assets, help=f"contracts to offer ({d.assets})")
    add(
        "--targets",
        type=Path,
        help="targets.yaml whose REBALANCE and PARENT_EXPIRY_S the clock follows, edits included; without it --rebalance",
    )
    add("--start", type=date.fromisoformat, default=d.start, help=f"first session, YYYY-MM-DD ({d.start})")
    add("--sessions", type=_whole, default=d.sessions, help=f"number of sessions ({d.sessions})")
    add("--seed", type=int, default=d.seed, help=f"seed of everything simulated ({d.seed})")
    add("--account", default=d.account, help=f"account id; begins with D, as paper accounts do ({d.account})")
    add("--cash", type=_positive, default=d.cash, help=f"cash at the start, USD ({d.cash:.0f})")
    add(
        "--position",
        action="append",
        type=_position,
        default=[],
        metavar="SYMBOL=UNITS",
        help="a position held from the start; repeatable",
    )
    add("--hold", action="store_true", help="let the clock stand until POST /start")
    add(
        "--rebalance",
        default=d.rebalance,
        help=f"decision time HH:MM, New York: the clock is slow around it ({d.rebalance})",
    )
    add(
        "--speed", type=_positive, default=d.speed, help=f"around the decision and while an order is open ({d.speed:g})"
    )
    add(
        "--approach-speed",
        type=_positive,
        default=d.approach_speed,
        help=f"from 10 to 1 minutes before the decision ({d.approach_speed:g})",
    )
    add(
        "--idle-speed",
        type=_positive,
        default=d.idle_speed,
        help=f"in the rest of a session ({d.idle_speed:g}); 1 with --speed 1 is real time",
    )
    add(
        "--session-pause",
        type=_not_negative,
        default=d.session_pause,
        help=f"wall seconds that the clock stands at each close ({d.session_pause:g})",
    )
    add(
        "--impact-y",
        type=_positive,
        default=d.impact_y,
        help=f"true coefficient of the square-root impact ({d.impact_y:g})",
    )
    add("--master-client-id", type=int, help="client id that is also told of the other clients' orders")
    add(
        "--awaited-client-id",
        type=int,
        help="client id whose return the night waits for, up to a minute, when it traded in the session and is away; else every client's",
    )
    add(
        "--data-client-id",
        type=int,
        default=d.data_client_id,
        help="client id of whoever feeds the planes: its request for the last session's daily bars is awaited a minute before a decision, and "
        "while it streams and is not heard of for half a wall second the market stands, up to 20 s each; without it for nobody",
    )
    add("--lines", type=_whole, default=d.lines, help=f"market data lines of all clients, error 101 beyond ({d.lines})")
    add(
        "--tick-by-tick-lines",
        type=_whole,
        default=d.tick_by_tick_lines,
        help=f"tick-by-tick subscriptions, error 10190 beyond ({d.tick_by_tick_lines})",
    )
    add(
        "--pacing",
        type=_not_negative,
        default=d.pacing,
        metavar="SECONDS",
        help="keep IB's pacing rules (errors 162 and 420); SECONDS of wall time are the rules' ten minutes, 600 as IB has it, 0 keeps none (0)",
    )
    add(
        "--start-id",
        default=d.start_id,
        help="with --hold: a market that was let go and died goes on by itself only if this is what it was then",
    )
    add(
        "--dividend",
        action="append",
        type=_action,
        default=[],
        metavar="SYMBOL=DATE:AMOUNT",
        help="a dividend of AMOUNT a share with the ex-date DATE, of which adjusted history and the dividend tick tell; the price path and the account do not know of it; repeatable",
    )
    add(
        "--split",
        action="append",
        type=_action,
        default=[],
        metavar="SYMBOL=DATE:RATIO",
        help="a split of RATIO new shares for an old one, by which history is divided from the open of DATE on; the stream and the account stay in old shares; repeatable",
    )
    a = parser.parse_args(argv)
    options = Options(
        a.host, a.port, a.http_port, a.state_dir, a.assets, a.targets, a.start, a.sessions, a.seed, a.account, a.cash, tuple(a.position), a.hold,
        a.rebalance, a.speed, min(a.approach_speed, max(a.idle_speed, a.speed)), a.idle_speed, a.session_pause, a.impact_y,
        a.master_client_id, a.awaited_client_id, a.data_client_id, a.lines, a.tick_by_tick_lines, a.pacing, a.start_id,
        tuple(a.dividend), tuple(a.split),
    )  # fmt: skip
    try:
        validate(options)
    except OptionsError as error:
        parser.error(str(error))
    return options


def validate(options: Options) -> None:
    """Raise OptionsError for what does not fit."""
    if not options.account.startswith("D"):
        raise OptionsError(f"--account {options.account}: a paper account begins with D; real ones are never simulated")
    hour, colon, minute = options.rebalance.partition(":")
    if not (colon and hour.isdigit() and minute.isdigit() and int(hour) < 24 and int(minute) < 60):
        raise OptionsError(f"--rebalance {options.rebalance}: give HH:MM, for example 15:30")
    if not calendars.FIRST_DAY <= options.start <= calendars.LAST_DAY or len(options.days()) < options.sessions:
        raise OptionsError(
            f"--start {options.start} with --sessions {options.sessions} leaves the calendar; choose other sessions"
        )


def _port(text: str) -> int:
    value = int(text)
    if not 0 <= value <= 65535:
        raise argparse.ArgumentTypeError(f"{text} is no port; give 0 to 65535")
    return value


def _whole(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is too small; give 1 or more")
    return value


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value


def _not_negative(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is negative")
    return value


def _action(text: str) -> Action:
    symbol, _, rest = text.partition("=")
    day, _, value = rest.partition(":")
    try:
        found = Action(symbol, date.fromisoformat(day), float(value))
    except ValueError:
        found = Action("", date.min, 0.0)
    if not (symbol and 0 < found.value < float("inf") and calendars.is_session(calendars.MARKET_CALENDAR, found.day)):
        raise argparse.ArgumentTypeError(
            f"{text} is not SYMBOL=DATE:NUMBER with a session as DATE, as KO=2018-01-22:0.37"
        )
    return found


def _position(text: str) -> tuple[str, float]:
    symbol, equals, units = text.partition("=")
    if not equals or not symbol:
        raise argparse.ArgumentTypeError(f"{text} is not SYMBOL=UNITS")
    return symbol, float(units)
