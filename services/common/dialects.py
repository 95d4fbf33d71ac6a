"""Everything that differs between SQLite and MySQL, so that nothing else needs to know."""

from __future__ import annotations

import sqlite3
from typing import Any, Literal

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session
from sqlalchemy.sql.functions import GenericFunction
from sqlalchemy.sql.sqltypes import String

WRITES = "samebase_writes"
"""Execution option of connections whose transactions write."""

Trouble = Literal["again", "away"]
"""again: the same transaction may succeed at once; away: not before somebody or something else has acted."""

_BUSY_SECONDS = 2.0
_SQLITE_AGAIN = ("SQLITE_BUSY", "SQLITE_LOCKED")
_SQLITE_AWAY = ("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_IOERR", "SQLITE_FULL", "SQLITE_CORRUPT", "SQLITE_NOTADB")
_MYSQL_AGAIN = {1205, 1213}  # lock wait timeout, deadlock
_MYSQL_AWAY = {
    *{1040, 1053, 1203, 1226},  # too many connections, shutting down
    *{1290, 1792, 1836},  # read only: sync holds writers back
    *{2002, 2003, 2006, 2013, 2014, 2055},  # cannot connect, connection lost
}
_MYSQL_NO_TABLE = 1146


def engine(url: str) -> Engine:
    """An engine that connects at first use. Its errors never carry parameters: they may be secrets."""
    if url.startswith("sqlite"):
        made = create_engine(
            url, hide_parameters=True, pool_size=16, max_overflow=32, connect_args={"timeout": _BUSY_SECONDS}
        )
        event.listen(made, "connect", _sqlite_connect)
        event.listen(made, "begin", _sqlite_begin)
        return made
    return create_engine(
        url, hide_parameters=True, pool_size=16, max_overflow=32, pool_pre_ping=True, pool_recycle=1800
    )


def _sqlite_connect(connection: sqlite3.Connection, _: object) -> None:
    connection.isolation_level = None  # transactions begin where we say, not where the driver guesses
    connection.create_function("samebase_fold", 1, _fold, deterministic=True)
    connection.execute("PRAGMA journal_mode = WAL")
    # What was published must not be forgotten by this database after a power failure.
    connection.execute("PRAGMA synchronous = FULL")


def _sqlite_begin(connection: Connection) -> None:
    # A transaction that reads first and then wants to write cannot wait for its turn in SQLite: it fails.
    writes = connection.get_execution_options().get(WRITES)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def trouble(error: DBAPIError) -> Trouble | None:
    """What a failed statement means for the one who waits for it; None: a defect, or a violated constraint."""
    cause = error.orig
    if isinstance(cause, sqlite3.Error):
        name = getattr(cause, "sqlite_errorname", "")
        if name.startswith(_SQLITE_AGAIN):
            return "again"
        if name.startswith(_SQLITE_AWAY) or "no such table: samebase_" in str(cause):
            return "away"
        return None
    code = cause.args[0] if cause is not None and cause.args else None
    if code in _MYSQL_AGAIN:
        return "again"
    if code in _MYSQL_AWAY or error.connection_invalidated or (code == _MYSQL_NO_TABLE and "samebase" in str(cause)):
        return "away"
    return None


def add_intent(session: Session, request: str, certify: bool, traceparent: str | None) -> None:
    """Insert the intent row that ties the transaction to its request; the first write of every transaction."""
    table = "samebase_intent" if _sqlite(session) else "samebase.intent"
    session.execute(
        text(f"INSERT INTO {table} (request, certified, traceparent) VALUES (:request, :certified, :traceparent)"),  # noqa: S608
        {"request": request, "certified": int(certify), "traceparent": traceparent},
    )


def position(session: Session) -> str | None:
    """The token of the open transaction after its last statement, None where only the sync process can tell."""
    if not _sqlite(session):
        return None
    row = session.execute(
        text("SELECT r.origin, s.seq FROM samebase_replica AS r, sqlite_sequence AS s WHERE s.name = 'samebase_change'")
    ).first()
    return None if row is None else f"{row.origin}:{row.seq}"


class folded(GenericFunction[str]):
    """A text in a form that is the same for upper and lower case."""

    type = String()
    inherit_cache = True


@compiles(folded, "sqlite")
def _folded_sqlite(element: folded, compiler: Any, **options: Any) -> str:
    return f"samebase_fold({compiler.process(element.clauses, **options)})"


@compiles(folded, "mysql")
def _folded_mysql(element: folded, compiler: Any, **options: Any) -> str:
    return f"({compiler.process(element.clauses, **options)} COLLATE utf8mb4_0900_as_ci)"


def _fold(value: str | None) -> str | None:
    return None if value is None else value.casefold()


def _sqlite(session: Session) -> bool:
    return session.get_bind().dialect.name == "sqlite"
