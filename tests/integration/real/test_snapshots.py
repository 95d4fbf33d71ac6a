"""On real servers: a new replica under load, one that was away too long, and differences found and removed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from tests.support.kafka import shared_broker
from tests.support.mysql import DDL, Server
from tests.support.processes import TOKEN, samebase
from tests.support.replicas import wait_for
from tests.support.shop import Shop, Sync, until_acknowledged

pytestmark = pytest.mark.docker

ENVIRONMENT = {"SAMEBASE_PEER_TOKEN": TOKEN}
ROWS = 5_000


@pytest.fixture
def shop(servers: list[Server], tmp_path: Path) -> Iterator[Shop]:
    with ExitStack() as stack:
        yield Shop(servers, shared_broker(), tmp_path, stack, writers=1, peer_token=TOKEN)


def fill(shop: Shop) -> None:
    with closing(shop.servers[0].session()) as session, session.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO item (id, title, data, ratio) VALUES (%s, %s, %s, 0.1e0)",
            [(f"row-{number:05}", f"title {number}", bytes([0, 255, number % 256])) for number in range(ROWS)],
        )
        cursor.execute("INSERT INTO account VALUES ('u', 'name', '', 7)")
        session.commit()


def status(sync: Sync, key: str) -> object:
    return sync.get("/status")[key]


def urls(shop: Shop) -> list[str]:
    return [sync.url for sync in shop.syncs]


def test_a_new_replica_boots_from_a_peer_that_is_written_to_and_differences_are_found_and_removed(
    shop: Shop, tmp_path: Path
) -> None:
    fill(shop)
    first, second = shop.syncs
    with shop.load() as writers:
        wait_for(until_acknowledged(writers, 60), "it runs", 60)
        second.kill()
        shop.servers[1].fresh(*DDL)
        shop.broker.cut(shop.topic, int(str(status(first, "offset"))))
        second.start(SAMEBASE_PEERS=first.url)
        wait_for(lambda: status(second, "state") == "ready", "the new replica is ready", 120)
        wait_for(until_acknowledged(writers, 30), "the peer goes on", 60)
        ended = samebase(ENVIRONMENT, "verify", *urls(shop))
        assert ended.returncode == 0, ended.stderr
    shop.assert_identical_and_complete(writers)

    with closing(shop.servers[1].session(autocommit=True)) as session, session.cursor() as cursor:
        cursor.execute("SET sql_log_bin = 0")
        cursor.execute("UPDATE item SET title = 'changed by hand' WHERE id = 'row-00042'")
        cursor.execute("DELETE FROM item WHERE id = 'row-00043'")
    ended = samebase(ENVIRONMENT, "verify", *urls(shop))
    assert ended.returncode == 1
    assert [line.split()[2] for line in ended.stdout.splitlines()] == ['["row-00042"]', '["row-00043"]']
    record = str(tmp_path / "record.jsonl")
    ended = samebase(ENVIRONMENT, "repair", "--record", record, "--from", first.url, *urls(shop))
    assert ended.returncode == 0, ended.stderr
    assert samebase(ENVIRONMENT, "verify", *urls(shop)).returncode == 0
    shop.assert_identical_and_complete(writers)


def test_a_replica_that_was_away_longer_than_the_log_reaches_keeps_its_own_writes(shop: Shop) -> None:
    fill(shop)
    with shop.load() as writers:
        wait_for(until_acknowledged(writers, 60), "it runs", 60)
    shop.assert_identical_and_complete(writers)
    first, second = shop.syncs
    second.kill()
    with closing(shop.servers[1].session(autocommit=True)) as session, session.cursor() as cursor:
        cursor.execute("UPDATE item SET title = 'offline' WHERE id = 'row-00001'")
        cursor.execute("INSERT INTO item (id) VALUES ('offline')")
        cursor.execute("DELETE FROM item WHERE id = 'row-00002'")
        cursor.execute("INSERT INTO account VALUES ('v', 'taken', '', 8)")
    with closing(shop.servers[0].session(autocommit=True)) as session, session.cursor() as cursor:
        cursor.execute("INSERT INTO account VALUES ('w', 'taken', '', 9)")
        cursor.execute("UPDATE item SET n = n + 1 WHERE id LIKE 'row-%'")
    wait_for(lambda: first.get("/wait?request=none&timeout=0") and status(first, "pending") == 0, "all is in the log")
    shop.broker.cut(shop.topic, int(str(status(first, "offset"))))
    second.start(SAMEBASE_PEERS=first.url)
    shop.await_ready()
    shop.assert_identical_and_complete(writers)
    rows = {row[0]: row for row in shop.rows(shop.servers[0], "item")}
    assert rows["row-00001"][1:3] == ("offline", 1)
    assert "offline" in rows
    assert "row-00002" not in rows
    assert [row[0] for row in shop.rows(shop.servers[1], "account")] == ["u", "w"]


def test_a_file_restores_into_a_new_system(shop: Shop, tmp_path: Path) -> None:
    fill(shop)
    first, second = shop.syncs
    wait_for(lambda: status(second, "offset") == status(first, "offset") != 0, "both have the rows", 60)
    before = shop.rows(shop.servers[0], "item")
    file = str(tmp_path / "backup")
    ended = samebase(ENVIRONMENT, "snapshot", "save", file, first.url)
    assert ended.returncode == 0, ended.stderr
    for sync, server in zip(shop.syncs, shop.servers, strict=True):
        sync.kill()
        server.fresh(*DDL)
    log = f"kafka://{shop.broker.bootstrap}/{shop.topic}-new"
    ended = samebase(first.environment | {"SAMEBASE_LOG": log}, "snapshot", "restore", file)
    assert ended.returncode == 0, ended.stderr
    for sync in shop.syncs:
        sync.start(SAMEBASE_LOG=log)
    shop.await_ready()
    assert shop.rows(shop.servers[0], "item") == shop.rows(shop.servers[1], "item") == before
