"""What an installation consists of: the processes that `triplane up` and `triplane demo` start, in order, and their environment.

One table, so that the demonstration, the supervised installation and the compose file are the same shape.
"""

from __future__ import annotations

import sys
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx

from triplane.runtime import loopback, numerics
from triplane.runtime.settings import from_environment
from triplane.stack.errors import StackError
from triplane.stack.ports import free_ports
from triplane.stack.supervisor import ProcessSpec

PAPER_ACCOUNT = "DU1234567"


@dataclass(frozen=True, slots=True)
class PaperMarket:
    """The simulated market's own settings. `start` is the first session, YYYY-MM-DD; `speed` the fastest clock near decisions."""

    start: str
    sessions: int
    seed: int = 7
    speed: float = 300.0
    hold: bool = True
    port: int = 0
    http_port: int = 0
    providers_port: int = 0
    start_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    """Of this start: a gateway that is restarted within it trades on, one of another start waits for `start_market`."""

    restated: str = ""
    """A company whose amended report has a mistake; empty for none."""

    def with_ports(self) -> PaperMarket:
        """The same with free ports where none was named."""
        free = free_ports(3)
        return replace(
            self,
            port=self.port or free[0],
            http_port=self.http_port or free[1],
            providers_port=self.providers_port or free[2],
        )


async def start_market(market: PaperMarket) -> None:
    """Let the simulated market's clock run; StackError when the gateway does not answer."""
    try:
        async with loopback.async_client(5.0) as client:
            (await client.post(f"http://127.0.0.1:{market.http_port}/start")).raise_for_status()
    except httpx.HTTPError as error:
        raise StackError(
            f"the paper gateway does not answer ({type(error).__name__}); see its log under logs/"
        ) from None


GOES_ON = "`triplane down`, then `triplane up --sessions N` with a larger N, go on with the session after it"


async def market_end(url: str, advice: str = GOES_ON) -> str:
    """A sentence when the simulated market behind the paper gateway at `url` has ended, else nothing: also when it does not answer."""
    try:
        async with loopback.async_client(2.0) as client:
            told = (await client.get(f"{url}/status")).json()
        if not told["finished"]:
            return ""
        done = told["sessions_done"]
    except (httpx.HTTPError, ValueError, KeyError):
        return ""
    return f"the simulated market has ended after {done} session(s): no decision is due any more; {advice}"


@dataclass(frozen=True, slots=True)
class Installation:
    """Where one installation's things are. `market` is None where a real gateway is used."""

    directory: Path
    bootstrap: str
    targets: Path
    assets: Path
    registry_url: str = ""
    topic_prefix: str = ""
    market: PaperMarket | None = None
    extra: Mapping[str, str] = field(default_factory=dict)
    """Further TRIPLANE_* variables: account, mode, gateway address, provider keys."""

    def environment(self) -> dict[str, str]:
        """TRIPLANE_* variables of every daemon."""
        values = {
            "TRIPLANE_BOOTSTRAP": self.bootstrap,
            "TRIPLANE_REGISTRY_URL": self.registry_url,
            "TRIPLANE_TOPIC_PREFIX": self.topic_prefix,
            "TRIPLANE_STATE_DIR": str(self.directory.absolute()),
            "TRIPLANE_TARGETS_PATH": str(self.targets.absolute()),
            "TRIPLANE_ASSETS_PATH": str(self.assets.absolute()),
        }
        if self.market is not None:
            providers = f"http://127.0.0.1:{self.market.providers_port}"
            values |= {
                "TRIPLANE_MODE": "paper",
                "TRIPLANE_ACCOUNT": PAPER_ACCOUNT,
                "TRIPLANE_GATEWAY_HOST": "127.0.0.1",
                "TRIPLANE_GATEWAY_PORT": str(self.market.port),
                "TRIPLANE_GATEWAY_HTTP": f"http://127.0.0.1:{self.market.http_port}",
                "TRIPLANE_EDGAR_URL": providers,
                "TRIPLANE_EDGAR_FILES_URL": providers,
                "TRIPLANE_FRED_URL": providers,
                "TRIPLANE_FRED_API_KEY": "simulated",
                "TRIPLANE_USER_AGENT": "Triplane paper@localhost",
            }
        # One machine, several daemons: a fixed port would be the first one's alone.
        return {**values, **self.extra, "TRIPLANE_HTTP_PORT": "0"}

    def specs(self) -> list[ProcessSpec]:
        """Processes in the order in which they start; they stop in reverse."""
        environment = {**self.environment(), **numerics.required_pins(), "PYTHONUNBUFFERED": "1"}

        def daemon(name: str, module: str, after: tuple[str, ...]) -> ProcessSpec:
            return ProcessSpec(name=name, argv=[sys.executable, "-m", module], env=environment, after=after)

        specs = []
        paper: tuple[str, ...] = ()
        if self.market is not None:
            specs += self._paper(self.market, environment)
            paper = ("gateway", "providers")
        specs += [
            daemon("control", "triplane.control", ()),
            daemon("order", "order_plane", ("control", *paper)),
            daemon("strategy", "strategy_plane", ("control",)),
            daemon("data", "data_plane", ("control", *paper)),
        ]
        return specs

    def _paper(self, market: PaperMarket, environment: Mapping[str, str]) -> list[ProcessSpec]:
        gateway = [
            *(sys.executable, "-m", "triplane.paper.gateway", "--port", str(market.port)),
            *("--http-port", str(market.http_port), "--state-dir", str(self.directory / "gateway")),
            *(
                "--assets",
                str(self.assets.absolute()),
                "--targets",
                str(self.targets.absolute()),
                "--start",
                market.start,
                "--sessions",
                str(market.sessions),
            ),
            *("--seed", str(market.seed), "--speed", str(market.speed), "--account", PAPER_ACCOUNT),
            *("--awaited-client-id", str(from_environment().order_client_id)),
            *("--data-client-id", str(from_environment().data_client_id)),
            *(("--hold", "--start-id", market.start_id) if market.hold else ()),
        ]
        providers = [sys.executable, "-m", "triplane.paper.providers", "--port", str(market.providers_port)]
        providers += ["--restated", market.restated] if market.restated else []
        return [
            ProcessSpec(
                name="gateway",
                argv=gateway,
                env=dict(environment),
                ready_url=f"http://127.0.0.1:{market.http_port}/healthz",
            ),
            ProcessSpec(
                name="providers",
                argv=providers,
                env=dict(environment),
                ready_url=f"http://127.0.0.1:{market.providers_port}/files/company_tickers.json",
            ),
        ]
