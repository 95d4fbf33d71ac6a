"""Whole replicas on a real topic, while the broker fails."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from samebase.kafka.config import KafkaAddress
from samebase.kafka.log import KafkaLog
from tests.support.kafka import Broker
from tests.support.replicas import replicas

pytestmark = pytest.mark.docker

WRITES = 150


def test_replicas_agree_and_lose_nothing_when_the_broker_is_killed_under_load(
    broker: Broker, address: KafkaAddress, tmp_path: Path
) -> None:
    with replicas(tmp_path, lambda: KafkaLog(address, patience=2)) as group:
        for name in "ab":
            group.ready(name)

        def write(name: str) -> None:
            for number in range(WRITES):
                group.write(
                    name,
                    f"INSERT INTO item (id, title) VALUES ('{name}{number}', 'new')",
                    "INSERT INTO item (id, title) VALUES ('same', 'new') ON CONFLICT DO UPDATE SET title = "
                    f"'{name}{number}'",
                )

        writers = [threading.Thread(target=write, args=name) for name in "ab"]
        for writer in writers:
            writer.start()
        with broker.killed():
            for writer in writers:
                writer.join(60)
        group.settle(60)
        found = group.assert_identical("a", "b")["item"]
    expected = {f"{name}{number}" for name in "ab" for number in range(WRITES)} | {"same"}
    assert {row[0] for row in found} == expected
