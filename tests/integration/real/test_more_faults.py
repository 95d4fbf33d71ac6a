"""More faults on real servers: network, database server, topic. Each ends in "identical, nothing acknowledged lost", or
in the documented stop."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from samebase.kafka.topic import ensure_topic
from tests.support.kafka import shared_broker
from tests.support.mysql import Server, server
from tests.support.proxy import Proxy
from tests.support.replicas import wait_for
from tests.support.shop import Shop, until_acknowledged

pytestmark = pytest.mark.docker


DURABLE = True
"""Servers of this file are killed."""


@pytest.fixture
def shop(servers: list[Server], tmp_path: Path) -> Iterator[Shop]:
    with ExitStack() as stack:
        yield Shop(servers, shared_broker(), tmp_path, stack)


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    """The way to the broker, as `Broker.proxied` has it."""
    broker = shared_broker()
    with closing(Proxy(broker.proxy_port, ("127.0.0.1", broker.behind_port))) as between:
        yield between


@pytest.fixture
def far_shop(servers: list[Server], tmp_path: Path, proxy: Proxy) -> Iterator[Shop]:
    """A shop whose sync processes reach the broker through the proxy."""
    broker = shared_broker()
    with ExitStack() as stack:
        yield Shop(servers, broker, tmp_path, stack, bootstrap=broker.proxied)


def pass_time(seconds: float) -> None:
    over = time.monotonic() + seconds
    wait_for(lambda: time.monotonic() >= over, f"{seconds} s have passed", seconds + 30)


@pytest.mark.parametrize("fault", ["cut", "silent"])
def test_the_network_to_the_broker_is_away_for_longer_than_anybody_waits(
    far_shop: Shop, proxy: Proxy, fault: str
) -> None:
    with far_shop.load() as writers:
        wait_for(until_acknowledged(writers, 50), "it runs", 60)
        with proxy.cut() if fault == "cut" else proxy.silent():
            pass_time(15)  # 10 s is what a sync process waits for an answer
            states = [sync.get("/status")["state"] for sync in far_shop.syncs]
            assert states == ["ready", "ready"], "replicas stay ready while the log is away"
        wait_for(until_acknowledged(writers, 50), "it goes on", 90)
    far_shop.assert_identical_and_complete(writers)


def test_the_network_to_the_broker_is_slow_and_breaks_now_and_then(far_shop: Shop, proxy: Proxy) -> None:
    with far_shop.load() as writers:
        wait_for(until_acknowledged(writers, 50), "it runs", 60)
        with proxy.slow(0.1):
            for _ in range(3):
                wait_for(until_acknowledged(writers, 10), "it goes on, slowly", 60)
                proxy.drop()
        wait_for(until_acknowledged(writers, 50), "it goes on", 60)
    far_shop.assert_identical_and_complete(writers)


def test_mysqld_is_killed_under_load_and_comes_back(shop: Shop) -> None:
    with shop.load() as writers:
        for where in [*shop.servers, shop.servers[0]]:
            wait_for(until_acknowledged(writers, 50), "it runs", 60)
            where.restart(kill=True)
            shop.await_ready()
        wait_for(until_acknowledged(writers, 50), "it goes on", 60)
    shop.assert_identical_and_complete(writers)


def test_a_row_over_the_message_limit_stops_its_replica_and_is_applied_nowhere(shop: Shop) -> None:
    with shop.load() as writers:
        wait_for(until_acknowledged(writers, 60), "it runs", 60)
    shop.assert_identical_and_complete(writers)
    first, second = shop.syncs
    origin = first.get("/status")["origin"]
    ended_at = second.get("/status")["log_end"]
    first.kill()
    shop.servers[0].execute(
        "INSERT INTO app.item (id) VALUES ('light')",
        "INSERT INTO app.item (id, data) VALUES ('heavy', REPEAT('x', 1000000))",
        "INSERT INTO app.item (id) VALUES ('after')",
    )
    first.start()
    reason = first.stopped()
    assert f"of {origin}" in reason
    assert "transaction " in reason
    assert "heavy" in reason
    first.kill()
    first.start()
    assert first.stopped() == reason, "a restart is no way out"
    came = "SELECT id FROM item WHERE id IN ('light', 'heavy', 'after')"
    wait_for(lambda: shop.servers[1].rows(came) == [("light",)], "what was committed before has come")
    second.get("/wait?token=none:1&timeout=1000")  # waits until all of the log is applied
    told = second.get("/status")
    assert told["state"] == "ready"
    assert told["offset"] == told["log_end"]
    assert shop.servers[1].rows(came) == [("light",)]
    # Each of its two starts has published what is before.
    assert told["log_end"] <= ended_at + 2


def test_a_topic_that_is_deleted_and_made_again_stops_all_replicas(shop: Shop) -> None:
    with shop.load() as writers:
        wait_for(until_acknowledged(writers, 50), "it runs", 60)
        shop.broker.delete_topic(shop.topic)  # and maybe the broker makes one for a producer that goes on
        for sync in shop.syncs:
            assert shop.topic in sync.stopped()
    if shop.broker.has_topic(shop.topic):
        shop.broker.delete_topic(shop.topic)
    ensure_topic(shop.broker.address(shop.topic))
    before = [shop.rows(where, "item") for where in shop.servers]
    for sync in shop.syncs:
        sync.kill()
        sync.start()
    for sync in shop.syncs:
        assert "belongs to the log" in sync.stopped(), "a restart does not make it good"
    assert [shop.rows(where, "item") for where in shop.servers] == before


def test_a_topic_that_is_deleted_at_rest_stops_all_replicas_and_is_not_made_again(shop: Shop) -> None:
    shop.broker.delete_topic(shop.topic)
    for sync in shop.syncs:
        assert shop.topic in sync.stopped()
    assert not shop.broker.has_topic(shop.topic)


def test_a_topic_that_is_gone_at_a_start_is_not_made_again(shop: Shop) -> None:
    with shop.load() as writers:
        wait_for(until_acknowledged(writers, 10), "it runs", 60)
    first = shop.syncs[0]
    for sync in shop.syncs:
        sync.kill()
    shop.broker.delete_topic(shop.topic)
    first.start()
    assert shop.topic in first.stopped()
    assert not shop.broker.has_topic(shop.topic)


def test_retention_that_has_cut_off_our_offset_stops_and_says_where(shop: Shop) -> None:
    with shop.load() as writers:
        wait_for(until_acknowledged(writers, 60), "it runs", 60)
    shop.assert_identical_and_complete(writers)
    first, second = shop.syncs
    needed = second.get("/status")["offset"]
    second.kill()
    with closing(shop.servers[0].session()) as session, session.cursor() as cursor:
        for number in range(20):
            cursor.execute("INSERT INTO item (id) VALUES (%s)", (f"missed-{number}",))
            session.commit()
    wait_for(lambda: first.get("/status")["offset"] == needed + 20, "the first has them in the log")
    shop.broker.cut(shop.topic, needed + 10)
    second.start()
    reason = second.stopped()
    assert f"offset {needed} " in reason
    assert f"begins at {needed + 10} " in reason
    assert first.get("/status")["state"] == "ready"
    assert shop.servers[1].rows("SELECT id FROM item WHERE id LIKE 'missed-%'") == []


def test_two_writers_on_the_same_rows_of_three_replicas_for_60_seconds(servers: list[Server], tmp_path: Path) -> None:
    with ExitStack() as stack:
        running = server()
        third = next(running)
        stack.callback(next, running, None)
        shop = Shop([*servers, third], shared_broker(), tmp_path, stack)
        with shop.load() as writers:
            pass_time(60)
        assert all(len(writer.acknowledged) > 50 for writer in writers)
        shop.assert_identical_and_complete(writers)
