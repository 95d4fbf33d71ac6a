"""The schema `samebase` beside the data: the sync process's state, which it writes unlogged, and the intent table,
which the application writes. Everything here is made at the first start."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from pymysql.connections import Connection

from samebase.core.errors import Diverged, Stop
from samebase.core.types import Schema
from samebase.mysql.connection import every, execute, one, quoted, texts
from samebase.mysql.stream import Position, file_number
from samebase.ports import ADOPTING

SCHEMA = "samebase"
INTENT = "intent"

_NAME = "VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin"

TABLES = (
    f"""CREATE TABLE IF NOT EXISTS samebase.replica (
        id TINYINT NOT NULL PRIMARY KEY,
        origin {_NAME} NOT NULL,
        log_identity {_NAME},
        `offset` BIGINT NOT NULL DEFAULT 0,
        settled BIGINT NOT NULL DEFAULT 0
    )""",
    f"""CREATE TABLE IF NOT EXISTS samebase.applied (
        origin {_NAME} NOT NULL PRIMARY KEY, seq BIGINT NOT NULL, held BIGINT
    )""",
    # A key's text may be longer than an index takes: its hash identifies it.
    f"""CREATE TABLE IF NOT EXISTS samebase.base (
        id BINARY(32) NOT NULL PRIMARY KEY, tbl {_NAME} NOT NULL, `key` LONGBLOB NOT NULL, `row` LONGBLOB NOT NULL
    )""",
    f"""CREATE TABLE IF NOT EXISTS samebase.rejected (
        id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
        `offset` BIGINT NOT NULL,
        origin {_NAME} NOT NULL,
        seq BIGINT NOT NULL,
        request LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin,
        reason {_NAME} NOT NULL,
        `rows` LONGBLOB NOT NULL,
        changes LONGBLOB NOT NULL,
        INDEX by_offset (`offset`)
    )""",
    # How far the binary log was read (changes.py); a table of its own, because a batch locks the row of `replica`.
    """CREATE TABLE IF NOT EXISTS samebase.capture (
        id TINYINT NOT NULL PRIMARY KEY,
        server_uuid CHAR(36) NOT NULL,
        last BIGINT NOT NULL,
        boundary BIGINT NOT NULL
    )""",
    # One row while the server is read_only because we made it so (store.py).
    "CREATE TABLE IF NOT EXISTS samebase.refusing (id TINYINT NOT NULL PRIMARY KEY)",
    f"CREATE TABLE IF NOT EXISTS samebase.replicated (tbl {_NAME} NOT NULL PRIMARY KEY)",
    # In the binary log a row of it is there, within its transaction; nowhere else.
    f"""CREATE TABLE IF NOT EXISTS samebase.intent (
        request {_NAME} NOT NULL, certified TINYINT NOT NULL DEFAULT 0, traceparent {_NAME}
    ) ENGINE=BLACKHOLE""",
)


def server_end(connection: Connection[Any]) -> tuple[Position, str]:
    """The end of the server's binary log, and the name of its last file. Raises Stop if there is none."""
    found = texts(connection, "SHOW BINARY LOG STATUS")
    if found is None or found[0] is None or found[1] is None:
        raise Stop("the server writes no binary log: start it with --log-bin")
    name = found[0].decode()
    return Position(file_number(name), int(found[1])), name


def install(connection: Connection[Any], schema: Schema, name: str, *, adopting: bool = False) -> None:
    """Create what is missing of the schema `samebase`. A database without an identity gets one: `name`@uuid.

    Raises Stop if a table that was not replicated before has rows, Diverged if the state here is another server's.
    """
    if one(connection, "SELECT 1 FROM information_schema.schemata WHERE schema_name = %s", SCHEMA) is None:
        execute(connection, f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
    present = {found[0] for found in every(connection, "SHOW TABLES FROM samebase")}
    for statement in TABLES:
        if statement.split("samebase.")[1].split()[0] not in present:
            execute(connection, statement)
    # First the place, then the look: what is inserted in between is refused, never missed.
    end, _ = server_end(connection)
    known = {found[0] for found in every(connection, "SELECT tbl FROM samebase.replicated")}
    for table in schema.keys() - known:
        if not adopting and one(connection, f"SELECT 1 FROM {quoted(table)} LIMIT 1") is not None:  # noqa: S608 - a quoted identifier
            raise Stop(
                f"table {table} has rows that the log knows nothing of: start with an empty table, or see "
                "samebase adopt"
            )
    if one(connection, "SELECT 1 FROM samebase.capture") is None:
        execute(connection, "INSERT IGNORE INTO samebase.capture VALUES (1, @@server_uuid, 0, %s)", end.seq)
    # Not even a moment's lock if it is there: another process may be at work in it.
    if one(connection, "SELECT 1 FROM samebase.replica") is None:
        execute(
            connection,
            "INSERT IGNORE INTO samebase.replica (id, origin, log_identity) VALUES (1, %s, %s)",
            f"{name}@{uuid4()}",
            ADOPTING if adopting else None,
        )
    for table in schema.keys() - known:
        execute(connection, "INSERT IGNORE INTO samebase.replicated VALUES (%s)", table)
    if one(connection, "SELECT 1 FROM samebase.capture WHERE server_uuid = @@server_uuid") is None:
        raise Diverged(
            "the schema samebase is a copy from another server, whose binary log it speaks of: drop it (and empty the "
            "replicated tables) to begin as a new replica"
        )
