"""Whole sync processes on two servers and one log."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pymysql
import pytest

from samebase.mysql.changes import MySqlChanges
from samebase.mysql.store import MySqlStore
from samebase.progress import Progress
from samebase.runner import Runner
from samebase.session import Pace, Surroundings
from samebase.sqlite.log import SqliteLog
from samebase.wiring import SystemClock
from tests.support.mysql import TABLES, MySqlBench, Server
from tests.support.replicas import wait_for

pytestmark = pytest.mark.docker

DEADLOCK = 1213
WRITES = 150


class Sync:
    """A sync process, as a thread."""

    def __init__(self, bench: MySqlBench, log: Path) -> None:
        self.bench, self._log = bench, log
        self.progress = Progress(SystemClock())
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _connect(self) -> Surroundings:
        database = self.bench.sync_database()
        return Surroundings(MySqlChanges(database), SqliteLog(self._log), MySqlStore(database))

    def _run(self) -> None:
        Runner(self._connect, SystemClock(), self.progress, Pace(poll_seconds=0.005, batch=50)).run(self._stop)

    def settled(self) -> bool:
        self.progress.fate("no such request", until=lambda _: True, timeout=0)
        position = self.progress.position()
        assert position.phase != "stopped", position.reason
        return position.phase == "ready" and position.pending == 0 and position.offset == position.log_end

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(30)


@pytest.fixture
def syncs(mysql_server: Server, other_mysql_server: Server, tmp_path: Path) -> Iterator[list[Sync]]:
    benches = [MySqlBench(mysql_server), MySqlBench(other_mysql_server)]
    started = [Sync(bench, tmp_path / "log.db") for bench in benches]
    yield started
    for sync in started:
        sync.stop()
    for bench in benches:
        bench.close()


def write(bench: MySqlBench, number: int) -> None:
    """An application: counts, inserts, deletes, takes unique names; repeats what was a deadlock's victim."""
    with closing(bench.server.session()) as session, session.cursor() as cursor:
        for step in range(WRITES):
            statements = [
                "INSERT INTO item (id) VALUES ('hot') ON DUPLICATE KEY UPDATE n = n + 1",
                f"INSERT IGNORE INTO item (id, title) VALUES ('i{step % 20}', 'of {number}')",
                f"UPDATE item SET title = '{number}-{step}', ratio = {step}.1e0 WHERE id = 'i{step % 7}'",
                f"DELETE FROM item WHERE id = 'i{step % 13}'",
                f"INSERT IGNORE INTO account VALUES ('a{number}-{step}', 'n{step % 30}', '', {step % 40})",
                f"DELETE FROM account WHERE number = {step % 11}",
            ]
            while True:
                try:
                    cursor.execute(
                        "INSERT INTO samebase.intent VALUES (%s, %s, NULL)", (f"{number}-{step}", step % 3 == 0)
                    )
                    cursor.execute(statements[step % len(statements)])
                    session.commit()
                    break
                except pymysql.OperationalError as error:
                    if error.args[0] != DEADLOCK:
                        raise
                    session.rollback()


def rows(bench: MySqlBench) -> dict[str, object]:
    return {table: bench.rows(table) for table in TABLES}


def test_two_writers_on_the_same_rows_of_two_servers_end_identical(syncs: list[Sync]) -> None:
    wait_for(lambda: all(sync.settled() for sync in syncs), "both are ready")
    writers = [
        threading.Thread(target=write, args=(sync.bench, number)) for number, sync in enumerate([*syncs, *syncs])
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()

    def same_place() -> bool:
        return all(sync.settled() for sync in syncs) and len({sync.progress.position().offset for sync in syncs}) == 1

    wait_for(same_place, "both stand at the log's end", 60)
    one, other = syncs
    assert rows(one.bench) == rows(other.bench)
    assert one.progress.position().offset > WRITES
    assert [r.seq for r in one.bench.store.rejected(0, 9999)] == [r.seq for r in other.bench.store.rejected(0, 9999)]


def test_a_replica_goes_on_after_its_sessions_were_killed(syncs: list[Sync]) -> None:
    one, other = syncs
    wait_for(lambda: one.settled() and other.settled(), "both are ready")
    writer = threading.Thread(target=write, args=(one.bench, 0))
    writer.start()
    while writer.is_alive():
        for (number,) in other.bench.server.rows(
            "SELECT id FROM information_schema.processlist WHERE id <> connection_id() AND user = 'root'"
        ):
            other.bench.server.kill_session(number)
        writer.join(0.2)

    wait_for(
        lambda: (
            one.settled() and other.settled() and one.progress.position().offset == other.progress.position().offset
        ),
        "both stand at the log's end",
        60,
    )
    assert rows(one.bench) == rows(other.bench)
