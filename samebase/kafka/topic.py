"""The topic: made with the settings that the promises need, or checked and refused by name."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # re-exported without saying so
    AdminClient,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from samebase.core.errors import LogLost, Stop, Unavailable
from samebase.kafka.config import KafkaAddress, LogLines, common
from samebase.kafka.errors import MISSING, Trouble

GONE_SECONDS = 2.0
"""A broker that has just come back may not know its topics for a moment: only after so long they are gone."""
SMALLEST_RECORD_LIMIT = 1_048_576
"""Smallest max.message.bytes: larger than any record that we send."""
SHORTEST_RETENTION_MS = 24 * 3_600_000
SMALLEST_RETENTION_BYTES = 2**30
"""A replica that was away for longer, or missed more, must take a peer's snapshot."""
DEFAULT_RETENTION_MS = 7 * 24 * 3_600_000

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing about the topic that was checked. `problem`: what is wrong and what to do, or None."""

    what: str
    value: str
    problem: str | None = None

    def __str__(self) -> str:
        return f"{self.what} = {self.value}: {self.problem or 'ok'}"


class TopicAdmin:
    """Asks the brokers about one topic. Every answer comes within `patience` seconds or is Unavailable."""

    def __init__(self, address: KafkaAddress, patience: float) -> None:
        self.address = address
        self._patience = patience
        self.trouble = Trouble()
        self.client = AdminClient(common(address, self.trouble.report), logger=LogLines())

    def identity(self) -> str:
        """The topic's id, which no other topic ever has.

        Raises LogLost if there is no such topic, Stop if it has several partitions.
        """
        description = self.description()
        if description is None:
            raise LogLost(f"there is no topic {self.address.topic} at {self.address.bootstrap}")
        return topic_identity(self.address, description)

    def description(self) -> Any | None:
        """What the broker says about the topic, None if there is none."""
        topic = self.address.topic
        try:
            futures = self.client.describe_topics(TopicCollection([topic]), request_timeout=self._patience)
            return self.result(futures[topic], f"asking for the topic {topic}")
        except Missing:
            return None

    def findings(self) -> list[Finding]:
        """Every setting that matters, checked. Raises LogLost if there is no such topic."""
        description = self.description()
        if description is None:
            raise LogLost(f"there is no topic {self.address.topic} at {self.address.bootstrap}")
        resource = ConfigResource(ResourceType.TOPIC, self.address.topic)
        futures = self.client.describe_configs([resource], request_timeout=self._patience)
        try:
            entries = self.result(futures[resource], f"asking for the settings of the topic {self.address.topic}")
        except Missing as missing:
            raise LogLost(f"the topic {self.address.topic} was deleted at this moment") from missing
        settings = {name: entry.value for name, entry in entries.items()}
        replicas = len(description.partitions[0].replicas)
        return _findings(self.address.topic, len(description.partitions), replicas, settings)

    def create(self, retention_ms: int = DEFAULT_RETENTION_MS) -> None:
        """Make the topic, if nobody else has: copies on three brokers if there are so many."""
        topic = self.address.topic
        cluster = self.result(self.client.describe_cluster(request_timeout=self._patience), "asking for the brokers")
        replicas = min(3, len(cluster.nodes))
        new = NewTopic(
            topic,
            num_partitions=1,
            replication_factor=replicas,
            config={
                "cleanup.policy": "delete",
                "retention.ms": str(retention_ms),
                "retention.bytes": "-1",
                "max.message.bytes": str(2 * SMALLEST_RECORD_LIMIT),
                "min.insync.replicas": str(max(1, replicas - 1)),
                "message.timestamp.type": "LogAppendTime",
                "unclean.leader.election.enable": "false",
            },
        )
        futures = self.client.create_topics([new], request_timeout=self._patience)
        with suppress(_Exists):
            self.result(futures[topic], f"creating the topic {topic}")
        deadline = time.monotonic() + self._patience
        while self.description() is None:
            if time.monotonic() > deadline:
                raise Unavailable(f"the topic {topic} was created, but the brokers do not know it yet")
            time.sleep(0.02)

    def result(self, future: Future[T], doing: str) -> T:
        """What the broker answered. Raises what its error means."""
        try:
            return future.result(self._patience + 1)
        except TimeoutError:
            raise Unavailable(f"{doing}: {self.address.bootstrap} does not answer") from None
        except KafkaException as error:
            raise self.translated(doing, error) from error

    def translated(self, doing: str, error: KafkaException) -> Exception:
        """As Trouble.translated, but for answers that are no errors."""
        self.client.poll(0)
        code = error.args[0].code()
        if code in MISSING:
            return Missing(doing)
        if code == KafkaError.TOPIC_ALREADY_EXISTS:
            return _Exists(doing)
        return self.trouble.translated(f"{doing} at {self.address.bootstrap}", error)


class Missing(Exception):
    """There is no such topic."""


class _Exists(Exception):
    """Somebody else has made the topic."""


def topic_identity(address: KafkaAddress, description: Any) -> str:
    """The id in a description. Raises Stop if the topic has several partitions."""
    if len(description.partitions) != 1:
        raise Stop(_partitions_problem(address.topic, len(description.partitions)))
    return str(description.topic_id)


def ensure_topic(address: KafkaAddress, *, create: bool = True, patience: float = 10.0, gone_after: float = 0) -> str:
    """Make the topic if there is none (and `create`), check it if there is one. Returns its identity.

    Raises LogLost if there is none for `gone_after` seconds and it is not to be made, Stop if a setting is not safe
    (all of them are named, with what to do), Unavailable if no broker answers within `patience` seconds.
    """
    admin = TopicAdmin(address, patience)
    deadline = time.monotonic() + gone_after
    while admin.description() is None:
        if create:
            admin.create()
        elif time.monotonic() >= deadline:
            break
        else:
            time.sleep(0.1)
    problems = "; ".join(str(finding) for finding in admin.findings() if finding.problem)
    if problems:
        raise Stop(f"the topic {address.topic} at {address.bootstrap} cannot be used: {problems}")
    return admin.identity()


def check_topic(address: KafkaAddress, *, patience: float = 10.0) -> list[Finding]:
    """Every setting that matters, checked, for preflight: nothing is made.

    Raises LogLost if there is no such topic, Unavailable if no broker answers within `patience` seconds.
    """
    return TopicAdmin(address, patience).findings()


def _partitions_problem(topic: str, count: int) -> str:
    return (
        f"the topic {topic} has {count} partitions and thereby no total order: it must be another one, with exactly 1"
    )


def _findings(topic: str, partitions: int, replicas: int, settings: Mapping[str, str]) -> list[Finding]:
    rules: list[tuple[str, Callable[[str], bool], str]] = [
        ("cleanup.policy", lambda value: value == "delete", "delete, for a compacted log forgets changes"),
        (
            "retention.ms",
            lambda value: int(value) == -1 or int(value) >= SHORTEST_RETENTION_MS,
            f"-1 or at least {SHORTEST_RETENTION_MS} (a day)",
        ),
        (
            "retention.bytes",
            lambda value: int(value) == -1 or int(value) >= SMALLEST_RETENTION_BYTES,
            f"-1 or at least {SMALLEST_RETENTION_BYTES}",
        ),
        (
            "max.message.bytes",
            lambda value: int(value) >= SMALLEST_RECORD_LIMIT,
            f"at least {SMALLEST_RECORD_LIMIT}, for a record has up to 1,000,000 bytes",
        ),
        (
            "message.timestamp.type",
            lambda value: value == "LogAppendTime" or int(settings["retention.ms"]) == -1,
            "LogAppendTime, for else a replica's wrong clock decides how long its records are kept",
        ),
        (
            "unclean.leader.election.enable",
            lambda value: value == "false",
            "false, for else acknowledged records can be lost",
        ),
        (
            "min.insync.replicas",
            lambda value: int(value) >= min(2, replicas - 1),
            "2, for else a single broker's loss can lose acknowledged records",
        ),
    ]
    several = partitions != 1
    findings = [Finding("partitions", str(partitions), _partitions_problem(topic, partitions) if several else None)]
    for name, good, wanted in rules:
        value = settings[name]
        findings.append(Finding(name, value, None if good(value) else f"set it to {wanted}"))
    return findings
