"""Where this installation's things are: addresses, paths, account and mode. What a person *tunes* is in targets.yaml instead."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from platformdirs import user_cache_path
from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from triplane.runtime.exit_codes import DaemonExit

Mode = Literal["paper", "shadow", "live"]
Port = Annotated[int, Field(ge=0, le=65_535)]
ClientId = Annotated[int, Field(ge=1, le=999_999)]
"""0 is TWS's own master client, which sees orders placed by hand as if they were ours."""


def cache_root() -> Path:
    """Where everything that can be had again lives: TRIPLANE_CACHE if set, else the platform's user cache."""
    override = os.environ.get("TRIPLANE_CACHE")
    return Path(override) if override else user_cache_path("triplane", appauthor=False)


TEST_VARIABLES = {
    "TRIPLANE_FULL": "1: the counted suites with their full counts, as `make test-full` has them.",
    "TRIPLANE_SEED": "Seed of the randomised tests, to repeat a failure that printed one.",
    "TRIPLANE_GATEWAY_PYTHON": "The Python that runs the paper gateway of the broker tests, where it is not the tests' own.",
    "TRIPLANE_TEST_STOP_AT": "Where the order process stops or kills itself: `order_plane/daemon/stop_points.py` has the places.",
    "TRIPLANE_TEST_STRATEGY_STOP_AT": "Where the strategy worker stops itself: [barriers.md](barriers.md) has the steps.",
    "TRIPLANE_TEST_MARK": "Marks the processes of one demonstration, so that its test finds them all.",
}
"""Variables that are no settings: without them every process runs the same statements."""


BOOTSTRAP_NAMES = "KAFKA_BOOTSTRAP_SERVERS or TRIPLANE_BOOTSTRAP"
"""The variables that name Kafka, for sentences: which of them a person has set is not known to all who say them."""


class Settings(BaseSettings):
    """Read from TRIPLANE_* environment variables, an optional `.env`, and the command line's flags."""

    model_config = SettingsConfigDict(
        env_prefix="TRIPLANE_",
        env_file=".env",
        extra="ignore",
        frozen=True,
        populate_by_name=True,
        use_attribute_docstrings=True,
    )

    bootstrap: str = Field("", validation_alias=AliasChoices("TRIPLANE_BOOTSTRAP", "KAFKA_BOOTSTRAP_SERVERS"))
    """Kafka's bootstrap servers; empty: the local stack's."""
    kafka_options: dict[str, str] = Field(default_factory=dict)
    """Further librdkafka options for every client (security.protocol, sasl.*)."""
    registry_url: str = ""
    """Schema registry that is filled at the start; empty: the local stack's. Daemons need none."""
    topic_prefix: str = ""
    """Put before every physical topic name; logical names, cuts and hashes never carry it."""
    state_dir: Path = Path(".triplane")
    """Where journals, snapshots, locks, logs and the local Kafka's log are kept. `demo` has its own, `.triplane/demo`."""
    targets_path: Path = Path("targets.yaml")
    """The edited parameters."""
    assets_path: Path = Path("assets.csv")
    """The universe."""
    mode: Mode = "paper"
    """`paper`: orders to a paper account. `shadow`: every check, nothing sent. `live` is refused in this release."""
    account: str = ""
    """The one account that Triplane may trade."""
    group: str = "main"
    """Symbol group of this worker."""
    gateway_host: str = "127.0.0.1"
    """Where TWS, IB Gateway or the paper gateway listens."""
    gateway_port: Port = 0
    """7497 for TWS paper, 4002 for IB Gateway paper; 0: `triplane up` starts its simulated market."""
    gateway_http: str = ""
    """Base address of the simulated market's own HTTP, which tells when it has ended; empty: the gateway is a real one."""
    data_client_id: ClientId = 11
    """Client id of market data requests."""
    order_client_id: ClientId = 12
    """Client id under which orders are placed; never another one."""
    kill_client_id: ClientId = 13
    """Client id of a global cancel while the order process is dead. The two above it are for `assets add` and `doctor`."""
    edgar_url: str = "https://data.sec.gov"
    """Base address of EDGAR's submissions and companyfacts."""
    edgar_files_url: str = "https://www.sec.gov"
    """Base address of EDGAR's ticker file."""
    fred_url: str = "https://api.stlouisfed.org"
    """Base address of FRED."""
    fred_api_key: SecretStr = SecretStr("")
    """A key is free at fred.stlouisfed.org; without one FRED is not asked."""
    fred_api_key_file: Path | None = None
    """A file that holds the key instead, which its owner alone may read (mode 600); read anew at each look, so a new key needs no restart."""
    user_agent: str = ""
    """Name and e-mail that the SEC asks for in the User-Agent header."""
    ntp_server: str = "pool.ntp.org"
    """Time server that the machine's clock is compared with in shadow and live mode."""
    pass_over: str = ""
    """Records of Triplane's own topics that nobody of yours wrote, `control.config-0@4,order.events-0@160`: a start that was refused
    because this build does not know their schema goes on without them. Keep it set; never name what a newer build wrote."""
    http_host: str = "127.0.0.1"
    """Where the daemons' HTTP listens."""
    http_port: Port = 0
    """Port of /metrics, /healthz and /readyz; 0 takes a free one, named in state_dir/run/<daemon>.json. `up` and `demo` run several
    daemons on one machine and always take free ones."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """DEBUG, INFO, WARNING or ERROR."""

    @field_validator("log_level", mode="before")
    @classmethod
    def _any_case(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value

    @field_validator("pass_over")
    @classmethod
    def _places(cls, value: str) -> str:
        for place in filter(None, (each.strip() for each in value.split(","))):
            if not re.fullmatch(r"[\w.]+-\d+@\d+", place, re.ASCII):
                raise ValueError(f"{place!r} is no record; write TOPIC-PARTITION@OFFSET, as the refusal names it")
        return value

    @field_validator("kafka_options")
    @classmethod
    def _options_of_a_client(cls, value: dict[str, str]) -> dict[str, str]:
        if value:  # tried here, where the variable is known, and not in each of the clients
            from confluent_kafka import KafkaException
            from confluent_kafka.admin import AdminClient

            try:
                AdminClient({**value, "log_level": 0})
            except (KafkaException, TypeError, ValueError) as error:
                cause = error.args[0].str() if isinstance(error, KafkaException) else error
                raise ValueError(f"Kafka's client refuses it: {cause}") from None
        return value

    @model_validator(mode="after")
    def _distinct_client_ids(self) -> Self:
        # A gateway gives an id to one connection: the second daemon would be refused for ever (error 326).
        kill = self.kill_client_id
        ids = (self.data_client_id, self.order_client_id, kill, kill + 1, kill + 2)
        if len(set(ids)) < len(ids):
            raise ValueError(
                f"the client ids {', '.join(map(str, ids))} (data, order, kill and the two above it) must all differ"
            )
        return self

    def passes_over(self, place: str) -> bool:
        """Whether a person has said that nobody wrote the record `topic-partition@offset` (logical name)."""
        return place in (each.strip() for each in self.pass_over.split(","))

    def topic(self, logical: str) -> str:
        """Physical name of a topic."""
        return self.topic_prefix + logical


class _StateDirectory(BaseSettings):
    """The state directory alone, so that no other variable's mistake hides it from a kill."""

    model_config = SettingsConfigDict(env_prefix="TRIPLANE_", env_file=".env", extra="ignore", env_ignore_empty=True)

    state_dir: Path | None = None


def named_state_dir() -> Path | None:
    """What TRIPLANE_STATE_DIR says, in the environment or in `.env`; None when neither names one. An `.env` that cannot be read names none."""
    try:
        return _StateDirectory().state_dir
    except (OSError, ValueError):
        given = os.environ.get("TRIPLANE_STATE_DIR")
        return Path(given) if given else None


def variable_of(name: str) -> str:
    """Environment variable of a field."""
    return f"TRIPLANE_{name.upper()}"


def page() -> str:
    """docs/environment.md: every variable with its default and meaning."""
    lines = [
        "# Environment variables",
        "",
        "Where an installation's things are. Every process reads them, from the environment or from a file `.env` in the folder where it is",
        "started; the environment wins. What a person tunes is in [targets.yaml](configuration.md) instead. This page is generated:",
        "`python -m triplane.runtime.settings > docs/environment.md`.",
        "",
        "| variable | default | meaning |",
        "|---|---|---|",
    ]
    for name, field in Settings.model_fields.items():
        default = field.get_default(call_default_factory=True)
        shown = (
            ""
            if default is None or isinstance(default, SecretStr)
            else json.dumps(default)
            if isinstance(default, dict)
            else str(default)
        )
        meaning = " ".join((field.description or "").split())
        if name == "bootstrap":
            meaning += " `KAFKA_BOOTSTRAP_SERVERS` names the same."
        lines.append(f"| `{variable_of(name)}` | {f'`{shown}`' if shown else ''} | {meaning} |")
    lines += [
        "| `TRIPLANE_CACHE` | the user's cache folder | Where downloads are kept (Kafka, the registry), Java's class archives, the format of a new Kafka log and the ports chosen lately. |",
        "",
        "Tests and drills alone read these:",
        "",
        "| variable | meaning |",
        "|---|---|",
        *(f"| `{name}` | {meaning} |" for name, meaning in TEST_VARIABLES.items()),
        "",
    ]
    return "\n".join(lines)


def from_environment() -> Settings:
    """The settings in force; DaemonExit (never restarted) with one sentence when a variable holds what it must not."""
    try:
        return Settings()
    except ValidationError as error:
        raise DaemonExit("; ".join(_sentence(problem) for problem in error.errors())) from None
    except SettingsError as error:  # a variable of several values that is not JSON
        raise DaemonExit(f"{error}; correct that TRIPLANE_ variable or the line of .env") from None


def _sentence(problem: Any) -> str:
    if not problem["loc"]:
        return f"{problem['msg'].removeprefix('Value error, ')}; correct the TRIPLANE_ variables in the environment or in .env"
    field = str(problem["loc"][0])
    variable = field if field.isupper() else variable_of(field)
    if problem["type"] == "value_error":  # our own words; the value may hold a password
        return f"{variable}: {problem['msg'].removeprefix('Value error, ')}; correct it in the environment or in .env"
    message = problem["msg"].removeprefix("Input should ").partition(", unable")[0].replace("'", "")
    return f"{variable} is {problem['input']!r}, but it must {message}; correct it in the environment or in .env"


if __name__ == "__main__":
    print(page(), end="")
