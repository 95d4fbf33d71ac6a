"""Certification: does a transaction still hold at its place in the log?

First in the log wins. The check is on the rows that the transaction wrote: each must still be as the writer saw it,
and each unique value that it takes must be free. Unique values are certified as a whole: first every value of the
`before` rows is freed, then every value of the `after` rows is taken, so that one transaction may move a value from
one row to another. (The scheme is backward validation as in Kung and Robinson, "On Optimistic Methods for Concurrency
Control", 1981, on the write set alone, evaluated by every replica at the same log position.)
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from samebase.core.policy import unique_ids
from samebase.core.types import Change, Key, Reason, Row, RowId, Transaction, UniqueId


class Conflict(NamedTuple):
    """Why a transaction is rejected, and the first row that it is about."""

    reason: Reason
    row: RowId


class RowsView(Protocol):
    """Rows and holders of unique values at one point of the log (or of a replay)."""

    def row(self, id: RowId) -> Row | None: ...

    def holder(self, unique: UniqueId) -> Key | None: ...


def certified_changes(transaction: Transaction) -> list[Change]:
    """The changes whose conflicts reject the transaction: those on strict tables, or all if its intent asked for it."""
    if transaction.certify_all:
        return list(transaction.changes)
    return [change for change in transaction.changes if change.policy.strict]


def certify(transaction: Transaction, view: RowsView) -> Conflict | None:
    """The first conflict of a certified transaction with the view, in the order of its changes; None: it holds."""
    changes = certified_changes(transaction)
    for change in changes:
        row = view.row(change.id)
        if change.before is None:
            if row is not None:
                return Conflict("exists", change.id)
        elif row is None:
            return Conflict("missing", change.id)
        elif differs(row, change.before):
            return Conflict("changed", change.id)
    freed = {unique for change in changes for unique in unique_ids(change.table, change.policy, change.before)}
    for change in changes:
        for unique in unique_ids(change.table, change.policy, change.after):
            if unique not in freed and view.holder(unique) is not None:
                return Conflict("taken", change.id)
    return None


def differs(row: Row, before: Row) -> bool:
    """Whether a row is not as `before` says, in the columns that `before` names."""
    return row != before and any(row[column] != value for column, value in before.items())
