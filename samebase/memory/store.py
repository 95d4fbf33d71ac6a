"""The store of a MemoryDatabase."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

from samebase.core.errors import Diverged, Fenced, Misuse, Unavailable
from samebase.core.types import Chunk, Concerned, Put, Rejection, Rows, Schema, State, Write
from samebase.memory.database import KeyTaken, MemoryDatabase, add, holder, key_of
from samebase.ports import Snapshot


class MemoryStore:
    """Store whose locks keep the application off the rows that were read, and off no others."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database
        self._open = False

    def schema(self) -> Schema:
        return self._database.schema

    def load(self) -> State:
        return self._database.state

    @contextmanager
    def begin(self, was_offset: int) -> Iterator[MemoryStoreTransaction]:
        if self._open:
            raise Misuse("a transaction of this store is open already")
        if self._database.store_busy:
            raise Unavailable("another store's transaction is open")
        if self._database.state.offset != was_offset:
            raise Fenced(f"the stored offset is {self._database.state.offset}, not {was_offset}")
        transaction = MemoryStoreTransaction(self._database)
        self._open = self._database.store_busy = True
        try:
            yield transaction
            was = self._database.rows, self._database.rejected, self._database.state
            try:
                for step in transaction.steps:
                    step()
            except BaseException:
                self._database.rows, self._database.rejected, self._database.state = was
                raise
        finally:
            self._open = self._database.store_busy = False
            self._database.locked.clear()

    def move(self, write: Write) -> None:
        with self.begin(write.was_offset) as transaction:
            transaction.write(write)

    def bound(self) -> str | None:
        return self._database.log_identity

    def bind(self, identity: str) -> str:
        if self._database.log_identity is None:
            self._database.log_identity = identity
        return self._database.log_identity

    def rejected(self, after_offset: int, limit: int) -> Sequence[Rejection]:
        return [rejection for rejection in self._database.rejected if rejection.offset >= after_offset][:limit]

    def refuse_writes(self, refuse: bool) -> None:
        self._database.read_only = refuse

    def count_rejected(self) -> int:
        return sum(rejection.reason != "gone" for rejection in self._database.rejected)

    @contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        # A commit replaces the dictionaries of rows, so these keep showing this moment.
        tables, schema = sorted(self._database.rows.items()), self._database.schema
        chunks = (
            Chunk(table, columns, [tuple([row[column] for column in columns]) for row in rows.values()])
            for table, rows in tables
            for columns in [tuple(schema[table].columns)]
            if rows
        )
        yield Snapshot(self._database.state, iter(tuple(self._database.rejected)), chunks)

    def close(self) -> None:
        pass


class MemoryStoreTransaction:
    """The open transaction of a store. What it writes is carried out when its block ends."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database
        self.steps: list[Callable[[], None]] = []

    def read(self, concerned: Concerned) -> Rows:
        self._database.locked |= {*concerned.rows, *concerned.uniques}
        tables = self._database.rows
        return Rows(
            rows={(table, key): tables[table].get(key) for table, key in concerned.rows},
            holders={unique: holder(tables[unique[0]], unique[1], unique[2]) for unique in concerned.uniques},
        )

    def write(self, write: Write) -> None:
        self.steps.append(lambda: _carry_out(self._database, write))

    def occupied(self) -> str | None:
        return next((table for table, rows in self._database.rows.items() if rows), None)

    def clear(self) -> None:
        self.steps.append(lambda: _clear(self._database))

    def everything(self) -> Iterator[Chunk]:
        schema = self._database.schema
        self._database.locked |= {(table, key) for table, rows in self._database.rows.items() for key in rows}
        for table, rows in sorted(self._database.rows.items()):
            columns = tuple(schema[table].columns)
            yield Chunk(table, columns, [tuple([row[column] for column in columns]) for row in rows.values()])

    def rebind(self, identity: str) -> None:
        def note() -> None:
            self._database.log_identity = identity

        self.steps.append(note)

    def load(self, chunks: Iterable[Chunk]) -> None:
        schema = self._database.schema
        for table, columns, rows in chunks:
            named = [dict(zip(columns, row, strict=True)) for row in rows]
            puts = tuple(Put((table, key_of(schema[table].policy, row)), None, row) for row in named)
            self.steps.append(partial(_put, self._database, puts))


def _clear(database: MemoryDatabase) -> None:
    database.rows = {table: {} for table in database.rows}
    database.state = replace(database.state, base={})


def _put(database: MemoryDatabase, puts: tuple[Put, ...]) -> None:
    _carry_out(database, Write(database.state.offset, database.state.offset, puts=puts))


def _carry_out(database: MemoryDatabase, write: Write) -> None:
    """All of the Write or nothing. Raises Diverged if a row is not as the Write supposes."""
    tables = {table: dict(rows) for table, rows in database.rows.items()}
    for table, key in write.deletes:
        if tables[table].pop(key, None) is None:
            raise Diverged(f"{table} {key!r} is not there")
    for (table, key), before, after in write.puts:
        columns = database.schema[table].columns
        row = columns if before is None else tables[table].pop(key, None)
        if row is None:
            raise Diverged(f"{table} {key!r} is not there")
        try:
            add(tables[table], table, database.schema[table].policy, {**row, **after})
        except KeyTaken as error:
            raise Diverged(str(error)) from error
    state = database.state
    base = {id_: row for id_, row in {**state.base, **dict(write.base_puts)}.items() if id_ not in write.base_deletes}
    database.rows = tables
    database.rejected = sorted([*database.rejected, *write.rejected], key=lambda rejection: rejection.offset)
    database.state = replace(
        state,
        offset=write.offset,
        applied={**state.applied, **write.applied},
        held={origin: held for origin, held in {**state.held, **write.held}.items() if held is not None},
        base=base,
        settled=max(state.settled, write.settled),
    )
