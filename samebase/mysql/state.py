"""What is kept beside the data in the schema `samebase`: loaded at a start, saved with each Write."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from typing import Any

from pymysql.connections import Connection
from pymysql.cursors import SSCursor

from samebase.core.types import Rejection, RowId, State, Write
from samebase.core.wire import dump_changes, dump_key, dump_row, load_changes, load_key, load_row
from samebase.mysql.connection import every, one
from samebase.mysql.values import literal


def load(connection: Connection[Any]) -> State:
    """The state as this session sees it."""
    origin, offset, settled = one(connection, "SELECT origin, `offset`, settled FROM samebase.replica")
    origins = every(connection, "SELECT origin, seq, held FROM samebase.applied")
    base = every(connection, "SELECT tbl, `key`, `row` FROM samebase.base")
    return State(
        origin=origin,
        offset=offset,
        applied={name: seq for name, seq, _ in origins if seq},
        held={name: held for name, _, held in origins if held is not None},
        base={(table, load_key(key.decode())): load_row(row.decode()) for table, key, row in base},
        settled=settled,
    )


def position(write: Write) -> list[str]:
    """The statements that note how far a Write comes: of each, and so the last ones of its transaction."""
    replica = "UPDATE samebase.replica SET `offset` = {}, settled = greatest(settled, {}) WHERE id = 1"
    applied = "INSERT INTO samebase.applied VALUES {} AS new ON DUPLICATE KEY UPDATE seq = new.seq"
    statements = [replica.format(write.offset, write.settled)]
    if write.applied:
        rows = (f"({literal(origin)}, {seq}, NULL)" for origin, seq in write.applied.items())
        statements.append(applied.format(", ".join(rows)))
    return statements


def step(write: Write) -> str | None:
    """One statement that notes how far a Write comes that only moves, unless it is fenced; it finds a row if it did.
    None if there is no such statement."""
    if write.held or len(write.applied) != 1:
        return None
    ((origin, seq),) = write.applied.items()
    both = (
        "UPDATE samebase.replica AS r STRAIGHT_JOIN samebase.applied AS a "
        "SET r.`offset` = {}, r.settled = greatest(r.settled, {}), a.seq = {} "
        "WHERE r.id = 1 AND r.`offset` = {} AND a.origin = {}"
    )
    return both.format(write.offset, write.settled, seq, write.was_offset, literal(origin))


def save(connection: Connection[Any], write: Write) -> None:
    """The parts of a Write that are neither rows of replicated tables nor its position, within the open transaction."""
    _many(
        connection,
        "INSERT INTO samebase.base VALUES (%s, %s, %s, %s) AS new ON DUPLICATE KEY UPDATE `row` = new.`row`",
        [(_base_id(id_), id_[0], dump_key(id_[1]).encode(), dump_row(row).encode()) for id_, row in write.base_puts],
    )
    if write.base_deletes:
        with connection.cursor() as cursor:
            cursor.execute(
                "DELETE FROM samebase.base WHERE id IN %s", (tuple(_base_id(id_) for id_ in write.base_deletes),)
            )
    _many(
        connection,
        "INSERT INTO samebase.rejected (`offset`, origin, seq, request, reason, `rows`, changes) "
        "VALUES (%s, %s, %s, %s, %s, %s, %s)",
        [_dumped(rejection) for rejection in write.rejected],
    )
    _many(
        connection,
        "INSERT INTO samebase.applied VALUES (%s, 0, %s) AS new ON DUPLICATE KEY UPDATE held = new.held",
        list(write.held.items()),
    )


_REJECTIONS = (
    "SELECT `offset`, origin, seq, request, reason, `rows`, changes FROM samebase.rejected "
    "WHERE `offset` >= %s ORDER BY `offset`, id"
)


def rejections(connection: Connection[Any], after_offset: int, limit: int) -> Sequence[Rejection]:
    """Recorded rejections of entries at or after that offset, oldest first."""
    return [_rejection(found) for found in every(connection, f"{_REJECTIONS} LIMIT %s", after_offset, limit)]


def every_rejection(connection: Connection[Any]) -> Iterator[Rejection]:
    """All of them, one by one; nothing else can be asked of this session meanwhile."""
    with connection.cursor(SSCursor) as cursor:
        cursor.execute(_REJECTIONS, (0,))
        yield from map(_rejection, cursor)


def _rejection(found: Sequence[Any]) -> Rejection:
    offset, origin, seq, request, reason, rows, changes = found
    ids = tuple((table, load_key(key)) for table, key in json.loads(rows))
    return Rejection(origin, seq, request, reason, ids, offset, load_changes(changes.decode()))


def _many(connection: Connection[Any], statement: str, rows: Sequence[Iterable[Any]]) -> None:
    if rows:
        with connection.cursor() as cursor:
            cursor.executemany(statement, rows)


def _base_id(id_: RowId) -> bytes:
    table, key = id_
    return sha256(f"{table}\0{dump_key(key)}".encode()).digest()


def _dumped(rejection: Rejection) -> tuple[Any, ...]:
    rows = json.dumps([[table, dump_key(key)] for table, key in rejection.rows])
    return (
        rejection.offset,
        rejection.origin,
        rejection.seq,
        rejection.request,
        rejection.reason,
        rows.encode(),
        dump_changes(rejection.changes).encode(),
    )
