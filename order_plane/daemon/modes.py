"""Paper, shadow and live: account, port and mode have to agree before anything connects.

Source: reference "Executing on Interactive Brokers", section Connection: account ids beginning with D are paper accounts; TWS and
IB Gateway listen on well-known ports that differ between live and paper logins.
"""

from __future__ import annotations

from triplane.runtime.exit_codes import DaemonExit
from triplane.runtime.settings import Settings

LIVE_PORTS = {7496: "TWS's live port", 4001: "IB Gateway's live port"}
PAPER_PORTS = {7497: "TWS's paper port", 4002: "IB Gateway's paper port"}


def is_paper_account(account: str) -> bool:
    """True for account ids that IB gives to paper accounts."""
    return account.startswith("D")


def check(settings: Settings, *, simulated: bool = False) -> None:
    """Raise DaemonExit (never restarted) with one sentence when mode, account and port contradict each other.

    `simulated`: the market is Triplane's own, which has its port and, where none is named, its account from whoever starts it.
    """
    mode, account, port = settings.mode, settings.account, settings.gateway_port
    if mode == "live":
        raise DaemonExit("live trading is refused in this release; set TRIPLANE_MODE=paper, or shadow to send nothing")
    if mode == "shadow" and not port:
        raise DaemonExit(
            "shadow mode follows an account at a broker, which the simulated market is not; "
            "set TRIPLANE_GATEWAY_PORT and TRIPLANE_ACCOUNT, or TRIPLANE_MODE=paper"
        )
    if simulated and not account:
        return
    if not account:
        raise DaemonExit("no account is named; set TRIPLANE_ACCOUNT to the one account that Triplane may trade")
    if not account.isalnum():
        raise DaemonExit(
            f"TRIPLANE_ACCOUNT is {account!r}; name exactly one account, its letters and digits alone (IB's look like DU1234567)"
        )
    if not simulated and not 0 < port < 65536:
        raise DaemonExit(f"TRIPLANE_GATEWAY_PORT is {port}; set it to the port of TWS, IB Gateway or the paper gateway")
    if mode == "paper" and not is_paper_account(account):
        raise DaemonExit(
            f"TRIPLANE_MODE is paper, but {account} is not a paper account (those begin with D); "
            "name a paper account, or use TRIPLANE_MODE=shadow"
        )
    if mode == "paper" and port in LIVE_PORTS:
        raise DaemonExit(
            f"TRIPLANE_MODE is paper, but port {port} is {LIVE_PORTS[port]}; use 7497 (TWS) or 4002 (IB Gateway)"
        )
    if mode == "shadow" and port in (LIVE_PORTS if is_paper_account(account) else PAPER_PORTS):
        owner = (LIVE_PORTS | PAPER_PORTS)[port]
        raise DaemonExit(f"account {account} and port {port} ({owner}) contradict each other; correct one of them")
    if len({settings.data_client_id, settings.order_client_id, settings.kill_client_id}) != 3:
        raise DaemonExit("the data, order and kill client ids have to differ; correct TRIPLANE_*_CLIENT_ID")
    if settings.order_client_id <= 0:
        raise DaemonExit(
            "the order client id must be above 0: id 0 would adopt manual orders; correct TRIPLANE_ORDER_CLIENT_ID"
        )
