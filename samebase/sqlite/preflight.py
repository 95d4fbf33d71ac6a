"""Which tables can be replicated, and what they look like: the live SQLite schema as a Schema of the core.

A table is refused for what would make replicas differ, or lose a change unseen. Each refusal is one line that names
the table and the reason.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping

from samebase.core.errors import Stop
from samebase.core.types import Delta, Policy, Scalar, Schema, Table
from samebase.replicated import Replicated
from samebase.sqlite.connection import quoted

PREFIX = "samebase_"
"""The names of everything that belongs to us in a replica's database begin so."""

INTEGER_RANGE = (-(2**63), 2**63 - 1)

_LITERAL = re.compile(
    r"""[-+]?\s*(0x[0-9a-f]+|\d+(\.\d*)?(e[-+]?\d+)?|\.\d+(e[-+]?\d+)?)
      | '([^']|'')*' | "([^"]|"")*" | x'([0-9a-f]{2})*' | null | true | false""",
    re.IGNORECASE | re.VERBOSE,
)
_TOKEN = re.compile(
    r"""--[^\n]* | /\*.*?\*/ | '(?:[^']|'')*' | "(?:[^"]|"")*" | `(?:[^`]|``)*` | \[[^\]]*\] | \w+ | \S""",
    re.DOTALL | re.VERBOSE,
)


def inspect(connection: sqlite3.Connection, tables: Mapping[str, Replicated]) -> Schema:
    """The tables as they are now. Raises Stop for the first one that cannot be replicated."""
    return {name: _table(connection, name, settings) for name, settings in sorted(tables.items())}


def _table(connection: sqlite3.Connection, name: str, settings: Replicated) -> Table:
    def refuse(reason: str) -> Stop:
        return Stop(f"table {name} cannot be replicated: {reason}")

    found = connection.execute(
        "SELECT type, wr FROM pragma_table_list WHERE schema = 'main' AND name = ?", (name,)
    ).fetchone()
    if found is None:
        raise refuse("there is no table of that name (migrate the database first)")
    if found[0] != "table":
        raise refuse(f"it is a {found[0]} table")
    if name.startswith((PREFIX, "sqlite_")):
        raise refuse("its name is reserved")

    columns = connection.execute(f"PRAGMA table_xinfo({quoted(name)})").fetchall()
    for _, column, declared, _, _, _, hidden in columns:
        if hidden:
            raise refuse(f"column {column} is generated")
        if not declared:
            raise refuse(f"column {column} has no declared type")
    key = tuple(column[1] for column in sorted((c for c in columns if c[5]), key=lambda c: c[5]))
    if not key:
        raise refuse("it has no primary key")

    unique = []
    has_key_index = False
    for _, index, is_unique, source, partial in connection.execute(f"PRAGMA index_list({quoted(name)})").fetchall():
        if not is_unique:
            continue
        parts = [row for row in connection.execute(f"PRAGMA index_xinfo({quoted(index)})").fetchall() if row[5]]
        if partial:
            raise refuse(f"its unique index {index} is partial")
        if any(part[1] < 0 for part in parts):
            raise refuse(f"its unique index {index} is on an expression")
        for part in parts:
            if part[4] != "BINARY":
                raise refuse(f"column {part[2]} is compared by {part[4]} in a key or unique index, not by BINARY")
        if source == "pk":
            has_key_index = True
        elif {part[2] for part in parts} != set(key):
            unique.append(tuple(part[2] for part in parts))
    if not has_key_index:
        raise refuse(f"its key {key[0]} is an INTEGER PRIMARY KEY, which each replica would number alike; use UUIDs")
    for _, column, _, not_null, _, position, _ in columns:
        if position and not not_null:
            raise refuse(f"column {column} of its primary key may be NULL; declare it NOT NULL")
    if unique and settings.kind == "merge":
        raise refuse(f"it has a unique index ({', '.join(unique[0])}), which only a strict table may have")

    for (trigger,) in connection.execute(
        "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = ?", (name,)
    ).fetchall():
        if not trigger.startswith(PREFIX):
            raise refuse(f"it has a trigger, {trigger}, whose effects would be replicated and repeated")
    for reference in connection.execute(f"PRAGMA foreign_key_list({quoted(name)})").fetchall():
        for action in reference[5:7]:
            if action not in ("NO ACTION", "RESTRICT"):
                raise refuse(f"its foreign key on {reference[3]} says {action}: the application must do that itself")
    sql = connection.execute("SELECT sql FROM sqlite_master WHERE type = 'table' AND name = ?", (name,)).fetchone()[0]
    if settings.kind == "merge":
        for checked in _checks(sql, {column[1] for column in columns}):
            raise refuse(f"a CHECK compares the columns {' and '.join(checked)}, which a merge may set apart")

    deltas = []
    declared_as = {column[1]: column for column in columns}
    for column in settings.delta:
        if settings.kind == "strict":
            raise refuse("a strict table has no delta columns")
        if column not in declared_as:
            raise refuse(f"there is no delta column {column}")
        if column in key:
            raise refuse(f"delta column {column} is part of its key")
        if "INT" not in declared_as[column][2].upper() or not declared_as[column][3]:
            raise refuse(f"delta column {column} must be INTEGER NOT NULL")
        deltas.append(Delta(column, *INTEGER_RANGE))
    return Table(
        name=name,
        policy=Policy(kind=settings.kind, key=key, unique=tuple(sorted(unique)), delta=tuple(deltas)),
        columns={column[1]: _default(column[2], column[4]) for column in columns},
    )


def _default(declared: str, text: str | None) -> Scalar:
    """The value that the column's DEFAULT clause gives a row, None if there is no clause or no constant in it."""
    constant = (text or "NULL").strip()
    while constant.startswith("(") and constant.endswith(")"):
        constant = constant[1:-1].strip()
    if not _LITERAL.fullmatch(constant):
        return None
    # The column's type decides in which form the constant is stored: let SQLite itself say.
    with sqlite3.connect(":memory:") as scratch:
        scratch.execute(f"CREATE TABLE t (c {declared} DEFAULT {constant})")
        scratch.execute("INSERT INTO t DEFAULT VALUES")
        value: Scalar = scratch.execute("SELECT c FROM t").fetchone()[0]
    scratch.close()
    return value


def _checks(sql: str, columns: set[str]) -> list[list[str]]:
    """The columns of each CHECK constraint that compares several of them."""
    tokens = [token for token in _TOKEN.findall(sql) if not token.startswith(("--", "/*", "'"))]
    known = {column.casefold(): column for column in columns}
    found = []
    for start, token in enumerate(tokens):
        if token.upper() != "CHECK":
            continue
        depth = 0
        names = set()
        for inner in tokens[start + 1 :]:
            depth += (inner == "(") - (inner == ")")
            if depth == 0:
                break
            name = inner.strip('"`[]').casefold()
            if name in known:
                names.add(known[name])
        if len(names) > 1:
            found.append(sorted(names))
    return found
