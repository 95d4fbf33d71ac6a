"""The type matrix: each MySQL column type either replicates exactly, or its table is refused.

Per type, rows with awkward values are written to one server in plain SQL, captured, applied to another one, updated,
and captured and applied again. Exactly means: what the binary log gives and what SELECT gives are alike to the last
bit, and both servers give the same HEX() and the same CHECKSUM TABLE. docs/types.md is made of the result.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from samebase.core.policy import net
from samebase.core.types import Commit, Concerned, Put, Scalar, Write
from samebase.mysql.catalog import problems
from samebase.mysql.connection import connect
from samebase.replicated import Replicated
from tests.support.mysql import MySqlBench, Server

pytestmark = pytest.mark.docker

DOCUMENT = Path(__file__).parents[3] / "docs" / "types.md"

TEXT = ["''", "'a'", "' a  '", "'A'", "'\u00e9'", "'e\u0301'", "'\U0001f600'", "'a\\0b'", "'it''s \\\\ \"x\" %s'"]
BYTES = ["''", "x'00'", "x'61'", "x'6100'", "x'0061'", "x'ff00ff'", "x'20'", "x'6120'"]
BLOBS = [*BYTES, "repeat(x'00ff27', 100000)"]
TEXTS = [*TEXT, "repeat('\U0001f600''\\\\', 50000)"]

EXACT: dict[str, list[str]] = {
    "TINYINT": ["0", "-1", "-128", "127"],
    "TINYINT UNSIGNED": ["0", "255"],
    "TINYINT(1)": ["TRUE", "FALSE", "-1"],
    "BOOLEAN": ["TRUE", "FALSE"],
    "SMALLINT": ["0", "-1", "-32768", "32767"],
    "SMALLINT UNSIGNED": ["0", "65535"],
    "MEDIUMINT": ["0", "-1", "-8388608", "8388607"],
    "MEDIUMINT UNSIGNED": ["0", "16777215"],
    "INT": ["0", "-1", "-2147483648", "2147483647"],
    "INT UNSIGNED": ["0", "4294967295"],
    "INT(8) ZEROFILL": ["0", "42"],
    "BIGINT": ["0", "-1", "-9223372036854775808", "9223372036854775807"],
    "BIGINT UNSIGNED": ["0", "18446744073709551615"],
    "DECIMAL(10,2)": ["0", "-0.01", "1.5", "-1.5", "99999999.99", "-99999999.99"],
    "DECIMAL(5,0)": ["0", "-1", "99999"],
    "DECIMAL(5,5)": ["0", "-0.00001", "0.99999"],
    "DECIMAL(65,30)": [
        "0",
        "-1e-30",
        "12345678901234567890123456789012345.123456789012345678901234567890",
        "-99999999999999999999999999999999999.999999999999999999999999999999",
    ],
    "DECIMAL(18,9)": ["0", "123456789.987654321", "-0.000000001", "100000000.000000001"],
    "DECIMAL(8,2) UNSIGNED ZEROFILL": ["0", "1.5"],
    "FLOAT": ["0", "-0e0", "0.1", "-0.1", "1e38", "3.4028234e38", "1.17549435e-38", "1e-45", "16777217", "1234567.9"],
    "DOUBLE": [
        "0",
        "-0e0",
        "0.1",
        "1e308",
        "1.7976931348623157e308",
        "5e-324",
        "2.2250738585072014e-308",
        "1e15",
        "-1e22",
    ],
    "REAL": ["0.1", "-0e0"],
    "BIT(1)": ["0", "1"],
    "BIT(9)": ["0", "b'100000001'", "b'111111111'"],
    "BIT(64)": ["0", "18446744073709551615", "1"],
    "DATE": [
        "'2024-02-29'",
        "'0000-00-00'",
        "'2024-00-00'",
        "'2024-02-31'",
        "'1000-01-01'",
        "'9999-12-31'",
        "'0001-01-01'",
    ],
    "DATETIME": ["'2024-02-29 23:59:59'", "'0000-00-00 00:00:00'", "'2024-00-10 01:02:03'", "'9999-12-31 23:59:59'"],
    "DATETIME(1)": ["'2024-02-29 23:59:59.9'", "'2024-01-01 00:00:00.0'"],
    "DATETIME(3)": ["'2024-02-29 23:59:59.001'", "'0000-00-00 00:00:00.000'"],
    "DATETIME(6)": ["'2024-02-29 23:59:59.000001'", "'9999-12-31 23:59:59.999999'", "'1970-01-01 00:00:00.100000'"],
    "TIMESTAMP": ["'2024-03-31 02:30:00'", "'1970-01-01 13:00:01'", "'2038-01-19 03:14:07'", "'0000-00-00 00:00:00'"],
    "TIMESTAMP(2)": ["'2024-02-29 23:59:59.05'", "'0000-00-00 00:00:00.00'"],
    "TIMESTAMP(6)": ["'2024-02-29 23:59:59.000001'", "'2001-09-09 01:46:40.100000'"],
    "TIME": ["'00:00:00'", "'-00:00:01'", "'838:59:59'", "'-838:59:59'", "'01:02:03'"],
    "TIME(1)": ["'-00:00:00.1'", "'-00:00:01.9'", "'12:34:56.7'"],
    "TIME(3)": ["'-00:00:00.001'", "'-12:34:56.789'", "'838:59:59.000'", "'00:00:00.999'"],
    "TIME(6)": ["'-00:00:00.000001'", "'-00:59:59.999999'", "'-838:59:59.000000'", "'-01:00:00.500000'"],
    "YEAR": ["0", "1901", "2155", "2024"],
    "CHAR(10)": TEXT,
    "CHAR(255)": ["repeat('\U0001f600', 255)", "''", "'x  '"],
    "CHAR(10) CHARACTER SET ascii": ["''", "'a'", "'a '"],
    "VARCHAR(40)": TEXT,
    "VARCHAR(40) COLLATE utf8mb4_bin": TEXT,
    "VARCHAR(40) CHARACTER SET utf8mb3": ["''", "' a  '", "'\u00e9'"],
    "VARCHAR(16000)": [*TEXT, "repeat('\U0001f600', 16000)"],
    "TINYTEXT": TEXT,
    "TEXT": TEXT,
    "MEDIUMTEXT": TEXTS,
    "LONGTEXT": TEXTS,
    "BINARY(1)": ["''", "x'00'", "x'61'", "x'20'"],
    "BINARY(6)": BYTES,
    "BINARY(16)": [
        "uuid_to_bin('6ccd780c-baba-1026-9564-5b8c656024db')",
        "x'00'",
        "x'ffffffffffffffffffffffffffffff00'",
    ],
    "BINARY(255)": ["repeat(x'00', 255)", "repeat(x'01', 255)"],
    "VARBINARY(40)": BYTES,
    "VARBINARY(300)": [*BYTES, "repeat(x'00', 300)"],
    "TINYBLOB": BYTES,
    "BLOB": BYTES,
    "MEDIUMBLOB": BLOBS,
    "LONGBLOB": BLOBS,
    "ENUM('a','B','it''s','\u00e9')": ["'a'", "'B'", "'it''s'", "'\u00e9'"],
    "SET('a','b','c','d')": ["''", "'a'", "'d,a'", "'a,b,c,d'"],
}
"""Type to values, as SQL. Each gets a NULL besides."""

REFUSED = {
    "JSON": "JSON",
    "GEOMETRY": "cannot be told exactly",
    "POINT": "cannot be told exactly",
    "VECTOR(3)": "cannot be compared exactly",
    "FLOAT(7,3)": "rounds again",
    "DOUBLE(9,2)": "rounds again",
    "VARCHAR(9) CHARACTER SET latin1": "it must be utf8mb4",
    "TEXT CHARACTER SET utf16": "it must be utf8mb4",
    "CHAR(9) CHARACTER SET gbk": "it must be utf8mb4",
    "ENUM('a','')": "empty ENUM label",
    "INT AS (id + 1) STORED": "generated",
    "INT AS (id + 1) VIRTUAL": "generated",
    "INT NOT NULL AUTO_INCREMENT UNIQUE": "AUTO_INCREMENT",
}


REALS = ("FLOAT", "DOUBLE", "REAL")


@dataclass(frozen=True)
class Pair:
    """Two replicas: what one captures, the other applies."""

    here: MySqlBench
    there: MySqlBench

    def carry(self, after: int, offset: int) -> list[Commit]:
        """Everything that was committed here since, applied there: every transaction as a batch of its own."""
        commits = list(self.here.changes.read(after, 1000))
        schema = self.here.store.schema()
        for number, commit in enumerate(commits, offset):
            changes = net(commit.rows, schema)
            deletes = tuple(change.id for change in changes if change.after is None)
            puts = tuple(Put(change.id, change.before, change.after) for change in changes if change.after is not None)
            with self.there.store.begin(number) as tx:
                tx.read(Concerned(tuple(change.id for change in changes)))
                tx.write(Write(number, number + 1, deletes=deletes, puts=puts))
        return commits


TABLES = {f"t{number}": declared for number, declared in enumerate(EXACT)}


@pytest.fixture(scope="module")
def pair(mysql_server: Server, other_mysql_server: Server) -> Iterator[Pair]:
    ddl = [f"CREATE TABLE {name} (id INT PRIMARY KEY, other INT, v {declared})" for name, declared in TABLES.items()]
    tables = {name: Replicated() for name in TABLES}
    pair = Pair(MySqlBench(mysql_server, ddl, tables), MySqlBench(other_mysql_server, ddl, tables))
    yield pair
    pair.here.close()
    pair.there.close()


@pytest.fixture(scope="module")
def results() -> dict[str, str]:
    """Type to what became of it, in the order of the matrix."""
    return {}


def write(server: Server, *statements: str) -> None:
    """One transaction of an application that is far from UTC and takes any date."""
    with closing(server.session()) as session, session.cursor() as cursor:
        cursor.execute("SET time_zone = '+11:00', sql_mode = 'ALLOW_INVALID_DATES'")
        for statement in statements:
            cursor.execute(statement)
        session.commit()


def images(server: Server, table: str) -> list[tuple[object, ...]]:
    """What the server itself says of each row; numbers in full, TIMESTAMP in UTC."""
    with closing(server.session()) as session, session.cursor() as cursor:
        cursor.execute("SET time_zone = '+00:00'")
        declared = TABLES[table]
        # A number's HEX() is the one of its whole part, and a FLOAT is printed with six digits.
        value = "CAST(v AS DOUBLE)" if declared == "FLOAT" else "v"
        shown = "v" if declared in REALS else "HEX(v)"
        cursor.execute(f"SELECT id, other, {shown}, HEX(CONCAT({value})), LENGTH(v) FROM {table} ORDER BY id")
        rows = list(cursor.fetchall())
        cursor.execute(f"CHECKSUM TABLE {table}")
        return [*rows, *cursor.fetchall()]


def alike(one: Scalar, other: Scalar) -> bool:
    return type(one) is type(other) and repr(one) == repr(other)


@pytest.mark.parametrize("table", TABLES, ids=list(TABLES.values()))
def test_a_type_replicates_exactly(pair: Pair, table: str, results: dict[str, str]) -> None:
    values = [*EXACT[TABLES[table]], "NULL"]
    before = pair.here.changes.end()
    offset = pair.there.store.load().offset
    rows = ", ".join(f"({number}, 0, {value})" for number, value in enumerate(values))
    write(pair.here.server, f"INSERT INTO {table} VALUES {rows}")
    (inserted,) = pair.carry(before, offset)
    assert images(pair.there.server, table) == images(pair.here.server, table)
    # Every value takes every other's place, all in one statement of ours.
    write(
        pair.here.server,
        *(
            f"UPDATE {table} SET v = {value} WHERE id = {number}"
            for number, value in enumerate(values[1:] + values[:1])
        ),
    )
    (updated,) = pair.carry(inserted.seq, offset + 1)
    assert images(pair.there.server, table) == images(pair.here.server, table)
    # A column beside it changes: the value itself is not written.
    write(pair.here.server, f"UPDATE {table} SET other = 1")
    pair.carry(updated.seq, offset + 2)
    assert images(pair.there.server, table) == images(pair.here.server, table)

    ids = tuple((table, (number,)) for number in range(len(values)))
    for bench in (pair.here, pair.there):
        with bench.store.begin(bench.store.load().offset) as tx:
            read = tx.read(Concerned(ids)).rows
        decoded = {(change.after or {})["id"]: (change.after or {})["v"] for change in updated.rows}
        for number, value in decoded.items():
            row = read[table, (number,)]
            assert row is not None
            assert alike(row["v"], value), "the binary log and SELECT differ"
    distinct = {repr((change.after or {})["v"]) for change in inserted.rows}
    results[TABLES[table]] = f"exact; {len(values)} values tried, {len(distinct)} different"


def test_a_row_is_deleted_by_its_key_and_a_snapshot_reads_what_a_lock_reads(pair: Pair) -> None:
    with pair.there.store.snapshot() as snapshot:
        shown = [
            (table, dict(zip(columns, row, strict=True))) for table, columns, rows in snapshot.chunks for row in rows
        ]
    assert shown
    ids = tuple((table, (row["id"],)) for table, row in shown)
    with pair.there.store.begin(pair.there.store.load().offset) as tx:
        locked = tx.read(Concerned(ids)).rows
    assert all(repr(locked[table, (row["id"],)]) == repr(row) for table, row in shown)


@pytest.mark.parametrize("declared", REFUSED)
def test_a_type_is_refused(mysql_server: Server, declared: str, results: dict[str, str]) -> None:
    mysql_server.execute(
        "CREATE SCHEMA IF NOT EXISTS refused",
        "DROP TABLE IF EXISTS refused.t",
        f"CREATE TABLE refused.t (id INT PRIMARY KEY, v {declared})",
    )
    with closing(connect(mysql_server.address("refused"))) as connection:
        found = problems(connection, "refused", "t", Replicated("strict"))
    assert any("column v" in problem and REFUSED[declared] in problem for problem in found), found
    results[declared] = f"refused: {found[0]}"


def test_the_document_tells_what_was_found(results: dict[str, str]) -> None:
    assert len(results) == len(EXACT) + len(REFUSED), "run the whole file"
    lines = [
        "# MySQL column types",
        "",
        "Made by `pytest -m docker tests/integration/mysql/test_types.py`, which replicates each type through two",
        "servers and compares what they say. A table with a refused column stops the sync process at its start.",
        "",
        "| type | result |",
        "|---|---|",
        *(f"| `{declared}` | {result} |" for declared, result in results.items()),
        "",
    ]
    text = "\n".join(lines)
    was = DOCUMENT.read_text("utf-8") if DOCUMENT.exists() else ""
    DOCUMENT.write_text(text, "utf-8")
    assert was == text, "docs/types.md told something else; it is written anew: look at it and commit it"
