"""What every Log does, and what the two are asked besides."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import closing
from pathlib import Path

import pytest

from samebase.core.errors import LogLost, Stop, Unavailable
from samebase.core.types import Record
from samebase.kafka.log import KafkaLog
from samebase.kafka.topic import ensure_topic
from samebase.memory.log import MemoryLog
from samebase.ports import Log
from samebase.sqlite.log import SqliteLog
from tests.support.kafka import Broker, shared_broker


def record(text: str) -> Record:
    return Record(text.encode(), {"ce_type": "test"})


def append(log: Log, text: str) -> Future[int]:
    """Append one record."""
    (future,) = log.append_all([record(text)])
    return future


class MemoryLogs:
    def __init__(self) -> None:
        self.log = MemoryLog()

    def open(self) -> MemoryLog:
        return self.log

    def trim(self, before: int) -> None:
        self.log.trim(before)

    def recreate(self) -> None:
        self.log.recreate()

    def close(self) -> None:
        pass


class SqliteLogs:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.opened: list[SqliteLog] = []

    def open(self) -> SqliteLog:
        self.opened.append(SqliteLog(self.path, busy_timeout=0.2))
        return self.opened[-1]

    def trim(self, before: int) -> None:
        with closing(sqlite3.connect(self.path)) as connection, connection:
            connection.execute("DELETE FROM entries WHERE offset < ?", (before,))

    def recreate(self) -> None:
        for path in self.path.parent.glob(self.path.name + "*"):
            path.unlink()
        self.open()

    def close(self) -> None:
        for log in self.opened:
            log.close()


class KafkaLogs:
    """Opened with freshness 0: then also what another process has just appended is seen at once, as the suite asks."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.address = broker.address()
        self.opened: list[KafkaLog] = []
        ensure_topic(self.address)

    def open(self) -> KafkaLog:
        self.opened.append(KafkaLog(self.address, freshness=0))
        return self.opened[-1]

    def trim(self, before: int) -> None:
        self.broker.cut(self.address.topic, before)

    def recreate(self) -> None:
        self.broker.delete_topic(self.address.topic)
        ensure_topic(self.address)

    def close(self) -> None:
        for log in self.opened:
            log.close()


Logs = MemoryLogs | SqliteLogs | KafkaLogs


@pytest.fixture(params=["memory", "sqlite", pytest.param("kafka", marks=pytest.mark.docker)])
def logs(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Logs]:
    logs: Logs
    match request.param:
        case "memory":
            logs = MemoryLogs()
        case "sqlite":
            logs = SqliteLogs(tmp_path / "log.db")
        case _:
            logs = KafkaLogs(shared_broker())
    yield logs
    logs.close()


def test_a_new_log_is_empty_and_begins_at_zero(logs: Logs) -> None:
    log = logs.open()
    assert (log.begin(), log.end(), list(log.read(0, 10))) == (0, 0, [])


def test_records_get_offsets_without_gaps_and_are_read_from_any(logs: Logs) -> None:
    log = logs.open()
    assert [append(log, f"v{number}").result(5) for number in range(5)] == [0, 1, 2, 3, 4]
    everything = [(number, f"v{number}".encode()) for number in range(5)]
    assert [tuple(found) for found in log.read(0, 10)] == everything
    assert [tuple(found) for found in log.read(2, 2)] == everything[2:4]
    assert list(log.read(5, 10)) == []
    assert (log.begin(), log.end()) == (0, 5)


def test_all_replicas_see_one_order(logs: Logs) -> None:
    one, other = logs.open(), logs.open()
    assert one.identity == other.identity
    assert append(one, "a").result(5) == 0
    assert append(other, "b").result(5) == 1
    assert [found.value for found in one.read(0, 10)] == [found.value for found in other.read(0, 10)] == [b"a", b"b"]


def test_an_offset_outside_the_log_is_lost(logs: Logs) -> None:
    log = logs.open()
    for number in range(4):
        append(log, f"v{number}").result(5)
    with pytest.raises(LogLost):
        log.read(5, 10)
    logs.trim(2)
    assert (log.begin(), log.end()) == (2, 4)
    with pytest.raises(LogLost):
        log.read(1, 10)
    assert [found.offset for found in log.read(2, 10)] == [2, 3]


def test_a_log_made_again_has_another_identity(logs: Logs) -> None:
    before = logs.open().identity
    logs.recreate()
    assert logs.open().identity != before


def test_an_open_log_notices_that_it_was_deleted_or_replaced(tmp_path: Path) -> None:
    logs = SqliteLogs(tmp_path / "log.db")
    log = logs.open()
    append(log, "a")
    (tmp_path / "log.db").unlink()
    for _ in ("deleted", "replaced"):
        with pytest.raises(LogLost):
            log.read(0, 10)
        with pytest.raises(LogLost):
            append(log, "b").result(5)
        with pytest.raises(LogLost):
            log.end()
        logs.recreate()
    logs.close()


def test_an_append_to_a_busy_log_is_unavailable_and_later_ones_work(tmp_path: Path) -> None:
    logs = SqliteLogs(tmp_path / "log.db")
    log = logs.open()
    with closing(sqlite3.connect(tmp_path / "log.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable):
            append(log, "a").result(5)
        assert list(log.read(0, 10)) == [], "readers do not wait for it"
    assert append(log, "b").result(5) == 0
    logs.close()


def test_several_records_are_appended_in_their_order(logs: Logs) -> None:
    log = logs.open()
    assert log.append_all([]) == []
    append(log, "first")
    futures = log.append_all([record(f"v{number}") for number in range(3)])
    assert [future.result(5) for future in futures] == [1, 2, 3]
    assert [found.value for found in log.read(1, 9)] == [b"v0", b"v1", b"v2"]


def test_another_database_is_not_taken_for_a_log(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "log.db")) as connection:
        connection.execute("CREATE TABLE item (id)")
    with pytest.raises(Stop, match="not a log"):
        SqliteLog(tmp_path / "log.db")
    (tmp_path / "text").write_text("this is no database, and long enough to be seen as none" * 10)
    with pytest.raises(Stop):
        SqliteLog(tmp_path / "text")


def test_processes_that_make_and_fill_one_log_together_lose_nothing(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from samebase.core.types import Record
from samebase.ports import Log
from samebase.sqlite.log import SqliteLog
log = SqliteLog(Path(sys.argv[1]), busy_timeout=30)
for number in range(25):
    log.append_all([Record(f"{sys.argv[2]}-{number}".encode(), {})])[0].result(30)
print(log.identity)
"""
    path = tmp_path / "log.db"
    processes = [
        subprocess.Popen([sys.executable, "-c", code, str(path), name], stdout=subprocess.PIPE, text=True)
        for name in "abcd"
    ]
    identities = {process.communicate(timeout=60)[0] for process in processes}
    assert [process.returncode for process in processes] == [0] * 4
    assert len(identities) == 1
    log = SqliteLog(path)
    values = [found.value.decode() for found in log.read(0, 1000)]
    log.close()
    assert sorted(values) == sorted(f"{name}-{number}" for name in "abcd" for number in range(25))
    for name in "abcd":
        own = [value for value in values if value.startswith(name)]
        assert own == [f"{name}-{number}" for number in range(25)]


def test_the_fake_delays_reorders_repeats_and_loses_on_demand() -> None:
    log = MemoryLog()
    log.hold()
    futures = [append(log, name) for name in "abcde"]
    assert log.end() == 0
    log.deliver(1)
    log.deliver(0, times=2)
    log.lose()
    log.lose(written=True)
    assert [future.done() for future in futures] == [True, True, True, True, False]
    log.release()
    assert [found.value for found in log.read(0, 10)] == [b"b", b"a", b"a", b"d", b"e"]
    assert (futures[0].result(), futures[1].result(), futures[4].result()) == (1, 0, 4)
    for lost in futures[2:4]:
        with pytest.raises(Unavailable):
            lost.result()
    append(log, "f")
    assert log.end() == 6


def test_a_read_of_large_records_ends_early_and_goes_on_where_it_ended(logs: Logs) -> None:
    log = logs.open()
    values = [bytes([65 + number]) * 900_000 for number in range(12)]
    for value in values:
        log.append_all([Record(value, {})])[0].result(20)
    found: list[bytes] = []
    reads = 0
    while len(found) < 12:
        records = log.read(len(found), 100)
        assert 1 <= len(records) <= 5, "4 MiB, and the record that makes it so many"
        found += [record.value for record in records]
        reads += 1
    assert found == values
    assert reads >= 3
