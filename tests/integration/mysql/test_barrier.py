"""What the apply step builds on: a row that is locked and read shows nothing that was not captured."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

import pymysql
import pytest

from samebase.core.errors import Unavailable
from samebase.core.types import Concerned, Put, Row, Write
from tests.support.mysql import MySqlBench

pytestmark = pytest.mark.docker

ROUNDS = 300
DEADLOCK = 1213
WRITERS = 4
ROWS = tuple(("item", (name,)) for name in ("a", "b", "c"))


@contextmanager
def suppress_deadlock() -> Iterator[None]:
    """The application repeats what became a deadlock's victim: here, with its next step."""
    try:
        yield
    except pymysql.OperationalError as error:
        if error.args[0] != DEADLOCK:
            raise


def _write(bench: MySqlBench, number: int, stop: threading.Event, failures: list[BaseException]) -> None:
    """Change, delete and insert the same rows as everybody else."""
    try:
        with closing(bench.server.session()) as session, session.cursor() as cursor:
            step = 0
            while not stop.is_set():
                step += 1
                name = "abc"[(step + number) % 3]
                with suppress_deadlock():
                    cursor.execute("BEGIN")
                    cursor.execute("INSERT INTO samebase.intent VALUES (%s, 0, NULL)", (f"{number}-{step}",))
                    if step % 5 == 4:
                        cursor.execute("DELETE FROM item WHERE id = %s", (name,))
                    elif not cursor.execute("UPDATE item SET n = n + 1 WHERE id = %s", (name,)):
                        cursor.execute("INSERT IGNORE INTO item (id) VALUES (%s)", (name,))
                    session.commit()
    except BaseException as error:
        failures.append(error)
        raise


def test_no_commit_on_a_locked_row_is_missed(bench: MySqlBench) -> None:
    stop = threading.Event()
    failures: list[BaseException] = []
    writers = [
        threading.Thread(target=_write, args=(bench, number, stop, failures), daemon=True) for number in range(WRITERS)
    ]
    for writer in writers:
        writer.start()
    captured: dict[tuple[str, tuple[str, ...]], Row | None] = dict.fromkeys(ROWS)
    commits = after = 0
    try:
        offset = 0
        while offset < ROUNDS:
            # A deadlock may take the store's transaction instead: then the batch begins anew.
            with suppress(Unavailable), bench.store.begin(offset) as tx:
                seen = tx.read(Concerned(ROWS)).rows
                while found := bench.changes.read(after, 100):
                    after = found[-1].seq
                    commits += len(found)
                    for change in (change for commit in found for change in commit.rows):
                        row = change.after or change.before
                        assert row is not None
                        captured["item", (str(row["id"]),)] = change.after
                assert seen == captured
                tx.write(Write(offset, offset + 1))
                offset += 1
    finally:
        stop.set()
        for writer in writers:
            writer.join(20)
    assert not failures
    assert commits > ROUNDS


def test_an_absent_row_stays_absent_while_it_is_decided_about(bench: MySqlBench) -> None:
    """Every insert of the store succeeds, although the application inserts the same keys at the same time."""
    stop = threading.Event()
    failures: list[BaseException] = []
    keys = [f"k{number}" for number in range(20)]

    def insert_and_delete() -> None:
        try:
            with closing(bench.server.session(autocommit=True)) as session, session.cursor() as cursor:
                while not stop.is_set():
                    for key in keys:
                        with suppress_deadlock():
                            cursor.execute("INSERT IGNORE INTO item (id) VALUES (%s)", (key,))
                            cursor.execute("DELETE FROM item WHERE id = %s", (key,))
        except BaseException as error:
            failures.append(error)
            raise

    writer = threading.Thread(target=insert_and_delete, daemon=True)
    writer.start()
    try:
        inserted = offset = 0
        ids = tuple(("item", (key,)) for key in keys)
        while offset < 100:
            with suppress(Unavailable), bench.store.begin(offset) as tx:
                absent = [id_ for id_, row in tx.read(Concerned(ids)).rows.items() if row is None]
                puts = tuple(Put(id_, None, {"id": id_[1][0]}) for id_ in absent)
                tx.write(Write(offset, offset + 1, puts=puts))
            # Unless a deadlock was resolved at our cost, it is committed now.
            if bench.store.load().offset == offset + 1:
                inserted += len(puts)
                offset += 1
            assert not failures
    finally:
        stop.set()
        writer.join(20)
    assert inserted > 100
