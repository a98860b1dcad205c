"""What `triplane doctor` looks at of Kafka."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from triplane.cli import context
from triplane.cli.finding import Finding, State

if TYPE_CHECKING:
    from triplane.runtime.settings import Settings


def examine_broker_software(settings: Settings) -> Iterator[Finding]:
    """Whether a Kafka could be started here, where none is named."""
    from triplane.stack.errors import StackError
    from triplane.stack.local import choose

    if settings.bootstrap:
        return
    try:
        choice = choose()
    except StackError as error:
        yield Finding("problem", "local Kafka", "cannot be started", str(error))
    else:
        yield Finding(
            "ok",
            "local Kafka",
            {"docker": "a Docker engine answers", "jars": "Java found; jars from Maven Central"}.get(choice, choice),
        )


def examine_kafka(settings: Settings) -> Iterator[Finding]:
    """Whether Kafka answers, how many brokers it has, and topics that are not as the catalogue says."""
    from triplane.stack.errors import StackError
    from triplane.stack.topics import broker_count, diff

    if not settings.bootstrap:
        yield Finding(
            "warning",
            "Kafka",
            "none is running for this folder",
            "start one with `triplane up`, or set KAFKA_BOOTSTRAP_SERVERS",
        )
        return
    try:
        brokers = broker_count(settings.bootstrap, settings.kafka_options)
    except StackError:
        yield _kafka_away(settings)
        return
    try:
        differences = diff(settings.bootstrap, prefix=settings.topic_prefix, options=settings.kafka_options)
    except StackError as error:
        yield Finding("problem", "Kafka", settings.bootstrap, str(error))
        return
    yield Finding("ok", "Kafka", f"{settings.bootstrap}, {brokers} broker{'s' if brokers != 1 else ''}")
    if brokers < 3:
        state: State = "problem" if settings.mode == "live" else "warning"
        yield Finding(
            state,
            "replication",
            f"{brokers} < 3 copies",
            "a disk that dies takes the log with it: use three brokers before live money",
        )
    for difference in differences:
        yield Finding(
            "problem",
            "topic",
            str(difference),
            difference.remedy,
        )


def _kafka_away(settings: Settings) -> Finding:
    """Whose Kafka it is that does not answer decides what helps: `triplane up` starts this folder's own, and nobody else's."""
    from triplane.runtime.settings import BOOTSTRAP_NAMES
    from triplane.stack import state_file

    own = (settings.state_dir / "kafka").is_dir()
    if not own or context.saved_environment(settings.state_dir).get("TRIPLANE_BOOTSTRAP") != settings.bootstrap:
        return Finding(
            "problem",
            "Kafka",
            f"{settings.bootstrap}, which {BOOTSTRAP_NAMES} names, does not answer",
            f"see that it runs and can be reached from here, correct {BOOTSTRAP_NAMES}, or unset it: `triplane up` then starts one of this folder's own",
        )
    supervisor = state_file.read(settings.state_dir)
    if supervisor is not None and supervisor.alive:
        return Finding(
            "problem",
            "Kafka",
            f"this folder's own does not answer at {settings.bootstrap}",
            f"wait: the supervisor (pid {supervisor.pid}) starts it again when it has ended, and `triplane status` says what else it can be; "
            f"its log is under {settings.state_dir / 'logs'}",
        )
    return Finding(
        "problem",
        "Kafka",
        f"this folder's own is not running (it was at {settings.bootstrap})",
        "start it with `triplane up`; its log of records is kept",
    )
