"""The supervisor's own /metrics, /healthz and /readyz, so that a process that is down is seen although it cannot say so."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from triplane.runtime.process_identity import start_time
from triplane.stack import ports
from triplane.stack.errors import StackError
from triplane.stack.supervisor import Supervisor


class _Processes(Collector):
    """Reads the supervisor at each scrape."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor

    def collect(self) -> Iterator[Metric]:
        up = GaugeMetricFamily("triplane_process_up", "1 while the process runs and is ready", labels=["process"])
        given_up = GaugeMetricFamily("triplane_process_given_up", "1 when it will not be restarted", labels=["process"])
        restarts = CounterMetricFamily("triplane_process_restarts", "Restarts since up", labels=["process"])
        for each in self._supervisor.status():
            up.add_metric([each.name], float(each.state in ("ready", "done")))
            given_up.add_metric([each.name], float(each.state == "given up"))
            restarts.add_metric([each.name], each.restarts)
        yield from (up, given_up, restarts)


class SupervisionServer:
    """Serves while in its `async with` block; `url` is its address, also in state_dir/run/supervisor.json."""

    def __init__(self, supervisor: Supervisor, host: str = ports.HOST, port: int = 0) -> None:
        self._supervisor = supervisor
        self._host = host
        self._port = port
        self._registry = CollectorRegistry()
        self._registry.register(_Processes(supervisor))
        self._runner: web.AppRunner | None = None
        self.url = ""

    async def __aenter__(self) -> SupervisionServer:
        app = web.Application()
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._host, self._port).start()
        except OSError as error:
            await self._runner.cleanup()
            raise StackError(
                f"port {self._port} on {self._host} cannot be listened on by the supervisor ({error.strerror}); choose another"
            ) from None
        self.url = f"http://{self._host}:{self._runner.addresses[0][1]}"
        run = self._supervisor.state_dir / "run"
        run.mkdir(parents=True, exist_ok=True)
        document = {"pid": os.getpid(), "started": start_time(os.getpid()), "http": self.url}
        (run / "supervisor.json").write_text(json.dumps(document), encoding="utf-8")
        return self

    async def __aexit__(self, *_exc: object) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _healthz(self, _: web.Request) -> web.Response:
        return web.json_response({"ok": True, "reason": ""})

    async def _readyz(self, _: web.Request) -> web.Response:
        late = [each for each in self._supervisor.status() if each.state not in ("ready", "done")]
        told = dict.fromkeys((late[0].state, late[0].detail)) if late else {}
        reason = f"{late[0].name}: {', '.join(filter(None, told))}" if late else ""
        return web.json_response({"ready": not late, "reason": reason}, status=503 if late else 200)
