"""What a change does to a row: the policy table, as data and two functions.

| policy            | insert                        | update                                   | delete       |
|-------------------|-------------------------------|------------------------------------------|--------------|
| merge             | over an existing row: its     | sets the columns that the writer changed;| removes      |
|                   | columns are overwritten       | no such row: ignored, and `gone`         |              |
| merge, delta      | as above                      | the column gets `after - before` added,  | as above     |
|                   |                               | saturating at its range                  |              |
| strict, accepted  | the row                       | sets the changed columns                 | removes      |

Whether a strict change is accepted is certification's question (`certify.py`). Once it is, its row is as it was
when it was written, so that one `fold` serves every policy.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Context, Decimal
from typing import Any

from samebase.core.errors import Misuse
from samebase.core.types import Change, Policy, Row, RowChange, RowId, Scalar, Schema, Table, UniqueId

_EXACT = Context(prec=200, traps=[])
"""DECIMAL has at most 65 digits, 30 of them after the point. The thread's own context rounds to 28, or to whatever
somebody has set: rows must not depend on that."""


def fold(change: Change, row: Row | None, defaults: Mapping[str, Scalar]) -> Row | None:
    """The row that an accepted change makes of `row`.

    `defaults` has every column that this replica knows: a column that the entry does not name reads as its constant
    default in a new row, and stays as it is in an existing one.
    An update of a row that is not there gives None: the caller records it as gone.
    """
    after = change.after
    if after is None:
        return None
    before = change.before
    if before is None:
        return {**(defaults if row is None else row), **after}
    if row is None:
        return None
    if row == before and not change.policy.delta:
        return {**row, **after}
    result = dict(row)
    deltas = change.policy.delta
    counted = {delta.column for delta in deltas}
    for column, value in after.items():
        if column not in counted and value != before[column]:
            result[column] = value
    for column, low, high in deltas:
        if after[column] != before[column]:
            result[column] = min(max(_added(row[column], before[column], after[column]), low), high)
    return result


def _added(value: Scalar, before: Scalar, after: Scalar) -> Any:
    numbers = _number(value), _number(before), _number(after)
    if any(isinstance(number, Decimal) for number in numbers):
        return _EXACT.add(numbers[0], _EXACT.subtract(numbers[2], numbers[1]))
    return numbers[0] + (numbers[2] - numbers[1])


def _number(value: Scalar) -> Any:
    if isinstance(value, int | Decimal):
        return value
    raise Misuse(f"a delta column holds {value!r}, which is not a number that can be added exactly")


def unique_ids(table: str, policy: Policy, row: Row | None) -> tuple[UniqueId, ...]:
    """The unique values that a row occupies; a value with a NULL in it occupies nothing (SQL's rule)."""
    if row is None or not policy.unique:
        return ()
    found = []
    for columns in policy.unique:
        values = tuple([row[column] for column in columns])
        if None not in values:
            found.append((table, columns, values))
    return tuple(found)


def footprint_uniques(changes: Iterable[Change]) -> tuple[UniqueId, ...]:
    """The unique values in the `before` and `after` rows of a transaction, those being freed included."""
    found: dict[UniqueId, None] = {}
    for change in changes:
        if change.policy.unique:
            for row in (change.before, change.after):
                for unique in unique_ids(change.table, change.policy, row):
                    found[unique] = None
    return tuple(found)


def net(rows: Iterable[RowChange], schema: Schema) -> tuple[Change, ...]:
    """The net change per key of a transaction's row changes.

    A changed key is a delete and an insert; a change that changes nothing is dropped. Rows get the defaults of columns
    that they do not have. Raises Misuse for a table that is not replicated or rows that contradict each other.
    """
    firsts: dict[RowId, Row | None] = {}
    lasts: dict[RowId, Row | None] = {}
    for name, before, after in rows:
        table = schema.get(name)
        if table is None:
            raise Misuse(f"table {name} is not replicated, its changes must not be captured")
        old = None if before is None else complete(before, table)
        new = None if after is None else complete(after, table)
        old_id = None if old is None else row_id(name, table.policy, old)
        new_id = None if new is None else row_id(name, table.policy, new)
        if old_id is not None:
            if lasts.setdefault(old_id, old) != old:
                raise Misuse(f"captured changes of {old_id} do not follow each other")
            firsts.setdefault(old_id, old)
            lasts[old_id] = None
        if new_id is not None:
            if lasts.setdefault(new_id, None) is not None:
                raise Misuse(f"captured changes of {new_id} do not follow each other")
            firsts.setdefault(new_id, None)
            lasts[new_id] = new
    return tuple(
        Change(id[0], id[1], first, lasts[id], schema[id[0]].policy)
        for id, first in firsts.items()
        if first != lasts[id]
    )


def row_id(table: str, policy: Policy, row: Row) -> RowId:
    """A row's identity."""
    return (table, tuple([row[column] for column in policy.key]))


def complete(row: Row, table: Table) -> Row:
    """The row with every column that this replica knows."""
    return row if len(row) == len(table.columns) else {**table.columns, **row}
