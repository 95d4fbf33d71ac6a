"""Kafka is away for long: what goes on, what is refused and by whom, and that all of it heals."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pymysql
import pytest

from tests.support.kafka import shared_broker
from tests.support.mysql import PASSWORD, Server
from tests.support.replicas import wait_for
from tests.support.shop import Shop, Sync, settings, until_acknowledged

pytestmark = pytest.mark.docker

READ_ONLY = 1290


@pytest.fixture
def shop(servers: list[Server], tmp_path: Path) -> Iterator[Shop]:
    """Its second replica takes no more than a second's writes while the log is away."""
    with ExitStack() as stack:
        shop = Shop(servers, shared_broker(), tmp_path, stack)
        log = f"kafka://{shared_broker().bootstrap}/{shop.topic}"
        shop.syncs[1].close()
        bounded = settings(tmp_path, 2, servers[1], log, SAMEBASE_PENDING_MAX_AGE_S="1")
        shop.syncs[1] = Sync(bounded, tmp_path / "sync-2.log")
        stack.callback(shop.syncs[1].close)
        shop.await_ready()
        servers[1].execute(
            f"CREATE USER IF NOT EXISTS api IDENTIFIED BY '{PASSWORD}'",
            "GRANT SELECT, INSERT, UPDATE, DELETE ON app.* TO api",
        )
        yield shop


def insert(where: Server, key: str, user: str = "root") -> None:
    with closing(where.session(user=user, autocommit=True)) as session, session.cursor() as cursor:
        cursor.execute("INSERT INTO item (id) VALUES (%s)", (key,))


def told(sync: Sync) -> tuple[Any, Any]:
    status = sync.get("/status")
    return status["state"], status["writes"]


def test_while_kafka_is_away_certified_writes_are_refused_and_too_many_of_any_kind(shop: Shop) -> None:
    first, second = shop.syncs
    with shop.load() as writers:
        wait_for(until_acknowledged(writers, 60), "it runs", 60)
    with shop.broker.paused():
        wait_for(lambda: told(first) == ("ready", "merge"), "the first says that nobody gives verdicts", 30)
        insert(shop.servers[0], "meanwhile-1")
        insert(shop.servers[1], "meanwhile-2", user="api")
        wait_for(lambda: told(second) == ("ready", "none"), "the second takes nothing more", 30)
        with pytest.raises(pymysql.OperationalError) as refused:
            insert(shop.servers[1], "too-late", user="api")
        assert refused.value.args[0] == READ_ONLY
        assert shop.servers[1].rows("SELECT id FROM item WHERE id LIKE 'meanwhile-2'"), "reads go on"
        second.kill()  # and whoever comes after it lifts what it has left
        second.start()
    shop.await_ready()
    wait_for(lambda: [told(sync) for sync in shop.syncs] == [("ready", "all")] * 2, "all is well again", 60)
    insert(shop.servers[1], "afterwards", user="api")
    shop.assert_identical_and_complete(writers)
    came = "SELECT id FROM item WHERE id IN ('meanwhile-1', 'meanwhile-2', 'too-late', 'afterwards') ORDER BY id"
    assert shop.servers[0].rows(came) == [("afterwards",), ("meanwhile-1",), ("meanwhile-2",)]


def test_an_administrators_read_only_is_left_as_it_is(shop: Shop) -> None:
    where, second = shop.servers[1], shop.syncs[1]
    where.execute("SET GLOBAL read_only = ON")
    try:
        with shop.broker.paused():
            insert(where, "by an administrator")
            wait_for(lambda: told(second) == ("ready", "none"), "it takes nothing more", 60)
        wait_for(lambda: told(second) == ("ready", "all"), "all is well again", 60)
        assert where.rows("SELECT @@GLOBAL.read_only") == [(1,)]
    finally:
        where.execute("SET GLOBAL read_only = OFF")
