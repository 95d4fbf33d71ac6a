"""The local change log: what the triggers wrote, cut into transactions.

SQLite has no commit trigger, so where a transaction ends has to be found out, and everybody must find the same:

- **Sealing**: under the write lock everything visible is committed, so the last change there ends a transaction. It is
  noted in `samebase_boundary`, durably, before anybody is told of it. Only sealed changes are ever read.
- Between two boundaries, an intent row begins a new transaction (it is the first write of its transaction).

So commits without an intent row that follow each other between two sealings form one transaction, never a part of one,
and the same one at every read. Its seq is the id of its last change.
"""

# ruff: noqa: S608 - names in SQL are quoted identifiers of the live schema; values are bound

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from samebase.core.errors import Diverged
from samebase.core.types import Commit, Row, RowChange, Scalar
from samebase.sqlite.connection import Database, translated
from samebase.sqlite.triggers import INTENT, LAST_CHANGE, images, shadow

CHANGE_BYTES = 1_000
"""What a row's change counts for: its real size would cost a look at each of them."""

_POSITION = f"""SELECT ({LAST_CHANGE}), max(forgotten, coalesce((SELECT max(seq) FROM samebase_boundary), 0)), forgotten
    FROM samebase_replica"""


class _Change(NamedTuple):
    id: int
    table: str
    op: str
    ts_ms: int
    request: str | None
    certified: int | None
    traceparent: str | None


class SqliteChanges:
    """ChangeSource of a database in which the change log is installed.

    When the store's transaction is open, `read` and `end` seal within it: every commit is visible there and nobody else
    can commit. If that transaction is then rolled back, so is the boundary, and its last change may become a part of a
    larger transaction: whoever rolls a store transaction back must forget the commits read within it and restart.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._columns: Mapping[str, Sequence[tuple[str, int]]] = {}
        self._schema_version = -1

    @translated("reading the local change log")
    def read(self, after: int, limit: int) -> Sequence[Commit]:
        sealed, forgotten = self._seal()
        if after < forgotten:
            raise Diverged(f"local commits after {after} are asked for, those up to {forgotten} were discarded")
        if after >= sealed:
            return ()
        with self._database.reading():
            groups = self._groups(after, sealed, limit)
            rows = self._rows(groups)
        return [_commit(group, rows) for group in groups]

    @translated("reading the end of the local change log")
    def end(self) -> int:
        return self._seal()[0]

    @translated("measuring the local change log")
    def size(self, after: int) -> int:
        last: int = self._database.connection.execute(LAST_CHANGE).fetchone()[0]
        return max(0, last - after) * CHANGE_BYTES

    @translated("discarding settled changes")
    def forget(self, upto: int) -> None:
        sealed, forgotten = self._seal()
        if upto <= forgotten:
            return
        execute = self._database.connection.execute
        with self._database.writing():
            keep = sealed + 1 if upto >= sealed else self._start(upto)
            for table in self._known_columns():
                execute(f"DELETE FROM {shadow(table)} WHERE id < ?", (keep,))
            execute("DELETE FROM samebase_change WHERE id < ?", (keep,))
            execute("DELETE FROM samebase_boundary WHERE seq < ?", (keep,))
            execute("UPDATE samebase_replica SET forgotten = max(forgotten, ?)", (keep - 1,))

    def close(self) -> None:
        self._database.close()

    def _seal(self) -> tuple[int, int]:
        """Make everything committed part of a finished transaction; return the last sealed and forgotten position."""
        execute = self._database.connection.execute
        last, sealed, forgotten = execute(_POSITION).fetchone()
        if last > sealed:
            with self._database.writing():
                (last,) = execute(LAST_CHANGE).fetchone()
                execute("INSERT OR IGNORE INTO samebase_boundary VALUES (?)", (last,))
                # No later change may get an id that is sealed, even when all of these are forgotten.
                execute("UPDATE sqlite_sequence SET seq = ? WHERE name = 'samebase_change'", (last,))
            sealed = last
        return sealed, forgotten

    def _start(self, after: int) -> int:
        """Id of the first change of the first transaction whose seq is greater than `after`, which is sealed."""
        execute = self._database.connection.execute
        (first,) = execute("SELECT min(id) FROM samebase_change WHERE id > ?", (after,)).fetchone()
        (low,) = execute("SELECT coalesce(max(seq), 0) FROM samebase_boundary WHERE seq < ?", (first,)).fetchone()
        start: int = execute(
            """SELECT coalesce(
                (SELECT id FROM samebase_change WHERE id > ? AND id <= ? AND op = ? ORDER BY id DESC LIMIT 1),
                (SELECT min(id) FROM samebase_change WHERE id > ?))""",
            (low, first, INTENT, low),
        ).fetchone()[0]
        return start

    def _groups(self, after: int, sealed: int, limit: int) -> list[list[_Change]]:
        execute = self._database.connection.execute
        start = self._start(after)
        boundaries = execute("SELECT seq FROM samebase_boundary WHERE seq >= ? ORDER BY seq", (start,))
        changes = execute(
            "SELECT id, tbl, op, ts_ms, request, certified, traceparent FROM samebase_change "
            "WHERE id BETWEEN ? AND ? ORDER BY id",
            (start, sealed),
        )
        groups: list[list[_Change]] = []
        boundary = 0
        for change in map(_Change._make, changes):
            if change.id > boundary or change.op == INTENT:
                if len(groups) == limit:
                    break
                groups.append([])
            while boundary < change.id:
                (boundary,) = next(boundaries)
            groups[-1].append(change)
        return groups

    def _rows(self, groups: Sequence[Sequence[_Change]]) -> Mapping[int, RowChange]:
        ops = {change.id: change.op for group in groups for change in group}
        tables = {change.table for group in groups for change in group if change.op != INTENT}
        return {id_: row for table in tables for id_, row in self._images(table, ops)}

    def _images(self, table: str, ops: Mapping[int, str]) -> Iterator[tuple[int, RowChange]]:
        columns = self._known_columns()[table]
        selected = ", ".join(image for name, _ in columns for image in images(name))
        for id_, *values in self._database.connection.execute(
            f"SELECT id, {selected} FROM {shadow(table)} WHERE id BETWEEN ? AND ?", (min(ops), max(ops))
        ):
            before = None if ops[id_] == "c" else _image(columns, values[::2], id_)
            after = None if ops[id_] == "d" else _image(columns, values[1::2], id_)
            yield id_, RowChange(table, before, after)

    def _known_columns(self) -> Mapping[str, Sequence[tuple[str, int]]]:
        """Per captured table its columns, each with the last change that was captured without it."""
        execute = self._database.connection.execute
        (version,) = execute("PRAGMA schema_version").fetchone()
        if version != self._schema_version:
            columns: dict[str, list[tuple[str, int]]] = {}
            for table, name, since in execute("SELECT tbl, name, since FROM samebase_column ORDER BY rowid"):
                columns.setdefault(table, []).append((name, since))
            self._columns, self._schema_version = columns, version
        return self._columns


def _image(columns: Sequence[tuple[str, int]], values: Sequence[Scalar], id_: int) -> Row:
    return {name: value for (name, since), value in zip(columns, values, strict=True) if id_ > since}


def _commit(group: Sequence[_Change], rows: Mapping[int, RowChange]) -> Commit:
    first, last = group[0], group[-1]
    return Commit(
        seq=last.id,
        rows=tuple(rows[change.id] for change in group if change.op != INTENT),
        request=first.request,
        certify=bool(first.certified),
        traceparent=first.traceparent,
        ts_ms=last.ts_ms,
    )
