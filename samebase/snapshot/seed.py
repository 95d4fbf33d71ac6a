"""Making rows the beginning of a new log: what a whole system is restored from, or an existing database brings along.

They are published as transactions of an origin of their own, which insert them; every replica gets them by the log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from typing import NamedTuple

from samebase.core.types import Change, Chunk, Policy, Schema, Transaction
from samebase.core.wire import encode
from samebase.ports import Clock, Log
from samebase.snapshot.errors import Refused

ROWS = 20
"""Of a transaction, at most: whoever applies them takes hundreds of transactions at once, and holds them in memory."""
UNDER_WAY = 5_000
"""Appends that the log has not confirmed, at most."""
APPEND_SECONDS = 60.0


Tell = Callable[[int], None]
"""Told how many rows there are by now."""


class Seeded(NamedTuple):
    """What was published: the log's offset behind it, the seq of its last transaction, and how many rows."""

    offset: int
    seq: int
    rows: int


def seed(log: Log, origin: str, chunks: Iterable[Chunk], schema: Schema, *, clock: Clock, tell: Tell) -> Seeded:
    """Publish the rows as the log's beginning. Raises Refused for a log that is not empty.

    If it breaks off, the log holds a part of them: it has to be made anew.
    """
    if log.end(exact=True) != 0:
        raise Refused(f"the log is not empty, it ends at {log.end()}: rows can only be the beginning of a new one")
    seq = rows = 0
    under_way: list[Future[int]] = []
    for changes in _slices(chunks, schema):
        seq += 1
        strict = any(change.policy.strict for change in changes)
        transaction = Transaction(origin, seq, seq - 1, strict, tuple(changes), ts_ms=clock.wall_ms())
        under_way += log.append_all(encode(transaction))
        if len(under_way) >= UNDER_WAY:
            under_way = _confirmed(under_way)
        rows += len(changes)
        tell(rows)
    _confirmed(under_way)
    return Seeded(log.end(exact=True), seq, rows)


def _confirmed(appends: Sequence[Future[int]]) -> list[Future[int]]:
    for append in appends:
        append.result(APPEND_SECONDS)
    return []


def _slices(chunks: Iterable[Chunk], schema: Schema) -> Iterator[list[Change]]:
    for chunk in chunks:
        table = schema[chunk.table]
        changes = [_insert(chunk, row, table.policy) for row in chunk.rows]
        for start in range(0, len(changes), ROWS):
            yield changes[start : start + ROWS]


def _insert(chunk: Chunk, values: Sequence[object], policy: Policy) -> Change:
    row = dict(zip(chunk.columns, values, strict=True))
    key = tuple(row[column] for column in policy.key)
    return Change(chunk.table, key, None, row, policy)  # type: ignore[arg-type]  # the stream gives scalars
