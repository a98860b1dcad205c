"""Where this installation's things are: addresses, paths, account and mode. What a person *tunes* is in targets.yaml instead."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

from platformdirs import user_cache_path
from pydantic import AliasChoices, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from triplane.runtime.exit_codes import DaemonExit

Mode = Literal["paper", "shadow", "live"]


def cache_root() -> Path:
    """Where everything that can be had again lives: TRIPLANE_CACHE if set, else the platform's user cache."""
    override = os.environ.get("TRIPLANE_CACHE")
    return Path(override) if override else user_cache_path("triplane", appauthor=False)


class Settings(BaseSettings):
    """Read from TRIPLANE_* environment variables, an optional `.env`, and the command line's flags."""

    model_config = SettingsConfigDict(
        env_prefix="TRIPLANE_", env_file=".env", extra="ignore", frozen=True, populate_by_name=True
    )

    bootstrap: str = Field("", validation_alias=AliasChoices("TRIPLANE_BOOTSTRAP", "KAFKA_BOOTSTRAP_SERVERS"))
    """Kafka's bootstrap servers; empty: the local stack's."""
    kafka_options: dict[str, str] = Field(default_factory=dict)
    """Further librdkafka options for every client (security.protocol, sasl.*)."""
    registry_url: str = ""
    topic_prefix: str = ""
    """Put before every physical topic name; logical names, cuts and hashes never carry it."""
    state_dir: Path = Path(".triplane")
    targets_path: Path = Path("targets.yaml")
    assets_path: Path = Path("assets.csv")
    mode: Mode = "paper"
    account: str = ""
    group: str = "main"
    """Symbol group of this worker."""
    gateway_host: str = "127.0.0.1"
    gateway_port: int = 0
    data_client_id: int = 11
    order_client_id: int = 12
    kill_client_id: int = 13
    edgar_url: str = "https://data.sec.gov"
    edgar_files_url: str = "https://www.sec.gov"
    fred_url: str = "https://api.stlouisfed.org"
    fred_api_key: SecretStr = SecretStr("")
    user_agent: str = ""
    """Name and e-mail that the SEC asks for in the User-Agent header."""
    ntp_server: str = "pool.ntp.org"
    http_host: str = "127.0.0.1"
    http_port: int = 0
    """Port of /metrics, /healthz and /readyz; 0 takes a free one, named in state_dir/run/<daemon>.json."""
    log_level: str = "INFO"

    def topic(self, logical: str) -> str:
        """Physical name of a topic."""
        return self.topic_prefix + logical


def from_environment() -> Settings:
    """The settings in force; DaemonExit (never restarted) with one sentence when a variable holds what it must not."""
    try:
        return Settings()
    except ValidationError as error:
        raise DaemonExit("; ".join(_sentence(problem) for problem in error.errors())) from None
    except SettingsError as error:  # a variable of several values that is not JSON
        raise DaemonExit(f"{error}; correct that TRIPLANE_ variable or the line of .env") from None


def _sentence(problem: Any) -> str:
    field = str(problem["loc"][0])
    variable = field if field.isupper() else f"TRIPLANE_{field.upper()}"
    message = problem["msg"][0].lower() + problem["msg"][1:]
    return f"{variable} is {problem['input']!r}, but the {message}; correct it in the environment or in .env"
