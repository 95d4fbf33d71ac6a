"""Whether a server and a replica's tables can be used: a list of checks, each one line, ok or what to change.

Each check stands for something that would lose a change, make replicas differ, or stop them later. They are made at
every start.
"""

# ruff: noqa: S608 - names in SQL are ours, or quoted identifiers of the configuration

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any

import pymysql
from pymysql.connections import Connection

from samebase.core.errors import Stop
from samebase.mysql.catalog import columns_of, problems
from samebase.mysql.connection import Address, connect, every, execute, one, quoted, settings, translated
from samebase.mysql.install import SCHEMA, server_end
from samebase.mysql.stream import Stream
from samebase.replicated import Replicated

OLDEST = (8, 4)
SMALLEST_PACKET = 16 * 2**20
_NOT_THERE = (1049, 1146)  # no such schema, no such table


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Attributes:
        subject: what: `server variable binlog_format`, `table item` ...
        trouble: what is wrong and what to change; None if it is as it must be.
    """

    subject: str
    trouble: str | None = None

    @property
    def ok(self) -> bool:
        return self.trouble is None

    def __str__(self) -> str:
        return f"{self.subject}: {self.trouble or 'ok'}"


@dataclass(frozen=True, slots=True)
class _Variable:
    wanted: str
    why: str


_VARIABLES = {
    "log_bin": _Variable("ON", "local transactions are read from the binary log"),
    "binlog_format": _Variable("ROW", "statements do not say which rows they change"),
    "binlog_row_image": _Variable("FULL", "whole rows are compared"),
    "binlog_row_metadata": _Variable("FULL", "without it columns have no names"),
    "binlog_row_value_options": _Variable("", "parts of values cannot be compared"),
    "binlog_transaction_compression": _Variable("OFF", "compressed transactions cannot be read"),
    "binlog_checksum": _Variable("CRC32", "a damaged event must be noticed"),
    "binlog_order_commits": _Variable("ON", "transactions must become visible in the order of the log"),
    "sync_binlog": _Variable("1", "or a crash of the machine takes back what was published"),
    "innodb_flush_log_at_trx_commit": _Variable("1", "or a crash of the machine takes back what was published"),
}


def preflight(address: Address, tables: Mapping[str, Replicated]) -> list[Check]:
    """All checks. What cannot be looked at because the server does not answer raises Unavailable or Stop."""
    checks: list[Check] = []
    with translated(f"connecting to {address}"), closing(_plain(address)) as plain:
        checks += _server(plain)
        checks += _privileges(plain, address, tables, readable=all(check.ok for check in checks))
    if any(not check.ok and check.subject.startswith("privilege") for check in checks):
        return checks
    with closing(connect(address)) as connection, translated("inspecting the tables"):
        for name, replicated in sorted(tables.items()):
            found = problems(connection, address.database, name, replicated)
            checks += [Check(f"table {name}", problem) for problem in found] or [Check(f"table {name}")]
    return checks


def require(address: Address, tables: Mapping[str, Replicated]) -> None:
    """Raises Stop, in one line, if any check fails."""
    failed = [str(check) for check in preflight(address, tables) if not check.ok]
    if failed:
        raise Stop(f"{address} cannot be replicated: " + "; ".join(failed))


def _plain(address: Address) -> Connection[Any]:
    """A session that asks for no privilege yet."""
    return pymysql.connect(**settings(address), database=address.database, autocommit=True)


def _server(connection: Connection[Any]) -> Iterator[Check]:
    names = ", ".join(f"'{name}'" for name in (*_VARIABLES, "max_allowed_packet", "version"))
    values = dict(every(connection, f"SHOW GLOBAL VARIABLES WHERE variable_name IN ({names})"))
    version = tuple(int(part) for part in values["version"].split("-")[0].split(".")[:2])
    older = f"is {values['version']}: MySQL {'.'.join(map(str, OLDEST))} or later is needed"
    yield Check("server version", None if version >= OLDEST else older)
    for name, variable in _VARIABLES.items():
        value = values.get(name, "unknown")
        wanted = f"is {value or 'empty'}: set it to {variable.wanted or 'nothing (empty)'} ({variable.why})"
        yield Check(f"server variable {name}", None if value.upper() == variable.wanted else wanted)
    packet = int(values["max_allowed_packet"])
    small = f"is {packet}: set it to {SMALLEST_PACKET} or more (a row and a batch must fit)"
    yield Check("server variable max_allowed_packet", None if packet >= SMALLEST_PACKET else small)


def _privileges(
    connection: Connection[Any], address: Address, tables: Mapping[str, Replicated], *, readable: bool
) -> Iterator[Check]:
    """`readable`: the server writes a binary log that can be read."""

    def unlogged() -> None:
        execute(connection, "SET SESSION sql_log_bin = 0")

    def position() -> None:
        found = one(connection, "SHOW BINARY LOG STATUS")
        if found is not None and (found[2] or found[3]):
            raise Stop("the binary log leaves out databases: start the server without binlog_do_db, binlog_ignore_db")

    def dump() -> None:
        end, name = server_end(connection)
        stream = Stream(address, end, name, (SCHEMA,), ("intent",))
        try:
            stream.next()
        finally:
            stream.close()

    def change_variables() -> None:
        unlogged()
        execute(connection, "SET GLOBAL read_only = @@GLOBAL.read_only")

    def stay_online() -> None:
        # Of all statements without effect, the one that needs it.
        execute(connection, "SET GLOBAL offline_mode = @@GLOBAL.offline_mode")

    yield _allowed("SYSTEM_VARIABLES_ADMIN", "on *.*", change_variables)
    yield _allowed("CONNECTION_ADMIN", "on *.*", stay_online)
    yield _allowed("REPLICATION CLIENT", "on *.*", position)
    if readable:
        yield _allowed("REPLICATION SLAVE", "on *.*", dump)
    for name in sorted(tables):
        table = quoted(name)
        statements = {
            "SELECT": f"EXPLAIN SELECT * FROM {table} FOR UPDATE",
            "INSERT": f"EXPLAIN INSERT INTO {table} SELECT * FROM {table} WHERE FALSE",
            "DELETE": f"EXPLAIN DELETE FROM {table}",
        }
        for column in list(columns_of(connection, address.database, name))[:1]:
            statements["UPDATE"] = f"EXPLAIN UPDATE {table} SET {quoted(column)} = NULL"
        for privilege, statement in statements.items():
            yield _allowed(privilege, f"on table {name}", partial(execute, connection, statement))
    blind = "is not granted, and without it triggers are not seen: grant it"
    seen = _sees_triggers(connection, address.database)
    yield Check(f"privilege TRIGGER on {address.database}.*", None if seen else blind)
    own = f"DROP TABLE IF EXISTS {SCHEMA}.none"
    yield _allowed("ALL", f"on {SCHEMA}.*", partial(execute, connection, own))


def _sees_triggers(connection: Connection[Any], database: str) -> bool:
    everywhere = ("*.*", f"{quoted(database)}.*", f"{quoted(database).replace('_', chr(92) + '_')}.*")
    for (grant,) in every(connection, "SHOW GRANTS"):
        privileges, _, rest = grant.removeprefix("GRANT ").partition(" ON ")
        listed = {privilege.strip() for privilege in privileges.split(",")}
        if rest.partition(" TO ")[0] in everywhere and listed & {"TRIGGER", "ALL PRIVILEGES"}:
            return True
    return False


def _allowed(privilege: str, where: str, attempt: Callable[[], object]) -> Check:
    """Whether the server lets us: trying is the only way that knows of roles too."""
    subject = f"privilege {privilege} {where}"
    try:
        attempt()
    except Stop as error:
        return Check(subject, str(error))
    except pymysql.MySQLError as error:
        if error.args[0] in _NOT_THERE:
            return Check(subject)  # a table's own check says so
        return Check(subject, f"{error.args[-1]}: grant it (MySQL error {error.args[0]})")
    return Check(subject)
