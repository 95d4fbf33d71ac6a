"""A whole cluster as a pure model: lists and dicts around the real core.

The log is a list. Each replica has an in-memory database (keys and unique values enforced statement by statement, a
durable change log, the durable state that a Write stores) and up to two sync processes, the second one a zombie. Every
effect is a method of its own, so that a test may crash, delay or interleave between any two of them. The sync processes
obey the caller's order that `samebase.core.replica` documents, and check each Write against the oracle.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from samebase.core.errors import Fenced, SchemaBehind
from samebase.core.replica import Replica
from samebase.core.snapshot import log_state
from samebase.core.types import (
    Change,
    Chunk,
    Commit,
    Concerned,
    Delta,
    Entry,
    Key,
    Part,
    Policy,
    Rejection,
    Row,
    RowChange,
    RowId,
    Rows,
    Scalar,
    Schema,
    State,
    Table,
    Transaction,
    UniqueId,
    Write,
)
from samebase.core.wire import decode, encode, parts
from tests.support.oracle import Oracle, difference

Statement = tuple[Any, ...]
"""("insert", table, row), ("update", table, key, columns), ("add", table, key, column, number),
("delete", table, key), ("rekey", table, key, new key), ("swap", table, key, other key, column)."""

OLD: Schema = {
    "note": Table("note", Policy("merge", ("id",)), {"id": None, "a": None, "b": None}),
    "hits": Table("hits", Policy("merge", ("id",), delta=(Delta("n", 0, 4),)), {"id": None, "n": 0, "tag": None}),
    "acct": Table("acct", Policy("strict", ("id",), unique=(("name",),)), {"id": None, "name": None, "v": 0}),
    "seat": Table(
        "seat",
        Policy("strict", ("row", "no"), unique=(("guest",), ("hall", "label"))),
        {"row": None, "no": None, "guest": None, "hall": None, "label": None},
    ),
}
"""One table of each kind: merge, delta, strict with one unique index, strict with a composite key and two."""

NEW: Schema = {
    **OLD,
    "note": replace(OLD["note"], columns={**OLD["note"].columns, "c": 7}),
    "acct": replace(OLD["acct"], columns={**OLD["acct"].columns, "w": 7}),
}
"""The same after a migration: an additional column with a constant default."""


class Refused(Exception):
    """A statement failed: a key or unique value exists already, or a number is out of range."""


class Locked(Exception):
    """The application waits for a row or a unique value that the sync process has locked."""


def columns_of(schema: Schema) -> dict[str, Mapping[str, Scalar]]:
    return {name: table.columns for name, table in schema.items()}


def uniques_of(id: RowId, row: Row | None, schema: Schema) -> list[UniqueId]:
    """The unique values that a row occupies."""
    if row is None:
        return []
    return [
        (id[0], columns, tuple(row[column] for column in columns))
        for columns in schema[id[0]].policy.unique
        if all(row[column] is not None for column in columns)
    ]


class Database:
    """A replica's database: survives every crash."""

    def __init__(self, origin: str, schema: Schema) -> None:
        self.schema = schema
        self.rows: dict[RowId, Row] = {}
        self.commits: list[Commit] = []
        self.history: list[Transaction] = []
        self.state = State(origin)
        self.rejected: list[Rejection] = []
        self.forgotten = 0
        self.owner: Sync | None = None
        self.locked: set[RowId | UniqueId] = set()

    @property
    def origin(self) -> str:
        return self.state.origin

    # -- the application's side ----------------------------------------------------------------------------------

    def commit(
        self, statements: Sequence[Statement], certify: bool = False, request: str | None = None
    ) -> tuple[Commit | None, list[str]]:
        """Run statements and commit. One that fails is skipped, like a program that catches the error. Returns the
        commit (None if there was nothing to log), and what failed. Raises Locked, and then did nothing."""
        work = dict(self.rows)
        changes: list[RowChange] = []
        failed = []
        for statement in statements:
            trial = dict(work)
            try:
                done = [change for step in self._steps(statement, work) for change in self._execute(step, trial)]
            except Refused as error:
                failed.append(str(error))
                continue
            work = trial
            changes += done
        if not changes and request is None:
            return None, failed
        seq = (self.commits[-1].seq if self.commits else 0) + 1 + len(statements) % 2
        commit = Commit(seq, tuple(changes), request, certify)
        net = difference(self.rows, work)
        if net:
            made = tuple(
                Change(id[0], id[1], before, after, self.schema[id[0]].policy) for id, (before, after) in net.items()
            )
            strict = any(change.policy.strict for change in made)
            self.history.append(Transaction(self.origin, seq, 0, certify or strict, made, certify, request))
        self.commits.append(commit)
        self.rows = work
        return commit, failed

    def _steps(self, statement: Statement, rows: Mapping[RowId, Row]) -> list[Statement]:
        if statement[0] != "swap":
            return [statement]
        _, table, one, other, column = statement
        if one == other or (table, one) not in rows or (table, other) not in rows:
            return []
        values = rows[table, one][column], rows[table, other][column]
        return [
            ("update", table, one, {column: "aside"}),
            ("update", table, other, {column: values[0]}),
            ("update", table, one, {column: values[1]}),
        ]

    def _execute(self, statement: Statement, rows: dict[RowId, Row]) -> list[RowChange]:
        kind, name, *rest = statement
        table = self.schema[name]
        if kind == "insert":
            after: Row | None = {**table.columns, **rest[0]}
            before = None
        else:
            before = rows.get((name, rest[0]))
            if before is None:
                self._wait_for({(name, rest[0])})
                return []
            if kind == "delete":
                after = None
            elif kind == "update":
                after = {**before, **rest[1]}
            elif kind == "add":
                after = {**before, rest[1]: before[rest[1]] + rest[2]}  # type: ignore[operator]
            else:
                after = {**before, **dict(zip(table.policy.key, rest[1], strict=True))}
        if before == after:
            return []
        for delta in table.policy.delta if after is not None else ():
            if not delta.low <= after[delta.column] <= delta.high:  # type: ignore[operator, index]
                raise Refused(f"{delta.column} of {name} is out of range")
        ids = [(name, tuple(row[c] for c in table.policy.key)) for row in (before, after) if row is not None]
        touched: set[RowId | UniqueId] = set(ids)
        for id, row in zip(ids, [row for row in (before, after) if row is not None], strict=True):
            touched.update(uniques_of(id, row, self.schema))
        self._wait_for(touched)
        if before is not None:
            del rows[ids[0]]
        if after is not None:
            self._insert(ids[-1], after, rows)
        return [RowChange(name, before, after)]

    def _wait_for(self, touched: set[RowId | UniqueId]) -> None:
        if touched & self.locked:
            raise Locked(repr(touched & self.locked))

    def _insert(self, id: RowId, row: Row, rows: dict[RowId, Row]) -> None:
        if id in rows:
            raise Refused(f"{id[0]} {id[1]} exists")
        taken = set(uniques_of(id, row, self.schema))
        for other, there in rows.items():
            if other[0] == id[0] and not taken.isdisjoint(uniques_of(other, there, self.schema)):
                raise Refused(f"a unique value of {id[0]} {id[1]} is taken")
        rows[id] = row

    # -- the sync process's side ---------------------------------------------------------------------------------

    def begin(self, owner: Sync, was_offset: int) -> None:
        if self.state.offset != was_offset:
            raise Fenced(f"stored offset is {self.state.offset}, not {was_offset}")
        self.owner = owner

    def read(self, concerned: Concerned) -> Rows:
        """Lock and read."""
        holders: dict[UniqueId, Key | None] = dict.fromkeys(concerned.uniques)
        for id, row in self.rows.items():
            for unique in uniques_of(id, row, self.schema):
                if unique in holders:
                    holders[unique] = id[1]
                    self.locked.add(id)
        self.locked.update(concerned.rows)
        self.locked.update(concerned.uniques)
        return Rows({id: self.rows.get(id) for id in concerned.rows}, holders)

    def execute(self, write: Write) -> None:
        """Carry a Write out in the order that it documents, with every constraint enforced at every statement."""
        assert write.was_offset == self.state.offset, "a Write got past the fence"
        rows = dict(self.rows)
        for id in write.deletes:
            assert id in rows, f"{id} is deleted but not there"
            del rows[id]
        for put in write.puts:
            if put.before is not None:
                assert rows.pop(put.id, None) == put.before, f"{put.id} is not as it was read"
            self._insert(put.id, put.after, rows)
        base = dict(self.state.base)
        base.update(write.base_puts)
        for id in write.base_deletes:
            del base[id]
        held = dict(self.state.held)
        for origin, offset in write.held.items():
            held.pop(origin, None)
            if offset is not None:
                held[origin] = offset
        self.rejected += write.rejected
        self.rows = rows
        self.state = State(
            self.origin,
            write.offset,
            {**self.state.applied, **write.applied},
            held,
            base,
            max(self.state.settled, write.settled),
        )

    def end(self) -> None:
        """Commit or roll back: the locks go."""
        self.owner = None
        self.locked = set()

    def migrate(self, schema: Schema) -> None:
        self.schema = schema
        self.rows = {id: {**schema[id[0]].columns, **row} for id, row in self.rows.items()}


@dataclass
class Outgoing:
    """A record on its way to the log. `again`: it was published before."""

    content: Transaction | Part
    again: bool


@dataclass
class Sync:
    """One sync process. All of it is lost in a crash."""

    cluster: Cluster
    database: Database
    core: Replica = field(init=False)
    cursor: int = 0
    outbox: list[Outgoing] = field(default_factory=list)
    republished: int = -1
    batch: tuple[Entry, ...] | None = None
    rows: Rows | None = None
    stable: bool = False
    waits_for: str | None = None

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        """Throw the core away, read the state, capture to the end, publish everything pending again."""
        if self.database.owner is self:
            self.database.end()
        state = self.database.state
        assert state.settled >= self.database.forgotten, "commits are needed again that were forgotten"
        self.core = Replica(state, self.database.schema)
        self.cursor = state.reread
        self.batch = self.rows = self.waits_for = None
        self.stable = False
        self.outbox = []
        self.republished = -1
        self._capture(None)
        self.outbox = [Outgoing(publish.transaction, True) for publish in self.core.pending_publishes()]

    # -- local change log to log ---------------------------------------------------------------------------------

    def capture(self, limit: int | None = None) -> None:
        """Read commits from the local change log, outside of any batch."""
        if self.database.owner is not self:
            self._capture(limit)

    def _capture(self, limit: int | None) -> None:
        new = [commit for commit in self.database.commits if commit.seq > self.core.last_captured]
        for commit in new[:limit]:
            publish = self.core.captured(commit)
            expected = [made.changes for made in self.database.history if made.seq == commit.seq]
            if publish is None:
                assert not expected or commit.seq <= self.core.applied(self.core.origin), "a commit was not published"
            else:
                got = publish.transaction.changes
                assert len(got) == len(expected[0]), "netted wrongly"
                self.outbox.append(Outgoing(publish.transaction, False))

    def publish(self) -> Outgoing | None:
        """Take the next record to be published; the caller decides what becomes of it."""
        return self.outbox.pop(0) if self.outbox and self.database.owner is not self else None

    def cut(self, size: int) -> None:
        """Cut the next transaction to be published into parts of this many changes."""
        if self.outbox and isinstance(self.outbox[0].content, Transaction):
            first = self.outbox.pop(0)
            transaction = first.content
            assert isinstance(transaction, Transaction)
            sizes = [size] * -(-len(transaction.changes) // size)
            self.outbox[:0] = [Outgoing(part, first.again) for part in parts(transaction, sizes)]

    def send(self) -> None:
        """Publish the next record; it arrives."""
        record = self.publish()
        if record is not None:
            self.arrived(record, self.cluster.append(record.content))

    def arrived(self, record: Outgoing, offset: int) -> None:
        if record.again:
            self.republished = max(self.republished, offset)

    # -- log to database -----------------------------------------------------------------------------------------

    def open(self, size: int) -> bool:
        """Begin a batch: open the transaction, lock and read what is concerned. False if there is nothing to do."""
        if self.database.owner is not None or self.waits_for is not None:
            return False
        if self.batch is None:
            contents = self.cluster.log[self.cursor : self.cursor + size]
            if not contents:
                return False
            self.batch = tuple(Entry(self.cursor + place, content) for place, content in enumerate(contents))
        try:
            self.database.begin(self, self.core.offset)
            self.rows = self.database.read(self.core.concerned(self.batch))
        except Fenced:
            self.start()
            return False
        except SchemaBehind as error:
            self.database.end()
            self.batch = self.batch[: error.offset - self.batch[0].offset] or None
            if self.batch is not None:
                return self.open(size)
            self.waits_for = str(error)
            return False
        self.stable = False
        return True

    def barrier(self) -> bool:
        """Capture to the end of the local change log; lock what that makes concerned, too. True once nothing more is
        concerned. A batch that concerns nothing needs no barrier."""
        if self.database.owner is not self:
            return False
        assert self.batch is not None
        assert self.rows is not None
        concerned = self.core.concerned(self.batch)
        if concerned.rows or concerned.uniques or concerned.capture_first:
            self._capture(None)
            concerned = self.core.concerned(self.batch)
        more = not (set(concerned.rows) <= set(self.rows.rows) and set(concerned.uniques) <= set(self.rows.holders))
        if more:
            self.rows = self.database.read(concerned)
        self.stable = not more
        return self.stable

    def decide(self) -> Write:
        """The Write of the batch; checks it against the oracle."""
        assert self.batch is not None
        assert self.rows is not None
        write = self.core.delivered(self.batch, self.rows)
        self.cluster.check_write(self, write)
        return write

    def finish(self, crash: bool = False) -> bool:
        """Decide, write, commit and adopt; or crash after the commit. False unless the batch is ready."""
        if self.database.owner is not self or not self.stable:
            return False
        write = self.decide()
        self.database.execute(write)
        self.database.end()
        if crash:
            self.start()
            return True
        self.core.written(write)
        self.database.forgotten = max(self.database.forgotten, self.core.settled)
        self.cursor = self.batch[-1].offset + 1  # type: ignore[index]
        self.batch = self.rows = None
        self.stable = False
        queued = any(record.again for record in self.outbox)
        if write.gap is not None and write.gap > self.republished and not queued:
            self.outbox = [Outgoing(publish.transaction, True) for publish in self.core.pending_publishes()]
        return True

    def deadlock(self) -> None:
        """The database rolled the batch's transaction back: the same batch will be opened again."""
        if self.database.owner is self:
            self.database.end()
            self.rows = None
            self.stable = False

    def deliver(self, size: int) -> bool:
        """A whole batch without disturbance."""
        if self.database.owner is not self and not self.open(size):
            return False
        while not self.barrier():
            pass
        return self.finish()


class Cluster:
    """Replicas, the log, and the oracle's opinion of the log.

    Args:
        schemas: per replica; any of them may begin with the old one.
    """

    def __init__(self, schemas: Sequence[Schema]) -> None:
        self.log: list[Transaction | Part] = []
        self.flying: list[Outgoing] = []
        self.databases: list[Database] = []
        self.syncs: list[list[Sync]] = []
        self.oracles: dict[int, Oracle] = {}
        for schema in schemas:
            self.oracle(schema)
            self.add(Database(f"r{len(self.databases)}", schema))

    def oracle(self, schema: Schema) -> Oracle:
        """What the log says to a replica with this schema."""
        if id(schema) not in self.oracles:
            oracle = self.oracles[id(schema)] = Oracle(columns_of(schema))
            for content in self.log:
                oracle.append(content)
        return self.oracles[id(schema)]

    def add(self, database: Database) -> None:
        self.databases.append(database)
        self.syncs.append([Sync(self, database)])

    def append(self, content: Transaction | Part) -> int:
        """Put a record at the end of the log, through the wire format."""
        if isinstance(content, Transaction):
            (record,) = encode(content)
            read = decode(record.value, len(self.log)).content
            assert read == content, "the wire format changed a transaction"
            content = read
        self.log.append(content)
        for oracle in self.oracles.values():
            oracle.append(content)
        return len(self.log) - 1

    def boot(self, peer: int, commit: Iterable[Statement] = ()) -> bool:
        """Add a replica from a snapshot of a peer. The peer's application commits `commit` after the view was taken.
        False if the peer's sync process cannot give one now."""
        source = self.syncs[peer][0]
        database = source.database
        if database.owner is not None or database.state.offset != source.core.offset:
            return False
        view = list(database.rows.items())
        database.commit(list(commit))
        source.capture()
        chunks = (Chunk(table, tuple(row), [tuple(row.values())]) for (table, _), row in view)
        new = Database(f"r{len(self.databases)}", database.schema)
        for table, columns, rows in log_state(chunks, source.core.bases(), database.schema):
            for row in (dict(zip(columns, values, strict=True)) for values in rows):
                new._insert((table, tuple(row[c] for c in new.schema[table].policy.key)), row, new.rows)
        new.state = replace(source.core.snapshot_state(), origin=new.origin)
        new.rejected = [replace(rejection, changes=()) for rejection in database.rejected]
        self.add(new)
        self.check(new)
        return True

    # -- what must hold ------------------------------------------------------------------------------------------

    def pending(self, database: Database) -> list[Transaction]:
        """The transactions of this database that the log has not counted at its offset."""
        done = self.oracle(database.schema).applied[database.state.offset].get(database.origin, 0)
        columns = columns_of(database.schema)
        return [
            replace(
                made,
                changes=tuple(
                    replace(
                        change,
                        before=None if change.before is None else {**columns[change.table], **change.before},
                        after=None if change.after is None else {**columns[change.table], **change.after},
                    )
                    for change in made.changes
                ),
            )
            for made in database.history
            if made.seq > done
        ]

    def check(self, database: Database) -> None:
        """The invariant: database == replay(pending, S(offset)). And the records of what did not happen."""
        oracle = self.oracle(database.schema)
        offset = database.state.offset
        shown = oracle.replay(offset, self.pending(database))
        assert database.rows == shown, f"{database.origin} at {offset} is not replay(pending, S):\n" + "\n".join(
            f"  {id}: has {has}, should have {should}" for id, (has, should) in difference(database.rows, shown).items()
        )
        assert database.state.applied == oracle.applied[offset], f"{database.origin}: applied is wrong"
        assert database.state.reread <= offset

    def check_write(self, sync: Sync, write: Write) -> None:
        """Verdicts and records are the oracle's; an own echo writes no row."""
        oracle = self.oracle(sync.database.schema)
        expected = [
            outcome
            for offset in range(write.was_offset, write.offset)
            if (outcome := oracle.outcomes.get(offset)) is not None
        ]
        got = [(v.origin, v.seq, v.request, v.offset, v.reason, (*v.rows, None)[0]) for v in write.verdicts]
        assert got == [tuple(outcome[:6]) for outcome in expected], f"verdicts differ: {got}, oracle: {expected}"
        assert [v.accepted for v in write.verdicts] == [outcome.reason is None for outcome in expected]
        own = sync.database.origin
        for rejection, outcome in zip(
            write.rejected, [o for o in expected if o.reason is not None or o.gone], strict=True
        ):
            assert rejection.offset == outcome.offset
            assert rejection.reason == (outcome.reason or "gone")
            assert rejection.rows == (outcome.gone if outcome.reason is None else (outcome.row,))
            assert bool(rejection.changes) == (rejection.origin == own), "changes are kept at the origin, only there"
        if all(outcome.origin == own for outcome in expected) and not sync.core._fresh:
            columns = sync.database.schema
            complete = all(
                len(row) == len(columns[change.table].columns)
                for _, content in sync.batch or ()
                for change in (content.header if isinstance(content, Part) else content).changes
                for row in (change.before, change.after)
                if row is not None
            )
            assert not complete or not (write.deletes or write.puts), "an own echo wrote a row"

    def drain(self) -> None:
        """Let everything come to rest: restart every process, publish and deliver until nothing moves."""
        for database, syncs in zip(self.databases, self.syncs, strict=True):
            del syncs[1:]
            database.end()
            if database.schema is OLD and NEW_ID in self.oracles:
                database.migrate(NEW)
            syncs[0].start()
        for _ in range(4):
            for syncs in self.syncs:
                syncs[0].capture()
                while syncs[0].outbox:
                    syncs[0].send()
            for syncs in self.syncs:
                while syncs[0].deliver(3):
                    self.check(syncs[0].database)
        first = self.databases[0]
        for database, syncs in zip(self.databases, self.syncs, strict=True):
            assert database.state.offset == len(self.log), f"{database.origin} stands still: {syncs[0].waits_for}"
            assert syncs[0].core.pending == 0, f"{database.origin} still has pending transactions"
            assert not database.state.base, "base rows outlive their transactions"
            self.check(database)
            assert canonical(database) == canonical(first), f"{database.origin} and {first.origin} differ"


def canonical(database: Database) -> tuple[list[str], list[str]]:
    """Rows and rejections, byte for byte; what was lost is kept at the origin only."""
    rows = sorted(f"{id!r} {sorted(row.items())!r}" for id, row in database.rows.items())
    return rows, [repr(replace(rejection, changes=())) for rejection in database.rejected]


NEW_ID = id(NEW)
