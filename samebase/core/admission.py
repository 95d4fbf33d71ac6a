"""Which log entries count, and joining the parts of large transactions.

R1, the `prev` rule: an entry counts if and only if its `prev` is the seq of its origin's last entry that counted (0
for an origin not seen yet; a rejected entry counts too). Anything else is ignored. So duplicates go, and so does an
entry that overtook an earlier one which was lost: were it admitted, the earlier one could never come any more.

R7, parts: they carry (start, total). Start 0 begins anew, any other start must equal what is held, else the part is
ignored. Unfinished parts are held in memory only; what is stored is, per origin, the offset of the part that began
them. A restarted replica reads the log again from the smallest of these, and takes parts of each origin from that
origin's own offset on: earlier ones were ignored when they were read first, and must be now. A part that comes more
than PARTS_SPAN entries after the one that began its transaction is ignored, and what is held is dropped: the origin
sees the gap and publishes all of it again, if it lives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from samebase.core.errors import Diverged, SchemaBehind
from samebase.core.types import PARTS_SPAN, Change, Entry, Part, Schema, State, Transaction


class Held(NamedTuple):
    """The parts of an unfinished transaction.

    Attributes:
        offset: of the part that began it.
    """

    offset: int
    seq: int
    total: int
    changes: tuple[Change, ...]


class Batch(NamedTuple):
    """What a batch of entries comes to, before anything is decided about rows.

    Attributes:
        counted: offset and whole transaction, in log order.
        offset: the next entry after the batch.
        applied: new values per origin.
        held: new unfinished parts per origin; None: nothing is held any more.
        gap: offset of an own entry that came too early, or None.
    """

    counted: list[tuple[int, Transaction]]
    offset: int
    applied: dict[str, int]
    held: dict[str, Held | None]
    gap: int | None


class Admission:
    """Per origin, how far the log counts. `admit` looks, `adopt` moves on."""

    def __init__(self, state: State, schema: Schema) -> None:
        self.origin = state.origin
        self.offset = state.offset
        self.applied = dict(state.applied)
        self.held: dict[str, Held] = {}
        self.unfinished = dict(state.held)
        """Per origin the offset of the part that began its unfinished transaction, as it is stored: known before the
        parts have been read again."""
        self._schema = schema
        self._last: tuple[tuple[Entry, ...], Batch] | None = None

    def admit(self, entries: Sequence[Entry]) -> Batch:
        """Which of these entries count. Repeated calls with the same batch cost nothing.
        Raises SchemaBehind if one that counts does not fit this replica's tables."""
        entries = tuple(entries)  # of a tuple: the same object; a list may have changed since
        if self._last is None or self._last[0] is not entries:
            self._last = (entries, self._admit(entries))
        return self._last[1]

    def adopt(self, batch: Batch) -> None:
        """The batch was written: this is how far the log counts now."""
        self._last = None
        self.offset = batch.offset
        self.applied.update(batch.applied)
        for origin, held in batch.held.items():
            if held is None:
                self.held.pop(origin, None)
                self.unfinished.pop(origin, None)
            else:
                self.held[origin] = held
                self.unfinished[origin] = held.offset

    def _admit(self, entries: Sequence[Entry]) -> Batch:
        counted: list[tuple[int, Transaction]] = []
        applied: dict[str, int] = {}
        held: dict[str, Held | None] = {}
        gap: int | None = None
        offset = self.offset
        for place, content in entries:
            header = content.header if isinstance(content, Part) else content
            origin = header.origin
            rereading = place < self.offset
            if rereading and place < self.unfinished.get(origin, self.offset):
                continue
            offset = max(offset, place + 1)
            have = applied.get(origin)
            if have is None:
                have = self.applied.get(origin, 0)
            if header.prev != have:
                if origin == self.origin and header.prev > have and not rereading:
                    gap = place
                continue
            if isinstance(content, Part):
                before = held[origin] if origin in held else self.held.get(origin)
                joined = _join(content, before, place)
                if joined is None:
                    if origin == self.origin and not rereading:
                        gap = place
                    continue
                if len(joined.changes) < joined.total:
                    held[origin] = joined
                    continue
                transaction = replace(header, changes=joined.changes)
            elif rereading:
                continue
            else:
                transaction = content
            if rereading:
                raise Diverged(f"log entry {place} finishes a transaction that was unfinished at offset {self.offset}")
            if origin != self.origin:
                self._check_schema(transaction, place)
            counted.append((place, transaction))
            applied[origin] = transaction.seq
            if origin in self.unfinished or origin in held:
                held[origin] = None
        for origin, begun in self.unfinished.items():
            if origin not in held and _expired(begun, offset):
                held[origin] = None
        return Batch(counted, offset, applied, held, gap)

    def _check_schema(self, transaction: Transaction, place: int) -> None:
        """R9: an entry may name fewer columns than this replica has, never others; key and unique indexes agree."""
        for change in transaction.changes:
            table = self._schema.get(change.table)
            if table is None:
                raise SchemaBehind(place, f"there is no replicated table {change.table} here")
            policy = change.policy
            if policy is not table.policy:
                if policy.key != table.policy.key:
                    raise SchemaBehind(
                        place, f"the key of table {change.table} is {policy.key} there, not {table.policy.key}"
                    )
                if set(policy.unique) != set(table.policy.unique):
                    raise SchemaBehind(
                        place,
                        f"unique indexes of table {change.table} are {policy.unique} there, not {table.policy.unique}",
                    )
            for row in (change.before, change.after):
                if row is not None and not row.keys() <= table.columns.keys():
                    names = sorted(row.keys() - table.columns.keys())
                    raise SchemaBehind(place, f"table {change.table} has no column {', '.join(names)} here")


def _join(part: Part, held: Held | None, place: int) -> Held | None:
    """What is held after this part; None if it does not fit."""
    header = part.header
    if part.start == 0:
        return Held(place, header.seq, part.total, header.changes)
    if held is None or _expired(held.offset, place):
        return None
    if (held.seq, held.total, len(held.changes)) != (header.seq, part.total, part.start):
        return None
    return held._replace(changes=held.changes + header.changes)


def _expired(begun: int, offset: int) -> bool:
    return offset - begun > PARTS_SPAN
