"""`python -m triplane.stack.init`: create the topics, then register every schema. The first job of a deployment.

`--topics` and `--schemas` do one of both. Ends with 0 when all is as it must be, with 78 and one sentence when a person has
to look, with 69 when Kafka or the registry does not answer in time.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from triplane.runtime import exit_codes
from triplane.runtime.settings import Settings, from_environment
from triplane.stack import registration, topics
from triplane.stack.errors import StackError, Unavailable
from triplane.stack.kafka import await_ready
from triplane.stack.registry import READY_TIMEOUT_S, Registry
from triplane.stack.registry import await_ready as await_registry

MOST_TOLD = 5
"""Altered topics that are told one by one: a cluster that has grown differs in all of them."""


def make_topics(settings: Settings, timeout: float = 60.0) -> list[str]:
    """Create what is missing, the registry's topics included, and note whether the log is new. Raises StackError."""
    await_ready(settings.bootstrap, timeout, options=settings.kafka_options)
    data = topics.first_with_data(settings.bootstrap, settings.topic_prefix, settings.kafka_options)
    registration.History(settings.state_dir).begin(data)
    created = topics.create_registry_topics(settings.bootstrap, settings.kafka_options)
    created += topics.create_topics(settings.bootstrap, prefix=settings.topic_prefix, options=settings.kafka_options)
    return created


def altered_topics(settings: Settings) -> list[str]:
    """What somebody altered on the cluster, each with its remedy: the log may lose records by it. Raises StackError."""
    found = topics.diff(settings.bootstrap, prefix=settings.topic_prefix, options=settings.kafka_options)
    found.sort(key=lambda difference: difference.what == "partitions")  # which do no harm
    told = [f"{difference}: {difference.remedy}" for difference in found if difference.what != "topic"]
    return told[:MOST_TOLD] + (
        [f"{len(told) - MOST_TOLD} more; see `triplane topics diff`"] if told[MOST_TOLD:] else []
    )


def register_schemas(settings: Settings, refill: bool = False, timeout: float = READY_TIMEOUT_S) -> list[str]:
    """Wait for the registry, refuse one that lost its ids, register what is missing. Raises StackError."""
    if not settings.registry_url:
        raise StackError("no schema registry is configured; set TRIPLANE_REGISTRY_URL")
    history = registration.History(settings.state_dir)
    await_registry(settings.registry_url, timeout)
    with Registry(settings.registry_url) as registry:
        data = topics.first_with_data(settings.bootstrap, settings.topic_prefix, settings.kafka_options)
        if not refill:
            registration.refuse_lost(registry, history, data, settings.topic_prefix)
        added = registration.register(registry, prefix=settings.topic_prefix)
    history.filled()
    return added


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry of the job; returns the exit code."""
    parser = argparse.ArgumentParser(prog="triplane.stack.init", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--topics", action="store_true", help="create the topics only")
    parser.add_argument("--schemas", action="store_true", help="register the schemas only")
    parser.add_argument("--refill", action="store_true", help="fill an empty registry although the log holds records")
    options = parser.parse_args(arguments)
    try:
        settings = from_environment()
    except exit_codes.DaemonExit as ending:
        print(f"init: {ending}", file=sys.stderr)
        return ending.code
    both = options.topics == options.schemas
    try:
        if both or options.topics:
            created = make_topics(settings)
            print("\n".join([f"{len(created)} topics created", *altered_topics(settings)]))
        if both or options.schemas:
            added = register_schemas(settings, options.refill)
            print(f"{len(added)} schema versions registered")
    except StackError as error:
        print(f"init: {error}", file=sys.stderr)
        return exit_codes.UNAVAILABLE if isinstance(error, Unavailable) else exit_codes.CONFIG
    return exit_codes.OK


if __name__ == "__main__":
    sys.exit(main())
