"""The replica's database as the sync process reads and writes it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from typing import Any

import pymysql
from pymysql.connections import Connection

from samebase.core.errors import Diverged, Fenced, Misuse, Stop
from samebase.core.types import Concerned, Key, Put, Rejection, Row, RowId, Rows, Schema, State, UniqueId, Write
from samebase.mysql import state as kept
from samebase.mysql.connection import connect, every, execute, one, translated
from samebase.mysql.database import Database
from samebase.ports import SnapshotHead

_CHUNK = 1000


class MySqlStore:
    """Store of a replica. What it has read in a transaction is locked, absent rows too (REPEATABLE READ's gap locks);
    everything else the application may write meanwhile."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._connection = connect(database.address, database.lock_wait_seconds)
        self._busy = False

    def schema(self) -> Schema:
        return self._database.schema()

    @translated("loading the state")
    def load(self) -> State:
        self.schema()
        execute(self._connection, "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
        try:
            return kept.load(self._connection)
        finally:
            self._roll_back()

    @contextmanager
    def begin(self, was_offset: int) -> Iterator[MySqlTransaction]:
        if self._busy:
            raise Misuse("a transaction of this store is open already")
        self.schema()
        with translated("applying a batch"):
            self._busy = True
            try:
                execute(self._connection, "BEGIN")
                offset = one(self._connection, "SELECT `offset` FROM samebase.replica WHERE id = 1 FOR UPDATE")[0]
                if offset != was_offset:
                    raise Fenced(
                        f"the stored offset is {offset}, not {was_offset}: another process works on this database"
                    )
                transaction = MySqlTransaction(self._connection, self._database)
                yield transaction
                if transaction.unfinished:
                    raise Misuse("a write that failed cannot be committed")
                execute(self._connection, "COMMIT")
            except BaseException:
                self._roll_back()
                raise
            finally:
                self._busy = False

    def _roll_back(self) -> None:
        try:
            self._connection.rollback()
        except pymysql.MySQLError:
            # The session is gone, and with it the transaction: the server has rolled it back.
            self._connection.close()

    @translated("reading which log is bound")
    def bound(self) -> str | None:
        self.schema()
        identity: str | None = one(self._connection, "SELECT log_identity FROM samebase.replica")[0]
        return identity

    @translated("binding the log")
    def bind(self, identity: str) -> str:
        self.schema()
        execute(self._connection, "UPDATE samebase.replica SET log_identity = coalesce(log_identity, %s)", identity)
        bound: str = one(self._connection, "SELECT log_identity FROM samebase.replica")[0]
        return bound

    @translated("reading rejections")
    def rejected(self, after_offset: int, limit: int) -> Sequence[Rejection]:
        return kept.rejections(self._connection, after_offset, limit)

    @translated("counting rejections")
    def count_rejected(self) -> int:
        count: int = one(self._connection, "SELECT count(*) FROM samebase.rejected WHERE reason <> 'gone'")[0]
        return count

    @contextmanager
    def snapshot(self) -> Iterator[tuple[SnapshotHead, Iterator[tuple[str, Row]]]]:
        schema = self.schema()
        with translated("reading a snapshot"):
            connection = connect(self._database.address)
            try:
                execute(connection, "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
                head = SnapshotHead(kept.load(connection), tuple(kept.rejections(connection)))
                yield head, self._all_rows(connection, schema)
            finally:
                connection.close()

    def _all_rows(self, connection: Connection[Any], schema: Schema) -> Iterator[tuple[str, Row]]:
        for name, table in schema.items():
            layout = self._database.layouts[name]
            after: Key | None = None
            while found := every(connection, layout.page(after, _CHUNK)):
                for values in found:
                    row = layout.row(values)
                    yield name, row
                after = tuple(row[column] for column in table.policy.key)
                if len(found) < _CHUNK:
                    break

    def restore(self, head: SnapshotHead, rows: Iterator[tuple[str, Row]]) -> None:
        schema = self.schema()
        was_offset: int = one(self._connection, "SELECT `offset` FROM samebase.replica")[0]
        with self.begin(was_offset) as transaction:
            for name in schema:
                if every(self._connection, self._database.layouts[name].page(None, 1)):
                    raise Misuse(f"a snapshot needs an empty database, table {name} has rows")
            while chunk := list(islice(rows, _CHUNK)):
                puts = tuple(Put((name, _key(schema, name, row)), None, row) for name, row in chunk)
                transaction.write(Write(was_offset, was_offset, puts=puts))
            transaction.write(
                Write(
                    was_offset,
                    head.state.offset,
                    base_puts=tuple(head.state.base.items()),
                    # What was lost is kept at the origin only.
                    rejected=tuple(replace(rejection, changes=()) for rejection in head.rejected),
                    applied=head.state.applied,
                    held=head.state.held,
                )
            )

    def close(self) -> None:
        if self._connection.open:
            self._connection.close()


class MySqlTransaction:
    """The open transaction of a store."""

    def __init__(self, connection: Connection[Any], database: Database) -> None:
        self._connection = connection
        self._layouts = database.layouts
        self.unfinished = False

    @translated("reading rows")
    def read(self, concerned: Concerned) -> Rows:
        rows: dict[RowId, Row | None] = dict.fromkeys(concerned.rows)
        for name, keys in _by_table(concerned.rows).items():
            layout = self._layouts[name]
            for statement in layout.select(keys):
                for values in self._rows(statement):
                    row = layout.row(values)
                    rows[name, tuple([row[column] for column in layout.key])] = row
        holders: dict[UniqueId, Key | None] = dict.fromkeys(concerned.uniques)
        wanted: dict[tuple[str, tuple[str, ...]], list[Any]] = {}
        for name, columns, unique in concerned.uniques:
            wanted.setdefault((name, columns), []).append(unique)
        for (name, columns), uniques in wanted.items():
            layout = self._layouts[name]
            width = len(layout.key)
            for statement in layout.select_holders(columns, uniques):
                for values in self._rows(statement):
                    holders[name, columns, tuple(values[width:])] = tuple(values[:width])
        return Rows(rows, holders)

    @translated("writing a batch")
    def write(self, write: Write) -> None:
        self.unfinished = True
        for name, keys in _by_table(write.deletes).items():
            self._run(self._layouts[name].delete(keys))
        self._put(write.puts)
        kept.save(self._connection, write)
        self.unfinished = False

    def _put(self, puts: Iterable[Put]) -> None:
        inserts: dict[tuple[str, tuple[str, ...]], list[Row]] = {}
        updates: dict[tuple[str, tuple[str, ...]], list[Put]] = {}
        for put in puts:
            name = put.id[0]
            if put.before is None:
                inserts.setdefault((name, tuple(put.after)), []).append(put.after)
                continue
            changed = tuple([column for column, value in put.after.items() if _differs(put.before, column, value)])
            if changed:
                updates.setdefault((name, changed), []).append(put)
        for (name, columns), rows in inserts.items():
            self._run(self._layouts[name].insert(columns, rows))
        for (name, columns), found in updates.items():
            self._run(self._layouts[name].update(columns, found))

    def _run(self, statements: Iterable[tuple[str, int]]) -> None:
        with self._connection.cursor() as cursor:
            for statement, expected in statements:
                found = cursor.execute(_encoded(statement))
                if found != expected:
                    raise Diverged(f"{expected - found} of {expected} rows are not there: {statement[:100]}...")

    def _rows(self, statement: str) -> Sequence[Sequence[Any]]:
        with self._connection.cursor() as cursor:
            cursor.execute(_encoded(statement))
            rows: Sequence[Sequence[Any]] = cursor.fetchall()
            return rows


def _encoded(statement: str) -> bytes:
    # The driver would let half of a surrogate pair pass, as a byte.
    return statement.encode("utf-8")


def _by_table(ids: Iterable[RowId]) -> dict[str, list[Key]]:
    grouped: dict[str, list[Key]] = {}
    for name, key in ids:
        grouped.setdefault(name, []).append(key)
    return grouped


def _differs(before: Row, column: str, value: Any) -> bool:
    # Not every two values that are equal in Python are alike: 1 and 1.0, Decimal("1") and Decimal("1.0").
    return column not in before or before[column] != value or type(before[column]) is not type(value)


def _key(schema: Schema, name: str, row: Row) -> Key:
    if name not in schema:
        raise Stop(f"the snapshot has a table {name}, which this replica does not replicate")
    return tuple(row[column] for column in schema[name].policy.key)
