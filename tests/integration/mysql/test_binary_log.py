"""What else is in a binary log, and what becomes of it: rotation, crashes, savepoints, definitions, wrong settings."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from samebase.core.errors import Diverged, Restart, Stop, Unavailable
from samebase.core.types import Commit, RowChange
from samebase.mysql.changes import MySqlChanges
from tests.support.mysql import DDL, MySqlBench, Server

pytestmark = pytest.mark.docker


@pytest.fixture(params=["mysql_server", "other_mysql_server"], ids=["without GTIDs", "with enforced GTIDs"])
def either(request: pytest.FixtureRequest) -> Iterator[MySqlBench]:
    bench = MySqlBench(request.getfixturevalue(request.param))
    yield bench
    bench.close()


@contextmanager
def session(bench: MySqlBench) -> Iterator[list[str]]:
    """Statements put into the list are run in one session."""
    statements: list[str] = []
    yield statements
    with closing(bench.server.session()) as opened, opened.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def run(bench: MySqlBench, *statements: str) -> None:
    with session(bench) as listed:
        listed += statements


def insert(bench: MySqlBench, name: str) -> None:
    with bench.transaction(name) as tx:
        tx.insert("item", {"id": name})


def ids(commits: list[Commit]) -> list[object]:
    return [[(change.after or change.before or {})["id"] for change in commit.rows] for commit in commits]


def everything(bench: MySqlBench, after: int = 0) -> list[Commit]:
    return list(bench.changes.read(after, 10_000))


def test_transactions_are_the_same_with_and_without_gtids(either: MySqlBench) -> None:
    insert(either, "a")
    run(either, "INSERT INTO item (id) VALUES ('b'), ('c')", "COMMIT")
    run(either, "INSERT INTO samebase.intent VALUES ('nothing', 1, '00-1')", "COMMIT")
    commits = everything(either)
    assert ids(commits) == [["a"], ["b", "c"], []]
    assert [(commit.request, commit.certify, commit.traceparent) for commit in commits] == [
        ("a", False, None),
        (None, False, None),
        ("nothing", True, "00-1"),
    ]
    assert either.changes.end() == commits[-1].seq


def test_what_was_rolled_back_to_a_savepoint_is_not_read(either: MySqlBench) -> None:
    run(
        either,
        "BEGIN",
        "INSERT INTO samebase.intent VALUES ('r', 0, NULL)",
        "INSERT INTO item (id) VALUES ('a')",
        "SAVEPOINT `one`",
        "INSERT INTO item (id) VALUES ('b')",
        "SAVEPOINT two",
        "INSERT INTO item (id) VALUES ('c')",
        "ROLLBACK TO two",
        "INSERT INTO item (id) VALUES ('d')",
        "ROLLBACK TO `one`",
        "INSERT INTO item (id) VALUES ('e')",
        "COMMIT",
    )
    assert ids(everything(either)) == [["a", "e"]]


def test_a_statement_that_failed_leaves_nothing(either: MySqlBench) -> None:
    insert(either, "a")
    with either.transaction("r") as tx:
        tx.insert("item", {"id": "b"})
        with pytest.raises(Exception, match="Duplicate"):
            tx.execute("INSERT INTO item (id) VALUES ('c'), ('d'), ('a')")
    assert ids(everything(either)) == [["a"], ["b"]]


def test_other_tables_and_databases_are_not_read(either: MySqlBench) -> None:
    run(
        either,
        "CREATE TABLE other (id INT PRIMARY KEY, v JSON)",
        "INSERT INTO other VALUES (1, '{}')",
        "CREATE SCHEMA IF NOT EXISTS elsewhere",
        "DROP TABLE IF EXISTS elsewhere.item",
        "CREATE TABLE elsewhere.item (id INT PRIMARY KEY)",
        "INSERT INTO elsewhere.item VALUES (1)",
        "COMMIT",
    )
    assert everything(either) == []
    assert either.changes.end() == 0
    with either.transaction("r") as tx:
        tx.execute("INSERT INTO other VALUES (2, '[]')")
        tx.insert("item", {"id": "a"})
    assert ids(everything(either)) == [["a"]]


def test_positions_grow_over_the_files_of_the_log(bench: MySqlBench) -> None:
    for number in range(4):
        insert(bench, f"a{number}")
        bench.server.execute("FLUSH BINARY LOGS")
    commits = everything(bench)
    assert ids(commits) == [[f"a{number}"] for number in range(4)]
    assert [commit.seq for commit in commits] == sorted({commit.seq for commit in commits})
    assert len({commit.seq >> 40 for commit in commits}) == 4
    for commit in commits:
        bench.reopen()
        assert everything(bench, commit.seq - 1) == commits[commits.index(commit) :]
        bench.reopen()
        assert everything(bench, commit.seq) == commits[commits.index(commit) + 1 :]


def test_reading_goes_on_after_the_server_was_killed(durable_mysql_server: Server) -> None:
    """And rows are not taken for another table's, whose number the new server gives again."""
    bench = MySqlBench(durable_mysql_server)
    insert(bench, "a")
    run(bench, "INSERT INTO account (id) VALUES ('x')", "COMMIT")
    before = everything(bench)
    bench.server.restart(kill=True)
    with pytest.raises(Unavailable):
        everything(bench, before[1].seq)
    others = [f"other{number}" for number in range(20)]
    bench.server.execute("USE app", *(f"CREATE TABLE {name} (id INT PRIMARY KEY)" for name in others))
    bench.server.execute("USE app", *(f"INSERT INTO {name} VALUES (1)" for name in others))
    insert(bench, "b")
    run(bench, "INSERT INTO account (id) VALUES ('y')", "COMMIT")
    bench.reopen()
    commits = everything(bench)
    assert commits[:2] == before
    assert [change.table for commit in commits for change in commit.rows] == ["item", "account", "item", "account"]
    assert ids(commits) == [["a"], ["x"], ["b"], ["y"]]
    bench.close()


def test_a_lost_stream_is_an_error_and_another_one_goes_on(bench: MySqlBench) -> None:
    insert(bench, "a")
    (first,) = everything(bench)
    insert(bench, "b")
    for number, command in bench.server.rows("SELECT id, command FROM information_schema.processlist"):
        if command.startswith("Binlog Dump"):
            bench.server.execute(f"KILL {number}")
    insert(bench, "c")
    with pytest.raises(Unavailable, match="stream"):
        read_to(bench, first.seq, "d")
    bench.reopen()
    assert ids(everything(bench)) == [["a"], ["b"], ["c"]]


def read_to(bench: MySqlBench, after: int, name: str) -> None:
    """Read until a transaction comes that never will: what was sent before a connection was lost comes first."""
    while True:
        for commit in everything(bench, after):
            assert commit.request != name
            after = commit.seq


def test_a_purged_file_that_is_needed_stops_and_one_that_is_not_does_no_harm(bench: MySqlBench) -> None:
    insert(bench, "a")
    (first,) = everything(bench)
    bench.changes.forget(first.seq)
    bench.server.execute("FLUSH BINARY LOGS")
    # Nothing of ours comes for long: the noted place moves on, so that old files may go.
    assert everything(bench, first.seq) == []
    assert everything(bench, first.seq) == []
    _purge(bench)
    bench.reopen()
    assert everything(bench, first.seq) == []
    insert(bench, "b")
    bench.server.execute("FLUSH BINARY LOGS")
    _purge(bench)
    bench.reopen()
    with pytest.raises(Diverged, match="binary log cannot be read from where this replica stands"):
        everything(bench, first.seq)


def _purge(bench: MySqlBench) -> None:
    (status,) = bench.server.rows("SHOW BINARY LOG STATUS")
    bench.server.execute(f"PURGE BINARY LOGS TO '{status[0]}'")


def test_a_log_that_ends_before_what_was_read_stops(bench: MySqlBench) -> None:
    for number in range(3):
        insert(bench, f"a{number}")
    bench.server.execute("FLUSH BINARY LOGS")
    insert(bench, "b")
    last = everything(bench)[-1]
    bench.server.execute("RESET BINARY LOGS AND GTIDS")
    bench.reopen()
    with pytest.raises(Diverged, match="the binary log ends at"):
        everything(bench, last.seq)


def test_state_that_was_copied_from_another_server_stops(mysql_server: Server) -> None:
    bench = MySqlBench(mysql_server)
    bench.close()
    mysql_server.execute(
        "SET sql_log_bin = 0", "UPDATE samebase.capture SET server_uuid = '3e11fa47-71ca-11e1-9e33-c80aa9429562'"
    )
    with pytest.raises(Diverged, match="a copy from another server"):
        bench.open()


def test_a_new_column_is_a_migration_that_begins_a_new_session(bench: MySqlBench) -> None:
    insert(bench, "a")
    run(bench, "ALTER TABLE item ADD COLUMN extra INT DEFAULT 7", "INSERT INTO item (id) VALUES ('b')", "COMMIT")
    with pytest.raises(Restart):
        everything(bench)
    bench.reopen()
    assert bench.store.schema()["item"].columns["extra"] == 7
    first, second = everything(bench)
    row = {"id": "a", "title": "none", "n": 0, "data": None, "ratio": None}
    assert first.rows == (RowChange("item", None, row),)
    assert second.rows == (RowChange("item", None, {**row, "id": "b", "extra": 7}),)


def test_a_migration_without_rows_is_seen_by_the_store(bench: MySqlBench) -> None:
    before = bench.store.schema()
    assert everything(bench) == []
    assert bench.store.schema() is before
    run(bench, "ALTER TABLE item ADD COLUMN extra INT DEFAULT 7")
    assert everything(bench) == []
    assert bench.store.schema()["item"].columns["extra"] == 7
    run(bench, "CREATE TABLE unrelated (id INT)")
    now = bench.store.schema()
    assert everything(bench) == []
    assert bench.store.schema() is now


def test_a_lost_column_stops(bench: MySqlBench) -> None:
    insert(bench, "a")
    run(bench, "ALTER TABLE item DROP COLUMN ratio")
    bench.reopen()
    with pytest.raises(Stop, match="item has lost the column ratio"):
        everything(bench)


@pytest.mark.parametrize(
    "statement", ["TRUNCATE item", "truncate table `app`.`item`", "TRUNCATE /* why */ TABLE app . item"]
)
def test_truncating_a_replicated_table_stops(bench: MySqlBench, statement: str) -> None:
    insert(bench, "a")
    run(bench, "CREATE TABLE other (id INT)", "TRUNCATE other", statement)
    with pytest.raises(Stop, match="table item was truncated"):
        everything(bench)


@pytest.mark.parametrize(
    ("statements", "reason"),
    [
        (["SET binlog_format = STATEMENT", "INSERT INTO item (id) VALUES ('a')"], "statement instead of its rows"),
        (["SET binlog_row_image = MINIMAL", "UPDATE item SET n = 1"], "parts of rows of item"),
        (["SET binlog_transaction_compression = ON", "UPDATE item SET n = 1"], "event of type 40"),
        (["XA START 'x'", "UPDATE item SET n = 1", "XA END 'x'", "XA PREPARE 'x'", "XA COMMIT 'x'"], "XA transaction"),
    ],
    ids=["statements", "minimal rows", "compression", "XA"],
)
def test_what_cannot_be_read_exactly_stops(bench: MySqlBench, statements: list[str], reason: str) -> None:
    insert(bench, "before")
    after = everything(bench)[-1].seq
    run(bench, *statements, *([] if statements[0].startswith("XA") else ["COMMIT"]))
    with pytest.raises(Stop, match=reason):
        everything(bench, after)


def test_tables_with_rows_that_the_log_does_not_know_are_refused(mysql_server: Server) -> None:
    mysql_server.fresh(*DDL, "INSERT INTO item (id) VALUES ('old')")
    with pytest.raises(Stop, match="item has rows that the log knows nothing of"):
        MySqlBench(mysql_server, fresh=False)


def test_many_writers_are_read_in_the_order_of_their_commits(bench: MySqlBench) -> None:
    """Each transaction once, and counters that grow in commit order."""
    insert(bench, "hot")

    def write(number: int) -> None:
        with closing(bench.server.session()) as opened, opened.cursor() as cursor:
            for step in range(50):
                cursor.execute("INSERT INTO samebase.intent VALUES (%s, 0, NULL)", (f"{number}-{step}",))
                cursor.execute("UPDATE item SET n = n + 1 WHERE id = 'hot'")
                opened.commit()

    writers = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for writer in writers:
        writer.start()
    commits: list[Commit] = everything(bench)
    while any(writer.is_alive() for writer in writers):
        commits += bench.changes.read(commits[-1].seq, 7)
    commits += everything(bench, commits[-1].seq)
    assert [(change.after or {})["n"] for commit in commits for change in commit.rows] == list(range(201))
    assert len({commit.request for commit in commits}) == 201
    bench.reopen()
    assert everything(bench) == commits


def test_whoever_waits_is_woken_by_what_is_written(bench: MySqlBench) -> None:
    woken = threading.Event()
    with closing(MySqlChanges(bench.database, woken.set)) as changes:
        seq = 0
        for number in range(3):
            assert changes.read(seq, 10) == []
            insert(bench, f"a{number}")
            commits: list[Commit] = []
            while not commits:
                # What the server sends at the start of a stream wakes too.
                assert woken.wait(4), "woken before the next heartbeat"
                woken.clear()
                commits = list(changes.read(seq, 10))
            assert ids(commits) == [[f"a{number}"]]
            seq = commits[-1].seq
