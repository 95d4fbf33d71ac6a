"""Putting single rows right that are not what the log says: changed behind the change log, say by hand.

The right rows come from another replica, as they are in the log's state at an offset. They hold here too, at our own
offset, if no entry between the two is about them; and so long as nothing pending is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from samebase.core.errors import Diverged, Restart, Unavailable
from samebase.core.policy import unique_ids
from samebase.core.types import Concerned, Put, Row, RowId, Transaction, Write
from samebase.core.wire import decode, dump_key, dump_row, load_key, load_row
from samebase.desk import Boundary
from samebase.logs import get_logger
from samebase.snapshot.errors import Refused

LOOK_BACK = 10_000
"""Log entries that are looked through for the rows."""
_BATCH = 500

log_line = get_logger()


def rows_of(boundary: Boundary, ids: Sequence[RowId]) -> tuple[int, dict[RowId, Row | None]]:
    """This replica's offset, and the log's rows with these keys there. In the runner's thread."""
    replica = boundary.replica
    _check_tables(boundary, ids)
    with boundary.store.begin(replica.offset) as transaction:
        found = transaction.read(Concerned(tuple(ids))).rows
        captured = boundary.capture()
    boundary.publish(captured)
    bases = replica.bases()
    return replica.offset, {id: bases.get(id, found[id]) for id in ids}


def repair(boundary: Boundary, at: int, rows: Mapping[RowId, Row | None]) -> dict[RowId, Row | None]:
    """Make these rows what the log's state at offset `at` has. In the runner's thread.

    Returns the rows that were changed, as they were. Raises Refused if it cannot be told now what they are here: the
    caller reads them again, and repeats.
    """
    replica = boundary.replica
    _check_tables(boundary, list(rows))
    if not replica.offset - LOOK_BACK <= at <= replica.offset:
        raise Refused(f"this replica is at offset {replica.offset}, the rows are of {at}: try again")
    later = sorted(table for table, _ in _entries_about(boundary, at) & rows.keys())
    if later:
        raise Refused(f"table {later[0]}: the log changed one of these rows after offset {at}: try again")
    wrong: dict[RowId, Row | None] = {}
    try:
        with boundary.store.begin(replica.offset) as transaction:
            is_now = transaction.read(Concerned(tuple(rows))).rows
            captured = boundary.capture()
            free = replica.bases().keys().isdisjoint(rows)
            if free:
                wrong = {id: is_now[id] for id, row in rows.items() if is_now[id] != row}
                transaction.write(_write(boundary, wrong, rows))
    except Diverged as error:
        raise Unavailable(f"the rows cannot be put right: {error}") from error
    boundary.publish(captured)
    if not free:
        raise Refused("one of these rows was written here just now, and is not in the log yet: try again")
    log_line.warning("rows repaired", rows=len(wrong), offset=replica.offset)
    return wrong


def _write(boundary: Boundary, wrong: Mapping[RowId, Row | None], right: Mapping[RowId, Row | None]) -> Write:
    deletes, puts = [], []
    for id, row in wrong.items():
        policy, shall_be = boundary.replica.schema[id[0]].policy, right[id]
        moves = (
            row is not None
            and shall_be is not None
            and set(unique_ids(id[0], policy, row)) != set(unique_ids(id[0], policy, shall_be))
        )
        if row is not None and (shall_be is None or moves):
            deletes.append(id)
        if shall_be is not None:
            puts.append(Put(id, None if moves else row, shall_be))
    offset = boundary.replica.offset
    return Write(offset, offset, tuple(deletes), tuple(puts))


def _entries_about(boundary: Boundary, at: int) -> set[RowId]:
    """The keys that entries from `at` to our offset are about."""
    found: set[RowId] = set()
    end = boundary.replica.offset
    while at < end:
        records = boundary.log.read(at, min(_BATCH, end - at))
        if not records:
            raise Restart("the log does not give entries that it has given before")
        for record in records:
            content = decode(record.value, record.offset).content
            transaction = content if isinstance(content, Transaction) else content.header
            found |= {change.id for change in transaction.changes}
        at = records[-1].offset + 1
    return found


def _check_tables(boundary: Boundary, ids: Sequence[RowId]) -> None:
    for table, _ in ids:
        if table not in boundary.replica.schema:
            raise Refused(f"there is no replicated table {table} here")


def ids_of(data: Sequence[Sequence[str]]) -> list[RowId]:
    """Keys as they come in a request."""
    return [(table, load_key(key)) for table, key in data]


def loaded(data: Sequence[Sequence[str]]) -> dict[RowId, Row | None]:
    """Rows as they come in a request."""
    return {(table, load_key(key)): load_row(row) for table, key, row in data}


def dumped(rows: Mapping[RowId, Row | None]) -> list[tuple[str, str, Any]]:
    """The inverse of `loaded`."""
    return [(table, dump_key(key), dump_row(row)) for (table, key), row in rows.items()]
