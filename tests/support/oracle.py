"""The deliberately dumb oracle: apply the whole log, in order, to an empty dict.

Written from the rules, not from the core: it shares nothing with it but the value types. It knows no batches, no
pending transactions, no base rows, no restarts; it looks through every row for a unique value.
What it says is what must be.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from samebase.core.types import PARTS_SPAN, Change, Part, Row, RowId, Scalar, Transaction

Rows = dict[RowId, dict[str, Scalar]]
Columns = Mapping[str, Mapping[str, Scalar]]
"""Per table, every column with the constant that a row without it reads as."""


class Outcome(NamedTuple):
    """What became of one log entry that counted. `gone` are the rows that an accepted one updated in vain."""

    origin: str
    seq: int
    request: str | None
    offset: int
    reason: str | None
    row: RowId | None
    gone: tuple[RowId, ...]


class Oracle:
    """The log's state after every entry.

    Attributes:
        states: rows after 0, 1, 2... entries.
        applied: per origin the last counted seq, after 0, 1, 2... entries.
        outcomes: by offset, of the entries that counted.
    """

    def __init__(self, columns: Columns) -> None:
        self.columns = columns
        self.states: list[Rows] = [{}]
        self.applied: list[dict[str, int]] = [{}]
        self.outcomes: dict[int, Outcome] = {}
        self._parts: dict[str, tuple[int, int, int, list[Change]]] = {}

    def append(self, content: Transaction | Part) -> None:
        """One more log entry."""
        offset = len(self.states) - 1
        rows, applied = self.states[-1], self.applied[-1]
        transaction = self._admit(offset, content, applied)
        if transaction is not None:
            rows = dict(rows)
            applied = {**applied, transaction.origin: transaction.seq}
            reason, row = conflict(rows, transaction)
            gone = () if reason else apply(rows, transaction, self.columns)
            self.outcomes[offset] = Outcome(
                transaction.origin, transaction.seq, transaction.request, offset, reason, row, gone
            )
        self.states.append(rows)
        self.applied.append(applied)

    def _admit(self, offset: int, content: Transaction | Part, applied: Mapping[str, int]) -> Transaction | None:
        header = content.header if isinstance(content, Part) else content
        origin = header.origin
        if header.prev != applied.get(origin, 0):
            return None
        if isinstance(content, Transaction):
            self._parts.pop(origin, None)
            return content
        if content.start == 0:
            self._parts[origin] = (offset, header.seq, content.total, list(header.changes))
        else:
            begun, seq, total, changes = self._parts.get(origin, (0, 0, 0, []))
            if (seq, total, len(changes)) != (header.seq, content.total, content.start) or offset - begun > PARTS_SPAN:
                return None
            changes.extend(header.changes)
        changes = self._parts[origin][3]
        if len(changes) < content.total:
            return None
        del self._parts[origin]
        return Transaction(
            origin,
            header.seq,
            header.prev,
            header.certified,
            tuple(changes),
            header.certify_all,
            header.request,
            header.traceparent,
            header.ts_ms,
        )

    def replay(self, offset: int, pending: Iterable[Transaction]) -> Rows:
        """The log's state at an offset with these transactions on top; those that conflict are left out."""
        rows = dict(self.states[offset])
        for transaction in pending:
            if conflict(rows, transaction)[0] is None:
                apply(rows, transaction, self.columns)
        return rows


def conflict(rows: Rows, transaction: Transaction) -> tuple[str | None, RowId | None]:
    """The reason for which a transaction is rejected, and its first row in conflict."""
    checked = [c for c in transaction.changes if transaction.certify_all or c.policy.kind == "strict"]
    for change in checked:
        row = rows.get(change.id)
        if change.before is None and row is not None:
            return "exists", change.id
        if change.before is not None and row is None:
            return "missing", change.id
        if change.before is not None and row is not None:
            for column in change.before:
                if row.get(column) != change.before[column]:
                    return "changed", change.id
    rest = {id: row for id, row in rows.items() if id not in [change.id for change in checked]}
    for change in checked:
        for columns in change.policy.unique:
            if change.after is None or any(change.after[column] is None for column in columns):
                continue
            for (table, _), row in rest.items():
                if table == change.table and all(row[column] == change.after[column] for column in columns):
                    return "taken", change.id
    return None, None


def apply(rows: Rows, transaction: Transaction, columns: Columns) -> tuple[RowId, ...]:
    """Carry an accepted transaction out; returns the rows that it updates but that are not there."""
    gone = []
    for change in transaction.changes:
        row = rows.get(change.id)
        if change.after is None:
            rows.pop(change.id, None)
        elif change.before is None:
            rows[change.id] = {**(row or columns[change.table]), **change.after}
        elif row is None:
            gone.append(change.id)
        else:
            row = dict(row)
            ranges = {delta.column: (delta.low, delta.high) for delta in change.policy.delta}
            for column, now in change.after.items():
                was = change.before[column]
                if now == was:
                    continue
                if column in ranges:
                    low, high = ranges[column]
                    row[column] = max(low, min(high, row[column] + now - was))  # type: ignore[operator]
                else:
                    row[column] = now
            rows[change.id] = row
    return tuple(gone)


def difference(before: Mapping[RowId, Row], after: Mapping[RowId, Row]) -> dict[RowId, tuple[Row | None, Row | None]]:
    """The net change per key between two states of a database."""
    return {
        id: (before.get(id), after.get(id))
        for id in [*before, *(id for id in after if id not in before)]
        if before.get(id) != after.get(id)
    }
