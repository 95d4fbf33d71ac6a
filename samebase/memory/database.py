"""A transactional database in dictionaries, with an application on it and row locks between that and the store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from uuid import uuid4

from samebase.core.errors import Misuse, Unavailable
from samebase.core.types import Commit, Key, Policy, Rejection, Row, RowChange, RowId, Scalar, Schema, State, UniqueId
from samebase.memory.clock import MemoryClock


class KeyTaken(Exception):
    """A row with this key or unique value exists."""


class NoSuchRow(Exception):
    """There is no row with this key."""


class MemoryDatabase:
    """The rows, the change log and the stored state of one replica: what outlives a crash of the sync process.

    An application's transaction may commit while a store transaction is open, as in MySQL, but not on rows and unique
    values that this has locked (also those that are not there).
    """

    def __init__(self, schema: Schema, name: str = "memory", clock: MemoryClock | None = None) -> None:
        self.schema = dict(schema)
        self.clock = clock or MemoryClock()
        self.state = State(origin=f"{name}@{uuid4()}")
        self.rejected: list[Rejection] = []
        self.log_identity: str | None = None
        self.rows: dict[str, dict[Key, Row]] = {table: {} for table in schema}
        self.commits: list[Commit] = []
        self.last_seq = 0
        self.forgotten = 0
        self.locked: set[RowId | UniqueId] = set()
        self.store_busy = False
        self.read_only = False

    @contextmanager
    def transaction(
        self, request: str | None = None, *, certify: bool = False, traceparent: str | None = None
    ) -> Iterator[MemoryTransaction]:
        """An application's transaction: commits at the end of the block, an exception discards it.
        Raises Unavailable if it touches what an open store transaction has locked, or if anything was committed
        since it began: then it saw rows that may be old, and must be tried again."""
        transaction = MemoryTransaction(self)
        seen = self.rows
        yield transaction
        if self.rows is not seen:
            raise Unavailable("another transaction was committed meanwhile")
        if self.locked & transaction.touched:
            raise Unavailable("a row is locked by the store's transaction")
        self.rows = transaction.rows
        if transaction.changes or request is not None:
            # As in a real change log, positions have gaps.
            self.last_seq += 1 + len(transaction.changes)
            self.commits.append(
                Commit(
                    seq=self.last_seq,
                    rows=tuple(transaction.changes),
                    request=request,
                    certify=certify,
                    traceparent=traceparent,
                    ts_ms=self.clock.wall_ms(),
                )
            )


class MemoryTransaction:
    """What an application does within one transaction. Row values of columns that are left out are their defaults."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._schema = database.schema
        self.rows = {table: dict(rows) for table, rows in database.rows.items()}
        self.changes: list[RowChange] = []
        self.touched: set[RowId | UniqueId] = set()

    def insert(self, table: str, row: Row) -> None:
        """Raises KeyTaken."""
        self._change(table, None, {**self._schema[table].columns, **row})

    def update(self, table: str, key: Key, values: Row) -> None:
        """Set columns of a row, its key too. Raises NoSuchRow, KeyTaken."""
        before = self._existing(table, key)
        self._change(table, before, {**before, **values})

    def delete(self, table: str, key: Key) -> None:
        """Raises NoSuchRow."""
        self._change(table, self._existing(table, key), None)

    def _existing(self, table: str, key: Key) -> Row:
        try:
            return self.rows[table][key]
        except KeyError:
            raise NoSuchRow(f"{table} {key!r}") from None

    def _change(self, table: str, before: Row | None, after: Row | None) -> None:
        policy = self._schema[table].policy
        rows = self.rows[table]
        if before is not None:
            del rows[key_of(policy, before)]
        try:
            if after is not None:
                add(rows, table, policy, after)
        except KeyTaken:
            if before is not None:
                rows[key_of(policy, before)] = before
            raise
        for row in (before, after):
            if row is not None:
                self.touched |= {(table, key_of(policy, row)), *unique_ids(table, policy, row)}
        self.changes.append(RowChange(table, before, after))


def key_of(policy: Policy, row: Row) -> Key:
    """The row's key."""
    return tuple(row[column] for column in policy.key)


def unique_ids(table: str, policy: Policy, row: Row) -> Iterator[UniqueId]:
    """The unique values that the row occupies."""
    for columns in policy.unique:
        values = tuple(row[column] for column in columns)
        if None not in values:
            yield (table, columns, values)


def holder(rows: Mapping[Key, Row], columns: tuple[str, ...], values: tuple[Scalar, ...]) -> Key | None:
    """The key of the row that has these values."""
    return next(
        (key for key, row in rows.items() if all(row[c] == v for c, v in zip(columns, values, strict=True))), None
    )


def add(rows: dict[Key, Row], table: str, policy: Policy, row: Row) -> None:
    """Add a row as an INSERT does. Raises KeyTaken."""
    key = key_of(policy, row)
    if None in key:
        raise Misuse(f"{table}: the key {key!r} has no value")
    if key in rows:
        raise KeyTaken(f"{table} {key!r}")
    for _, columns, values in unique_ids(table, policy, row):
        if holder(rows, columns, values) is not None:
            raise KeyTaken(f"{table} {columns!r} = {values!r}")
    rows[key] = row
