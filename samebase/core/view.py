"""Rows and unique values at one point: a thin layer of changes over what lies beneath.

Two of them make a batch: the S-view (log state, over the base rows and what was read), and the replay view (over the
S-view), in which the pending transactions are replayed.
"""

from __future__ import annotations

from samebase.core.certify import Conflict, RowsView, certify
from samebase.core.policy import fold, unique_ids
from samebase.core.types import Change, Key, Row, RowId, Schema, Transaction, UniqueId


class View:
    """A writable layer over another view."""

    __slots__ = ("_beneath", "_holders", "_schema", "rows")

    def __init__(self, beneath: RowsView, schema: Schema) -> None:
        self._beneath = beneath
        self._schema = schema
        self.rows: dict[RowId, Row | None] = {}
        self._holders: dict[UniqueId, Key | None] = {}

    def row(self, id: RowId) -> Row | None:
        return self.rows[id] if id in self.rows else self._beneath.row(id)

    def holder(self, unique: UniqueId) -> Key | None:
        return self._holders[unique] if unique in self._holders else self._beneath.holder(unique)

    def judge(self, transaction: Transaction) -> Conflict | None:
        """The verdict on a transaction at this point: None accepts it."""
        return certify(transaction, self) if transaction.certified else None

    def apply(self, changes: list[Change] | tuple[Change, ...]) -> list[RowId]:
        """Fold accepted changes into the view: all unique values are freed before any is taken.
        Returns the rows that are gone: updated, but not there."""
        gone = []
        taken: list[tuple[UniqueId, Key]] = []
        for change in changes:
            id = (change.table, change.key)
            old = self.row(id)
            new = fold(change, old, self._schema[change.table].columns)
            if new is None and change.after is not None:
                gone.append(id)
            self.rows[id] = new
            if change.policy.unique:
                for unique in unique_ids(change.table, change.policy, old):
                    self._holders[unique] = None
                taken += [(unique, change.key) for unique in unique_ids(change.table, change.policy, new)]
        self._holders.update(taken)
        return gone
