"""The SQL of the change log: tables, and the triggers that write it.

How it works:

- Every row change on a replicated table writes a row of `samebase_change` and, under the same id, the old and new
  values into the table's shadow `samebase_change_<table>`, whose columns have no type: every value stays as it is.
- Inserting an intent row is a change with op `i`, which begins a new transaction. `samebase_intent` itself stays empty.
- While `samebase_replica.applying` is 1, nothing is captured. Only a transaction that holds the write lock sets it,
  and it sets it back before it commits: nobody else ever sees a 1.
- A REPLACE deletes rows without a word to triggers (unless recursive_triggers is on), which would lose a change. So
  before an insert or a change of a key or unique value we count the rows in the way, each delete trigger takes one off,
  and if any is left when the row is there the statement is refused. Upserts resolve the conflict otherwise: they pass.
"""

# ruff: noqa: S608 - names in SQL are quoted identifiers of the live schema; values are bound

from __future__ import annotations

from samebase.core.types import Table
from samebase.sqlite.connection import quoted

INTENT = "i"

TABLES = (
    """CREATE TABLE IF NOT EXISTS samebase_replica (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        origin TEXT NOT NULL,
        log_identity TEXT,
        "offset" INTEGER NOT NULL DEFAULT 0,
        settled INTEGER NOT NULL DEFAULT 0,
        forgotten INTEGER NOT NULL DEFAULT 0,
        applying INTEGER NOT NULL DEFAULT 0
    )""",
    """CREATE TABLE IF NOT EXISTS samebase_applied (
        origin TEXT NOT NULL PRIMARY KEY, seq INTEGER NOT NULL, held INTEGER
    )""",
    """CREATE TABLE IF NOT EXISTS samebase_base (
        tbl TEXT NOT NULL, key TEXT NOT NULL, row TEXT NOT NULL, PRIMARY KEY (tbl, key)
    ) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS samebase_rejected (
        id INTEGER PRIMARY KEY,
        "offset" INTEGER NOT NULL,
        origin TEXT NOT NULL,
        seq INTEGER NOT NULL,
        request TEXT,
        reason TEXT NOT NULL,
        rows TEXT NOT NULL,
        changes TEXT NOT NULL
    )""",
    'CREATE INDEX IF NOT EXISTS samebase_rejected_offset ON samebase_rejected ("offset")',
    "CREATE TABLE IF NOT EXISTS samebase_boundary (seq INTEGER PRIMARY KEY)",
    """CREATE TABLE IF NOT EXISTS samebase_change (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        tbl TEXT NOT NULL,
        op TEXT NOT NULL,
        ts_ms INTEGER NOT NULL,
        request TEXT,
        certified INTEGER,
        traceparent TEXT
    )""",
    # Which columns a shadow table has, and the last change that was captured without them.
    """CREATE TABLE IF NOT EXISTS samebase_column (
        tbl TEXT NOT NULL, name TEXT NOT NULL, since INTEGER NOT NULL, PRIMARY KEY (tbl, name)
    )""",
    "CREATE TABLE IF NOT EXISTS samebase_guard (inserting INTEGER NOT NULL, updating INTEGER NOT NULL)",
    """CREATE TABLE IF NOT EXISTS samebase_intent (
        id INTEGER PRIMARY KEY, request TEXT NOT NULL, certified INTEGER NOT NULL DEFAULT 0, traceparent TEXT
    )""",
)

LAST_CHANGE = """SELECT max(seq, coalesce((SELECT max(id) FROM samebase_change), 0)) FROM sqlite_sequence
    WHERE name = 'samebase_change'"""
"""The id of the last change. A statement with OR FAIL that fails keeps its first rows, but not its step of the
sequence; so the sequence alone does not tell."""

_NOW_MS = "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)"
_CAPTURING = "(SELECT applying FROM samebase_replica) = 0"
_REPLACES = (
    "samebase: REPLACE would delete a row of {} unseen; use ON CONFLICT DO UPDATE or PRAGMA recursive_triggers=ON"
)

INTENT_TRIGGER = f"""CREATE TRIGGER samebase_intent_insert AFTER INSERT ON samebase_intent BEGIN
    INSERT INTO samebase_change (tbl, op, ts_ms, request, certified, traceparent)
        VALUES ('samebase_intent', '{INTENT}', {_NOW_MS}, new.request, new.certified, new.traceparent);
    DELETE FROM samebase_intent WHERE id = new.id;
END"""


def shadow(table: str) -> str:
    """The quoted name of the table that keeps a replicated table's old and new values."""
    return quoted(f"samebase_change_{table}")


def images(column: str) -> tuple[str, str]:
    """The quoted names of a column's old and new value in the shadow table."""
    return quoted(f"old_{column}"), quoted(f"new_{column}")


def create_shadow(table: Table) -> str:
    """The statement that makes the shadow table."""
    columns = ", ".join(image for column in table.columns for image in images(column))
    return f"CREATE TABLE {shadow(table.name)} (id INTEGER PRIMARY KEY, {columns})"


def triggers(table: Table) -> dict[str, str]:
    """The triggers of a replicated table: name to CREATE statement."""
    name = table.name
    uniques = (table.policy.key, *table.policy.unique)
    identifying = sorted({column for columns in uniques for column in columns})
    in_the_way = " OR ".join(f"({_all(columns, '{0} = new.{0}')})" for columns in uniques)
    itself = _all(table.policy.key, "{0} = old.{0}")
    moves = " OR ".join(f"old.{quoted(column)} IS NOT new.{quoted(column)}" for column in identifying)
    of = ", ".join(quoted(column) for column in identifying)
    refused = _REPLACES.format(name).replace("'", "''")
    on = quoted(name)
    statements = {
        "inserting": f"""BEFORE INSERT ON {on}
            WHEN {_CAPTURING} AND ((SELECT inserting FROM samebase_guard) <> 0
                OR EXISTS (SELECT 1 FROM {on} WHERE {in_the_way})) BEGIN
            UPDATE samebase_guard SET inserting = (SELECT count(*) FROM {on} WHERE {in_the_way});
        END""",
        "insert": f"""AFTER INSERT ON {on} WHEN {_CAPTURING} BEGIN
            SELECT RAISE(ABORT, '{refused}') WHERE (SELECT inserting FROM samebase_guard) > 0;
            {_capture(table, "c")}
        END""",
        "updating": f"""BEFORE UPDATE OF {of} ON {on} WHEN {_CAPTURING} AND ({moves}) BEGIN
            UPDATE samebase_guard SET updating =
                (SELECT count(*) FROM {on} WHERE ({in_the_way}) AND NOT ({itself}));
        END""",
        "update": f"""AFTER UPDATE ON {on} WHEN {_CAPTURING} BEGIN
            SELECT RAISE(ABORT, '{refused}') WHERE ({moves}) AND (SELECT updating FROM samebase_guard) > 0;
            {_capture(table, "u")}
        END""",
        "delete": f"""AFTER DELETE ON {on} WHEN {_CAPTURING} BEGIN
            UPDATE samebase_guard SET inserting = inserting - 1, updating = updating - 1
                WHERE inserting > 0 OR updating > 0;
            {_capture(table, "d")}
        END""",
    }
    return {
        f"samebase_{event}_{name}": f"CREATE TRIGGER {quoted(f'samebase_{event}_{name}')} {statement}"
        for event, statement in statements.items()
    }


def _all(columns: tuple[str, ...], condition: str) -> str:
    return " AND ".join(condition.format(quoted(column)) for column in columns)


def _capture(table: Table, op: str) -> str:
    names = []
    values = []
    for column in table.columns:
        old, new = images(column)
        if op != "c":
            names.append(old)
            values.append(f"old.{quoted(column)}")
        if op != "d":
            names.append(new)
            values.append(f"new.{quoted(column)}")
    literal = table.name.replace("'", "''")
    return f"""INSERT INTO samebase_change (tbl, op, ts_ms) VALUES ('{literal}', '{op}', {_NOW_MS});
            INSERT INTO {shadow(table.name)} (id, {", ".join(names)})
                VALUES (last_insert_rowid(), {", ".join(values)});"""
