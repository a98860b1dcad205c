"""A real Prometheus over real daemons, with the shipped rules, for tests that inject a fault and want the alert."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import httpx
from ruamel.yaml import YAML

from tests.waiting import settles
from triplane.runtime import loopback
from triplane.stack.ports import HOST, free_ports
from triplane.stack.process import Child

RULES = Path(__file__).resolve().parents[2] / "deploy" / "prometheus" / "alerts.yml"


def program() -> str | None:
    """The server's program, from Debian's package `prometheus` for example, or None."""
    return shutil.which("prometheus")


class Prometheus:
    """Scrapes `targets` (base URL by job) every 0.2 s. Rules are the shipped ones with their `for` cut to half a second."""

    def __init__(self, directory: Path, targets: Mapping[str, str]) -> None:
        self.directory = directory
        self.targets = dict(targets)
        self.url = f"http://{HOST}:{free_ports(1)[0]}"

    def __enter__(self) -> Prometheus:
        self.directory.mkdir(parents=True, exist_ok=True)
        yaml = YAML(typ="safe")
        rules = yaml.load(RULES.read_text(encoding="utf-8"))
        for rule in rules["groups"][0]["rules"]:
            if "for" in rule:
                rule["for"] = "500ms"
        jobs = [
            {"job_name": job, "static_configs": [{"targets": [url.removeprefix("http://")]}]}
            for job, url in sorted(self.targets.items())
        ]
        often = {"scrape_interval": "200ms", "scrape_timeout": "200ms", "evaluation_interval": "200ms"}
        config = {"global": often, "rule_files": ["alerts.json"], "scrape_configs": jobs}
        # JSON is YAML.
        (self.directory / "alerts.json").write_text(json.dumps(rules), encoding="utf-8")
        (self.directory / "prometheus.json").write_text(json.dumps(config), encoding="utf-8")
        argv = [
            program() or "prometheus",
            f"--config.file={self.directory / 'prometheus.json'}",
            f"--storage.tsdb.path={self.directory / 'data'}",
            f"--web.listen-address={self.url.removeprefix('http://')}",
        ]
        self.child = Child("prometheus", argv, self.directory / "prometheus.log", env=dict(os.environ))
        try:
            settles(self._ready, what="Prometheus")
        except BaseException:
            self.child.kill()
            raise
        return self

    def __exit__(self, *_exc: object) -> None:
        self.child.stop()

    def firing(self) -> set[tuple[str, str]]:
        """(alert, job) of every alert that fires."""
        answer = loopback.get(f"{self.url}/api/v1/alerts", 5.0).json()["data"]["alerts"]
        return {
            (each["labels"]["alertname"], each["labels"].get("process") or each["labels"].get("job", ""))
            for each in answer
            if each["state"] == "firing"
        }

    def has_scraped(self) -> bool:
        """Whether every target has answered once."""
        targets = loopback.get(f"{self.url}/api/v1/targets", 5.0).json()["data"]["activeTargets"]
        return len(targets) == len(self.targets) and all(each["health"] == "up" for each in targets)

    def _ready(self) -> bool:
        try:
            return loopback.get(f"{self.url}/-/ready", 1.0).is_success
        except httpx.HTTPError:
            return False
