"""SQLite databases for tests, and applications that write to them in plain SQL."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from samebase.core.types import Key, Row
from samebase.replicated import Replicated
from samebase.sqlite.changes import SqliteChanges
from samebase.sqlite.connection import Database
from samebase.sqlite.store import SqliteStore

DDL = """
CREATE TABLE item (
    id TEXT NOT NULL PRIMARY KEY, title TEXT DEFAULT 'none', n INTEGER NOT NULL DEFAULT 0, data BLOB, ratio REAL
);
CREATE TABLE pair (a TEXT NOT NULL, b INTEGER NOT NULL, v TEXT, PRIMARY KEY (a, b)) WITHOUT ROWID;
CREATE TABLE account (
    id TEXT NOT NULL PRIMARY KEY, name TEXT, realm TEXT NOT NULL DEFAULT '', number INTEGER UNIQUE, UNIQUE (name, realm)
);
"""
TABLES = {
    "item": Replicated("merge", ("n",)),
    "pair": Replicated("merge"),
    "account": Replicated("strict"),
}
KEYS = {"item": ("id",), "pair": ("a", "b"), "account": ("id",)}


def make_database(path: Path, ddl: str = DDL) -> Path:
    """A new database file with these tables."""
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(ddl)
    return path


def connect(path: Path, timeout: float = 5.0) -> sqlite3.Connection:
    """A connection as an application has one: it begins and ends its transactions by SQL."""
    return sqlite3.connect(path, isolation_level=None, timeout=timeout)


def execute(path: Path, *statements: str) -> None:
    """Another connection commits these statements as one transaction."""
    with closing(connect(path)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        for statement in statements:
            connection.execute(statement)
        connection.execute("COMMIT")


def python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a program in a process of its own and wait for it."""
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60, check=False
    )


class SqliteBench:
    """A replica's adapters on a SQLite file, and its application."""

    def __init__(self, path: Path) -> None:
        """The file is made if there is none."""
        self.path = path if path.exists() else make_database(path)
        self.open()

    def open(self) -> None:
        self.database = Database(self.path, busy_timeout=0.2)
        self.changes = SqliteChanges(self.database)
        self.store = SqliteStore(self.database, TABLES, "replica")
        self.store.schema()

    def reopen(self) -> None:
        """The sync process is gone, and another one starts."""
        self.database.close()
        self.open()

    def second(self) -> SqliteStore:
        """Another sync process on the same database."""
        return SqliteStore(Database(self.path, busy_timeout=0.2), TABLES, "replica")

    @contextmanager
    def transaction(
        self, request: str | None = None, *, certify: bool = False, traceparent: str | None = None
    ) -> Iterator[SqliteApplication]:
        with closing(connect(self.path, timeout=0.2)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            if request is not None:
                connection.execute(
                    "INSERT INTO samebase_intent (request, certified, traceparent) VALUES (?, ?, ?)",
                    (request, certify, traceparent),
                )
            yield SqliteApplication(connection)
            connection.execute("COMMIT")

    def rows(self, table: str) -> list[Row]:
        with closing(connect(self.path)) as connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2")]


class SqliteApplication:
    """What an application does within one transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def insert(self, table: str, row: Row) -> None:
        marks = ", ".join("?" * len(row))
        self._connection.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", tuple(row.values()))

    def update(self, table: str, key: Key, values: Row) -> None:
        assignments = ", ".join(f"{column} = ?" for column in values)
        self._connection.execute(
            f"UPDATE {table} SET {assignments} WHERE {self._match(table)}", (*values.values(), *key)
        )

    def delete(self, table: str, key: Key) -> None:
        self._connection.execute(f"DELETE FROM {table} WHERE {self._match(table)}", key)

    def _match(self, table: str) -> str:
        return " AND ".join(f"{column} = ?" for column in KEYS[table])
