"""Random applications on the SQLite change log: replayed, it gives the database, transaction by transaction."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

import pytest

from samebase.core.types import Commit, Key, Row
from tests.support.sqlite import KEYS, SqliteBench, connect

Tables = dict[str, dict[Key, Row]]

STATEMENTS = [
    "INSERT INTO item (id, n) VALUES ('{a}', {n})",
    "INSERT INTO item (id, n) VALUES ('{a}', {n}), ('{b}', {n})",
    "INSERT OR IGNORE INTO item (id) VALUES ('{a}'), ('{b}'), ('{c}')",
    "INSERT OR REPLACE INTO item (id, n) VALUES ('{a}', {n})",
    "INSERT INTO item (id, n) VALUES ('{a}', 1), ('{b}', 2) ON CONFLICT DO UPDATE SET n = n + excluded.n",
    "UPDATE item SET n = n + 1 WHERE id >= '{a}'",
    "UPDATE item SET id = '{a}' WHERE id = '{b}'",
    "UPDATE OR REPLACE item SET id = '{a}' WHERE id = '{b}'",
    "UPDATE OR IGNORE item SET id = '{a}' WHERE id >= '{b}'",
    "DELETE FROM item WHERE id > '{a}'",
    "INSERT OR FAIL INTO account (id, name, number) VALUES ('{a}', '{b}', {n}), ('{b}', '{c}', NULL)",
    "INSERT INTO account (id, name, number) VALUES ('{a}', '{b}', {n}) ON CONFLICT (number) DO UPDATE SET name = '{c}'",
    "REPLACE INTO account (id, name, number) VALUES ('{a}', '{b}', {n})",
    "UPDATE OR REPLACE account SET name = '{a}', number = {n} WHERE id = '{c}'",
    "UPDATE account SET number = NULL, name = name || '{a}'",
    "DELETE FROM account WHERE name = '{a}' OR number = {n}",
    "SAVEPOINT s; INSERT INTO item (id) VALUES ('{a}'); ROLLBACK TO s; INSERT INTO item (id) VALUES ('{b}')",
]


def database_now(bench: SqliteBench) -> Tables:
    return {table: {key(table, row): row for row in bench.rows(table)} for table in KEYS}


def key(table: str, row: Row) -> Key:
    return tuple(row[column] for column in KEYS[table])


def replay(tables: Tables, commit: Commit) -> None:
    for table, before, after in commit.rows:
        if before is not None:
            assert tables[table].pop(key(table, before)) == before
        if after is not None:
            assert tables[table].setdefault(key(table, after), after) is after


@pytest.mark.parametrize("seed", range(25))
def test_the_change_log_replayed_is_the_database_after_some_commit(tmp_path: Path, seed: int) -> None:
    choice = random.Random(seed)
    bench = SqliteBench(tmp_path / "replica.db")
    moments = [database_now(bench)]
    shown: Tables = {table: {} for table in KEYS}
    seen: list[Commit] = []

    def look() -> None:
        for commit in bench.changes.read(seen[-1].seq if seen else 0, choice.choice([1, 2, 1000])):
            replay(shown, commit)
            seen.append(commit)
            assert shown in moments, "a part of a transaction"

    with closing(connect(bench.path)) as one, closing(connect(bench.path)) as recursive:
        recursive.execute("PRAGMA recursive_triggers=ON")
        for number in range(60):
            application = choice.choice([one, recursive])
            application.execute("BEGIN IMMEDIATE")
            if choice.random() < 0.5:
                application.execute("INSERT INTO samebase_intent (request) VALUES (?)", (f"r{number}",))
            for _ in range(choice.randint(0, 4)):
                a, b, c = (choice.choice("abcdef") for _ in range(3))
                statement = choice.choice(STATEMENTS).format(a=a, b=b, c=c, n=choice.randint(0, 3))
                with suppress(sqlite3.IntegrityError):
                    for part in statement.split("; "):
                        application.execute(part)
            application.execute(choice.choice(["COMMIT", "COMMIT", "COMMIT", "ROLLBACK"]))
            moments.append(database_now(bench))
            if choice.random() < 0.3:
                look()
            if choice.random() < 0.1:
                bench.reopen()
    everything = list(bench.changes.read(0, 1000))
    assert everything[: len(seen)] == seen
    for commit in everything[len(seen) :]:
        replay(shown, commit)
        assert shown in moments
    assert shown == moments[-1]
    bench.store.close()
