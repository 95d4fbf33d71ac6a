"""A topic of its own for each test, on a broker that all share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from samebase.kafka.config import KafkaAddress
from samebase.kafka.log import KafkaLog
from samebase.kafka.topic import ensure_topic
from tests.support.kafka import Broker, shared_broker

OpenLog = Callable[..., KafkaLog]


@pytest.fixture
def broker() -> Broker:
    return shared_broker()


@pytest.fixture
def address(broker: Broker) -> KafkaAddress:
    address = broker.address()
    ensure_topic(address)
    return address


@pytest.fixture
def open_log(address: KafkaAddress) -> Iterator[OpenLog]:
    """Open the test's topic (or another), to be closed after the test."""
    with ExitStack() as opened:

        def open_log(of: KafkaAddress = address, **settings: Any) -> KafkaLog:
            log = KafkaLog(of, **settings)
            opened.callback(log.close)
            return log

        yield open_log
