"""The raw limit of data->order latency: a bare three-hop relay of confluent-kafka processes on the same broker.

hop 1: a producer writes to topic a; hop 2: a process copies a to b; hop 3: a process copies b to c; the clock stops when the
record arrives from c. Each hop waits for nothing but the log, as the planes do; there is no decoding and no work.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import time
import uuid

import numpy as np
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic


def _producer(bootstrap: str) -> Producer:
    return Producer({"bootstrap.servers": bootstrap, "acks": "all", "enable.idempotence": True, "linger.ms": 0})


def _consumer(bootstrap: str, topic: str) -> Consumer:
    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": "relay", "enable.auto.commit": False, "auto.offset.reset": "error"}
    )
    consumer.assign([TopicPartition(topic, 0, 0)])
    return consumer


def _copy(bootstrap: str, source: str, target: str, parent: int) -> None:
    consumer, producer = _consumer(bootstrap, source), _producer(bootstrap)
    while os.getppid() == parent:
        message = consumer.poll(0.5)
        producer.poll(0)
        if message is None or message.error():
            continue
        if message.value() == b"stop":
            producer.produce(target, b"stop")
            producer.flush(5)
            return
        producer.produce(target, message.value())


def measure(bootstrap: str, records: int = 200, size: int = 2_000, pause_s: float = 0.02) -> np.ndarray:
    """Seconds from produce on the first topic to arrival from the third, shape (records,). One record in flight at a time."""
    names = [f"relay-{uuid.uuid4().hex[:8]}-{letter}" for letter in "abc"]
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for future in admin.create_topics([NewTopic(name, 1, 1) for name in names], operation_timeout=20).values():
        future.result(30)
    context = multiprocessing.get_context("spawn")
    copiers = [
        context.Process(target=_copy, args=(bootstrap, source, target, os.getpid()), daemon=True)
        for source, target in itertools.pairwise(names)
    ]
    for copier in copiers:
        copier.start()
    consumer, producer = _consumer(bootstrap, names[2]), _producer(bootstrap)
    delays = []
    try:
        for number in range(records + 20):
            payload = number.to_bytes(8, "big") + os.urandom(size - 8)
            started = time.perf_counter()
            producer.produce(names[0], payload)
            producer.poll(0)
            message = consumer.poll(30)
            if message is None or message.error() or message.value() != payload:
                raise RuntimeError("the relay lost or changed a record; is Kafka healthy?")
            if number >= 20:  # the first ones pay for connections
                delays.append(time.perf_counter() - started)
            time.sleep(pause_s)  # the pace of the load, not a wait for a condition
        producer.produce(names[0], b"stop")
        producer.flush(5)
        for copier in copiers:
            copier.join(10)
    finally:
        for copier in copiers:
            if copier.is_alive():
                copier.terminate()
        consumer.close()
        for future in admin.delete_topics(names).values():
            future.result(30)
    return np.array(delays)
