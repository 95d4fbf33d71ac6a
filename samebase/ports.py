"""The four protocols that the core's surroundings fulfil. Each has a fake in `samebase/memory`, and one
contract suite in `tests/contract` that fake and real both pass.

Who calls them: one thread, the runner's. Errors: `Unavailable` for what may come right by itself, `Stop` for what
needs a person; nothing else on purpose.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from samebase.core.types import Chunk, Commit, Concerned, Record, Rejection, Rows, Scalar, Schema, State, Write


class LogRecord(NamedTuple):
    """A record as it stands in the log; `offset` is its own place."""

    offset: int
    value: bytes


READ_BYTES = 4 * 2**20
"""A read of the log ends with the record that makes it so large."""


def bounded(records: Iterable[LogRecord]) -> list[LogRecord]:
    """The records, up to the one that makes READ_BYTES of them."""
    taken: list[LogRecord] = []
    size = 0
    for record in records:
        taken.append(record)
        size += len(record.value)
        if size >= READ_BYTES:
            break
    return taken


class ChangeSource(Protocol):
    """The local change log: what this database's users committed, never what the sync process applied."""

    def read(self, after: int, limit: int) -> Sequence[Commit]:
        """At most `limit` committed transactions with seq > `after`, in commit order; empty at the end.

        The same transaction has the same seq and content at every read, also after a crash and in another process.
        A commit without any row change on a replicated table is reported if it carries a request id.
        Raises Diverged if commits after `after` have been forgotten.
        """
        ...

    def end(self) -> int:
        """Seq of the last committed transaction, 0 if there never was one. Every commit on rows that the caller
        holds locked lies at or before it."""
        ...

    def size(self, after: int) -> int:
        """About how many bytes the change log holds after seq `after`: what is kept for those commits."""
        ...

    def forget(self, upto: int) -> None:
        """Commits with seq <= `upto` will not be asked for again and may be discarded."""
        ...

    def close(self) -> None: ...


class Log(Protocol):
    """One total order of records for all replicas. Offsets begin at 0 and have no gaps that matter: a reader gets the
    next record that exists."""

    @property
    def identity(self) -> str:
        """Differs for a log that was deleted and made again."""
        ...

    def append_all(self, records: Sequence[Record]) -> list[Future[int]]:
        """Append in this order, after everything appended before by this process. Each future yields its record's
        offset once the log has it durably, or raises Unavailable; then it may or may not be in the log."""
        ...

    def read(self, offset: int, limit: int) -> Sequence[LogRecord]:
        """At most `limit` records from `offset` on, in order, and about READ_BYTES of them at most, but one always;
        empty at the end, without waiting. What was appended through this very object a moment ago may not have come
        yet, although `end()` counts it: that is empty too.
        Raises LogLost if `offset` lies before `begin()` or beyond `end()`, or if the identity changed."""
        ...

    def begin(self) -> int:
        """Offset of the first record that is still there (`end()` if there is none)."""
        ...

    def end(self, exact: bool = False) -> int:
        """Offset that the next record will get. `exact`: every record that anybody has appended by now lies before it,
        at the price of asking the log; else what is known without asking, which may be a moment old, never too far."""
        ...

    def close(self) -> None: ...


ADOPTING = "none, an adoption that broke off"
"""The identity that is noted as a database's log while its rows are being made the beginning of one."""


class StoreTransaction(Protocol):
    """An open transaction of the store, with the rows that it read locked against the application's writes."""

    def read(self, concerned: Concerned) -> Rows:
        """Lock and read rows by key and by unique value. May be called again for more; what is locked stays locked."""
        ...

    def write(self, write: Write) -> None:
        """Carry the Write out within this transaction, in the order that Write documents, unseen by the change log."""
        ...

    def occupied(self) -> str | None:
        """The name of a replicated table that has rows, None if all of them are empty."""
        ...

    def clear(self) -> None:
        """Delete every replicated row and every stored base row, unseen by the change log. Nobody else writes to a
        replicated table until this transaction ends: every commit on them is in the change log by now."""
        ...

    def everything(self) -> Iterator[Chunk]:
        """Lock and read every row. When it ends, nobody else can write to a replicated table until this transaction
        ends, and what was read is what is there."""
        ...

    def rebind(self, identity: str) -> None:
        """Note another identity of the log than the one that is noted."""
        ...

    def load(self, chunks: Iterable[Chunk]) -> None:
        """Insert rows, in bulk, unseen by the change log. Columns that a chunk lacks get their default.
        Raises Diverged if a row is there already, or cannot be; and whatever reading the chunks raises."""
        ...


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A consistent view of the whole database: everything in it is of one moment. First `rejected` is read, once, then
    `chunks`."""

    state: State
    rejected: Iterator[Rejection]
    chunks: Iterator[Chunk]


class Store(Protocol):
    """The replica's database."""

    def schema(self) -> Schema:
        """The replicated tables as they are now. Raises Stop if one cannot be replicated, naming it and the reason."""
        ...

    def load(self) -> State:
        """The state beside the data. A database that has none gets one: a new origin at offset 0."""
        ...

    def begin(self, was_offset: int) -> AbstractContextManager[StoreTransaction]:
        """Open a transaction; leaving the block commits it, an exception rolls all of it back.
        Raises Fenced if the stored offset is not `was_offset` (it stays so until the transaction ends),
        Unavailable if the database is busy or away."""
        ...

    def move(self, write: Write) -> None:
        """Carry out a Write that only moves: a transaction of its own. Raises as `begin`."""
        ...

    def bound(self) -> str | None:
        """The noted identity of the log; None for a database that has never had one."""
        ...

    def bind(self, identity: str) -> str:
        """Note the identity of the log at the first call; always return the noted one."""
        ...

    def rejected(self, after_offset: int, limit: int) -> Sequence[Rejection]:
        """Recorded rejections of entries at or after that offset, oldest first."""
        ...

    def refuse_writes(self, refuse: bool) -> None:
        """Let the database refuse everybody else's writes, or take them again. Also after a restart; more than one call
        does no harm. A database that cannot do this takes them all the same."""
        ...

    def count_rejected(self) -> int:
        """How many rejections are recorded (without the `gone` ones)."""
        ...

    def snapshot(self) -> AbstractContextManager[Snapshot]:
        """Open a consistent view of state, rejections and every row as this database shows them. It holds nobody up."""
        ...

    def close(self) -> None: ...


class Clock(Protocol):
    """Time, so that tests can own it."""

    def monotonic(self) -> float:
        """Seconds since some fixed moment, never going back."""
        ...

    def wall_ms(self) -> int:
        """Milliseconds since 1970, UTC."""
        ...


CHUNK_ROWS = 1_000
CHUNK_SIZE = 1_000_000
"""A chunk has so many rows and so many characters and bytes at most; but one row always."""


def grouped(rows: Iterable[Sequence[Scalar]]) -> Iterator[list[Sequence[Scalar]]]:
    """The rows, in groups that a Chunk takes: what holds rows of any size holds little memory."""
    group: list[Sequence[Scalar]] = []
    size = 0
    for row in rows:
        group.append(row)
        size += sum([len(value) for value in row if isinstance(value, str | bytes)])
        if len(group) == CHUNK_ROWS or size >= CHUNK_SIZE:
            yield group
            group, size = [], 0
    if group:
        yield group
