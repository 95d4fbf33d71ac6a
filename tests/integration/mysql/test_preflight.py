"""What preflight finds, each in one line that says what to change."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from samebase.core.errors import Stop, Unavailable
from samebase.mysql.accounts import statements
from samebase.mysql.catalog import describe, problems
from samebase.mysql.connection import Address, connect
from samebase.mysql.preflight import preflight, require
from samebase.replicated import Replicated
from tests.support.mysql import DDL, ID, PASSWORD, TABLES, MySqlBench, Server

pytestmark = pytest.mark.docker

MERGE = Replicated("merge")
STRICT = Replicated("strict")
KEY = f"id {ID} PRIMARY KEY"


@pytest.fixture
def database(mysql_server: Server) -> Server:
    mysql_server.fresh("CREATE TABLE parent (x INT PRIMARY KEY)")
    return mysql_server


@pytest.fixture
def accounts(mysql_server: Server) -> Iterator[Server]:
    """A server with the three accounts, each with the password `test`."""
    mysql_server.fresh()
    mysql_server.execute(*statements("app", ("api", PASSWORD), ("sync", PASSWORD), ("migrate", PASSWORD)))
    mysql_server.execute("USE app", *DDL)
    yield mysql_server
    mysql_server.execute("DROP USER api, sync, migrate")


def failures(address: Address) -> list[str]:
    return [str(check) for check in preflight(address, TABLES) if not check.ok]


def test_a_server_with_the_right_settings_passes(database: Server) -> None:
    database.execute("USE app", *DDL)
    checks = preflight(database.address(), TABLES)
    assert [str(check) for check in checks if not check.ok] == []
    assert {"server variable binlog_format: ok", "table item: ok", "privilege SELECT on table pair: ok"} <= {
        str(check) for check in checks
    }
    require(database.address(), TABLES)


@pytest.mark.parametrize(
    ("variable", "value", "was"),
    [
        ("binlog_row_image", "MINIMAL", "FULL"),
        ("binlog_row_metadata", "MINIMAL", "FULL"),
        ("binlog_row_value_options", "'PARTIAL_JSON'", "''"),
        ("binlog_transaction_compression", "ON", "OFF"),
        ("binlog_format", "MIXED", "ROW"),
        ("binlog_checksum", "NONE", "CRC32"),
        ("binlog_order_commits", "OFF", "ON"),
        ("sync_binlog", "0", "1"),
        ("innodb_flush_log_at_trx_commit", "2", "1"),
        ("max_allowed_packet", "1048576", "67108864"),
    ],
)
def test_a_wrong_server_variable_is_named(database: Server, variable: str, value: str, was: str) -> None:
    database.execute("USE app", *DDL, f"SET GLOBAL {variable} = {value}")
    try:
        (failure,) = failures(database.address())
        with pytest.raises(Stop, match=variable):
            require(database.address(), TABLES)
    finally:
        database.execute(f"SET GLOBAL {variable} = {was}")
    assert failure.startswith(f"server variable {variable}: is ")
    assert "set it to" in failure
    assert "\n" not in failure


def test_the_accounts_have_what_they_need(accounts: Server) -> None:
    address = Address("127.0.0.1", accounts.port, "sync", PASSWORD, "app")
    assert failures(address) == []
    bench = MySqlBench(accounts, fresh=False, user="sync", application="api")
    with bench.transaction("r1") as tx:
        tx.insert("item", {"id": "a"})
    (commit,) = bench.changes.read(0, 10)
    assert commit.request == "r1"
    bench.close()


@pytest.mark.parametrize(
    ("privilege", "where"),
    [
        ("SYSTEM_VARIABLES_ADMIN", "*.*"),
        ("CONNECTION_ADMIN", "*.*"),
        ("REPLICATION CLIENT", "*.*"),
        ("REPLICATION SLAVE", "*.*"),
        ("SELECT", "app.*"),
        ("INSERT", "app.*"),
        ("UPDATE", "app.*"),
        ("DELETE", "app.*"),
        ("TRIGGER", "app.*"),
        ("ALL", "samebase.*"),
    ],
)
def test_a_missing_privilege_is_named(accounts: Server, privilege: str, where: str) -> None:
    accounts.execute(f"REVOKE {privilege} ON {where} FROM sync", "DROP SCHEMA samebase")
    found = failures(Address("127.0.0.1", accounts.port, "sync", PASSWORD, "app"))
    assert any(line.startswith(f"privilege {privilege}") for line in found), found
    assert all("\n" not in line for line in found)


def test_a_wrong_password_or_database_stops_and_an_unknown_host_may_come_right(accounts: Server) -> None:
    good = Address("127.0.0.1", accounts.port, "sync", PASSWORD, "app")
    for address in (
        Address(good.host, good.port, good.user, "secret-word", good.database),
        Address(good.host, good.port, good.user, good.password, "elsewhere"),
    ):
        with pytest.raises(Stop, match=f"{address.user}@") as raised:
            preflight(address, TABLES)
        assert "secret-word" not in str(raised.value)
    with pytest.raises(Unavailable, match="no-such-host"):
        preflight(Address("no-such-host.invalid", 3306, "sync", "x", "app"), TABLES)


@pytest.mark.parametrize(
    ("ddl", "settings", "reason"),
    [
        ("CREATE TABLE other (a INT)", MERGE, "there is no table of that name"),
        ("CREATE VIEW t AS SELECT 1 AS a", MERGE, "it is a view"),
        (f"CREATE TABLE t ({KEY}) ENGINE=MyISAM", MERGE, "its engine is MyISAM"),
        ("CREATE TABLE t (id INT PRIMARY KEY) PARTITION BY HASH (id) PARTITIONS 2", MERGE, "partitioned"),
        ("CREATE TABLE t (a INT NOT NULL)", MERGE, "no primary key"),
        ("CREATE TABLE t (id INT AUTO_INCREMENT PRIMARY KEY)", MERGE, "id is AUTO_INCREMENT"),
        (
            "CREATE TABLE t (id VARCHAR(9) PRIMARY KEY)",
            MERGE,
            "id of the primary key is compared by utf8",
        ),
        ("CREATE TABLE t (id VARCHAR(9) COLLATE utf8mb4_bin PRIMARY KEY)", MERGE, "compared by utf8mb4_bin"),
        ("CREATE TABLE t (id VARBINARY(99), PRIMARY KEY (id(9)))", MERGE, "takes only a prefix of column id"),
        ("CREATE TABLE t (id DATE PRIMARY KEY)", MERGE, "id of the primary key is date"),
        ("CREATE TABLE t (id FLOAT PRIMARY KEY)", MERGE, "id of the primary key is float"),
        (f"CREATE TABLE t ({KEY}, a INT UNIQUE)", MERGE, "it has a unique index a"),
        (f"CREATE TABLE t ({KEY}, a INT, UNIQUE i ((a + 1)))", STRICT, "index i is on an expression"),
        (f"CREATE TABLE t ({KEY}, a VARCHAR(9) UNIQUE)", STRICT, "a of unique index a is compared by"),
        (f"CREATE TABLE t ({KEY}, a ENUM('x') UNIQUE)", STRICT, "a of unique index a is enum"),
        (f"CREATE TABLE t ({KEY}, p INT, FOREIGN KEY (p) REFERENCES parent (x) ON DELETE CASCADE)", MERGE, "CASCADE"),
        (f"CREATE TABLE t ({KEY}, p INT, FOREIGN KEY (p) REFERENCES parent (x) ON UPDATE SET NULL)", MERGE, "SET NULL"),
        (f"CREATE TABLE t ({KEY}, a INT, b INT, CHECK (a < b))", MERGE, "CHECK compares the columns a and b"),
        (f"CREATE TABLE t ({KEY})", Replicated("merge", ("n",)), "there is no delta column n"),
        (f"CREATE TABLE t ({KEY}, n DOUBLE NOT NULL)", Replicated("merge", ("n",)), "n must be a signed integer"),
        (f"CREATE TABLE t ({KEY}, n INT UNSIGNED NOT NULL)", Replicated("merge", ("n",)), "n must be a signed integer"),
        (f"CREATE TABLE t ({KEY}, n INT)", Replicated("merge", ("n",)), "n must be a signed integer"),
        (f"CREATE TABLE t ({KEY}, n INT NOT NULL)", Replicated("strict", ("n",)), "strict table has no delta"),
        ("CREATE TABLE t (n INT PRIMARY KEY)", Replicated("merge", ("n",)), "n is part of its key"),
    ],
)
def test_a_table_that_replicas_could_not_keep_alike_is_refused(
    database: Server, ddl: str, settings: Replicated, reason: str
) -> None:
    database.execute("USE app", ddl)
    with closing(connect(database.address())) as connection:
        found = problems(connection, "app", "t", settings)
    assert any(reason in problem for problem in found), found
    assert all("\n" not in problem for problem in found)


def test_a_trigger_is_refused(database: Server) -> None:
    database.execute(
        "USE app", f"CREATE TABLE t ({KEY}, a INT)", "CREATE TRIGGER mine BEFORE INSERT ON t FOR EACH ROW SET NEW.a = 1"
    )
    with closing(connect(database.address())) as connection:
        assert problems(connection, "app", "t", MERGE) == [
            "it has a trigger, mine, whose effects would be replicated and repeated"
        ]


@pytest.mark.parametrize(
    "column",
    [
        "INT",
        "INT DEFAULT 5",
        "BIGINT UNSIGNED DEFAULT 18446744073709551615",
        "DECIMAL(10,3) DEFAULT 1.5",
        "FLOAT DEFAULT 0.1",
        "DOUBLE DEFAULT 1e308",
        "DOUBLE DEFAULT -0e0",
        "VARCHAR(9) DEFAULT 'it''s \\\\'",
        "CHAR(9) DEFAULT 'a  '",
        "BINARY(3) DEFAULT 'a'",
        "VARBINARY(9) DEFAULT x'00ff'",
        "BIT(9) DEFAULT b'101'",
        *["INT NOT NULL DEFAULT 5", "FLOAT NOT NULL DEFAULT 0.1", "BIT(9) NOT NULL DEFAULT 300"],
        "DATETIME(3) DEFAULT '2020-01-01'",
        "TIMESTAMP DEFAULT '2020-01-01 00:00:00'",
        "TIME(1) DEFAULT '-1:2:3'",
        "YEAR DEFAULT 1999",
        "ENUM('a','b') DEFAULT 'b'",
        "SET('a','b') DEFAULT 'a,b'",
        "TINYINT(1) DEFAULT TRUE",
    ],
)
def test_a_constant_default_is_read_as_the_column_keeps_it(database: Server, column: str) -> None:
    """A row from before a column was added reads as this default; so it must be what the migration writes."""
    bench = MySqlBench(database, [f"CREATE TABLE t (id INT PRIMARY KEY, c {column})"], {"t": MERGE})
    empty = bench.store.schema()["t"].columns["c"]
    with bench.transaction("r") as tx:
        tx.insert("t", {"id": 1})
    (change,) = bench.changes.read(0, 1)[0].rows
    bench.close()
    with closing(connect(database.address())) as connection:
        default = describe(connection, "app", "t", MERGE).columns["c"]
    assert change.after is not None
    assert repr(change.after["c"]) == repr(default) == repr(empty)


@pytest.mark.parametrize("column", ["DATETIME DEFAULT NOW()", "TEXT DEFAULT ('abc')", "INT DEFAULT (1 + 1)"])
def test_a_default_that_is_no_constant_is_none(database: Server, column: str) -> None:
    database.execute("USE app", f"CREATE TABLE t (id INT PRIMARY KEY, c {column})")
    with closing(connect(database.address())) as connection:
        assert describe(connection, "app", "t", MERGE).columns["c"] is None
