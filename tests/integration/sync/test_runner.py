"""Sync processes on real SQLite databases keep each other the same, whatever happens to them."""

from __future__ import annotations

import random
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from samebase.core.errors import Unavailable
from samebase.core.types import Record
from samebase.memory.log import MemoryLog
from samebase.ports import Log, StoreTransaction
from samebase.session import Pace, Surroundings
from samebase.sqlite.log import SqliteLog
from tests.support.replicas import Replicas, replicas, wait_for
from tests.support.sqlite import connect


@pytest.fixture
def group(tmp_path: Path) -> Iterator[Replicas]:
    with replicas(tmp_path) as group:
        yield group


def scribble(group: Replicas, name: str, seed: int, transactions: int) -> None:
    """An application that writes at random, often the same rows as the others."""
    dice = random.Random(seed)
    with closing(connect(group.path(name), timeout=20)) as connection:
        for _ in range(transactions):
            connection.execute("BEGIN IMMEDIATE")
            for _ in range(dice.randint(1, 3)):
                key, name_, number = f"k{dice.randint(0, 5)}", f"n{dice.randint(0, 4)}", dice.randint(0, 9)
                statement = dice.choice(
                    (
                        f"INSERT INTO item (id, title) VALUES ('{key}', '{name_}') ON CONFLICT DO NOTHING",
                        f"UPDATE item SET title = '{name_}' WHERE id = '{key}'",
                        f"UPDATE item SET n = n + {number} WHERE id = '{key}'",
                        f"DELETE FROM item WHERE id = '{key}'",
                        f"INSERT OR IGNORE INTO account (id, name, number) VALUES ('{key}', '{name_}', {number})",
                        f"UPDATE OR IGNORE account SET name = '{name_}' WHERE id = '{key}'",
                        f"DELETE FROM account WHERE id = '{key}'",
                        f"INSERT INTO pair VALUES ('{key}', {number}, '{name_}') "
                        "ON CONFLICT DO UPDATE SET v = excluded.v",
                    )
                )
                connection.execute(statement)
            connection.execute(dice.choice(("COMMIT", "COMMIT", "COMMIT", "ROLLBACK")))


def scribble_everywhere(group: Replicas, names: list[str], transactions: int) -> None:
    writers = [
        threading.Thread(target=scribble, args=(group, name, seed, transactions)) for seed, name in enumerate(names)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(120)
        assert not writer.is_alive()


def test_three_replicas_with_writers_on_the_same_rows_end_up_identical(group: Replicas) -> None:
    names = ["a", "b", "c"]
    for name in names:
        group.ready(name)
    scribble_everywhere(group, names, transactions=150)
    content = group.assert_identical(*names)
    assert content["item"]
    assert content["rejected"], "with so few accounts some transaction must have been rejected"


def test_replicas_that_are_killed_again_and_again_end_up_identical(group: Replicas) -> None:
    """A session that breaks off at any call of any adapter is a process that was killed there."""
    dice = random.Random(7)
    broken = 0

    class Breaking:
        """An adapter whose calls fail now and then, before or after they took effect."""

        def __init__(self, adapter: object) -> None:
            self._adapter = adapter

        def __getattr__(self, name: str) -> object:
            attribute = getattr(self._adapter, name)
            if not callable(attribute) or name == "close":
                return attribute

            def call(*arguments: object, **named: object) -> object:
                stumble("before", name)
                result = attribute(*arguments, **named)
                if name == "begin" and arguments:  # the store's, not the log's
                    return committed_or_not(result)
                stumble("after", name)
                return result

            return call

    def stumble(moment: str, name: str) -> None:
        nonlocal broken
        if dice.random() < 0.03:
            broken += 1
            raise Unavailable(f"broken off {moment} {name}")

    @contextmanager
    def committed_or_not(block: AbstractContextManager[StoreTransaction]) -> Iterator[StoreTransaction]:
        with block as transaction:
            yield transaction
            stumble("before", "commit")
        stumble("after", "commit")

    def wrap(surroundings: Surroundings) -> Surroundings:
        return replace(
            surroundings,
            source=Breaking(surroundings.source),
            log=Breaking(surroundings.log),
            store=Breaking(surroundings.store),
        )

    names = ["a", "b"]
    for name in names:
        group.start(name, wrap=wrap, pace=Pace(0.002, 50, backoff_seconds=0.001))
    for name in names:
        wait_for(lambda name=name: "samebase_intent" in tables(group.path(name)), f"{name} is installed")
    scribble_everywhere(group, names, transactions=400)
    wait_for(lambda: broken > 30, "the sessions were broken off often enough")
    group.stop()
    for name in names:
        group.ready(name)
    group.assert_identical(*names)


def tables(path: Path) -> set[str]:
    with closing(sqlite3.connect(path)) as connection:
        return {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def test_a_second_sync_process_on_the_same_database_does_no_harm(group: Replicas) -> None:
    group.ready("a")
    group.ready("a")
    group.ready("b")
    scribble_everywhere(group, ["a", "b"], transactions=100)
    group.syncs[1].stop()
    group.assert_identical("a", "b")


def test_a_new_replica_replays_the_log(group: Replicas) -> None:
    group.ready("a")
    scribble(group, "a", seed=1, transactions=60)
    group.settle()
    group.ready("b")
    group.assert_identical("a", "b")


def test_writes_made_while_sync_is_down_arrive_after_its_start(group: Replicas) -> None:
    group.ready("a").stop()
    group.ready("b")
    scribble(group, "a", seed=3, transactions=60)
    scribble(group, "b", seed=4, transactions=60)
    group.ready("a")
    assert group.assert_identical("a", "b")["item"]


def test_what_is_committed_when_the_process_is_told_to_stop_still_gets_into_the_log(group: Replicas) -> None:
    """The database may be deleted right after it: a replica that is scaled down."""

    class StopsHere:
        """A log; once armed, a commit and SIGTERM come after a round's capture."""

        armed = False

        def __init__(self, log: Log) -> None:
            self._log = log

        def __getattr__(self, name: str) -> object:
            return getattr(self._log, name)

        def end(self, exact: bool = False) -> int:
            if StopsHere.armed:
                StopsHere.armed = False
                group.write("a", "INSERT INTO item (id, title) VALUES ('k', 'the last one')")
                sync.signal()
            return self._log.end(exact)

    sync = group.ready("a", wrap=lambda surroundings: replace(surroundings, log=StopsHere(surroundings.log)))
    StopsHere.armed = True
    wait_for(lambda: sync.ended_well is not None, "a has stopped")
    assert sync.ended_well
    group.path("a").unlink()
    group.ready("b")
    assert [row[:2] for row in group.assert_identical("b")["item"]] == [("k", "the last one")]


def test_a_process_that_is_told_to_stop_does_not_wait_for_a_log_that_stays_away(tmp_path: Path) -> None:
    log = MemoryLog()
    with replicas(tmp_path, lambda: log) as group:
        sync = group.ready("a", pace=Pace(0.002, 50, flush_seconds=0.1))
        log.hold()
        group.write("a", "INSERT INTO item (id) VALUES ('k')")
        wait_for(lambda: sync.progress.position().pending == 1, "it is pending")
        sync.stop()
        assert sync.ended_well


def test_a_lost_publish_is_published_again_when_a_later_one_shows_the_gap(tmp_path: Path) -> None:
    log = MemoryLog()
    with replicas(tmp_path, lambda: log) as group:
        # So long that only the gap can be what repairs it.
        group.ready("a", pace=Pace(0.002, 50, republish_after_seconds=3600))
        group.ready("b")
        log.hold()
        group.write("a", "INSERT INTO item (id, title) VALUES ('1', 'first')")
        wait_for(lambda: len(log.waiting) == 1, "the first is on its way")
        group.write("a", "INSERT INTO item (id, title) VALUES ('2', 'second')")
        wait_for(lambda: len(log.waiting) == 2, "the second is on its way")
        _, lost = log.waiting.pop(0)
        log.deliver()
        lost.set_result(0)  # the log says yes, and lies
        log.release()
        assert [row[0] for row in group.assert_identical("a", "b")["item"]] == ["1", "2"]


def test_a_publish_that_is_silently_lost_is_published_again_after_a_while(tmp_path: Path) -> None:
    log = MemoryLog()
    with replicas(tmp_path, lambda: log) as group:
        group.ready("a", pace=Pace(0.002, 50, republish_after_seconds=0.05))
        log.hold()
        group.write("a", "INSERT INTO item (id) VALUES ('1')")
        wait_for(lambda: len(log.waiting) == 1, "it is on its way")
        _, lost = log.waiting.pop(0)
        lost.set_result(0)
        log.release()
        group.settle()
        assert log.end() == 1


def test_an_append_that_fails_begins_a_new_session_that_publishes_again(tmp_path: Path) -> None:
    log = MemoryLog()
    with replicas(tmp_path, lambda: log) as group:
        group.ready("a")
        group.ready("b")
        log.hold()
        group.write("a", "INSERT INTO item (id) VALUES ('1')", request="r")
        wait_for(lambda: len(log.waiting) == 1, "it is on its way")
        log.lose(written=True)
        log.release()
        assert len(group.assert_identical("a", "b")["item"]) == 1


@pytest.mark.parametrize(
    ("value", "why"),
    [(b"not json", "JSONDecodeError"), (b'{"source": {}}', "KeyError"), (b"[]", "TypeError")],
)
def test_an_unreadable_entry_stops_every_replica_and_names_the_offset(group: Replicas, value: bytes, why: str) -> None:
    a, b = group.ready("a"), group.ready("b")
    group.write("a", "INSERT INTO item (id) VALUES ('before')")
    group.settle()
    log = group.log()
    log.append_all([Record(value, {})])
    group.write("a", "INSERT INTO item (id) VALUES ('after')")
    for sync in (a, b):
        wait_for(lambda sync=sync: sync.phase == "stopped", "the entry is met")
        reason = sync.progress.position().reason
        assert reason is not None
        assert "log entry 1 cannot be read" in reason
        assert why in reason
    assert [row[0] for row in group.content("b")["item"]] == ["before"]
    log.close()


def test_an_entry_that_needs_a_migration_pauses_until_it_is_there(group: Replicas) -> None:
    group.ready("a").stop()
    b = group.ready("b")
    with closing(connect(group.path("a"))) as connection:
        connection.execute("ALTER TABLE item ADD COLUMN colour TEXT DEFAULT 'grey'")
    group.ready("a")
    group.write("b", "INSERT INTO item (id) VALUES ('old')")
    group.settle()
    group.write("a", "INSERT INTO item (id) VALUES ('grey')", "UPDATE item SET colour = 'red' WHERE id = 'old'")
    wait_for(lambda: b.phase == "paused", "b meets a column that it does not have")
    assert "no column colour" in (b.progress.position().reason or "")
    assert "log entry 1 " in (b.progress.position().reason or "")
    with closing(connect(group.path("b"))) as connection:
        connection.execute("ALTER TABLE item ADD COLUMN colour TEXT DEFAULT 'grey'")
    rows = group.assert_identical("a", "b")["item"]
    assert [(row[0], row[-1]) for row in rows] == [("grey", "grey"), ("old", "red")]


def test_a_database_that_was_rolled_back_is_noticed(group: Replicas, tmp_path: Path) -> None:
    group.ready("a")
    group.write("a", "INSERT INTO item (id) VALUES ('1')")
    group.settle()
    group.syncs[0].stop()
    shutil.copy(group.path("a"), tmp_path / "copy")
    group.ready("a")
    group.write("a", "INSERT INTO item (id) VALUES ('2')")
    group.settle()
    group.syncs[1].stop()
    for leftover in (f"{group.path('a')}-wal", f"{group.path('a')}-shm"):
        Path(leftover).unlink(missing_ok=True)
    shutil.copy(tmp_path / "copy", group.path("a"))
    again = group.start("a")
    wait_for(lambda: again.phase == "stopped", "the rollback is noticed")
    assert "rolled back, restored from a copy, or cloned" in (again.progress.position().reason or "")


def test_a_row_changed_behind_the_change_log_is_noticed(group: Replicas) -> None:
    """The runtime check: a pending write on the row shows that it is not what the log makes of it."""
    log = MemoryLog()
    group.log = lambda: log
    a = group.ready("a")
    group.ready("b")
    group.write("a", "INSERT INTO item (id, title) VALUES ('1', 'x')")
    group.settle()
    log.hold()
    group.write("a", "UPDATE item SET n = 5 WHERE id = '1'")
    wait_for(lambda: len(log.waiting) == 1, "a's write is on its way")
    group.write(
        "a",
        "UPDATE samebase_replica SET applying = 1",
        "UPDATE item SET title = 'secretly' WHERE id = '1'",
        "UPDATE samebase_replica SET applying = 0",
    )
    group.write("b", "UPDATE item SET title = 'openly' WHERE id = '1'")
    wait_for(lambda: len(log.waiting) == 2, "b's write is on its way")
    log.deliver(1)
    wait_for(lambda: a.phase == "stopped", "the check notices")
    reason = a.progress.position().reason or ""
    assert "title" in reason
    assert "secretly" not in reason, "values may be secret"


def test_a_log_that_was_deleted_stops_the_replica(group: Replicas) -> None:
    a = group.ready("a")
    (group.directory / "log.db").unlink()
    wait_for(lambda: a.phase == "stopped", "the loss is noticed")
    assert "deleted or replaced" in (a.progress.position().reason or "")


def test_a_log_that_is_shorter_than_our_offset_stops_the_replica(tmp_path: Path) -> None:
    log = MemoryLog()
    with replicas(tmp_path, lambda: log) as group:
        group.ready("a")
        group.write("a", "INSERT INTO item (id) VALUES ('1')")
        group.settle()
        group.syncs[0].stop()
        log._values.clear()
        again = group.start("a")
        wait_for(lambda: again.phase == "stopped", "the loss is noticed")
        assert again.progress.position().reason == "this database is at offset 1, the log ends at 0 already"


def test_another_log_than_the_first_one_is_refused(group: Replicas, tmp_path: Path) -> None:
    group.ready("a").stop()
    group.log = lambda: SqliteLog(tmp_path / "other.db")
    a = group.start("a")
    wait_for(lambda: a.phase == "stopped", "the other log is noticed")
    assert "belongs to the log" in (a.progress.position().reason or "")


def test_remembers_what_became_of_requests_from_before_its_start(group: Replicas) -> None:
    group.ready("a")
    group.ready("b")
    group.write("a", "INSERT INTO account (id, name) VALUES ('1', 'n')", request="yes")
    group.settle()
    group.syncs[1].stop()
    group.write("b", "UPDATE account SET name = 'b' WHERE id = '1'", request="no")
    group.write("a", "UPDATE account SET name = 'a' WHERE id = '1'", request="first")
    group.settle()
    group.ready("b")
    group.settle()
    for sync in group.syncs:
        if sync.ended_well is None:
            sync.stop()
    again = group.ready("b")
    fates = {name: again.progress.fate(name, until=lambda _: True, timeout=0) for name in ("yes", "first", "no")}
    assert {name: fate and (fate.level, fate.accepted, fate.reason) for name, fate in fates.items()} == {
        "yes": ("ordered", True, None),
        "first": ("ordered", True, None),
        "no": ("ordered", False, "changed"),
    }


def test_a_commit_that_is_captured_inside_a_batch_is_published_after_it(tmp_path: Path) -> None:
    log = MemoryLog()
    committed = threading.Event()

    class Meddling:
        """A log after whose read the application commits: after the round's capture, before the batch's barrier."""

        def __getattr__(self, name: str) -> object:
            return getattr(log, name)

        def read(self, offset: int, limit: int) -> object:
            records = log.read(offset, limit)
            if records and not committed.is_set():
                committed.set()
                group.write("a", "INSERT INTO item (id) VALUES ('mine')", request="late")
            return records

    with replicas(tmp_path, lambda: log) as group:
        group.ready("b")
        never = Pace(0.002, 50, republish_after_seconds=3600)
        a = group.ready("a", pace=never, wrap=lambda surroundings: replace(surroundings, log=Meddling()))
        group.write("b", "INSERT INTO item (id) VALUES ('theirs')")
        wait_for(committed.is_set, "the application committed in between")
        fate = a.progress.fate("late", until=lambda fate: fate.level == "ordered", timeout=10)
        assert fate is not None
        assert fate.accepted is True
        assert len(group.assert_identical("a", "b")["item"]) == 2


def test_a_large_transaction_arrives_whole_though_the_reader_restarts_in_the_middle(tmp_path: Path) -> None:
    log = MemoryLog()
    with replicas(tmp_path, lambda: log) as group:
        group.ready("a")
        b = group.ready("b")
        log.hold()
        group.write("a", *(f"INSERT INTO item (id, data) VALUES ('{n}', randomblob(400000))" for n in range(5)))
        wait_for(lambda: len(log.waiting) >= 3, "it is on its way, in parts")
        log.deliver()
        log.deliver()
        wait_for(lambda: b.progress.position().offset == 2, "b has read the first parts")
        b.stop()
        assert group.content("b")["item"] == []
        group.ready("b")
        log.release()
        assert len(group.assert_identical("a", "b")["item"]) == 5


def test_a_migration_under_a_running_sync_process_is_taken_up(group: Replicas) -> None:
    for name in ("a", "b"):
        group.ready(name)
    group.write("a", "INSERT INTO item (id) VALUES ('old')")
    group.settle()
    for name in ("a", "b"):
        group.write(name, "ALTER TABLE item ADD COLUMN colour TEXT DEFAULT 'grey'")
    for name in ("a", "b"):
        wait_for(lambda name=name: "new_colour" in columns(group.path(name)), f"{name} captures the new column")
    group.settle()
    group.write("a", "UPDATE item SET colour = 'red' WHERE id = 'old'", "INSERT INTO item (id) VALUES ('new')")
    assert [(row[0], row[-1]) for row in group.assert_identical("a", "b")["item"]] == [("new", "grey"), ("old", "red")]


def columns(path: Path) -> set[str]:
    with closing(sqlite3.connect(path)) as connection:
        return {row[1] for row in connection.execute("PRAGMA table_info(samebase_change_item)")}
