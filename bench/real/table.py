"""The table that all figures write: nine columns, as a to-do item has."""

from bench.real.servers import DATABASE

TABLE = "item"
DDL = (
    "DROP SCHEMA IF EXISTS samebase",
    f"DROP SCHEMA IF EXISTS {DATABASE}",
    f"CREATE SCHEMA {DATABASE}",
    f"""CREATE TABLE {DATABASE}.{TABLE} (
        id VARCHAR(36) COLLATE utf8mb4_0900_bin NOT NULL PRIMARY KEY,
        name VARCHAR(200) NOT NULL,
        description TEXT NOT NULL,
        status TINYINT NOT NULL,
        progress TINYINT NOT NULL,
        calls INT NOT NULL,
        owner CHAR(36) NOT NULL,
        created DATETIME(6) NOT NULL,
        updated DATETIME(6) NOT NULL
    )""",
)
TABLES_FILE = f"""service = "bench"

[tables.{TABLE}]
policy = "merge"
delta = ["calls"]
"""

_REST = (
    "'buy milk and bread', 'the shop at the corner closes at eight', 1, 0, 0, "
    "'3a9f1c52-7c0d-4d3e-9b1a-0d5e8f6a7b21', now(6), now(6)"
)
INSERT = f"INSERT INTO {DATABASE}.{TABLE} VALUES (%s, {_REST})"
"""One row, with the given key."""


def insert(rows: int) -> str:
    """A statement that inserts so many rows with keys of their own."""
    if rows == 1:
        return f"INSERT INTO {DATABASE}.{TABLE} VALUES (uuid(), {_REST})"
    return (
        f"INSERT INTO {DATABASE}.{TABLE} WITH RECURSIVE n (i) AS "
        f"(SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows}) SELECT uuid(), {_REST} FROM n"
    )
