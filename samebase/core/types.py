"""The values that go in and out of the core. All of them are immutable by convention.

What numbers mean, everywhere:

- an **offset** names the *next* log entry to read; offset n says that entries 0..n-1 are done;
- a **seq** is the position of a commit in its origin's local change log, greater than 0 and strictly
  increasing per origin, with gaps; 0 stands for "before the first".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal, NamedTuple, TypeAlias

Scalar: TypeAlias = int | float | str | bytes | Decimal | None
"""One column's value in its canonical form. Booleans are the integers 0 and 1."""

Row: TypeAlias = Mapping[str, Scalar]
"""Column name to value. Never changed in place: a new row is a new mapping."""

Key: TypeAlias = tuple[Scalar, ...]
"""Values of the key columns, in the order of `Policy.key`."""

RowId: TypeAlias = tuple[str, Key]
"""(table, key)."""

UniqueId: TypeAlias = tuple[str, tuple[str, ...], tuple[Scalar, ...]]
"""(table, columns of the unique index, values). Values with a None in them occupy nothing and have no UniqueId."""


class Delta(NamedTuple):
    """A counter column and the smallest and largest value that it can hold (both inclusive)."""

    column: str
    low: int | Decimal
    high: int | Decimal


@dataclass(frozen=True, slots=True)
class Policy:
    """How a table's rows identify themselves and what happens when two replicas write the same one.

    It travels with every transaction, so that a verdict depends on the log alone.
    """

    kind: Literal["merge", "strict"]
    key: tuple[str, ...]
    unique: tuple[tuple[str, ...], ...] = ()
    delta: tuple[Delta, ...] = ()

    @property
    def strict(self) -> bool:
        return self.kind == "strict"


@dataclass(frozen=True, slots=True)
class Table:
    """A replicated table as this replica has it.

    Attributes:
        columns: every column with the constant that a row without it reads as (its declared default, or None).
    """

    name: str
    policy: Policy
    columns: Mapping[str, Scalar]


Schema: TypeAlias = Mapping[str, Table]


class Chunk(NamedTuple):
    """Some rows of one table, as they are streamed: each with its values in the order of `columns`."""

    table: str
    columns: tuple[str, ...]
    rows: Sequence[Sequence[Scalar]]


class RowChange(NamedTuple):
    """One statement's effect on one row, as the change log tells it (not yet netted per key)."""

    table: str
    before: Row | None
    after: Row | None


@dataclass(frozen=True, slots=True)
class Commit:
    """A transaction that was committed in this replica's database, as a ChangeSource reads it.

    Attributes:
        seq: its position in the local change log.
        rows: row changes in the order in which they happened; several may concern one key.
        request: id from the intent row, if the transaction wrote one.
        certify: the intent row asks that every change be certified.
        traceparent: W3C trace context of the request.
        ts_ms: wall clock at the commit, milliseconds since 1970; for people, no decision reads it.
    """

    seq: int
    rows: tuple[RowChange, ...]
    request: str | None = None
    certify: bool = False
    traceparent: str | None = None
    ts_ms: int = 0


@dataclass(frozen=True, slots=True)
class Change:
    """The net change of one key in its transaction: `before` None inserts, `after` None deletes."""

    table: str
    key: Key
    before: Row | None
    after: Row | None
    policy: Policy

    @property
    def id(self) -> RowId:
        return (self.table, self.key)


@dataclass(frozen=True, slots=True)
class Transaction:
    """What one database commit changed, as it stands in the log.

    Attributes:
        origin: identity of one incarnation of a replica's database.
        prev: seq of the origin's previous published transaction, 0 for its first.
        certified: it has a change on a strict table, or `certify_all`.
        certify_all: its intent row asked that changes on merge tables be certified too.
    """

    origin: str
    seq: int
    prev: int
    certified: bool
    changes: tuple[Change, ...]
    certify_all: bool = False
    request: str | None = None
    traceparent: str | None = None
    ts_ms: int = 0


@dataclass(frozen=True, slots=True)
class Part:
    """A slice of a transaction that is too large for one record.

    Attributes:
        header: the transaction with the slice's changes only.
        start: index of the slice's first change in the whole transaction.
        total: number of changes of the whole transaction.
    """

    header: Transaction
    start: int
    total: int


class Entry(NamedTuple):
    """A log record, decoded. `offset` is its own place; the offset after it is `offset + 1`."""

    offset: int
    content: Transaction | Part


class Record(NamedTuple):
    """What is appended to the log: the value, and headers for consumers that do not parse it."""

    value: bytes
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Publish:
    """Effect: append this transaction to the log, after everything published before it."""

    transaction: Transaction


PARTS_SPAN = 100_000
"""A part counts only within so many entries of the part that began its transaction. An origin that dies in the middle
of one must not make every later replica read the log from there for ever. Verdicts hang on it: the same everywhere."""

Reason: TypeAlias = Literal["exists", "missing", "changed", "taken", "gone"]
"""Why a change did not happen: a row with its key exists; there is none; its row differs from `before`;
a unique value belongs to another row; (merge tables, does not reject) the updated row does not exist."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """What the log says did not happen. Every replica records the same ones.

    Attributes:
        reason: `gone` is about single changes of an accepted transaction, any other rejects the whole.
        rows: the rows that it is about: the first conflicting one, or every one that is gone.
        offset: the entry's place in the log.
        changes: what was lost; only at the origin, () elsewhere.
    """

    origin: str
    seq: int
    request: str | None
    reason: Reason
    rows: tuple[RowId, ...]
    offset: int
    changes: tuple[Change, ...] = ()


class Verdict(NamedTuple):
    """The outcome of one counted entry, for those who wait for it."""

    origin: str
    seq: int
    request: str | None
    accepted: bool
    reason: Reason | None
    rows: tuple[RowId, ...]
    offset: int


@dataclass(frozen=True, slots=True)
class Concerned:
    """What must be locked and read before a batch can be decided.

    Attributes:
        rows: keys, sorted.
        uniques: unique values, sorted; a value that is being freed is among them.
        capture_first: an own entry of the batch has not been captured yet: read the local change log to its end.
    """

    rows: tuple[RowId, ...] = ()
    uniques: tuple[UniqueId, ...] = ()
    capture_first: bool = False


@dataclass(frozen=True, slots=True)
class Rows:
    """What the database holds, read under lock.

    Attributes:
        rows: for every key asked for, its row or None.
        holders: for every unique value asked for, the key of the row that has it or None.
    """

    rows: Mapping[RowId, Row | None] = field(default_factory=dict)
    holders: Mapping[UniqueId, Key | None] = field(default_factory=dict)


class Put(NamedTuple):
    """Make the row `after`. `before` is the row as it was read, None if there is none in the way at that moment
    (there was none, or this Write deletes it first): then a plain INSERT, else an UPDATE by key."""

    id: RowId
    before: Row | None
    after: Row


@dataclass(frozen=True, slots=True)
class Write:
    """Effect: one database transaction, not captured by the change log, in this order:

    0. refuse (Fenced) unless the stored offset is `was_offset`;
    1. delete the rows of `deletes`;
    2. carry out `puts`;
    3. store `base_puts`, delete `base_deletes`;
    4. append `rejected`;
    5. set `applied`, `held` and `offset`, and move `settled` (never back): local commits up to it need not be read
       again.

    All of it or nothing. For the caller, not for the database: `verdicts` says what became of each entry that
    counted; `gap`, if not None, is the offset of an own entry that came too early because one before it was lost:
    everything pending must be published again.
    """

    was_offset: int
    offset: int
    deletes: tuple[RowId, ...] = ()
    puts: tuple[Put, ...] = ()
    base_puts: tuple[tuple[RowId, Row | None], ...] = ()
    base_deletes: tuple[RowId, ...] = ()
    rejected: tuple[Rejection, ...] = ()
    applied: Mapping[str, int] = field(default_factory=dict)
    held: Mapping[str, int | None] = field(default_factory=dict)
    settled: int = 0
    verdicts: tuple[Verdict, ...] = ()
    gap: int | None = None

    @property
    def only_moves(self) -> bool:
        """Whether there is nothing to do but step 5."""
        return not (self.deletes or self.puts or self.base_puts or self.base_deletes or self.rejected)


@dataclass(frozen=True, slots=True)
class State:
    """What a replica keeps beside its data, as it is loaded at a start.

    Attributes:
        origin: this database's identity.
        offset: next log entry to apply.
        applied: per origin, seq of the last entry that counted.
        held: per origin with an unfinished transaction in parts, the offset of the part that began it. A restarted
            replica reads the log from the smallest of them and takes parts of an origin from its own one on.
        base: stored base rows (None: the log has no such row).
        settled: local commits up to this seq need not be read again.
    """

    origin: str
    offset: int = 0
    applied: Mapping[str, int] = field(default_factory=dict)
    held: Mapping[str, int] = field(default_factory=dict)
    base: Mapping[RowId, Row | None] = field(default_factory=dict)
    settled: int = 0

    @property
    def reread(self) -> int:
        """Offset at which a restarted replica begins to read the log; never above `offset`."""
        return min([self.offset, *(begun for begun in self.held.values() if self.offset - begun <= PARTS_SPAN)])
