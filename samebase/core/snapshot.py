"""S(offset) as a stream: the rows that a database shows, with the pending transactions taken off.

Rows are read from a consistent view whose stored offset is the core's. Commits may be captured after the view was
opened (they build on the rows as they were, so the base row of what they touch is right for the view too), but nothing
may be written by the core between the opening of the view and the moment at which its base rows are copied.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from samebase.core.types import Chunk, Key, Row, RowId, Schema


def log_state(chunks: Iterable[Chunk], bases: Mapping[RowId, Row | None], schema: Schema) -> Iterator[Chunk]:
    """Every row of S(offset), from every row that the database shows: rows that pending transactions touch are
    replaced by their base rows (None: the log has no such row)."""
    left: dict[str, dict[Key, Row | None]] = {}
    for (table, key), row in bases.items():
        left.setdefault(table, {})[key] = row
    for chunk in chunks:
        touched = left.get(chunk.table)
        yield _overlaid(chunk, touched, schema[chunk.table].policy.key) if touched else chunk
    for table, remaining in left.items():
        # What the log has and the database does not show any more.
        columns = tuple(schema[table].columns)
        rows = [tuple([row[column] for column in columns]) for row in remaining.values() if row is not None]
        if rows:
            yield Chunk(table, columns, rows)


def _overlaid(chunk: Chunk, touched: dict[Key, Row | None], key: tuple[str, ...]) -> Chunk:
    """The chunk with base rows; what was found is taken out of `touched`."""
    places = [chunk.columns.index(column) for column in key]
    rows = []
    for row in chunk.rows:
        id = tuple([row[place] for place in places])
        if id not in touched:
            rows.append(row)
        elif (base := touched.pop(id)) is not None:
            rows.append(tuple([base[column] for column in chunk.columns]))
    return Chunk(chunk.table, chunk.columns, rows)
