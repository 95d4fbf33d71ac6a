"""The replica's database as the sync process reads and writes it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Any

import pymysql
from pymysql.connections import Connection
from pymysql.cursors import SSCursor

from samebase.ahead import ahead
from samebase.core.errors import Diverged, Fenced, Misuse
from samebase.core.types import (
    Chunk,
    Concerned,
    Key,
    Put,
    Rejection,
    Row,
    RowId,
    Rows,
    Scalar,
    Schema,
    State,
    UniqueId,
    Write,
)
from samebase.mysql import state as kept
from samebase.mysql.connection import connect, execute, one, together, translated
from samebase.mysql.database import Database
from samebase.mysql.statements import CHUNK_ROWS, Layout
from samebase.ports import Snapshot, grouped

_AHEAD = 8
"""Statements that are made before the server asks for them."""


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
                fence = "SELECT `offset` FROM samebase.replica WHERE id = 1 FOR UPDATE"
                (offset,) = together(self._connection, "BEGIN", fence)
                if offset != was_offset:
                    raise Fenced(
                        f"the stored offset is {offset}, not {was_offset}: another process works on this database"
                    )
                transaction = MySqlTransaction(self._connection, self._database)
                yield transaction
                if transaction.unfinished:
                    raise Misuse("a write that failed cannot be committed")
                together(self._connection, *transaction.ending, "COMMIT")
            except BaseException:
                self._roll_back()
                raise
            finally:
                self._busy = False

    def move(self, write: Write) -> None:
        """One statement does it, if just one origin goes on that is known: so it is with every own entry that comes
        back."""
        step = kept.step(write)
        if step is not None:
            with translated("moving on"):
                if execute(self._connection, step):
                    return
        with self.begin(write.was_offset) as transaction:
            transaction.write(write)

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

    @translated("changing who may write")
    def refuse_writes(self, refuse: bool) -> None:
        """By the server's read_only, which does not hold for us (CONNECTION_ADMIN). What an administrator has set is
        left as it is: `samebase.refusing` has a row while it is ours."""
        read_only = one(self._connection, "SELECT @@GLOBAL.read_only")[0]
        ours = one(self._connection, "SELECT 1 FROM samebase.refusing") is not None
        if refuse and not read_only:
            execute(self._connection, "INSERT IGNORE INTO samebase.refusing VALUES (1)")
            execute(self._connection, "SET GLOBAL read_only = ON")
        elif not refuse and ours:
            execute(self._connection, "SET GLOBAL read_only = OFF")
            execute(self._connection, "DELETE FROM samebase.refusing")

    @translated("counting rejections")
    def count_rejected(self) -> int:
        count: int = one(self._connection, "SELECT count(*) FROM samebase.rejected WHERE reason <> 'gone'")[0]
        return count

    @contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        self.schema()
        with translated("reading a snapshot"):
            connection = connect(self._database.address)
            try:
                # Whoever reads the rows may be slow: the server waits for it.
                execute(connection, "SET SESSION net_write_timeout = 3600")
                execute(connection, "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
                state = kept.load(connection)
                yield Snapshot(state, kept.every_rejection(connection), _chunks(connection, self._database.layouts))
            finally:
                connection.close()

    def close(self) -> None:
        if self._connection.open:
            self._connection.close()


class MySqlTransaction:
    """The open transaction of a store."""

    def __init__(self, connection: Connection[Any], database: Database) -> None:
        self._connection = connection
        self._layouts = database.layouts
        self.unfinished = False
        self.ending: list[str] = []
        """Statements that are left for the end: they go with the commit."""

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
        self.ending += kept.position(write)
        self.unfinished = False

    def occupied(self) -> str | None:
        for name, layout in self._layouts.items():
            if one(self._connection, f"SELECT 1 FROM {layout.name} LIMIT 1") is not None:  # noqa: S608 - quoted
                return name
        return None

    @translated("emptying the tables")
    def clear(self) -> None:
        self.unfinished = True
        for layout in self._layouts.values():
            execute(self._connection, f"DELETE FROM {layout.name}")  # noqa: S608 - quoted
        execute(self._connection, "DELETE FROM samebase.base")
        self.unfinished = False

    def everything(self) -> Iterator[Chunk]:
        yield from _chunks(self._connection, self._layouts, lock=True)

    @translated("noting the log")
    def rebind(self, identity: str) -> None:
        execute(self._connection, "UPDATE samebase.replica SET log_identity = %s", identity)

    @translated("loading rows")
    def load(self, chunks: Iterable[Chunk]) -> None:
        self.unfinished = True
        self._run_ahead(self._inserts(chunks))
        self.unfinished = False

    def _inserts(self, chunks: Iterable[Chunk]) -> Iterator[tuple[str, int]]:
        for table, columns, rows in chunks:
            yield from self._layouts[table].insert(columns, rows)

    def _put(self, puts: Iterable[Put]) -> None:
        inserts: dict[tuple[str, tuple[str, ...]], list[Sequence[Scalar]]] = {}
        updates: dict[tuple[str, tuple[str, ...]], list[Put]] = {}
        for put in puts:
            name = put.id[0]
            if put.before is None:
                inserts.setdefault((name, tuple(put.after)), []).append(tuple(put.after.values()))
                continue
            changed = tuple([column for column, value in put.after.items() if _differs(put.before, column, value)])
            if changed:
                updates.setdefault((name, changed), []).append(put)
        for (name, columns), rows in inserts.items():
            statements = self._layouts[name].insert(columns, rows)
            if len(rows) > CHUNK_ROWS:
                self._run_ahead(statements)
            else:
                self._run(statements)
        for (name, columns), found in updates.items():
            self._run(self._layouts[name].update(columns, found))

    def _run(self, statements: Iterable[tuple[str, int]]) -> None:
        with self._connection.cursor() as cursor:
            for statement, expected in statements:
                found = cursor.execute(_encoded(statement))
                if found != expected:
                    raise Diverged(f"{expected - found} of {expected} rows are not there: {statement[:100]}...")

    def _run_ahead(self, statements: Iterable[tuple[str, int]]) -> None:
        """The next statements are made while the server works on the last one."""
        with closing(ahead(statements, _AHEAD)) as made:
            self._run(made)

    def _rows(self, statement: str) -> Sequence[Sequence[Any]]:
        with self._connection.cursor() as cursor:
            cursor.execute(_encoded(statement))
            rows: Sequence[Sequence[Any]] = cursor.fetchall()
            return rows


def _chunks(connection: Connection[Any], layouts: Mapping[str, Layout], lock: bool = False) -> Iterator[Chunk]:
    for name, layout in layouts.items():
        with connection.cursor(SSCursor) as cursor:
            cursor.execute(layout.everything(lock))
            for rows in grouped(cursor):
                yield Chunk(name, layout.columns, rows)


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
