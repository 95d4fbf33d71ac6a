"""Faults under load on real servers; each ends in "identical, nothing acknowledged lost"."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pymysql
import pytest
import requests

from tests.integration.sync.test_command_line import command, free_port
from tests.support.kafka import Broker, shared_broker
from tests.support.mysql import DDL, Server, server
from tests.support.replicas import wait_for

pytestmark = pytest.mark.docker

TABLES = """
service = "shop"
[tables.item]
policy = "merge"
delta = ["n"]
[tables.account]
policy = "strict"
"""


class Sync:
    """A sync process that is started again whenever it has been killed, as its supervisor would."""

    def __init__(self, environment: dict[str, str], log: Path) -> None:
        self.url = f"http://{environment['SAMEBASE_LISTEN']}"
        self._environment, self._log = environment, log
        self.start()

    def start(self) -> None:
        with self._log.open("ab") as lines:
            self.process = subprocess.Popen(command("run"), env=os.environ | self._environment, stderr=lines)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(20)

    def end(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        finally:
            self.process.kill()

    def get(self, path: str) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = requests.get(self.url + path, timeout=10).json()
        except requests.RequestException:
            return {"state": "unreachable", "outcome": "unknown"}
        return answer


class Writer:
    """An application of one replica: writes the same few rows as the others, and notes what the log acknowledged."""

    def __init__(self, where: Server, sync: Sync, seed: int) -> None:
        self._server, self._sync, self._dice = where, sync, random.Random(seed)
        self.acknowledged: list[str] = []
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        with closing(self._server.session()) as session, session.cursor() as cursor:
            while not self.stop.is_set():
                request = str(uuid4())
                if self._commit(session, cursor, request):
                    told = self._sync.get(f"/wait?request={request}&level=log&timeout=500")
                    if told.get("reached") in ("log", "ordered"):
                        self.acknowledged.append(request)

    def _commit(self, session: Any, cursor: Any, request: str) -> bool:
        key, name = f"k{self._dice.randint(0, 9)}", f"n{self._dice.randint(0, 9)}"
        try:
            cursor.execute("INSERT INTO samebase.intent (request) VALUES (%s)", (request,))
            cursor.execute("INSERT INTO item (id, title) VALUES (%s, 'acknowledged')", (request,))
            cursor.execute("INSERT INTO item (id, n) VALUES (%s, 1) ON DUPLICATE KEY UPDATE n = n + 1", (key,))
            cursor.execute("UPDATE item SET title = %s WHERE id = %s", (name, key))
            session.commit()
        except (pymysql.OperationalError, pymysql.IntegrityError):  # a deadlock's victim: not written
            session.rollback()
            return False
        return True


class Shop:
    """Two replicas on two servers, one broker, a writer at each."""

    def __init__(self, servers: list[Server], broker: Broker, directory: Path, stack: ExitStack) -> None:
        self.servers, self.broker = servers, broker
        topic = f"shop.changes-{uuid4()}"
        (directory / "tables.toml").write_text(TABLES)
        self.syncs: list[Sync] = []
        for number, where in enumerate(servers, 1):
            where.fresh(*DDL)
            address = where.address()
            environment = {
                "SAMEBASE_NAME": f"shop-{number}",
                "SAMEBASE_DATABASE": f"mysql://{address.user}:{address.password}@{address.host}:{address.port}/app",
                "SAMEBASE_LOG": f"kafka://{broker.bootstrap}/{topic}",
                "SAMEBASE_TABLES": str(directory / "tables.toml"),
                "SAMEBASE_LISTEN": f"127.0.0.1:{free_port()}",
                "SAMEBASE_LOG_LEVEL": "WARNING",
            }
            sync = Sync(environment, directory / f"sync-{number}.log")
            stack.callback(sync.end)
            self.syncs.append(sync)
        self.await_ready()

    def await_ready(self) -> None:
        for sync in self.syncs:
            wait_for(lambda sync=sync: sync.get("/status")["state"] == "ready", f"{sync.url} is ready", 60)

    @contextmanager
    def load(self) -> Iterator[list[Writer]]:
        pairs = zip(self.servers, self.syncs, strict=True)
        writers = [Writer(where, sync, seed) for seed, (where, sync) in enumerate(pairs)]
        try:
            yield writers
        finally:
            for writer in writers:
                writer.stop.set()
            for writer in writers:
                writer.thread.join(60)
                assert not writer.thread.is_alive()

    def rows(self, where: Server, table: str) -> list[tuple[Any, ...]]:
        return where.rows(f"SELECT * FROM {table} ORDER BY 1")

    def assert_identical_and_complete(self, writers: list[Writer]) -> None:
        def settled() -> bool:
            for sync in self.syncs:
                sync.get("/wait?request=none&timeout=0")
            states = [sync.get("/status") for sync in self.syncs]
            return all(state["state"] == "ready" and state["pending"] == 0 for state in states) and (
                len({state["offset"] for state in states} | {state["log_end"] for state in states}) == 1
            )

        wait_for(settled, "all replicas are at one offset with nothing pending", 120)
        for table in ("item", "account"):
            assert self.rows(self.servers[0], table) == self.rows(self.servers[1], table)
        rejected = "SELECT `offset`, origin, seq, request, reason, `rows` FROM samebase.rejected ORDER BY `offset`, id"
        assert self.servers[0].rows(rejected) == self.servers[1].rows(rejected)
        there = {row[0] for row in self.rows(self.servers[1], "item")}
        acknowledged = [request for writer in writers for request in writer.acknowledged]
        assert len(acknowledged) > 50
        assert [request for request in acknowledged if request not in there] == []


@pytest.fixture(scope="module")
def servers() -> Iterator[list[Server]]:
    with ExitStack() as stack:
        started = []
        for options in ((), ("--gtid-mode=ON", "--enforce-gtid-consistency=ON")):
            running = server(*options)
            started.append(next(running))
            stack.callback(next, running, None)
        yield started


@pytest.fixture
def shop(servers: list[Server], tmp_path: Path) -> Iterator[Shop]:
    with ExitStack() as stack:
        yield Shop(servers, shared_broker(), tmp_path, stack)


def until_acknowledged(writers: list[Writer], more: int) -> Callable[[], bool]:
    """A condition: so many more writes have been acknowledged."""
    goal = sum(len(writer.acknowledged) for writer in writers) + more
    return lambda: sum(len(writer.acknowledged) for writer in writers) >= goal


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
