"""Local transactions that are committed in this database and not yet seen back in the log.

Invariants, for every key that a pending transaction touches (a *touched* key):

- `base[key]` is its log-state row S(key). Nothing pending on a key: the database's row is S(key).
- A base row needs to be stored only where it differs from the `before` of the oldest pending change of the key:
  after a restart, that `before` is the base row.
- `doomed[seq]` says that replay skips this certified transaction for now, and why.

Everything is indexed by key and by unique value; no operation scans the pending transactions. What the indexes hold are
lists, of one element mostly: an empty deque takes 700 bytes, and moving a hot key's list up by one is a memmove.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import TypeVar

from samebase.core.certify import Conflict
from samebase.core.errors import Diverged
from samebase.core.policy import footprint_uniques, unique_ids
from samebase.core.types import Change, Key, Row, RowId, Transaction, UniqueId

K = TypeVar("K")


class Pending:
    """The pending transactions of one replica, oldest first, and the base rows under them."""

    def __init__(self, stored: dict[RowId, Row | None]) -> None:
        self.transactions: deque[Transaction] = deque()
        self.base: dict[RowId, Row | None] = {}
        self.stored = set(stored)
        self.doomed: dict[int, Conflict] = {}
        self._loaded = stored
        self._changes: dict[RowId, list[tuple[Transaction, Change]]] = {}
        self._certified_rows: dict[RowId, list[Transaction]] = {}
        self._certified_uniques: dict[UniqueId, list[Transaction]] = {}
        self._base_holders: dict[UniqueId, Key] = {}

    def __len__(self) -> int:
        return len(self.transactions)

    def add(self, transaction: Transaction) -> None:
        """Take a newly captured transaction. It shows in the database, so it is not doomed."""
        self.transactions.append(transaction)
        for change in transaction.changes:
            id = (change.table, change.key)
            changes = self._changes.get(id)
            if changes is None:
                changes = self._changes[id] = []
                self.set_base(id, self._loaded.pop(id) if id in self._loaded else change.before, change)
            changes.append((transaction, change))
            if transaction.certified:
                self._certified_rows.setdefault(id, []).append(transaction)
        if transaction.certified:
            for unique in footprint_uniques(transaction.changes):
                self._certified_uniques.setdefault(unique, []).append(transaction)

    def check_complete(self) -> None:
        """Once the local change log has been read to its end: every stored base row has its pending transaction."""
        if self._loaded:
            raise Diverged(
                f"base rows are stored for {sorted(self._loaded, key=repr)[:3]}, but the local change log has no "
                "pending transaction on them: it was cut off, or this database was restored from a copy"
            )

    def touches(self, id: RowId) -> bool:
        return id in self._changes

    def oldest(self, id: RowId) -> Change:
        """The oldest pending change of a touched key."""
        return self._changes[id][0][1]

    def oldest_after(self, id: RowId, seq: int) -> Change | None:
        """The oldest pending change of a touched key in a transaction after `seq`."""
        return next((change for transaction, change in self._changes[id] if transaction.seq > seq), None)

    def on(self, ids: Iterable[RowId]) -> list[Transaction]:
        """The pending transactions that touch any of these keys, oldest first."""
        found: dict[int, Transaction] = {}
        for id in ids:
            for transaction, _ in self._changes.get(id, ()):
                found[transaction.seq] = transaction
        return [found[seq] for seq in sorted(found)]

    def certified_on(self, id: RowId) -> Iterable[Transaction]:
        """The certified pending transactions that touch this key."""
        return self._certified_rows.get(id, ())

    def certified_on_unique(self, unique: UniqueId) -> Iterable[Transaction]:
        """The certified pending transactions whose footprint has this unique value."""
        return self._certified_uniques.get(unique, ())

    def base_holder(self, unique: UniqueId) -> Key | None:
        """The touched key whose base row has this unique value."""
        return self._base_holders.get(unique)

    def set_base(self, id: RowId, row: Row | None, change: Change) -> None:
        """The log state of a touched key is `row` now. `change` is any change of the key (it tells the policy)."""
        if change.policy.unique:
            for unique in unique_ids(id[0], change.policy, self.base.get(id)):
                if self._base_holders.get(unique) == id[1]:
                    del self._base_holders[unique]
            for unique in unique_ids(id[0], change.policy, row):
                self._base_holders[unique] = id[1]
        self.base[id] = row

    def settle(self) -> Transaction:
        """Drop the oldest transaction: it came back in the log. Keys that nothing pending touches any more lose their
        base row (the database's row is the log's now)."""
        transaction = self.transactions.popleft()
        self.doomed.pop(transaction.seq, None)
        for change in transaction.changes:
            id = (change.table, change.key)
            changes = self._changes[id]
            del changes[0]
            if not changes:
                del self._changes[id]
                self.set_base(id, None, change)
                del self.base[id]
            if transaction.certified:
                _drop(self._certified_rows, id)
        if transaction.certified:
            for unique in footprint_uniques(transaction.changes):
                _drop(self._certified_uniques, unique)
        return transaction


def _drop(index: dict[K, list[Transaction]], key: K) -> None:
    del index[key][0]
    if not index[key]:
        del index[key]
