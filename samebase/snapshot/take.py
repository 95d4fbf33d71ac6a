"""Filling a replica's database with a snapshot, in one transaction: all of it is there and checked, or nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from samebase.core.errors import Unavailable
from samebase.core.replica import Replica
from samebase.core.types import Change, Chunk, Commit, Rejection, Schema, State, Write
from samebase.ports import ChangeSource, StoreTransaction
from samebase.session import Surroundings
from samebase.snapshot.errors import Refused
from samebase.snapshot.shape import difference, shape_of
from samebase.snapshot.stream import Header, Reader

_COMMITS = 500

Tell = Callable[[int], None]
"""Told how many rows there are by now; may raise, which undoes everything."""


def check(header: Header, service: str, surroundings: Surroundings) -> None:
    """Raises Refused unless this database can go on from the snapshot in its log."""
    log, store = surroundings.log, surroundings.store
    if header.service != service:
        raise Refused(f"it is of the service {header.service}, this is {service}")
    if header.log != log.identity:
        raise Refused(f"it belongs to the log {header.log}, the log here is {log.identity}")
    why = difference(header.shape, shape_of(store.schema()))
    if why is not None:
        raise Refused(f"its tables are not those that are here: {why}")
    begin, end = log.begin(), log.end(exact=True)
    if not begin <= header.state.reread <= header.state.offset <= end:
        raise Refused(f"it is of offset {header.state.offset}, the log here has {begin} to {end}")
    offset = store.load().offset
    if header.state.offset < offset:
        raise Refused(f"it is of offset {header.state.offset}, this database is at {offset} already")


def take(reader: Reader, surroundings: Surroundings, tell: Tell) -> None:
    """Make the database what the snapshot and its own pending transactions make of it.

    A database that has never had a log must be empty. One that has is emptied: what it has committed and the log has
    not counted yet stays pending, and is shown on top of the snapshot.
    Raises Refused for a snapshot or a database that is not fit; then nothing was changed.
    """
    store, source = surroundings.store, surroundings.source
    schema, was = store.schema(), store.load()
    fresh = store.bound() is None
    at = was.offset
    with store.begin(at) as transaction:
        if not fresh:
            transaction.clear()
        elif (table := transaction.occupied()) is not None:
            raise Refused(f"table {table} has rows: a snapshot needs an empty database")
        # Nobody else can have written since, so these are all.
        commits = _commits(source, was)
        lost = _contents(commits, was, schema)
        for rejections in reader.rejected():
            new = [_with_content(one, was, lost) for one in rejections if one.offset >= at]
            transaction.write(Write(at, at, rejected=tuple(new)))
        transaction.load(_told(reader, schema, tell))
        _show_pending(transaction, reader.header.state, was, schema, commits)


def _show_pending(
    transaction: StoreTransaction, state: State, was: State, schema: Schema, commits: list[Commit]
) -> None:
    replica = Replica(replace(state, origin=was.origin, settled=was.settled), schema)
    for commit in commits:
        if commit.seq > replica.last_captured:
            replica.captured(commit)
    write = replica.rebased(transaction.read(replica.touched()), was.offset)
    forgotten = dict.fromkeys(was.held.keys() - state.held.keys())
    transaction.write(replace(write, held={**forgotten, **write.held}))


def _commits(source: ChangeSource, was: State) -> list[Commit]:
    """Everything that was committed here and is not settled."""
    commits: list[Commit] = []
    after = max(was.settled, was.applied.get(was.origin, 0))
    while some := source.read(after, _COMMITS):
        commits += some
        after = some[-1].seq
    return commits


def _contents(commits: list[Commit], was: State, schema: Schema) -> dict[int, tuple[Change, ...]]:
    """What this replica committed, by seq: if the log has rejected it meanwhile, its content is kept here."""
    replica = Replica(was, schema)
    published = [replica.captured(commit) for commit in commits]
    return {one.transaction.seq: one.transaction.changes for one in published if one is not None}


def _with_content(rejection: Rejection, was: State, lost: dict[int, tuple[Change, ...]]) -> Rejection:
    if rejection.origin != was.origin:
        return rejection
    changes = lost.get(rejection.seq, ())
    if rejection.reason == "gone":
        changes = tuple(change for change in changes if change.id in rejection.rows)
    return replace(rejection, changes=changes)


def _told(reader: Reader, schema: Schema, tell: Tell) -> Iterator[Chunk]:
    for chunk in reader.chunks():
        table = schema.get(chunk.table)
        if table is None or not set(chunk.columns) <= table.columns.keys():
            raise Refused(f"the snapshot has rows of {chunk.table}, or columns of it, that its header does not name")
        yield chunk
        tell(reader.counts.rows)


def stopping() -> Unavailable:
    """What `tell` raises when the process has to end."""
    return Unavailable("told to stop")
