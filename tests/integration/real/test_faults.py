"""Faults under load on real servers; each ends in "identical, nothing acknowledged lost"."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from tests.support.kafka import shared_broker
from tests.support.mysql import Server
from tests.support.replicas import wait_for
from tests.support.shop import Shop, until_acknowledged

pytestmark = pytest.mark.docker


@pytest.fixture
def shop(servers: list[Server], tmp_path: Path) -> Iterator[Shop]:
    with ExitStack() as stack:
        yield Shop(servers, shared_broker(), tmp_path, stack)


def test_sync_is_killed_at_50_random_moments(shop: Shop) -> None:
    dice = random.Random(5)
    with shop.load() as writers:
        for _ in range(50):
            sync = dice.choice(shop.syncs)
            moment = time.monotonic() + dice.uniform(0.3, 1.5)  # a start takes about 0.7 s
            wait_for(lambda moment=moment: time.monotonic() >= moment, "the random moment has come")
            sync.kill()
            sync.start()
        shop.await_ready()
        wait_for(until_acknowledged(writers, 20), "both go on", 60)
    shop.assert_identical_and_complete(writers)


def test_the_broker_is_killed(shop: Shop) -> None:
    with shop.load() as writers:
        wait_for(until_acknowledged(writers, 50), "it runs", 60)
        with shop.broker.killed():
            pass
        shop.await_ready()
        wait_for(until_acknowledged(writers, 50), "it goes on", 90)
    shop.assert_identical_and_complete(writers)


def test_the_broker_is_paused_for_30_seconds(shop: Shop) -> None:
    with shop.load() as writers:
        wait_for(until_acknowledged(writers, 50), "it runs", 60)
        with shop.broker.paused():
            over = time.monotonic() + 30
            wait_for(lambda: time.monotonic() >= over, "30 s have passed", 60)
            states = [sync.get("/status")["state"] for sync in shop.syncs]
            assert states == ["ready", "ready"], "replicas stay ready while the log is away"
        wait_for(until_acknowledged(writers, 50), "it goes on", 90)
    shop.assert_identical_and_complete(writers)


def test_the_binary_log_is_rotated_under_load(shop: Shop) -> None:
    with shop.load() as writers:
        for _ in range(10):
            wait_for(until_acknowledged(writers, 10), "it runs", 60)
            for where in shop.servers:
                where.execute("FLUSH BINARY LOGS")
    shop.assert_identical_and_complete(writers)


def test_10_000_writes_pile_up_while_sync_is_stopped(shop: Shop) -> None:
    with shop.load() as writers:
        wait_for(until_acknowledged(writers, 60), "it runs", 60)
    first = shop.syncs[0]
    first.kill()
    with closing(shop.servers[0].session()) as session, session.cursor() as cursor:
        for number in range(10_000):
            cursor.execute("INSERT INTO item (id, n) VALUES (%s, %s)", (f"piled-{number}", number))
            session.commit()
    first.start()
    shop.await_ready()
    shop.assert_identical_and_complete(writers)
    assert len([row for row in shop.rows(shop.servers[1], "item") if row[0].startswith("piled-")]) == 10_000


def test_a_transaction_of_200_000_rows_arrives_whole(shop: Shop) -> None:
    with shop.load() as writers:
        wait_for(until_acknowledged(writers, 60), "it runs", 60)
        shop.servers[0].execute(
            "SET SESSION cte_max_recursion_depth = 1000000",
            "INSERT INTO app.item (id, n) WITH RECURSIVE numbers (i) AS "
            "(SELECT 1 UNION ALL SELECT i + 1 FROM numbers WHERE i < 200000) "
            "SELECT CONCAT('many-', i), i FROM numbers",
        )
        counted = "SELECT COUNT(*) FROM item WHERE id LIKE 'many-%'"
        seen = set()

        def arrived() -> bool:
            ((count,),) = shop.servers[1].rows(counted)
            seen.add(count)
            return bool(count == 200_000)

        wait_for(arrived, "all of it is at the other replica", 180)
        assert seen <= {0, 200_000}, "nobody saw a part of it"
    shop.assert_identical_and_complete(writers)
