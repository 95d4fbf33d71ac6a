"""A real Kafka broker in a container, that tests can kill, pause and starve."""

from __future__ import annotations

import atexit
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from uuid import uuid4

os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")

from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType
from testcontainers.core.container import DockerContainer

from samebase.kafka.config import KafkaAddress

IMAGE = "apache/kafka:4.3.1"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def until(condition: Callable[[], object], reason: str, seconds: float = 30.0) -> None:
    """Wait for a condition, with a deadline."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"after {seconds} s: not {reason}"
        time.sleep(0.02)


class Broker:
    """One broker. `proxied` is its address for those who come through a proxy on that port."""

    def __init__(self) -> None:
        self.port, self.behind_port, self.proxy_port = free_port(), free_port(), free_port()
        self.bootstrap = f"127.0.0.1:{self.port}"
        self.proxied = f"127.0.0.1:{self.proxy_port}"
        settings = {
            "NODE_ID": "1",
            "PROCESS_ROLES": "broker,controller",
            "LISTENERS": "HOST://:19092,PROXIED://:29092,CONTROLLER://:9093",
            "ADVERTISED_LISTENERS": f"HOST://{self.bootstrap},PROXIED://{self.proxied}",
            "LISTENER_SECURITY_PROTOCOL_MAP": "CONTROLLER:PLAINTEXT,HOST:PLAINTEXT,PROXIED:PLAINTEXT",
            "INTER_BROKER_LISTENER_NAME": "HOST",
            "CONTROLLER_LISTENER_NAMES": "CONTROLLER",
            "CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
            # One that was killed may come back after this, not after 9 s.
            "BROKER_SESSION_TIMEOUT_MS": "2000",
            "BROKER_HEARTBEAT_INTERVAL_MS": "500",
            "OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
        }
        self.container = DockerContainer(IMAGE).with_env("KAFKA_HEAP_OPTS", "-Xmx384m -Xms128m")
        self.container.ports = {"19092/tcp": ("127.0.0.1", self.port), "29092/tcp": ("127.0.0.1", self.behind_port)}
        for name, value in settings.items():
            self.container.with_env(f"KAFKA_{name}", value)
        self.container.start()
        self.admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0, "reconnect.backoff.max.ms": 500})
        self.await_answer()

    def await_answer(self) -> None:
        until(self._answers, "answering", 60)

    def _answers(self) -> bool:
        # One that has just come back lists its topics before the controller takes it for alive.
        probe = NewTopic("probe", 1, 1)
        try:
            self.admin.create_topics([probe], validate_only=True, request_timeout=2)["probe"].result(5)
        except KafkaException:
            return False
        return True

    def remove(self) -> None:
        self.container.stop(force=True)

    def kill(self) -> None:
        """As `kill -9`; the data stay."""
        self.container.get_wrapped_container().kill()

    def start(self) -> None:
        self.container.get_wrapped_container().start()
        self.await_answer()

    @contextmanager
    def killed(self) -> Iterator[None]:
        self.kill()
        try:
            yield
        finally:
            self.start()

    @contextmanager
    def paused(self) -> Iterator[None]:
        self.container.get_wrapped_container().pause()
        try:
            yield
        finally:
            self.container.get_wrapped_container().unpause()
            self.await_answer()

    def address(self, topic: str | None = None) -> KafkaAddress:
        return KafkaAddress(self.bootstrap, topic or f"test-{uuid4()}")

    def make_topic(self, topic: str, partitions: int = 1, **config: str) -> None:
        """Settings are written with underscores for dots. Waits until the broker knows it."""
        settings = {name.replace("_", "."): value for name, value in config.items()}
        new = NewTopic(topic, partitions, 1, config=settings)
        self.admin.create_topics([new])[topic].result(20)
        until(lambda: self.has_topic(topic), f"topic {topic} there")

    def delete_topic(self, topic: str) -> None:
        self.admin.delete_topics([topic])[topic].result(20)
        until(lambda: not self.has_topic(topic), f"topic {topic} gone")

    def has_topic(self, topic: str) -> bool:
        return topic in self.admin.list_topics(timeout=5).topics

    def topic_settings(self, topic: str) -> dict[str, str]:
        resource = ConfigResource(ResourceType.TOPIC, topic)
        entries = self.admin.describe_configs([resource])[resource].result(20)
        return {name: entry.value for name, entry in entries.items()}

    def cut(self, topic: str, before: int) -> None:
        """Remove the records before that offset, as retention does."""
        place = TopicPartition(topic, 0, before)
        (done,) = self.admin.delete_records([place]).values()
        done.result(20)

    def consumer(self, topic: str) -> Consumer:
        """A plain consumer of somebody else, from the beginning of the topic."""
        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": "plain", "enable.auto.commit": False})
        consumer.assign([TopicPartition(topic, 0, 0)])
        return consumer


@cache
def shared_broker() -> Broker:
    """One broker for all tests of this process; whoever kills it brings it back."""
    broker = Broker()
    atexit.register(broker.remove)
    return broker
