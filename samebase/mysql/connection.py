"""Sessions on a replica's MySQL server, and what its errors mean for us."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

import pymysql
from pymysql.connections import Connection
from pymysql.constants import CLIENT, COMMAND
from pymysql.converters import encoders

from samebase.core.errors import Busy, Diverged, Misuse, SamebaseError, Stop, Unavailable, UnknownHost
from samebase.mysql.values import CONVERTERS

PASSING = frozenset(
    {
        1021,  # disk full
        1040,  # too many connections
        1041,  # out of resources
        1053,  # server shutdown in progress
        1077,  # normal shutdown
        1079,  # shutdown complete
        1152,  # aborted connection
        1158,  # network read
        1159,  # network read timeout
        1160,  # network write
        1161,  # network write timeout
        1184,  # aborted connection
        1203,  # too many connections of this user
        1317,  # query interrupted
        1927,  # connection killed
        2002,  # cannot connect (socket)
        2003,  # cannot connect
        2006,  # server has gone away
        2013,  # connection lost
        3024,  # execution time exceeded
        3169,  # session killed
        3572,  # lock not available at once
        4031,  # disconnected for inactivity
    }
)
"""Error codes of what may come right by itself."""
LOCKED = frozenset({1205, 1213})  # lock wait timeout, deadlock

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})

CONNECT_SECONDS = 10
ANSWER_SECONDS = 60
"""How long to wait for a connection and for an answer. No statement of ours takes longer, but waiting for locks."""

# A row is written as it was elsewhere, whatever the mode there: dates need not exist, nothing is cut to fit.
_SQL_MODE = "STRICT_ALL_TABLES,ALLOW_INVALID_DATES,NO_AUTO_VALUE_ON_ZERO,NO_ENGINE_SUBSTITUTION"


@dataclass(frozen=True, slots=True)
class Address:
    """Where a replica's database is. The password appears in no text."""

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    database: str

    def __str__(self) -> str:
        return f"{self.user}@{self.host}:{self.port}/{self.database}"


def address_of(url: str) -> Address:
    """The address that a URL of the form mysql://user:password@host:port/database names (mysql+pymysql:// too).
    Raises Misuse for anything else."""
    try:
        parts = urlsplit(url)
        port = parts.port or 3306
    except ValueError:
        parts, port = urlsplit(""), 0
    database = unquote(parts.path.removeprefix("/"))
    complete = parts.hostname and parts.username and database and "/" not in database
    if parts.scheme not in ("mysql", "mysql+pymysql") or not complete or parts.query or parts.fragment:
        # Without the URL: it holds a password.
        raise Misuse("the URL is not of the form mysql://user:password@host:port/database")
    return Address(parts.hostname or "", port, unquote(parts.username or ""), unquote(parts.password or ""), database)


def account_of(text: str) -> tuple[str, str]:
    """The user and password that a text of the form user:password names. Raises Misuse."""
    user, colon, password = text.partition(":")
    if not user or not colon or not password:
        raise Misuse("an account is not of the form user:password")  # without the text: it holds a password
    return user, password


def settings(address: Address) -> dict[str, Any]:
    """What PyMySQL needs to know to connect."""
    return {
        "host": address.host,
        "port": address.port,
        "user": address.user,
        "password": address.password,
        "charset": "utf8mb4",
        "collation": "utf8mb4_0900_bin",
        # Over loopback there is nobody to hide from, and it takes half of the time of a short statement.
        "ssl_disabled": address.host in LOOPBACK,
        "connect_timeout": CONNECT_SECONDS,
        "read_timeout": ANSWER_SECONDS,
        "write_timeout": ANSWER_SECONDS,
    }


def connect(address: Address, lock_wait_seconds: int = 5) -> Connection[Any]:
    """A session of the sync process: what it writes is not in the binary log, times are UTC, every value is read in its
    canonical form, each statement commits by itself until BEGIN. Raises Unavailable or Stop."""
    with translated(f"connecting to {address}"):
        connection = pymysql.connect(
            **settings(address),
            database=address.database,
            autocommit=True,
            client_flag=CLIENT.FOUND_ROWS | CLIENT.MULTI_STATEMENTS,
            conv=encoders | CONVERTERS,
        )
        try:
            with connection.cursor() as cursor:
                cursor.execute(
                    "SET SESSION sql_log_bin = 0, time_zone = '+00:00', sql_mode = %s, foreign_key_checks = 0, "
                    "transaction_isolation = 'REPEATABLE-READ', innodb_lock_wait_timeout = %s, "
                    # The default is a year; making the server read_only waits for such locks.
                    "lock_wait_timeout = 10, "
                    # Beyond its limit a long list of keys is searched for in the whole table, and locks it.
                    "range_optimizer_max_mem_size = 0",
                    (_SQL_MODE, lock_wait_seconds),
                )
        except BaseException:
            connection.close()
            raise
        return connection


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Raise what the driver raises as errors of ours. Also a decorator. `doing` completes "while ..."."""
    try:
        yield
    except (pymysql.IntegrityError, pymysql.DataError) as error:
        raise Diverged(f"while {doing}: the database refuses a row: {_text(error)}") from error
    except pymysql.MySQLError as error:
        raise _meaning(error)(f"while {doing}: {_text(error)}") from error
    except UnicodeError as error:
        raise Diverged(f"while {doing}: MySQL cannot hold a text: {error}") from error


def _meaning(error: pymysql.MySQLError) -> type[SamebaseError]:
    # The driver raises InterfaceError for what is asked of a connection that broke before.
    code = error.args[0] if error.args else 0
    if isinstance(getattr(error, "original_exception", None), socket.gaierror):
        return UnknownHost
    if code in LOCKED:
        return Busy
    return Unavailable if code in PASSING or isinstance(error, pymysql.InterfaceError) else Stop


def _text(error: pymysql.MySQLError) -> str:
    code, *rest = error.args or (0,)
    return f"{' '.join(map(str, rest)) or type(error).__name__} (MySQL error {code})"


def quoted(name: str) -> str:
    """An identifier as SQL text."""
    return "`" + name.replace("`", "``") + "`"


def one(connection: Connection[Any], statement: str, *values: Any) -> Any:
    """The first row of a query, or None."""
    with connection.cursor() as cursor:
        cursor.execute(statement, values or None)
        return cursor.fetchone()


def texts(connection: Connection[Any], statement: str) -> list[bytes | None] | None:
    """The first row of a query as the server prints it, or None. Takes half as long as `one`, for the columns' names
    and types are passed over."""
    connection._execute_command(COMMAND.COM_QUERY, statement)
    columns = connection._read_packet().read_length_encoded_integer()
    for _ in range(columns + 1):
        connection._read_packet()
    found: list[bytes | None] | None = None
    while not (packet := connection._read_packet()).is_eof_packet():
        if found is None:
            found = [packet.read_length_coded_string() for _ in range(columns)]
    return found


def every(connection: Connection[Any], statement: str, *values: Any) -> list[Any]:
    """All rows of a query."""
    with connection.cursor() as cursor:
        cursor.execute(statement, values or None)
        return list(cursor.fetchall())


def together(connection: Connection[Any], *statements: str) -> Any:
    """Carry statements out one after another, without waiting for each one's answer; what fails ends it. Returns the
    first row of the last one, or None."""
    with connection.cursor() as cursor:
        cursor.execute("; ".join(statements))
        while cursor.nextset():
            pass
        return cursor.fetchone()


def execute(connection: Connection[Any], statement: str, *values: Any) -> int:
    """Carry a statement out; the number of rows that it found."""
    with connection.cursor() as cursor:
        found: int = cursor.execute(statement, values or None)
        return found
