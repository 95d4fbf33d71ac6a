"""The network between us and the broker breaks, falls silent and gets slow."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from samebase.core.errors import Unavailable
from samebase.core.types import Record
from samebase.kafka.config import KafkaAddress
from samebase.kafka.log import KafkaLog
from samebase.kafka.topic import ensure_topic
from tests.integration.kafka.conftest import OpenLog
from tests.support.kafka import Broker, until
from tests.support.proxy import Proxy

pytestmark = pytest.mark.docker


@pytest.fixture
def proxy(broker: Broker) -> Iterator[Proxy]:
    proxy = Proxy(broker.proxy_port, ("127.0.0.1", broker.behind_port))
    yield proxy
    proxy.close()


@pytest.fixture
def address(broker: Broker, proxy: Proxy) -> KafkaAddress:
    address = KafkaAddress(broker.proxied, broker.address().topic)
    ensure_topic(address)
    return address


def append(log: KafkaLog, text: str, seconds: float = 20) -> int:
    (future,) = log.append_all([Record(text.encode(), {})])
    return future.result(seconds)


def values(log: KafkaLog, start: int) -> list[bytes]:
    """All from there to the end; what was appended a moment ago may take another to come."""
    found: list[bytes] = []

    def all_read() -> bool:
        found.extend(record.value for record in log.read(start + len(found), 100))
        return start + len(found) >= log.end()

    until(all_read, "all is read")
    return found


def test_connections_that_break_are_made_again_and_nothing_is_written_twice(proxy: Proxy, open_log: OpenLog) -> None:
    log = open_log(freshness=0.1)
    futures = []
    for number in range(200):
        futures += log.append_all([Record(str(number).encode(), {})])
        if number % 20 == 10:
            proxy.drop()
            futures[-1].result(20)
    assert [future.result(20) for future in futures] == list(range(200))
    found: list[bytes] = []

    def all_read() -> bool:
        found.extend(values(log, len(found)))
        return len(found) >= 200

    until(all_read, "200 records read")
    assert found == [str(number).encode() for number in range(200)]


def test_a_cut_shorter_than_our_patience_is_only_a_delay(proxy: Proxy, open_log: OpenLog) -> None:
    log = open_log(patience=30, freshness=0.1)
    append(log, "a")
    assert values(log, 0) == [b"a"]
    with proxy.cut():
        (future,) = log.append_all([Record(b"b", {})])
        assert values(log, 1) == []
        assert not future.done()
    assert future.result(30) == 1
    assert values(log, 1) == [b"b"]


def test_a_network_that_falls_silent_is_unavailable_in_time(proxy: Proxy, open_log: OpenLog) -> None:
    append(open_log(), "a")
    log = open_log(patience=1, freshness=0.1)
    assert values(log, 0) == [b"a"]
    with proxy.silent():
        began = time.monotonic()
        (future,) = log.append_all([Record(b"b", {})])
        with pytest.raises(Unavailable):
            until(lambda: values(log, 1), "an error", 10)
        with pytest.raises(Unavailable):
            future.result(5)
        assert time.monotonic() - began < 5
        log.close()
    again = open_log()
    append(again, "c")
    assert values(again, 0)[0] == b"a"


def test_a_slow_network_is_slow_but_works_and_idle_calls_do_not_wait_for_it(proxy: Proxy, open_log: OpenLog) -> None:
    log = open_log(freshness=0.1)
    append(log, "a")
    assert values(log, 0) == [b"a"]
    with proxy.slow(0.2):
        (future,) = log.append_all([Record(b"b", {})])
        slowest = 0.0
        while not future.done():
            began = time.monotonic()
            log.end()
            slowest = max(slowest, time.monotonic() - began)
        assert future.result(0) == 1
        assert slowest < 0.3, "a question and its answer take 0.4 s at least"
        assert values(log, 1) == [b"b"]
