"""Whole sync processes on real servers, and applications that write there and note what was acknowledged."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pymysql
import requests

from tests.integration.sync.test_command_line import command, free_port
from tests.support.kafka import Broker
from tests.support.mysql import DDL, Server
from tests.support.replicas import wait_for

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
        self.environment, self._log = environment, log
        self.start()

    def start(self, **settings: str) -> None:
        """`settings`: in place of those that it was made with, from now on."""
        self.environment = self.environment | settings
        with self._log.open("ab") as lines:
            self.process = subprocess.Popen(command("run"), env=os.environ | self.environment, stderr=lines)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(20)

    def close(self) -> None:
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

    def stopped(self) -> str:
        """Wait until it has stopped, unready. Returns the reason that it gives."""
        wait_for(lambda: self.get("/status")["state"] == "stopped", f"{self.url} has stopped", 60)
        told = self.get("/readyz")
        assert told["ready"] is False
        return str(told["reason"])


class Writer:
    """An application of one replica: writes the same few rows as the others, and notes what the log acknowledged."""

    def __init__(self, where: Server, sync: Sync, seed: int) -> None:
        self._server, self._sync, self._dice = where, sync, random.Random(seed)
        self.acknowledged: list[str] = []
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        while not self.stop.is_set():
            try:
                with closing(self._server.session()) as session, session.cursor() as cursor:
                    self._write(session, cursor)
            except (pymysql.OperationalError, pymysql.InterfaceError):
                self.stop.wait(0.1)  # the server is away: what was not answered counts as not written

    def _write(self, session: Any, cursor: Any) -> None:
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


def settings(directory: Path, number: int, where: Server, log: str, **instead: str) -> dict[str, str]:
    """The environment of a replica's sync process. `instead`: settings in place of these."""
    (directory / "tables.toml").write_text(TABLES)
    address = where.address()
    return {
        "SAMEBASE_NAME": f"shop-{number}",
        "SAMEBASE_DATABASE": f"mysql://{address.user}:{address.password}@{address.host}:{address.port}/app",
        "SAMEBASE_LOG": log,
        "SAMEBASE_TABLES": str(directory / "tables.toml"),
        "SAMEBASE_LISTEN": f"127.0.0.1:{free_port()}",
        "SAMEBASE_LOG_LEVEL": "WARNING",
    } | instead


class Shop:
    """Replicas on servers of their own, one broker, a writer at each of the first `writers`."""

    def __init__(
        self,
        servers: list[Server],
        broker: Broker,
        directory: Path,
        stack: ExitStack,
        *,
        bootstrap: str | None = None,
        writers: int = 2,
        peer_token: str | None = None,
    ) -> None:
        """`bootstrap`: the broker's address for the sync processes, if not its usual one."""
        more = {} if peer_token is None else {"SAMEBASE_PEER_TOKEN": peer_token}
        self.servers, self.broker, self._writers = servers, broker, writers
        self.topic = f"shop.changes-{uuid4()}"
        self.syncs: list[Sync] = []
        log = f"kafka://{bootstrap or broker.bootstrap}/{self.topic}"
        for number, where in enumerate(servers, 1):
            where.fresh(*DDL)
            sync = Sync(settings(directory, number, where, log, **more), directory / f"sync-{number}.log")
            stack.callback(sync.close)
            self.syncs.append(sync)
        self.await_ready()

    def await_ready(self) -> None:
        for sync in self.syncs:
            wait_for(lambda sync=sync: sync.get("/status")["state"] == "ready", f"{sync.url} is ready", 60)

    @contextmanager
    def load(self) -> Iterator[list[Writer]]:
        pairs = list(zip(self.servers, self.syncs, strict=True))[: self._writers]
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
        rejected = "SELECT `offset`, origin, seq, request, reason, `rows` FROM samebase.rejected ORDER BY `offset`, id"
        first, *others = self.servers
        for other in others:
            for table in ("item", "account"):
                assert self.rows(first, table) == self.rows(other, table)
            assert first.rows(rejected) == other.rows(rejected)
        there = {row[0] for row in self.rows(self.servers[1], "item")}
        acknowledged = [request for writer in writers for request in writer.acknowledged]
        assert len(acknowledged) > 50
        assert [request for request in acknowledged if request not in there] == []


def until_acknowledged(writers: list[Writer], more: int) -> Callable[[], bool]:
    """A condition: so many more writes have been acknowledged."""
    goal = sum(len(writer.acknowledged) for writer in writers) + more
    return lambda: sum(len(writer.acknowledged) for writer in writers) >= goal
