"""Events of the binary log, put together to transactions.

A transaction begins with the statement BEGIN and ends with an Xid event or the statement COMMIT (one that changed only
the intent table, which is no transactional engine's). Rolled back ones are not in the log, nor is what was rolled back
to a savepoint; should the server write either in full, we take it back ourselves.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from pymysqlreplication.event import RotateEvent, XAPrepareEvent
from pymysqlreplication.row_event import RowsEvent, TableMapEvent

from samebase.core.errors import Restart, Stop
from samebase.core.types import Commit, Row, RowChange, Schema
from samebase.mysql.database import Database
from samebase.mysql.decode import TableMap
from samebase.mysql.events import Change, Rows, Statement, Xid
from samebase.mysql.install import INTENT, SCHEMA
from samebase.mysql.stream import Stream

_SAVEPOINT = re.compile(r"SAVEPOINT\s+`(.*)`", re.DOTALL)
_ROLLBACK_TO = re.compile(r"ROLLBACK TO\s+`(.*)`", re.DOTALL)
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_TRUNCATE = re.compile(
    r"\s*TRUNCATE\s+(?:TABLE\s+)?(?:(?:`([^`]+)`|(\w+))\s*\.\s*)?(?:`([^`]+)`|([\w$]+))", re.IGNORECASE
)
_WITHIN = ("CREATE ", "XA END")
"""Statements that stand within a transaction although they change no row: CREATE TABLE ... SELECT begins so."""


@dataclass(slots=True)
class _Open:
    """A transaction of which not everything was read."""

    rows: list[RowChange] = field(default_factory=list)
    savepoints: dict[str, int] = field(default_factory=dict)
    request: str | None = None
    certify: bool = False
    traceparent: str | None = None


class Transactions:
    """Puts transactions together, of the tables that are replicated."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._schema_name = database.address.database
        self._maps: dict[int, TableMap | None] = {}
        self._open: _Open | None = None
        self._schema: Schema | None = None

    @property
    def tables(self) -> tuple[str, ...]:
        """The tables whose events are needed."""
        return (*self._database.tables, INTENT)

    @property
    def within(self) -> bool:
        """Whether a transaction has begun and not ended."""
        return self._open is not None

    def reset(self) -> None:
        """The stream begins anew, or another file of the log: a transaction lies in one, and table ids are only its."""
        self._maps.clear()
        self._open = None

    def take(self, event: Any, stream: Stream) -> Commit | None:
        """The next event, behind which `stream` stands now. Returns the transaction that it ends, if one of ours.
        Raises Stop for what cannot be replicated, Restart if the tables were migrated."""
        if isinstance(event, Rows):
            self._rows(event)
        elif isinstance(event, Xid):
            return self._end(stream)
        elif isinstance(event, Statement):
            return self._statement(event, stream)
        elif isinstance(event, TableMapEvent):
            self._maps[event.table_id] = self._map(event)
        elif isinstance(event, RowsEvent):
            # Of the library's, only those in which a JSON column changed in part are left.
            raise _parts(event.table)
        elif isinstance(event, XAPrepareEvent):
            if self._open is not None and self._open.rows:
                raise Stop("an XA transaction has changed a replicated table: they are not supported")
            self._open = None
        elif isinstance(event, RotateEvent):
            self.reset()
        return None

    def _end(self, stream: Stream) -> Commit | None:
        done, self._open = self._open, None
        if done is None or (not done.rows and done.request is None):
            return None
        return Commit(
            stream.position.seq, tuple(done.rows), done.request, done.certify, done.traceparent, stream.committed_ms
        )

    def _statement(self, event: Statement, stream: Stream) -> Commit | None:
        text = event.text
        if text == "BEGIN" or text.startswith("XA START"):
            self._open = _Open()
        elif text == "COMMIT":
            return self._end(stream)
        elif text == "ROLLBACK":
            self._open = None
        elif self._open is None:
            self._definition(text, event.schema)
        elif (found := _ROLLBACK_TO.fullmatch(text)) is not None:
            del self._open.rows[self._open.savepoints.get(found[1], 0) :]
        elif (found := _SAVEPOINT.fullmatch(text)) is not None:
            self._open.savepoints[found[1]] = len(self._open.rows)
        elif not text.upper().startswith(_WITHIN):
            raise Stop(
                f"the binary log holds a statement instead of its rows before {stream.position} ({text[:60]!r}): no "
                "session may use another binlog_format than ROW"
            )
        return None

    def _definition(self, text: str, default_schema: str) -> None:
        """A statement outside of transactions: tables may look different from now on."""
        found = _TRUNCATE.match(_COMMENT.sub(" ", text))
        if found is not None:
            schema, table = found[1] or found[2] or default_schema, found[3] or found[4]
            if schema == self._schema_name and table in self._database.tables:
                raise Stop(
                    f"table {table} was truncated, which the binary log does not tell row by row: use DELETE; this "
                    "replica has to be made anew"
                )
        self._database.migrated()

    def _map(self, event: TableMapEvent) -> TableMap | None:
        ours = event.schema == SCHEMA and event.table == INTENT
        if not ours and (event.schema != self._schema_name or event.table not in self._database.tables):
            return None
        found = TableMap(event.schema, event.table, event.columns)
        if not ours:
            self._check_columns(found)
        return found

    def _check_columns(self, found: TableMap) -> None:
        schema = self._database.schema()
        if self._schema is None:
            self._schema = schema
        if schema is not self._schema:
            # Whoever reads has taken the tables for what they were.
            raise Restart("the tables were migrated")
        lost = sorted(found.names - schema[found.table].columns.keys())
        if lost:
            raise Stop(f"table {found.table} has lost the column {lost[0]}: replicated tables change by adding columns")

    def _rows(self, event: Rows) -> None:
        table = self._maps.get(event.table_id)
        if table is None:
            return
        if self._open is None:
            raise Stop(f"the binary log holds rows of {table.table} outside of a transaction")
        if any(present & table.all_present != table.all_present for present in event.present):
            raise _parts(table.table)
        data, position, end = event.data, event.start, len(event.data)
        while position < end:
            before: Row | None = None
            after: Row | None = None
            if event.change is not Change.INSERT:
                before, position = table.row(data, position)
            if event.change is not Change.DELETE:
                after, position = table.row(data, position)
            if table.schema == SCHEMA:
                self._intent(after)
            else:
                self._open.rows.append(RowChange(table.table, before, after))

    def _intent(self, row: Row | None) -> None:
        if row is None or self._open is None:
            return
        if self._open.request is None:
            self._open.request, self._open.traceparent = _text(row["request"]), _text(row["traceparent"])
        self._open.certify = self._open.certify or bool(row["certified"])


def _parts(table: str) -> Stop:
    return Stop(
        f"the binary log holds parts of rows of {table}: no session may use another binlog_row_image than FULL, nor "
        "binlog_row_value_options"
    )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
