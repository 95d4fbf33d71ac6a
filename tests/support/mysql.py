"""MySQL servers in containers for tests, and applications that write to them in plain SQL."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from functools import cache
from typing import Any

import pymysql
import pytest

from samebase.core.types import Key, Row
from samebase.mysql.changes import MySqlChanges
from samebase.mysql.connection import Address, connect, every
from samebase.mysql.database import Database
from samebase.mysql.store import MySqlStore
from samebase.mysql.values import literal
from samebase.replicated import Replicated
from tests.support.kafka import free_port

IMAGE = "mysql:9.7"
PASSWORD = "test"
OPTIONS = ("--binlog-row-metadata=FULL",)
"""What a server must be told besides its defaults."""

ID = "VARCHAR(64) COLLATE utf8mb4_0900_bin NOT NULL"
DDL = (
    f"CREATE TABLE item (id {ID} PRIMARY KEY, title VARCHAR(200) DEFAULT 'none', n BIGINT NOT NULL DEFAULT 0, "
    "data LONGBLOB, ratio DOUBLE)",
    f"CREATE TABLE pair (a {ID}, b BIGINT NOT NULL, v VARCHAR(100), PRIMARY KEY (a, b))",
    f"CREATE TABLE account (id {ID} PRIMARY KEY, name VARCHAR(100) COLLATE utf8mb4_0900_bin, "
    "realm VARCHAR(100) COLLATE utf8mb4_0900_bin NOT NULL DEFAULT '', number BIGINT UNIQUE, UNIQUE (name, realm))",
)
TABLES = {
    "item": Replicated("merge", ("n",)),
    "pair": Replicated("merge"),
    "account": Replicated("strict"),
}
KEYS = {"item": ("id",), "pair": ("a", "b"), "account": ("id",)}


@cache
def missing() -> str | None:
    """What has to be installed before servers can be started; None for nothing."""
    if shutil.which("docker") is None:
        return "needs Docker: install Docker Engine"
    if _docker("info", check=False).returncode:
        return "needs Docker: its engine does not run"
    if _docker("image", "inspect", IMAGE, check=False).returncode:
        return f"needs the image {IMAGE}: docker pull {IMAGE}"
    return None


def _docker(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=check, timeout=60)


class Server:
    """A server of its own, on a free port of this machine."""

    def __init__(self, *options: str, durable: bool = False) -> None:
        """`options` for mysqld, besides OPTIONS. Data is in memory, and gone with a restart, unless `durable`."""
        memory = () if durable else ("--tmpfs", "/var/lib/mysql")
        self.port = free_port()
        self.id = _docker(
            *("run", "--detach", "--publish", f"127.0.0.1:{self.port}:3306"),
            *("--env", f"MYSQL_ROOT_PASSWORD={PASSWORD}", *memory),
            *(IMAGE, f"--server-id={uuid.uuid4().int % 2**31 + 1}", *OPTIONS, *options),
        ).stdout.strip()
        try:
            self._wait()
        except BaseException:
            self.remove()
            raise

    def _wait(self) -> None:
        deadline = time.monotonic() + 120
        while True:
            try:
                with closing(self.session(database=None)):
                    return
            except pymysql.MySQLError as error:
                reason = error
            if time.monotonic() > deadline:
                raise AssertionError(f"the server did not start: {reason}\n{_docker('logs', self.id).stderr[-2000:]}")
            time.sleep(0.1)  # between two tries of one wait, which has a deadline

    def address(self, database: str = "app", user: str = "root") -> Address:
        return Address("127.0.0.1", self.port, user, PASSWORD, database)

    def session(self, database: str | None = "app", user: str = "root", **options: Any) -> Any:
        """A session as an application has one: nothing is set but the character set."""
        return pymysql.connect(
            host="127.0.0.1",
            port=self.port,
            user=user,
            password=PASSWORD,
            database=database,
            charset="utf8mb4",
            connect_timeout=5,
            **options,
        )

    def execute(self, *statements: str) -> None:
        """Statements, each committed by itself."""
        with closing(self.session(database=None, autocommit=True)) as session, session.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)

    def kill_session(self, number: int) -> None:
        """Close a session; no matter if it is gone."""
        with contextlib.suppress(pymysql.OperationalError):
            self.execute(f"KILL {number}")

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        with closing(self.session()) as session, session.cursor() as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall())

    def fresh(self, *ddl: str, database: str = "app") -> None:
        """Empty the server: a new database with these tables, and nothing of the sync process."""
        self.execute(
            "DROP SCHEMA IF EXISTS samebase",
            f"DROP SCHEMA IF EXISTS {database}",
            f"CREATE SCHEMA {database}",
            f"USE {database}",
            *ddl,
        )

    def restart(self, *, kill: bool = False) -> None:
        """Stop the server (or kill it) and start it again, at the same port."""
        _docker(*(("kill", self.id) if kill else ("stop", "--time", "30", self.id)))
        _docker("start", self.id)
        self._wait()

    def remove(self) -> None:
        _docker("rm", "--force", "--volumes", self.id)


@pytest.fixture(scope="session")
def mysql_server() -> Iterator[Server]:
    """A server that the session's tests share, one after another."""
    yield from server()


@pytest.fixture
def durable_mysql_server() -> Iterator[Server]:
    """One that may be killed: it keeps its data."""
    yield from server(durable=True)


@pytest.fixture(scope="session")
def other_mysql_server() -> Iterator[Server]:
    """A second one: with enforced GTIDs."""
    yield from server("--gtid-mode=ON", "--enforce-gtid-consistency=ON")


def server(*options: str, durable: bool = False) -> Iterator[Server]:
    """Start a server and remove it at the end."""
    reason = missing()
    if reason is not None:
        pytest.skip(reason)
    started = Server(*options, durable=durable)
    yield started
    started.remove()


class MySqlBench:
    """A replica's adapters on a server, and its application."""

    def __init__(
        self,
        server: Server,
        ddl: Sequence[str] = DDL,
        tables: dict[str, Replicated] | None = None,
        *,
        fresh: bool = True,
        user: str = "root",
        application: str = "root",
    ) -> None:
        """Empties the server first if `fresh`. `user` and `application`: accounts of the two."""
        self.server = server
        self.tables = TABLES if tables is None else tables
        self.user, self.application = user, application
        if fresh:
            server.fresh(*ddl)
        self.open()

    def sync_database(self) -> Database:
        """What the adapters of a session share."""
        return Database(self.server.address(user=self.user), self.tables, "replica", lock_wait_seconds=1)

    def open(self) -> None:
        self.database = self.sync_database()
        self.changes = MySqlChanges(self.database)
        self.store = MySqlStore(self.database)
        self.store.schema()

    def close(self) -> None:
        self.changes.close()
        self.store.close()

    def reopen(self) -> None:
        """The sync process is gone, and another one starts."""
        self.close()
        self.open()

    def second(self) -> MySqlStore:
        """Another sync process on the same database."""
        return MySqlStore(self.sync_database())

    @contextmanager
    def transaction(
        self, request: str | None = None, *, certify: bool = False, traceparent: str | None = None
    ) -> Iterator[MySqlApplication]:
        with closing(self.server.session(user=self.application)) as session:
            with session.cursor() as cursor:
                cursor.execute("SET innodb_lock_wait_timeout = 1")
                cursor.execute("BEGIN")
                if request is not None:
                    cursor.execute("INSERT INTO samebase.intent VALUES (%s, %s, %s)", (request, certify, traceparent))
                yield MySqlApplication(cursor)
            session.commit()

    def rows(self, table: str) -> list[Row]:
        with closing(connect(self.server.address())) as session:
            columns = [name for (name, *_) in every(session, f"SHOW COLUMNS FROM {table}")]
            found = every(session, f"SELECT * FROM {table} ORDER BY 1, 2")
            return [dict(zip(columns, row, strict=True)) for row in found]


class MySqlApplication:
    """What an application does within one transaction."""

    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor

    def execute(self, statement: str) -> None:
        try:
            self._cursor.execute(statement)
        except pymysql.OperationalError as error:
            if error.args[0] == 1205:
                raise AssertionError("the row is locked") from error
            raise

    def insert(self, table: str, row: Row) -> None:
        self.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({', '.join(map(literal, row.values()))})")

    def update(self, table: str, key: Key, values: Row) -> None:
        assignments = ", ".join(f"{column} = {literal(value)}" for column, value in values.items())
        self.execute(f"UPDATE {table} SET {assignments} WHERE {self._match(table, key)}")

    def delete(self, table: str, key: Key) -> None:
        self.execute(f"DELETE FROM {table} WHERE {self._match(table, key)}")

    def _match(self, table: str, key: Key) -> str:
        return " AND ".join(f"{name} = {literal(value)}" for name, value in zip(KEYS[table], key, strict=True))
