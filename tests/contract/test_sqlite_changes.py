"""The SQLite change log beyond the contract: plain SQL, REPLACE, where transactions end, migrations, crashes."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from samebase.core.errors import Misuse, Stop, Unavailable
from samebase.core.types import Concerned, Put, RowChange, Scalar, Write
from samebase.replicated import Replicated
from samebase.sqlite.changes import SqliteChanges
from samebase.sqlite.connection import Database, database_path
from samebase.sqlite.store import SqliteStore
from tests.support.sqlite import TABLES, SqliteBench, connect, execute, make_database, python


def item(key: str, **values: Scalar) -> dict[str, Scalar]:
    return {"id": key, "title": "none", "n": 0, "data": None, "ratio": None, **values}


def captured(bench: SqliteBench, after: int = 0) -> list[tuple[object, object]]:
    """(before, after) of every row change that was captured."""
    return [(row.before, row.after) for commit in bench.changes.read(after, 1000) for row in commit.rows]


@pytest.fixture
def application(sqlite_bench: SqliteBench) -> Iterator[sqlite3.Connection]:
    with closing(connect(sqlite_bench.path)) as connection:
        yield connection


# Capture


def test_another_process_is_captured(sqlite_bench: SqliteBench) -> None:
    code = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("INSERT INTO item (id) VALUES ('a'), ('b')")
connection.execute("UPDATE item SET n = n + 1")
connection.commit()
"""
    assert python(code, str(sqlite_bench.path)).returncode == 0
    assert captured(sqlite_bench) == [
        (None, item("a")),
        (None, item("b")),
        (item("a"), item("a", n=1)),
        (item("b"), item("b", n=1)),
    ]


def test_a_process_killed_within_its_transaction_is_not_captured(sqlite_bench: SqliteBench) -> None:
    code = """
import os, sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("PRAGMA cache_spill = 1")
connection.execute("INSERT INTO samebase_intent (request) VALUES ('r1')")
connection.executemany("INSERT INTO item (id, data) VALUES (?, zeroblob(1000))", [(str(n),) for n in range(5000)])
os._exit(9)
"""
    assert python(code, str(sqlite_bench.path)).returncode == 9
    assert sqlite_bench.changes.end() == 0
    execute(sqlite_bench.path, "INSERT INTO item (id) VALUES ('b')")
    assert captured(sqlite_bench) == [(None, item("b"))]


def test_savepoints_that_are_rolled_back_are_not_captured(
    sqlite_bench: SqliteBench, application: sqlite3.Connection
) -> None:
    application.executescript(
        """BEGIN; INSERT INTO item (id) VALUES ('a'); SAVEPOINT s; INSERT INTO item (id) VALUES ('b');
        ROLLBACK TO s; INSERT INTO item (id) VALUES ('c'); RELEASE s; COMMIT;"""
    )
    assert captured(sqlite_bench) == [(None, item("a")), (None, item("c"))]


def test_a_statement_that_fails_halfway_is_not_captured(
    sqlite_bench: SqliteBench, application: sqlite3.Connection
) -> None:
    with pytest.raises(sqlite3.IntegrityError):
        application.execute("INSERT INTO item (id) VALUES ('a'), ('b'), ('a')")
    application.execute("INSERT OR IGNORE INTO item (id) VALUES ('c'), ('c'), ('d')")
    assert captured(sqlite_bench) == [(None, item("c")), (None, item("d"))]


def test_what_a_failing_statement_keeps_is_captured_at_once_and_its_id_not_given_again(
    sqlite_bench: SqliteBench, application: sqlite3.Connection
) -> None:
    with pytest.raises(sqlite3.IntegrityError):
        application.execute("INSERT OR FAIL INTO item (id) VALUES ('a'), ('b'), ('a')")
    assert captured(sqlite_bench) == [(None, item("a")), (None, item("b"))]
    end = sqlite_bench.changes.end()
    sqlite_bench.changes.forget(end)
    application.execute("INSERT INTO item (id) VALUES ('c')")
    assert captured(sqlite_bench, end) == [(None, item("c"))]


def test_upserts_are_captured_as_what_they_do(sqlite_bench: SqliteBench, application: sqlite3.Connection) -> None:
    upsert = "INSERT INTO item (id, n) VALUES {} ON CONFLICT DO UPDATE SET n = n + excluded.n"
    application.execute(upsert.format("('a', 1), ('a', 2), ('b', 3)"))
    application.execute("INSERT INTO item (id) VALUES ('a'), ('c') ON CONFLICT DO NOTHING")
    application.execute("INSERT INTO item (id) VALUES ('d')")
    application.execute(upsert.format("('d', 4)"))
    application.execute("INSERT INTO account (id, name) VALUES ('u', 'x')")
    application.execute(
        "INSERT INTO account (id, name) VALUES ('v', 'x') ON CONFLICT (name, realm) DO UPDATE SET id='w'"
    )
    changes = captured(sqlite_bench)
    u = {"id": "u", "name": "x", "realm": "", "number": None}
    assert changes == [
        (None, item("a", n=1)),
        (item("a", n=1), item("a", n=3)),
        (None, item("b", n=3)),
        (None, item("c")),
        (None, item("d")),
        (item("d"), item("d", n=4)),
        (None, u),
        (u, {**u, "id": "w"}),
    ]


def test_a_delete_without_where_is_captured_row_by_row(
    sqlite_bench: SqliteBench, application: sqlite3.Connection
) -> None:
    application.execute("INSERT INTO item (id) VALUES ('a'), ('b')")
    after = sqlite_bench.changes.end()
    application.execute("DELETE FROM item")
    assert captured(sqlite_bench, after) == [(item("a"), None), (item("b"), None)]


def test_values_are_captured_as_the_column_keeps_them(
    sqlite_bench: SqliteBench, application: sqlite3.Connection
) -> None:
    application.execute("INSERT INTO item (id, n, ratio) VALUES (12, '34', 1), ('b', 5.0, '2.5')")
    stored = sqlite_bench.rows("item")
    rows = [after for _, after in captured(sqlite_bench)]
    for found, row in zip(rows, stored, strict=True):
        assert {name: (type(v), v) for name, v in found.items()} == {name: (type(v), v) for name, v in row.items()}
    assert (rows[0]["id"], rows[0]["n"], rows[0]["ratio"]) == ("12", 34, 1.0)


def test_an_intent_leaves_the_callers_row_id_and_count_alone(
    sqlite_bench: SqliteBench, application: sqlite3.Connection
) -> None:
    """The triggers' own inserts must not show in what the application asks its connection."""
    assert application.execute("INSERT INTO samebase_intent (request) VALUES ('r')").rowcount == 1
    assert application.execute("INSERT INTO item (id) VALUES ('a'), ('b')").rowcount == 2
    assert application.execute("SELECT last_insert_rowid()").fetchone() == (2,)
    assert application.execute("SELECT count(*) FROM samebase_intent").fetchone() == (0,)


def test_text_that_is_not_unicode_stops_instead_of_being_altered(
    sqlite_bench: SqliteBench, application: sqlite3.Connection
) -> None:
    application.execute("INSERT INTO item (id, title) VALUES ('a', CAST(x'ff' AS TEXT))")
    with pytest.raises(Stop, match="UTF-8"):
        sqlite_bench.changes.read(0, 10)


# REPLACE

REPLACES = [
    "INSERT OR REPLACE INTO item (id, n) VALUES ('a', 9)",
    "REPLACE INTO item (id, n) VALUES ('new', 1), ('a', 9)",
    "UPDATE OR REPLACE item SET id = 'a' WHERE id = 'b'",
    "REPLACE INTO pair VALUES ('x', 1, 'new')",
    "REPLACE INTO account (id, name) VALUES ('w', 'one')",
    "REPLACE INTO account (id, name, number) VALUES ('w', 'one', 2)",
    "REPLACE INTO account (id, name, number) VALUES ('u', 'two', 2)",
    "UPDATE OR REPLACE account SET name = 'one' WHERE id = 'v'",
    "UPDATE OR REPLACE account SET number = 1, name = 'z' WHERE id = 'v'",
]
FILLED = [
    "INSERT INTO item (id, n) VALUES ('a', 1), ('b', 2)",
    "INSERT INTO pair VALUES ('x', 1, 'v')",
    "INSERT INTO account (id, name, number) VALUES ('u', 'one', 1), ('v', 'two', 2)",
]


@pytest.mark.parametrize("statement", REPLACES)
def test_replace_is_refused_and_changes_nothing(
    sqlite_bench: SqliteBench, application: sqlite3.Connection, statement: str
) -> None:
    execute(sqlite_bench.path, *FILLED)
    before = {table: sqlite_bench.rows(table) for table in TABLES}
    end = sqlite_bench.changes.end()
    with pytest.raises(sqlite3.IntegrityError, match="REPLACE would delete a row"):
        application.execute(statement)
    assert {table: sqlite_bench.rows(table) for table in TABLES} == before
    assert sqlite_bench.changes.end() == end
    application.execute("INSERT INTO item (id) VALUES ('next')")
    assert captured(sqlite_bench, end) == [(None, item("next"))]


@pytest.mark.parametrize("statement", REPLACES)
def test_replace_with_recursive_triggers_is_captured_completely(
    sqlite_bench: SqliteBench, application: sqlite3.Connection, statement: str
) -> None:
    execute(sqlite_bench.path, *FILLED)
    end = sqlite_bench.changes.end()
    replayed = {table: {row_key(table, row): row for row in sqlite_bench.rows(table)} for table in TABLES}
    application.execute("PRAGMA recursive_triggers=ON")
    application.execute(statement)
    (commit,) = sqlite_bench.changes.read(end, 10)
    for table, before, after in commit.rows:
        if before is not None:
            assert replayed[table].pop(row_key(table, before)) == before
        if after is not None:
            replayed[table][row_key(table, after)] = after
    for table in TABLES:
        assert sorted(replayed[table].values(), key=repr) == sorted(sqlite_bench.rows(table), key=repr)
    assert any(row.after is None for row in commit.rows), "the replaced row's delete is among them"


def row_key(table: str, row: dict[str, Scalar]) -> object:
    return (row["a"], row["b"]) if table == "pair" else row["id"]


def test_replace_without_a_row_in_the_way_is_an_insert(
    sqlite_bench: SqliteBench, application: sqlite3.Connection
) -> None:
    application.execute("REPLACE INTO item (id) VALUES ('a')")
    application.execute("UPDATE OR REPLACE item SET id = 'b'")
    application.execute("UPDATE OR REPLACE item SET id = 'b', n = 1")
    assert captured(sqlite_bench) == [
        (None, item("a")),
        (item("a"), item("b")),
        (item("b"), item("b", n=1)),
    ]


# Where transactions end


def test_commits_are_grouped_alike_by_two_readers_whoever_seals(sqlite_bench: SqliteBench) -> None:
    other = SqliteBench(sqlite_bench.path)
    readers = [sqlite_bench.changes, other.changes]
    seen: list[list[object]] = [[], []]
    positions = [0, 0]
    for number in range(24):
        intent = ["INSERT INTO samebase_intent (request) VALUES ('r')"] if number % 3 == 1 else []
        execute(sqlite_bench.path, *intent, f"INSERT INTO item (id) VALUES ('{number}')", "UPDATE item SET n = n + 1")
        if number % 2:
            turn = (number // 2) % 2
            for commit in readers[turn].read(positions[turn], 3):
                seen[turn].append(commit)
                positions[turn] = commit.seq
    for turn in (0, 1):
        seen[turn].extend(readers[turn].read(positions[turn], 1000))
    assert seen[0] == seen[1]
    assert 12 <= len(seen[0]) <= 24
    other.store.close()


def test_commits_without_intent_that_nobody_saw_between_are_one_transaction(sqlite_bench: SqliteBench) -> None:
    execute(sqlite_bench.path, "INSERT INTO item (id) VALUES ('a')")
    execute(sqlite_bench.path, "INSERT INTO item (id) VALUES ('b')")
    assert [len(commit.rows) for commit in sqlite_bench.changes.read(0, 10)] == [2]
    execute(sqlite_bench.path, "INSERT INTO item (id) VALUES ('c')")
    sqlite_bench.reopen()
    assert [len(commit.rows) for commit in sqlite_bench.changes.read(0, 10)] == [2, 1]


def test_an_open_transaction_is_neither_waited_for_nor_seen_when_nothing_else_is_new(
    sqlite_bench: SqliteBench, application: sqlite3.Connection
) -> None:
    execute(sqlite_bench.path, "INSERT INTO item (id) VALUES ('a')")
    end = sqlite_bench.changes.end()
    application.execute("BEGIN IMMEDIATE")
    application.execute("INSERT INTO item (id) VALUES ('b')")
    assert sqlite_bench.changes.end() == end
    assert list(sqlite_bench.changes.read(end, 10)) == []


def test_a_boundary_sealed_within_a_failed_store_transaction_is_undone(sqlite_bench: SqliteBench) -> None:
    """The group may grow then; so what was read within the transaction must be forgotten with it."""
    execute(sqlite_bench.path, "INSERT INTO item (id) VALUES ('a')")

    def fail() -> None:
        with sqlite_bench.store.begin(0):
            assert sqlite_bench.changes.end() == 1
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    execute(sqlite_bench.path, "INSERT INTO item (id) VALUES ('b')")
    assert [len(commit.rows) for commit in sqlite_bench.changes.read(0, 10)] == [2]


def test_a_boundary_sealed_within_a_committed_store_transaction_stays(sqlite_bench: SqliteBench) -> None:
    execute(sqlite_bench.path, "INSERT INTO item (id) VALUES ('a')")
    with sqlite_bench.store.begin(0):
        (inside,) = sqlite_bench.changes.read(0, 10)
    execute(sqlite_bench.path, "INSERT INTO item (id) VALUES ('b')")
    sqlite_bench.reopen()
    assert sqlite_bench.changes.read(0, 10)[0] == inside


def test_a_busy_database_is_unavailable(sqlite_bench: SqliteBench, application: sqlite3.Connection) -> None:
    execute(sqlite_bench.path, "INSERT INTO item (id) VALUES ('a')")
    application.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable):
        sqlite_bench.changes.end()
    with pytest.raises(Unavailable), sqlite_bench.store.begin(0):
        raise AssertionError("entered")
    application.execute("ROLLBACK")
    assert sqlite_bench.changes.end() == 1


# Atomicity and crashes

CRASH = """
import os, sys
from pathlib import Path
from samebase.core.types import Concerned, Put, Write
from samebase.sqlite.changes import SqliteChanges
from samebase.sqlite.changes import SqliteChanges
from samebase.sqlite.connection import Database
from samebase.sqlite.store import SqliteStore
from tests.support.sqlite import TABLES

path, point = sys.argv[1:]
def reach(name):
    if name == point:
        os._exit(9)
database = Database(Path(path))
store, changes = SqliteStore(database, TABLES, "replica"), SqliteChanges(database)
reach("opened")
with store.begin(0) as tx:
    tx.read(Concerned((("item", ("a",)),)))
    reach("read")
    changes.read(0, 10)
    reach("sealed")
    row = {"id": "remote", "title": None, "n": 1, "data": None, "ratio": None}
    tx.write(Write(0, 1, puts=(Put(("item", ("remote",)), None, row),), deletes=(("item", ("a",)),), applied={"p": 1}))
    reach("written")
reach("committed")
changes.forget(changes.end())
reach("forgotten")
"""


@pytest.mark.parametrize("point", ["opened", "read", "sealed", "written", "committed", "forgotten"])
def test_a_crash_anywhere_leaves_all_or_nothing(sqlite_bench: SqliteBench, point: str) -> None:
    execute(sqlite_bench.path, "INSERT INTO item (id) VALUES ('a')")
    done = python(CRASH, str(sqlite_bench.path), point)
    assert done.returncode == 9, done.stderr
    state = sqlite_bench.store.load()
    keys = [row["id"] for row in sqlite_bench.rows("item")]
    if point in ("committed", "forgotten"):
        assert (state.offset, state.applied, keys) == (1, {"p": 1}, ["remote"])
    else:
        assert (state.offset, state.applied, keys) == (0, {}, ["a"])
    assert sqlite_bench.changes.end() == 1
    execute(sqlite_bench.path, "INSERT INTO item (id) VALUES ('b')")
    assert captured(sqlite_bench, 1) == [(None, item("b"))]


def test_a_dropped_connection_rolls_back(sqlite_bench: SqliteBench) -> None:
    def crash() -> None:
        with sqlite_bench.store.begin(0) as tx:
            tx.write(Write(0, 1, puts=(Put(("item", ("a",)), None, item("a")),)))
            sqlite_bench.database.close()

    with pytest.raises(Stop):
        crash()
    sqlite_bench.open()
    assert sqlite_bench.store.load().offset == 0
    assert sqlite_bench.rows("item") == []


def test_a_reader_sees_all_of_a_batch_or_nothing(sqlite_bench: SqliteBench, application: sqlite3.Connection) -> None:
    application.execute("BEGIN")
    count = (
        'SELECT count(*), (SELECT "offset" FROM samebase_replica), (SELECT applying FROM samebase_replica) FROM item'
    )
    assert application.execute(count).fetchone() == (0, 0, 0)
    with sqlite_bench.store.begin(0) as tx, closing(connect(sqlite_bench.path)) as fresh:
        tx.write(Write(0, 1, puts=tuple(Put(("item", (f"{n}",)), None, item(f"{n}")) for n in range(10))))
        assert fresh.execute(count).fetchone() == (0, 0, 0)
    assert application.execute(count).fetchone() == (0, 0, 0)
    application.execute("COMMIT")
    assert application.execute(count).fetchone() == (10, 1, 0)


def test_a_write_that_failed_cannot_be_committed(sqlite_bench: SqliteBench) -> None:
    """Otherwise the flag that turns capture off would be committed with half of a batch."""

    def ignore_the_failure() -> None:
        with sqlite_bench.store.begin(0) as tx, pytest.raises(Stop):
            tx.write(Write(0, 1, deletes=(("item", ("none",)),)))

    with pytest.raises(Misuse):
        ignore_the_failure()
    execute(sqlite_bench.path, "INSERT INTO item (id) VALUES ('a')")
    assert captured(sqlite_bench) == [(None, item("a"))]


# Schema changes


def test_installing_again_changes_nothing(sqlite_bench: SqliteBench, application: sqlite3.Connection) -> None:
    before = application.execute("PRAGMA schema_version").fetchone()
    sqlite_bench.reopen()
    assert application.execute("PRAGMA schema_version").fetchone() == before


def test_the_schema_is_the_same_object_until_a_replicated_table_changes(sqlite_bench: SqliteBench) -> None:
    schema = sqlite_bench.store.schema()
    execute(sqlite_bench.path, "CREATE TABLE other (a)", "CREATE INDEX plain ON item (title)")
    assert sqlite_bench.store.schema() is schema
    execute(sqlite_bench.path, "ALTER TABLE item ADD COLUMN color TEXT")
    changed = sqlite_bench.store.schema()
    assert changed is not schema
    assert sqlite_bench.store.schema() is changed


def test_a_migration_adds_a_column_and_uncaptured_changes_stay(sqlite_bench: SqliteBench) -> None:
    path = sqlite_bench.path
    execute(path, "INSERT INTO samebase_intent (request) VALUES ('r1')", "INSERT INTO item (id) VALUES ('a')")
    execute(path, "INSERT INTO samebase_intent (request) VALUES ('r2')", "UPDATE item SET n = 1")
    sqlite_bench.changes.end()
    execute(path, "ALTER TABLE item ADD COLUMN color TEXT NOT NULL DEFAULT 'red'")
    assert sqlite_bench.store.schema()["item"].columns["color"] == "red"
    execute(path, "INSERT INTO samebase_intent (request) VALUES ('r3')", "UPDATE item SET color = 'blue'")
    assert captured(sqlite_bench) == [
        (None, item("a")),
        (item("a"), item("a", n=1)),
        (item("a", n=1, color="red"), item("a", n=1, color="blue")),
    ]
    with sqlite_bench.store.begin(0) as tx:
        assert tx.read(Concerned((("item", ("a",)),))).rows == {("item", ("a",)): item("a", n=1, color="blue")}


def test_a_table_rebuilt_by_a_migration_is_captured_again(sqlite_bench: SqliteBench) -> None:
    """As alembic's batch mode does it: copy, drop, rename. The drop takes the triggers along."""
    path = sqlite_bench.path
    execute(path, "INSERT INTO pair VALUES ('x', 1, 'v')")
    end = sqlite_bench.changes.end()
    execute(
        path,
        "CREATE TABLE new_pair (a TEXT NOT NULL, b INTEGER NOT NULL, v VARCHAR(9), w INT, PRIMARY KEY (a, b))",
        "INSERT INTO new_pair (a, b, v) SELECT a, b, v FROM pair",
        "DROP TABLE pair",
        "ALTER TABLE new_pair RENAME TO pair",
    )
    sqlite_bench.store.schema()
    assert sqlite_bench.changes.end() == end
    execute(path, "UPDATE pair SET w = 5")
    old = {"a": "x", "b": 1, "v": "v", "w": None}
    assert captured(sqlite_bench, end) == [(old, {**old, "w": 5})]


def test_a_lost_column_stops(sqlite_bench: SqliteBench) -> None:
    execute(
        sqlite_bench.path,
        "DROP TABLE pair",
        "CREATE TABLE pair (a TEXT NOT NULL, b INTEGER NOT NULL, PRIMARY KEY (a, b))",
    )
    with pytest.raises(Stop, match="table pair has lost the column v"):
        sqlite_bench.store.schema()


def test_a_table_that_is_no_longer_replicated_is_no_longer_captured(sqlite_bench: SqliteBench) -> None:
    execute(sqlite_bench.path, "INSERT INTO pair VALUES ('x', 1, 'v')")
    SqliteStore(sqlite_bench.database, {"item": TABLES["item"]}, "replica").schema()
    execute(sqlite_bench.path, "INSERT INTO pair VALUES ('x', 2, 'v')", "INSERT INTO item (id) VALUES ('a')")
    assert captured(sqlite_bench) == [(None, {"a": "x", "b": 1, "v": "v"}), (None, item("a"))]


def test_rows_that_were_there_before_replication_stop_it(tmp_path: Path) -> None:
    path = make_database(tmp_path / "old.db")
    execute(path, "INSERT INTO item (id) VALUES ('a')")
    database = Database(path)
    with pytest.raises(Stop, match="table item has rows that the log knows nothing of"):
        SqliteStore(database, TABLES, "replica").load()
    database.close()
    with closing(connect(path)) as connection:
        found = connection.execute("SELECT count(*) FROM sqlite_master WHERE name LIKE 'samebase%'").fetchone()
    assert found == (0,), "a failed installation leaves nothing behind"


def test_names_with_quotes_spaces_and_keywords_are_replicated(tmp_path: Path) -> None:
    ddl = """CREATE TABLE "order ""x'y" ("select" TEXT NOT NULL PRIMARY KEY, "a b" INT, "{0}" TEXT, "it's" TEXT)"""
    name = "order \"x'y"
    path = make_database(tmp_path / "names.db", ddl)
    database = Database(path)
    store = SqliteStore(database, {name: Replicated()}, "replica")
    store.schema()
    row = {"select": "k", "a b": 1, "{0}": "v", "it's": None}
    with store.begin(0) as tx:
        tx.write(Write(0, 1, puts=(Put((name, ("k",)), None, row),)))
        assert tx.read(Concerned(((name, ("k",)),))).rows == {(name, ("k",)): row}
    execute(path, """UPDATE "order ""x'y" SET "select" = 'l'""")
    (commit,) = SqliteChanges(database).read(0, 10)
    assert commit.rows == (RowChange(name, row, {**row, "select": "l"}),)
    database.close()


# Opening


def test_a_missing_or_unusable_database_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Stop, match="there is no database"):
        Database(tmp_path / "none.db")
    (tmp_path / "text.db").write_text("this is no database, and long enough to be seen as none" * 10)
    with pytest.raises(Stop):
        Database(tmp_path / "text.db")
    with closing(sqlite3.connect(tmp_path / "wide.db")) as connection:
        connection.executescript("PRAGMA encoding='UTF-16'; CREATE TABLE t (a)")
    with pytest.raises(Stop, match="UTF-8"):
        Database(tmp_path / "wide.db")
    with pytest.raises(Stop):
        Database(Path(":memory:"))


def test_a_database_is_named_by_a_url_with_an_absolute_path() -> None:
    assert database_path("sqlite:////data/a%20b.db") == Path("/data/a%20b.db")
    for wrong in (
        "sqlite:///relative.db",
        "sqlite://",
        "sqlite:///:memory:",
        "mysql://x/y",
        "sqlite:////a?mode=memory",
    ):
        with pytest.raises(Misuse):
            database_path(wrong)
