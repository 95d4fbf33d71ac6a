"""Where the log is, and how librdkafka's clients are set: what the promises depend on is fixed here."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from confluent_kafka import KafkaError

from samebase.core.errors import Misuse
from samebase.logs import get_logger

RECORD_LIMIT = 1_000_000
"""Bytes of a record, headers included, that the producer takes at most; the topic must take more."""
SENDING_LIMIT_KB = 32_768
"""Memory for records that wait for their acknowledgement. Beyond it an append waits."""
FETCHED_LIMIT_KB = 4_096
"""Memory for records that were fetched ahead, in librdkafka and once more in the reader."""

_FREE_OPTIONS = re.compile(r"(security\.protocol|sasl\..+|ssl\..+|client\.(id|rack)|broker\.address\.family)")


@dataclass(frozen=True, slots=True)
class KafkaAddress:
    """Brokers, topic, and how to sign in.

    Attributes:
        bootstrap: host:port, or several with commas between.
        options: librdkafka settings for security and naming (`security.protocol`, `sasl.*`, `ssl.*`, `client.id`);
            any other is refused, because a promise may depend on it.
    """

    bootstrap: str
    topic: str
    options: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        for key in self.options:
            if not _FREE_OPTIONS.fullmatch(key):
                raise Misuse(f"the Kafka option {key} cannot be set: only security.protocol, sasl.*, ssl.*, client.id")
        for broker in self.bootstrap.split(","):
            host, _, port = broker.rpartition(":")
            if not host or not port.isdecimal() or not 0 < int(port) < 65536:
                raise Misuse(f"{broker!r} is no broker: host:port is expected")
        if not re.fullmatch(r"[A-Za-z0-9._-]{1,249}", self.topic) or self.topic in {".", ".."}:
            raise Misuse(f"{self.topic!r} is no name of a topic")

    def __str__(self) -> str:
        return f"kafka://{self.bootstrap}/{self.topic}"


def kafka_address(url: str, options: Mapping[str, str] | None = None) -> KafkaAddress:
    """From kafka://host:port[,host:port]/topic. Raises Misuse; the message does not repeat the URL."""
    parts = urlsplit(url)
    if parts.scheme != "kafka" or parts.query or parts.fragment or "@" in parts.netloc:
        raise Misuse("a log in Kafka is kafka://host:port/topic, with several brokers kafka://a:9092,b:9092/topic")
    return KafkaAddress(parts.netloc, parts.path.removeprefix("/"), options or {})


class LogLines:
    """What librdkafka wants from a logger: its lines become ours, each text at most every ten seconds."""

    _EVERY_SECONDS = 10.0

    def __init__(self) -> None:
        self._told: dict[str, float] = {}

    def log(self, level: int, template: str, *values: object) -> None:
        line = template % values
        text, now = line.partition(" (after ")[0], time.monotonic()
        if now - self._told.get(text, -self._EVERY_SECONDS) < self._EVERY_SECONDS:
            return
        if len(self._told) > 100:
            self._told.clear()
        self._told[text] = now
        # It calls a broker that is away an error; we go on, and tell with an error of our own when we don't.
        get_logger().log(min(level, logging.WARNING), "kafka client", line=line)


def common(address: KafkaAddress, on_error: Callable[[KafkaError], None]) -> dict[str, Any]:
    """Settings of every client. `on_error` gets what librdkafka could not tell anybody in particular."""
    return {
        **address.options,
        "bootstrap.servers": address.bootstrap,
        "error_cb": on_error,
        "socket.keepalive.enable": True,
        "socket.nagle.disable": True,
        # The defaults are 10 s and 30 s: a broker that is back must be noticed soon.
        "reconnect.backoff.ms": 50,
        "reconnect.backoff.max.ms": 1_000,
        "socket.connection.setup.timeout.ms": 5_000,
        "socket.timeout.ms": 10_000,
        "log.connection.close": False,
    }


def producer(address: KafkaAddress, on_error: Callable[[KafkaError], None], patience: float) -> dict[str, Any]:
    """Settings of a producer that keeps order, writes nothing twice and takes only what all replicas have for an
    acknowledgement. After `patience` seconds a record that is not acknowledged has failed."""
    return {
        **common(address, on_error),
        "enable.idempotence": True,
        "acks": "all",
        "compression.type": "zstd",
        # Records that come while a request is under way are sent together anyway; waiting for more only costs time.
        "linger.ms": 0,
        "message.timeout.ms": int(patience * 1000),
        "message.max.bytes": RECORD_LIMIT,
        "queue.buffering.max.kbytes": SENDING_LIMIT_KB,
        "queue.buffering.max.messages": 50_000,
    }


def consumer(address: KafkaAddress, on_error: Callable[[KafkaError], None]) -> dict[str, Any]:
    """Settings of a consumer that is given its place and never moves or stores it by itself."""
    return {
        **common(address, on_error),
        # librdkafka wants a name here. The consumer is assigned its partition, so it never joins a group.
        "group.id": f"{address.topic}.unused",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error",
        # Every record that stands in the log counts, whoever wrote it: a verdict depends on the log alone.
        "isolation.level": "read_uncommitted",
        "allow.auto.create.topics": False,
        "check.crcs": True,
        # Who is sent elsewhere first waits for the fetch under way.
        "fetch.wait.max.ms": 100,
        # Compressed: what it becomes may be twenty times as much. A record that is larger comes all the same.
        "fetch.message.max.bytes": 128 * 1024,
        "queued.min.messages": 5_000,
        "queued.max.messages.kbytes": FETCHED_LIMIT_KB,
        # When that is full: look again soon (default 1 s), we empty it quickly.
        "fetch.queue.backoff.ms": 5,
        "fetch.error.backoff.ms": 100,
    }
