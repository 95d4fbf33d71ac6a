"""Which SQLite tables are refused, and how defaults are read."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from samebase.core.errors import Stop
from samebase.core.types import Schema
from samebase.replicated import Replicated
from samebase.sqlite.preflight import inspect


def inspected(ddl: str, settings: Replicated) -> Schema:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(ddl)
        return inspect(connection, {"t": settings})


MERGE = Replicated("merge")
STRICT = Replicated("strict")
KEY = "id TEXT NOT NULL PRIMARY KEY"


@pytest.mark.parametrize(
    ("ddl", "settings", "reason"),
    [
        ("CREATE TABLE other (a)", MERGE, "there is no table of that name"),
        ("CREATE VIEW t AS SELECT 1 AS a", MERGE, "it is a view"),
        ("CREATE VIRTUAL TABLE t USING fts5(a)", MERGE, "it is a virtual table"),
        ("CREATE TABLE t (a TEXT NOT NULL)", MERGE, "no primary key"),
        ("CREATE TABLE t (id INTEGER PRIMARY KEY)", MERGE, "INTEGER PRIMARY KEY"),
        ("CREATE TABLE t (id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT)", MERGE, "INTEGER PRIMARY KEY"),
        ("CREATE TABLE t (id TEXT PRIMARY KEY)", MERGE, "id of its primary key may be NULL"),
        ("CREATE TABLE t (a INT NOT NULL, b INT, PRIMARY KEY (a, b))", MERGE, "b of its primary key may be NULL"),
        (f"CREATE TABLE t ({KEY}, name TEXT UNIQUE)", MERGE, r"unique index \(name\)"),
        (f"CREATE TABLE t ({KEY}, a TEXT); CREATE UNIQUE INDEX i ON t (a) WHERE a > 1", STRICT, "index i is partial"),
        (f"CREATE TABLE t ({KEY}, a TEXT); CREATE UNIQUE INDEX i ON t (lower(a))", STRICT, "i is on an expression"),
        ("CREATE TABLE t (id TEXT NOT NULL COLLATE NOCASE PRIMARY KEY)", MERGE, "column id is compared by NOCASE"),
        (f"CREATE TABLE t ({KEY}, a TEXT COLLATE RTRIM UNIQUE)", STRICT, "column a is compared by RTRIM"),
        (
            f"CREATE TABLE t ({KEY}); CREATE TRIGGER mine AFTER INSERT ON t BEGIN DELETE FROM t; END",
            MERGE,
            "it has a trigger, mine",
        ),
        (f"CREATE TABLE t ({KEY}, p TEXT REFERENCES q (x) ON DELETE CASCADE)", MERGE, "foreign key on p says CASCADE"),
        (f"CREATE TABLE t ({KEY}, p TEXT REFERENCES q (x) ON UPDATE SET NULL)", MERGE, "says SET NULL"),
        (f"CREATE TABLE t ({KEY}, a INT, b INT AS (a + 1))", MERGE, "column b is generated"),
        (f"CREATE TABLE t ({KEY}, a INT, b INT AS (a + 1) STORED)", MERGE, "column b is generated"),
        (f"CREATE TABLE t ({KEY}, a)", MERGE, "column a has no declared type"),
        (f"CREATE TABLE t ({KEY}, a INT, b INT, CHECK (a < b))", MERGE, "CHECK compares the columns a and b"),
        (f"CREATE TABLE t ({KEY}, a INT, \"B\" INT CHECK (/* a */ b > 'x)' || [a]))", MERGE, "the columns B and a"),
        (f"CREATE TABLE t ({KEY})", Replicated("merge", ("n",)), "there is no delta column n"),
        (f"CREATE TABLE t ({KEY}, n REAL NOT NULL)", Replicated("merge", ("n",)), "n must be INTEGER NOT NULL"),
        (f"CREATE TABLE t ({KEY}, n INTEGER)", Replicated("merge", ("n",)), "n must be INTEGER NOT NULL"),
        (f"CREATE TABLE t ({KEY}, n INT NOT NULL)", Replicated("strict", ("n",)), "strict table has no delta"),
        ("CREATE TABLE t (n INT NOT NULL PRIMARY KEY)", Replicated("merge", ("n",)), "n is part of its key"),
    ],
)
def test_a_table_that_replicas_could_not_keep_alike_is_refused(ddl: str, settings: Replicated, reason: str) -> None:
    with pytest.raises(Stop, match=f"^table t cannot be replicated: .*{reason}") as raised:
        inspected(ddl, settings)
    assert "\n" not in str(raised.value)


def test_our_own_tables_are_refused() -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE TABLE samebase_x (id TEXT NOT NULL PRIMARY KEY)")
        with pytest.raises(Stop, match="its name is reserved"):
            inspect(connection, {"samebase_x": MERGE})


def test_what_is_harmless_is_accepted() -> None:
    ddl = """CREATE TABLE q (x TEXT PRIMARY KEY);
        CREATE TABLE t (
            id CHAR(36) NOT NULL, a INT CHECK (a > 0 AND a < 9), b TEXT CHECK (b <> 'a, id') REFERENCES q (x),
            PRIMARY KEY (id)
        ) WITHOUT ROWID;
        CREATE INDEX plain ON t (a) WHERE a > 1;
        CREATE UNIQUE INDEX again ON t (id)"""
    table = inspected(ddl, MERGE)["t"]
    assert table.policy.key == ("id",)
    assert table.policy.unique == ()
    strict = inspected(f"CREATE TABLE t ({KEY}, a INT, b INT UNIQUE, UNIQUE (b, a), CHECK (a < b))", STRICT)["t"]
    assert strict.policy.unique == (("b",), ("b", "a"))


def test_key_columns_stand_in_the_order_of_the_key() -> None:
    table = inspected("CREATE TABLE t (b TEXT NOT NULL, a INT NOT NULL, PRIMARY KEY (a, b))", MERGE)["t"]
    assert table.policy.key == ("a", "b")


@pytest.mark.parametrize(
    ("column", "default"),
    [
        ("TEXT", None),
        ("TEXT DEFAULT NULL", None),
        ("TEXT DEFAULT 'it''s'", "it's"),
        ("TEXT DEFAULT 5", "5"),
        ("INTEGER DEFAULT '5'", 5),
        ("INTEGER DEFAULT -5", -5),
        ("INTEGER DEFAULT (5)", 5),
        ("INTEGER DEFAULT 9223372036854775807", 2**63 - 1),
        ("BOOLEAN DEFAULT TRUE", 1),
        ("REAL DEFAULT 1", 1.0),
        ("REAL DEFAULT 1.5e3", 1500.0),
        ("BLOB DEFAULT x'00ff'", b"\x00\xff"),
        ("VARCHAR(9) DEFAULT ''", ""),
        ("DATETIME DEFAULT CURRENT_TIMESTAMP", None),
        ("INTEGER DEFAULT (abs(-5))", None),
        ("INTEGER DEFAULT (1) ", 1),
    ],
)
def test_a_constant_default_is_read_as_the_column_would_keep_it(column: str, default: object) -> None:
    found = inspected(f"CREATE TABLE t ({KEY}, c {column})", MERGE)["t"].columns["c"]
    assert (type(found), found) == (type(default), default)
