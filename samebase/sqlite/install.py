"""Make a database's change log what its tables need: at the first start, and again after each migration."""

# ruff: noqa: S608 - names in SQL are quoted identifiers of the live schema; values are bound

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from uuid import uuid4

from samebase.core.errors import Stop
from samebase.core.types import Schema, Table
from samebase.ports import ADOPTING
from samebase.replicated import Replicated
from samebase.sqlite.connection import Database, quoted, translated
from samebase.sqlite.preflight import inspect
from samebase.sqlite.triggers import INTENT_TRIGGER, LAST_CHANGE, TABLES, create_shadow, images, shadow, triggers


@translated("installing the change log")
def install(database: Database, tables: Mapping[str, Replicated], name: str, *, adopting: bool = False) -> Schema:
    """Create or complete everything named samebase_* in one transaction, and return the replicated tables.

    A database without an identity gets one: `name`@uuid. Changes that are captured already stay. A service should be
    at rest while its database is migrated: what it writes into a new column before this has run is not captured.

    Raises Stop if a table cannot be replicated, has lost a column, or has rows that the log knows nothing of.
    """
    connection = database.connection
    with database.writing():
        schema = inspect(connection, tables)
        for statement in TABLES:
            connection.execute(statement)
        if connection.execute("SELECT count(*) FROM samebase_replica").fetchone()[0] == 0:
            connection.execute(
                "INSERT INTO samebase_replica (id, origin, log_identity) VALUES (1, ?, ?)",
                (f"{name}@{uuid4()}", ADOPTING if adopting else None),
            )
            connection.execute("INSERT INTO samebase_guard VALUES (0, 0)")
            connection.execute("INSERT INTO sqlite_sequence VALUES ('samebase_change', 0)")
        wanted = {"samebase_intent_insert": INTENT_TRIGGER}
        for table in schema.values():
            _complete_shadow(connection, table, adopting)
            wanted |= triggers(table)
        _replace_triggers(connection, wanted)
    return schema


def _complete_shadow(connection: sqlite3.Connection, table: Table, adopting: bool) -> None:
    known = {name for (name,) in connection.execute("SELECT name FROM samebase_column WHERE tbl = ?", (table.name,))}
    missing = known - table.columns.keys()
    if missing:
        raise Stop(
            f"table {table.name} has lost the column {sorted(missing)[0]}: replicated tables change by adding columns"
        )
    since = 0
    if not known:
        if not adopting and connection.execute(f"SELECT EXISTS (SELECT 1 FROM {quoted(table.name)})").fetchone()[0]:
            raise Stop(
                f"table {table.name} has rows that the log knows nothing of: start with an empty table, or see "
                "samebase adopt"
            )
        connection.execute(create_shadow(table))
    else:
        since = connection.execute(LAST_CHANGE).fetchone()[0]
    for column in table.columns:
        if column in known:
            continue
        if known:
            for image in images(column):
                connection.execute(f"ALTER TABLE {shadow(table.name)} ADD COLUMN {image}")
        connection.execute("INSERT INTO samebase_column VALUES (?, ?, ?)", (table.name, column, since))


def _replace_triggers(connection: sqlite3.Connection, wanted: Mapping[str, str]) -> None:
    present = dict(
        connection.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND substr(name, 1, 9) = 'samebase_'"
        ).fetchall()
    )
    for name, sql in present.items():
        if wanted.get(name) != sql:
            connection.execute(f"DROP TRIGGER {quoted(name)}")
    for name, sql in wanted.items():
        if present.get(name) != sql:
            connection.execute(sql)
