"""The heart: one replica's view of the log and of its own pending transactions.

    database == replay(pending, S(offset))

A replica's database is the log's state with its own pending transactions replayed on top. The core owns no disk, no
network, no clock and no thread. Its caller reads, acts, and tells it, through four calls:

    captured(commit)          -> Publish    a local commit was read from the local change log
    concerned(entries)        -> Concerned  what must be locked and read before this batch can be decided
    delivered(entries, rows)  -> Write      decide: one transaction for the database
    written(write)                          the caller committed it: only now the core adopts the new state

The caller's order of work, each point of which some schedule needs:

1. At a start, every commit after `State.settled` is captured, to the end of the local change log, before the first
   batch is delivered; entries are delivered from `State.reread` on.
2. Publishes are appended to the log in the order in which they were returned. Any of them may be lost, repeated or
   overtaken: the `prev` rule sorts it out. What was captured inside an open database transaction is published after
   that transaction has committed.
3. Per batch: open a transaction fenced on the offset; lock and read what `concerned` names; capture up to the end of
   the local change log; ask again, until nothing more is concerned; `delivered`; carry the Write out; commit;
   `written`.
4. If the commit fails with a deadlock or lock-wait, the batch begins anew. If anything else fails, throw the core away,
   load the state and start again: nothing but the stored state and the two logs is needed.

The ten rules that this module and its surroundings keep, and the failure behind each, are told in docs/architecture.md;
where code here keeps one of them, a comment names it (R1 to R10).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from typing import NamedTuple

from samebase.core.admission import Admission, Batch
from samebase.core.certify import Conflict
from samebase.core.errors import Diverged, Misuse
from samebase.core.pending import Pending
from samebase.core.policy import complete, footprint_uniques, net, unique_ids
from samebase.core.types import (
    Commit,
    Concerned,
    Entry,
    Key,
    Publish,
    Put,
    Rejection,
    Row,
    RowId,
    Rows,
    Schema,
    State,
    Transaction,
    UniqueId,
    Verdict,
    Write,
)
from samebase.core.view import View


class Replica:
    """The pure state of one replica between two batches.

    Args:
        state: as it is stored beside the data.
        schema: the replicated tables as the database has them. When they change, make a new Replica.

    Raises Diverged if the state has base rows of a table that is not in the schema.
    """

    def __init__(self, state: State, schema: Schema) -> None:
        self.origin = state.origin
        self.schema = schema
        self.settled = state.settled
        self.last_captured = max(state.settled, state.applied.get(state.origin, 0))
        self._last_published = state.applied.get(state.origin, 0)
        self._admission = Admission(state, schema)
        unknown = sorted({table for table, _ in state.base} - schema.keys())
        if unknown:
            raise Diverged(f"base rows are stored for table {unknown[0]}, which is not replicated any more")
        self._pending = Pending(
            {id: None if row is None else complete(row, schema[id[0]]) for id, row in state.base.items()}
        )
        self._fresh = True
        self._decided: tuple[Write, _Next] | None = None

    @property
    def offset(self) -> int:
        """The next log entry to apply."""
        return self._admission.offset

    @property
    def pending(self) -> int:
        """How many local transactions have not been seen back in the log."""
        return len(self._pending)

    @property
    def last_published(self) -> int:
        """Seq of the last local transaction that had something to publish, 0 for none."""
        return self._last_published

    def applied(self, origin: str) -> int | None:
        """Seq of the origin's last entry that counted; None for an origin that was never seen."""
        return self._admission.applied.get(origin)

    def origins(self) -> dict[str, int]:
        """Every origin that was seen, with the seq of its last entry that counted."""
        return dict(self._admission.applied)

    def pending_publishes(self) -> list[Publish]:
        """Everything pending, to be published again, in order (R1: on a gap of its own, and at a start)."""
        return [Publish(transaction) for transaction in self._pending.transactions]

    # -- the four calls ------------------------------------------------------------------------------------------

    def captured(self, commit: Commit) -> Publish | None:
        """A local commit was read from the change log. Returns what to publish: None if it changes nothing, or if it
        is settled already. Commits come in order, each once."""
        if commit.seq <= self._admission.applied.get(self.origin, 0):
            return None
        if commit.seq <= self.last_captured:
            raise Misuse(f"commit {commit.seq} was captured already (last: {self.last_captured})")
        self.last_captured = commit.seq
        changes = net(commit.rows, self.schema)
        if not changes:
            return None
        transaction = Transaction(
            origin=self.origin,
            seq=commit.seq,
            prev=self._last_published,
            certified=commit.certify or any(change.policy.strict for change in changes),
            changes=changes,
            certify_all=commit.certify,
            request=commit.request,
            traceparent=commit.traceparent,
            ts_ms=commit.ts_ms,
        )
        self._last_published = commit.seq
        self._pending.add(transaction)
        self._decided = None  # It knew nothing of this commit, which may build on rows whose base row it moves.
        return Publish(transaction)

    def concerned(self, entries: Sequence[Entry]) -> Concerned:
        """The keys and unique values to lock and read before `delivered` can decide about these entries. Ask again
        after each capture. Raises SchemaBehind for an entry that this replica's tables cannot take yet."""
        batch = self._admission.admit(entries)
        scope = self._scope(batch)
        own = [transaction.seq for _, transaction in batch.counted if transaction.origin == self.origin]
        return Concerned(
            rows=tuple(sorted(scope.rows, key=_order)),
            uniques=tuple(sorted(scope.uniques, key=_order)),
            capture_first=bool(own) and own[-1] > self.last_captured,
        )

    def delivered(self, entries: Sequence[Entry], rows: Rows) -> Write:
        """Decide about a batch. `rows` must hold all that `concerned` named, as it stands under lock now.

        Changes nothing here: call `written` once the Write is committed.
        Raises Diverged if the database is not what the log and the pending transactions make of it, or if an own entry
        is not the oldest pending transaction; SchemaBehind as `concerned` does.
        """
        if self._fresh:
            self._pending.check_complete()
        batch = self._admission.admit(entries)
        scope = self._scope(batch)
        if not (scope.rows.keys() <= rows.rows.keys() and scope.uniques.keys() <= rows.holders.keys()):
            raise Misuse("not everything that is concerned was read")
        beneath = _LogState(self._pending, rows)
        self._check(beneath, scope, rows)

        log_state = View(beneath, self.schema)
        rejected: list[Rejection] = []
        verdicts: list[Verdict] = []
        settled: list[Transaction] = []
        for offset, transaction in batch.counted:
            own = transaction.origin == self.origin
            if own:
                settled.append(self._expect(transaction, len(settled), offset))
            if own and transaction.seq not in scope.linked:
                # Nothing in this batch concerns it: what replay says of it is what the log says of it.
                conflict = self._pending.doomed.get(transaction.seq)
            else:
                conflict = log_state.judge(transaction)
            if conflict is None:
                gone = tuple(log_state.apply(transaction.changes))
                if gone:
                    lost = tuple(change for change in transaction.changes if change.id in gone) if own else ()
                    rejected.append(
                        Rejection(transaction.origin, transaction.seq, transaction.request, "gone", gone, offset, lost)
                    )
            else:
                lost = transaction.changes if own else ()
                rejected.append(
                    Rejection(
                        transaction.origin,
                        transaction.seq,
                        transaction.request,
                        conflict.reason,
                        (conflict.row,),
                        offset,
                        lost,
                    )
                )
            verdicts.append(
                Verdict(
                    transaction.origin,
                    transaction.seq,
                    transaction.request,
                    conflict is None,
                    None if conflict is None else conflict.reason,
                    () if conflict is None else (conflict.row,),
                    offset,
                )
            )

        last_settled = settled[-1].seq if settled else 0
        shown = View(log_state, self.schema)
        doomed = self._replay(shown, scope, after=last_settled)
        deletes, puts = self._difference(shown, scope, rows)
        bases = self._bases(log_state, settled, last_settled)
        remaining = len(self._pending) - len(settled)
        settled_upto = self._pending.transactions[len(settled)].seq - 1 if remaining else self.last_captured
        write = Write(
            was_offset=self.offset,
            offset=batch.offset,
            deletes=deletes,
            puts=puts,
            base_puts=tuple(bases.puts.items()),
            base_deletes=tuple(bases.deletes),
            rejected=tuple(rejected),
            applied=batch.applied,
            held={origin: None if part is None else part.offset for origin, part in batch.held.items()},
            settled=settled_upto,
            verdicts=tuple(verdicts),
            gap=batch.gap,
        )
        self._decided = (write, _Next(batch, len(settled), bases, doomed))
        return write

    def written(self, write: Write) -> None:
        """The caller committed the Write that `delivered` returned last: adopt the state after it."""
        if self._decided is None or self._decided[0] is not write:
            raise Misuse("this is not the Write that was decided last")
        _, after = self._decided
        self._decided = None
        self._fresh = False
        self._admission.adopt(after.batch)
        self.settled = write.settled
        for _ in range(after.settled):
            self._pending.settle()
        for id, row in after.bases.now.items():
            self._pending.set_base(id, row, self._pending.oldest(id))
        self._pending.stored.update(after.bases.puts)
        self._pending.stored.difference_update(after.bases.deletes)
        for seq, conflict in after.doomed.items():
            if conflict is None:
                self._pending.doomed.pop(seq, None)
            else:
                self._pending.doomed[seq] = conflict

    # -- around the four calls -----------------------------------------------------------------------------------

    def step(self, entries: Sequence[Entry], read: Callable[[Concerned], Rows]) -> Write:
        """concerned, read, delivered in one: for callers whose reads need no barrier (memory, tests, measurements)."""
        return self.delivered(entries, read(self.concerned(entries)))

    def bases(self) -> dict[RowId, Row | None]:
        """The log's row of every key that a pending transaction touches: what `snapshot.log_state` needs."""
        return dict(self._pending.base)

    def snapshot_state(self) -> State:
        """The state that goes with the rows of S(offset): no pending transactions, no origin."""
        admission = self._admission
        return State(
            origin="", offset=admission.offset, applied=dict(admission.applied), held=dict(admission.unfinished)
        )

    # -- taking a snapshot over ----------------------------------------------------------------------------------

    def touched(self) -> Concerned:
        """Every key and unique value that a pending transaction is about: what `rebased` needs to read."""
        scope = self._everything()
        return Concerned(tuple(sorted(scope.rows, key=_order)), tuple(sorted(scope.uniques, key=_order)))

    def rebased(self, rows: Rows, was_offset: int) -> Write:
        """The Write that shows the pending transactions again in a database that was filled with S(offset) of a
        snapshot. This core was made with the snapshot's state and has captured what the snapshot does not have;
        `rows` is what `touched` names, as the snapshot has it. Afterwards begin anew, from the stored state."""
        pending, scope = self._pending, self._everything()
        for id in scope.rows:
            pending.set_base(id, rows.rows[id], pending.oldest(id))
        shown = View(_LogState(pending, rows), self.schema)
        self._replay(shown, scope, after=0)
        deletes, puts = self._difference(shown, scope, rows)
        admission = self._admission
        return Write(
            was_offset=was_offset,
            offset=self.offset,
            deletes=deletes,
            puts=puts,
            base_puts=tuple((id, row) for id, row in pending.base.items() if row != pending.oldest(id).before),
            applied=dict(admission.applied),
            held=dict(admission.unfinished),
            settled=pending.transactions[0].seq - 1 if pending else self.last_captured,
        )

    def _everything(self) -> _Scope:
        rows = dict.fromkeys(self._pending.base)
        certified = [transaction for transaction in self._pending.transactions if transaction.certified]
        uniques = dict.fromkeys(unique for one in certified for unique in footprint_uniques(one.changes))
        return _Scope(rows, uniques, {transaction.seq for transaction in certified})

    # -- inside --------------------------------------------------------------------------------------------------

    def _scope(self, batch: Batch) -> _Scope:
        """R3: the footprints of foreign entries, closed over certified pending transactions that overlap. Own echoes
        and merge-only pending transactions link nothing."""
        rows: dict[RowId, None] = {}
        uniques: dict[UniqueId, None] = {}
        linked: set[int] = set()
        for _, transaction in batch.counted:
            if transaction.origin != self.origin or not self._complete(transaction):
                for change in transaction.changes:
                    rows[change.table, change.key] = None
                for unique in footprint_uniques(transaction.changes) if transaction.certified else ():
                    uniques[unique] = None
        if not self._pending:
            return _Scope(rows, uniques, linked)
        frontier: list[Transaction] = []
        if self._fresh:
            # R2: which certified transactions are doomed is not stored; the first batch finds it out.
            frontier += [transaction for transaction in self._pending.transactions if transaction.certified]
        for id in rows:
            frontier += self._pending.certified_on(id)
        for unique in uniques:
            frontier += self._pending.certified_on_unique(unique)
        while frontier:
            transaction = frontier.pop()
            if transaction.seq in linked:
                continue
            linked.add(transaction.seq)
            for change in transaction.changes:
                if change.id not in rows:
                    rows[change.id] = None
                    frontier += self._pending.certified_on(change.id)
            for unique in footprint_uniques(transaction.changes):
                if unique not in uniques:
                    uniques[unique] = None
                    frontier += self._pending.certified_on_unique(unique)
        return _Scope(rows, uniques, linked)

    def _complete(self, transaction: Transaction) -> bool:
        """Whether an own entry names every column. One from before a migration does not, and what the log makes of it
        may differ from what replay makes of the same commit, completed: it concerns what a foreign one would."""
        return all(
            len(row) == len(self.schema[change.table].columns)
            for change in transaction.changes
            for row in (change.before, change.after)
            if row is not None
        )

    def _check(self, beneath: _LogState, scope: _Scope, rows: Rows) -> None:
        """R10: the rows read are replay(pending, S) for the keys in hand."""
        touched = [id for id in scope.rows if self._pending.touches(id)]
        if not touched:
            return
        shown = View(beneath, self.schema)
        self._replay(shown, scope, after=0)
        for id in touched:
            if shown.row(id) != rows.rows[id]:
                raise Diverged(
                    f"at offset {self.offset} the database's row {id} is not what the log and the pending "
                    f"transactions make of it (columns {_differing(shown.row(id), rows.rows[id])}): it was changed "
                    "behind the change log, or captured wrongly"
                )

    def _replay(self, view: View, scope: _Scope, after: int) -> dict[int, Conflict | None]:
        """Replay the pending transactions with seq > `after` on the keys in scope; returns what became of each
        certified one (None: it shows)."""
        fates: dict[int, Conflict | None] = {}
        if not self._pending:
            return fates
        for transaction in self._pending.on(scope.rows):
            if transaction.seq <= after:
                continue
            if transaction.certified:
                fates[transaction.seq] = conflict = view.judge(transaction)
                if conflict is None:
                    view.apply(transaction.changes)
            else:
                view.apply([change for change in transaction.changes if change.id in scope.rows])
        return fates

    def _expect(self, transaction: Transaction, position: int, offset: int) -> Transaction:
        """The pending transaction that this own entry must be."""
        mine = next(islice(self._pending.transactions, position, None), None)
        if mine is None or not _same(transaction, mine):
            raise Diverged(
                f"log entry {offset} says that {self.origin} committed transaction {transaction.seq}, but this "
                "database's oldest pending transaction is "
                + ("none" if mine is None else str(mine.seq) if mine.seq != transaction.seq else "one of other content")
                + ": it was rolled back, restored from a copy, or cloned"
            )
        return mine

    def _difference(self, shown: View, scope: _Scope, rows: Rows) -> tuple[tuple[RowId, ...], tuple[Put, ...]]:
        """What the database must change to show this. R5: deletes first, and a row whose unique values change is
        deleted and inserted, so that a swap needs no temporary values."""
        deletes: list[RowId] = []
        puts: list[Put] = []
        for id in scope.rows:
            is_now, shall_be = rows.rows[id], shown.row(id)
            if is_now == shall_be:
                continue
            if shall_be is None:
                deletes.append(id)
            elif is_now is None:
                puts.append(Put(id, None, shall_be))
            else:
                table, policy = id[0], self.schema[id[0]].policy
                if policy.unique and unique_ids(table, policy, is_now) != unique_ids(table, policy, shall_be):
                    deletes.append(id)
                    puts.append(Put(id, None, shall_be))
                else:
                    puts.append(Put(id, is_now, shall_be))
        return tuple(deletes), tuple(puts)

    def _bases(self, log_state: View, settled: list[Transaction], last_settled: int) -> _Bases:
        """R2: the base rows after this batch. They are stored only where they differ from the `before` of the oldest
        pending change of their key."""
        bases = _Bases({}, {}, [])
        pending = self._pending
        if not pending:
            return bases
        ids = dict.fromkeys(log_state.rows)
        for transaction in settled:
            for change in transaction.changes:
                ids[change.id] = None
        for id in ids:
            if not pending.touches(id):
                continue
            oldest = pending.oldest_after(id, last_settled)
            if oldest is None:
                if id in pending.stored:
                    bases.deletes.append(id)
                continue
            row = log_state.row(id)
            bases.now[id] = row
            if row != oldest.before:
                if id not in pending.stored or row != pending.base[id]:
                    bases.puts[id] = row
            elif id in pending.stored:
                bases.deletes.append(id)
        return bases


class _Scope(NamedTuple):
    """What a batch is about. `linked`: seqs of the certified pending transactions whose footprint is inside."""

    rows: dict[RowId, None]
    uniques: dict[UniqueId, None]
    linked: set[int]


class _Bases(NamedTuple):
    """Base rows after a batch: of every touched key whose base row may have changed (`now`), and what to store."""

    now: dict[RowId, Row | None]
    puts: dict[RowId, Row | None]
    deletes: list[RowId]


class _Next(NamedTuple):
    """What `written` adopts."""

    batch: Batch
    settled: int
    bases: _Bases
    doomed: dict[int, Conflict | None]


class _LogState:
    """S(offset) as far as it is in hand: base rows of touched keys, the database's rows for the others."""

    __slots__ = ("_pending", "_rows")

    def __init__(self, pending: Pending, rows: Rows) -> None:
        self._pending = pending
        self._rows = rows

    def row(self, id: RowId) -> Row | None:
        base = self._pending.base
        return base[id] if id in base else self._rows.rows[id]

    def holder(self, unique: UniqueId) -> Key | None:
        """R4: the touched key whose base row has the value, else the database's holder if that key is untouched."""
        touched = self._pending.base_holder(unique)
        if touched is not None:
            return touched
        holder = self._rows.holders[unique]
        return None if holder is None or self._pending.touches((unique[0], holder)) else holder


def _same(entry: Transaction, mine: Transaction) -> bool:
    """Whether an own entry is this pending transaction, in the columns that the entry names (R9)."""
    if entry == mine:
        return True
    if (entry.seq, entry.prev, entry.certified, entry.certify_all) != (
        mine.seq,
        mine.prev,
        mine.certified,
        mine.certify_all,
    ) or len(entry.changes) != len(mine.changes):
        return False
    return all(
        theirs.id == ours.id and _covers(ours.before, theirs.before) and _covers(ours.after, theirs.after)
        for theirs, ours in zip(entry.changes, mine.changes, strict=True)
    )


def _covers(row: Row | None, named: Row | None) -> bool:
    if row is None or named is None:
        return row is named
    return all(column in row and row[column] == value for column, value in named.items())


def _differing(expected: Row | None, found: Row | None) -> list[str]:
    """Column names only: values may be secrets, and this ends up in a log."""
    if expected is None or found is None:
        return ["the row exists" if expected is None else "the row is missing"]
    return sorted(column for column in {**expected, **found} if expected.get(column) != found.get(column))


def _order(id: RowId | UniqueId) -> tuple[object, ...]:
    """One order on every replica, so that locks are taken in the same order; NULLs first, then by type and value."""
    values = tuple([(type(value).__name__, value) if value is not None else ("", 0) for value in id[-1]])
    return (*id[:-1], values)
