"""The replica's database as the sync process reads and writes it, and the state kept beside the data."""

# ruff: noqa: S608 - names in SQL are quoted identifiers of the live schema; values are bound

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

from samebase.core.errors import Diverged, Fenced, Misuse
from samebase.core.types import Chunk, Concerned, Key, Put, Rejection, Row, RowId, Rows, Schema, State, UniqueId, Write
from samebase.core.wire import dump_changes, dump_key, dump_row, load_changes, load_key, load_row
from samebase.ports import Snapshot, grouped
from samebase.replicated import Replicated
from samebase.sqlite.connection import Database, quoted, translated
from samebase.sqlite.install import install


class SqliteStore:
    """Store of a replica. Its locks are SQLite's only one: while a transaction is open nobody else can write."""

    def __init__(
        self, database: Database, tables: Mapping[str, Replicated], name: str, *, adopting: bool = False
    ) -> None:
        """`tables` are the ones to replicate; `name` begins the origin of a database that has none yet. `adopting`: a
        database that was not replicated before may have rows (it is bound to ADOPTING then)."""
        self._database = database
        self._tables = tables
        self._name = name
        self._adopting = adopting
        self._schema: Schema = {}
        self._schema_version = -1

    @translated("inspecting the schema")
    def schema(self) -> Schema:
        if self._current_version() != self._schema_version:
            schema = install(self._database, self._tables, self._name, adopting=self._adopting)
            if schema != self._schema:
                self._schema = schema
            self._schema_version = self._current_version()
        return self._schema

    def _current_version(self) -> int:
        version: int = self._database.connection.execute("PRAGMA schema_version").fetchone()[0]
        return version

    @translated("loading the state")
    def load(self) -> State:
        self.schema()
        with self._database.reading():
            return _load(self._database.connection)

    @contextmanager
    def begin(self, was_offset: int) -> Iterator[SqliteTransaction]:
        if self._database.connection.in_transaction:
            raise Misuse("a transaction of this store is open already")
        schema = self.schema()
        with translated("applying a batch"), self._database.writing():
            (offset,) = self._database.connection.execute('SELECT "offset" FROM samebase_replica').fetchone()
            if offset != was_offset:
                raise Fenced(f"the stored offset is {offset}, not {was_offset}: another process works on this database")
            transaction = SqliteTransaction(self._database.connection, schema)
            yield transaction
            if transaction.unfinished:
                raise Misuse("a write that failed cannot be committed")

    def move(self, write: Write) -> None:
        with self.begin(write.was_offset) as transaction:
            transaction.write(write)

    @translated("reading which log is bound")
    def bound(self) -> str | None:
        self.schema()
        identity: str | None = self._database.connection.execute(
            "SELECT log_identity FROM samebase_replica"
        ).fetchone()[0]
        return identity

    @translated("binding the log")
    def bind(self, identity: str) -> str:
        self.schema()
        execute = self._database.connection.execute
        with self._database.writing():
            execute("UPDATE samebase_replica SET log_identity = coalesce(log_identity, ?)", (identity,))
            bound: str = execute("SELECT log_identity FROM samebase_replica").fetchone()[0]
        return bound

    @translated("reading rejections")
    def rejected(self, after_offset: int, limit: int) -> Sequence[Rejection]:
        return list(islice(_rejections(self._database.connection, after_offset), limit))

    @translated("counting rejections")
    def refuse_writes(self, refuse: bool) -> None:
        """SQLite has no such switch. The services ask the sync process (services/common/replication.py)."""

    def count_rejected(self) -> int:
        count: int = self._database.connection.execute(
            "SELECT count(*) FROM samebase_rejected WHERE reason <> 'gone'"
        ).fetchone()[0]
        return count

    @contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        schema = self.schema()
        with translated("reading a snapshot"), self._database.view() as connection:
            yield Snapshot(_load(connection), _rejections(connection), _chunks(connection, schema))

    def close(self) -> None:
        self._database.close()


class SqliteTransaction:
    """The open transaction of a store. It holds the database's write lock: what it reads stays so."""

    def __init__(self, connection: sqlite3.Connection, schema: Schema) -> None:
        self._connection = connection
        self._schema = schema
        self.unfinished = False

    @translated("reading rows")
    def read(self, concerned: Concerned) -> Rows:
        return Rows(
            rows={id_: self._row(id_) for id_ in concerned.rows},
            holders={unique: self._holder(unique) for unique in concerned.uniques},
        )

    # Row by row: within one process a prepared statement costs less than assembling a longer one.
    def _row(self, id_: RowId) -> Row | None:
        name, key = id_
        table = self._schema[name]
        found = self._connection.execute(
            f"SELECT {_list(table.columns)} FROM {quoted(name)} WHERE {_match(table.policy.key)}",
            key,
        ).fetchone()
        return None if found is None else dict(zip(table.columns, found, strict=True))

    def _holder(self, unique: UniqueId) -> Key | None:
        name, columns, values = unique
        key: Key | None = self._connection.execute(
            f"SELECT {_list(self._schema[name].policy.key)} FROM {quoted(name)} WHERE {_match(columns)}",
            values,
        ).fetchone()
        return key

    @translated("writing a batch")
    def write(self, write: Write) -> None:
        execute, executemany = self._connection.execute, self._connection.executemany
        self.unfinished = True
        execute("UPDATE samebase_replica SET applying = 1")
        self._delete(write.deletes)
        self._put(write.puts)
        executemany(
            "INSERT INTO samebase_base VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET row = excluded.row",
            [(table, dump_key(key), dump_row(row)) for (table, key), row in write.base_puts],
        )
        executemany(
            "DELETE FROM samebase_base WHERE tbl = ? AND key = ?",
            [(table, dump_key(key)) for table, key in write.base_deletes],
        )
        executemany(
            'INSERT INTO samebase_rejected ("offset", origin, seq, request, reason, rows, changes) '
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            [_dumped(rejection) for rejection in write.rejected],
        )
        executemany(
            "INSERT INTO samebase_applied VALUES (?, ?, NULL) ON CONFLICT DO UPDATE SET seq = excluded.seq",
            write.applied.items(),
        )
        executemany(
            "INSERT INTO samebase_applied VALUES (?, 0, ?) ON CONFLICT DO UPDATE SET held = excluded.held",
            write.held.items(),
        )
        execute(
            'UPDATE samebase_replica SET "offset" = ?, settled = max(settled, ?), applying = 0',
            (write.offset, write.settled),
        )
        self.unfinished = False

    def occupied(self) -> str | None:
        for name in self._schema:
            if self._connection.execute(f"SELECT EXISTS (SELECT 1 FROM {quoted(name)})").fetchone()[0]:
                return name
        return None

    @translated("emptying the tables")
    def clear(self) -> None:
        with self._unseen():
            for name in self._schema:
                self._connection.execute(f"DELETE FROM {quoted(name)}")
            self._connection.execute("DELETE FROM samebase_base")

    def everything(self) -> Iterator[Chunk]:
        yield from _chunks(self._connection, self._schema)

    def rebind(self, identity: str) -> None:
        self._connection.execute("UPDATE samebase_replica SET log_identity = ?", (identity,))

    @translated("loading rows")
    def load(self, chunks: Iterable[Chunk]) -> None:
        with self._unseen():
            for table, columns, rows in chunks:
                marks = ", ".join("?" * len(columns))
                self._connection.executemany(f"INSERT INTO {quoted(table)} ({_list(columns)}) VALUES ({marks})", rows)

    @contextmanager
    def _unseen(self) -> Iterator[None]:
        """What is written in the block is not captured. If it breaks off, the transaction cannot be committed."""
        self.unfinished = True
        self._connection.execute("UPDATE samebase_replica SET applying = 1")
        yield
        self._connection.execute("UPDATE samebase_replica SET applying = 0")
        self.unfinished = False

    def _delete(self, ids: Iterable[RowId]) -> None:
        batches = _Batches()
        for name, key in ids:
            batches.add(f"DELETE FROM {quoted(name)} WHERE {_match(self._schema[name].policy.key)}", key)
        self._run(batches)

    def _put(self, puts: Iterable[Put]) -> None:
        batches = _Batches()
        for (name, key), before, after in puts:
            if before is None:
                marks = ", ".join("?" * len(after))
                batches.add(f"INSERT INTO {quoted(name)} ({_list(after)}) VALUES ({marks})", tuple(after.values()))
                continue
            changed = {column: value for column, value in after.items() if not _same(before, column, value)}
            if changed:
                batches.add(
                    f"UPDATE {quoted(name)} SET {', '.join(f'{quoted(column)} = ?' for column in changed)} "
                    f"WHERE {_match(self._schema[name].policy.key)}",
                    (*changed.values(), *key),
                )
        self._run(batches)

    def _run(self, batches: _Batches) -> None:
        for statement, parameters in batches.items():
            done = self._connection.executemany(statement, parameters).rowcount
            if done != len(parameters):
                raise Diverged(f"{len(parameters) - done} of {len(parameters)} rows are not there: {statement}")


class _Batches(dict[str, list[tuple[Any, ...]]]):
    """Statement to the parameters of all its executions."""

    def add(self, statement: str, parameters: tuple[Any, ...]) -> None:
        self.setdefault(statement, []).append(parameters)


def _same(before: Row, column: str, value: Any) -> bool:
    # 1 and 1.0 are equal in Python, and two values in a database.
    return column in before and before[column] == value and type(before[column]) is type(value)


def _list(columns: Iterable[str]) -> str:
    return ", ".join(map(quoted, columns))


def _match(columns: Iterable[str]) -> str:
    return " AND ".join(f"{quoted(column)} = ?" for column in columns)


def _load(connection: sqlite3.Connection) -> State:
    origin, offset, settled = connection.execute('SELECT origin, "offset", settled FROM samebase_replica').fetchone()
    origins = connection.execute("SELECT origin, seq, held FROM samebase_applied").fetchall()
    base = connection.execute("SELECT tbl, key, row FROM samebase_base").fetchall()
    return State(
        origin=origin,
        offset=offset,
        applied={name: seq for name, seq, _ in origins if seq},
        held={name: held for name, _, held in origins if held is not None},
        base={(table, load_key(key)): load_row(row) for table, key, row in base},
        settled=settled,
    )


def _chunks(connection: sqlite3.Connection, schema: Schema) -> Iterator[Chunk]:
    for name, table in schema.items():
        columns = tuple(table.columns)
        cursor = connection.execute(f"SELECT {_list(columns)} FROM {quoted(name)} ORDER BY {_list(table.policy.key)}")
        for rows in grouped(cursor):
            yield Chunk(name, columns, rows)


def _rejections(connection: sqlite3.Connection, after_offset: int = 0) -> Iterator[Rejection]:
    for offset, origin, seq, request, reason, rows, changes in connection.execute(
        'SELECT "offset", origin, seq, request, reason, rows, changes FROM samebase_rejected '
        'WHERE "offset" >= ? ORDER BY "offset", id',
        (after_offset,),
    ):
        ids = tuple((table, load_key(key)) for table, key in json.loads(rows))
        yield Rejection(origin, seq, request, reason, ids, offset, load_changes(changes))


def _dumped(rejection: Rejection) -> tuple[Any, ...]:
    rows = json.dumps([[table, dump_key(key)] for table, key in rejection.rows])
    return (
        rejection.offset,
        rejection.origin,
        rejection.seq,
        rejection.request,
        rejection.reason,
        rows,
        dump_changes(rejection.changes),
    )
