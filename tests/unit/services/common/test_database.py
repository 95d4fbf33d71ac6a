"""Write transactions: what is tried again, what is not, and how other databases say so."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import column, event, func, select, table, text
from sqlalchemy.dialects import mysql, sqlite
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.orm import Session

from services.common import dialects
from services.common.database import ATTEMPTS, REQUEST, CommitLost, Database
from services.common.errors import Problem


@pytest.fixture
def database(tmp_path: Path) -> Database:
    made = Database(f"sqlite:///{tmp_path}/x.db")
    with sqlite3.connect(tmp_path / "x.db") as connection:
        connection.executescript(
            """CREATE TABLE samebase_intent (id INTEGER PRIMARY KEY, request TEXT, certified INTEGER, traceparent TEXT);
            CREATE TABLE samebase_change (id INTEGER PRIMARY KEY AUTOINCREMENT, v TEXT);
            CREATE TABLE samebase_replica (origin TEXT); INSERT INTO samebase_replica VALUES ('o@1');
            CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT UNIQUE)"""
        )
    connection.close()
    return made


def broken(error: Exception) -> OperationalError:
    return OperationalError("UPDATE t", {}, error)


def mysql_error(code: int, message: str = "") -> OperationalError:
    return broken(type("MySQLError", (Exception,), {})(code, message))


def sqlite_error(name: str, message: str = "") -> OperationalError:
    cause = sqlite3.OperationalError(message)
    cause.sqlite_errorname = name  # type: ignore[misc]
    return broken(cause)


def test_a_transaction_has_its_request_and_its_position(database: Database) -> None:
    def work(session: Session) -> str:
        session.execute(text("INSERT INTO samebase_change (v) VALUES ('a'), ('b')"))
        return str(session.info[REQUEST])

    committed = database.write("r-1", work, certify=True)
    assert (committed.value, committed.position) == ("r-1", "o@1:2")
    with database.read() as session:
        assert session.execute(text("SELECT request, certified FROM samebase_intent")).all() == [("r-1", 1)]


def test_what_the_work_raises_undoes_it(database: Database) -> None:
    def work(session: Session) -> None:
        session.execute(text("INSERT INTO t (v) VALUES ('a')"))
        raise KeyError

    with pytest.raises(KeyError):
        database.write("r", work)
    with database.read() as session:
        assert session.execute(text("SELECT count(*) FROM t")).scalar() == 0
        assert session.execute(text("SELECT count(*) FROM samebase_intent")).scalar() == 0


@pytest.mark.parametrize("error", [mysql_error(1213), mysql_error(1205), sqlite_error("SQLITE_BUSY_SNAPSHOT")])
def test_a_deadlocks_victim_is_run_again_with_the_same_request(
    database: Database, monkeypatch: pytest.MonkeyPatch, error: OperationalError
) -> None:
    monkeypatch.setattr("services.common.database._FIRST_PAUSE_SECONDS", 0)
    seen: list[str] = []

    def work(session: Session) -> int:
        session.execute(text("INSERT INTO t (v) VALUES ('a')"))
        seen.append(session.info[REQUEST])
        if len(seen) < 3:
            raise error
        return len(seen)

    assert database.write("r", work).value == 3
    assert seen == ["r"] * 3
    with database.read() as session:
        assert session.execute(text("SELECT count(*) FROM t")).scalar() == 1


def test_it_is_not_run_again_for_ever(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.common.database._FIRST_PAUSE_SECONDS", 0)
    runs: list[int] = []

    def work(session: Session) -> None:
        runs.append(1)
        raise mysql_error(1213)

    with pytest.raises(Problem) as problem:
        database.write("r", work)
    assert problem.value.slug == "unavailable"
    assert len(runs) == ATTEMPTS


@pytest.mark.parametrize(
    "error",
    [
        mysql_error(2013),
        mysql_error(1290),
        mysql_error(1146, "Table 'samebase.intent' doesn't exist"),
        sqlite_error("SQLITE_FULL"),
    ],
)
def test_a_database_that_is_away_is_unavailable_at_once(database: Database, error: OperationalError) -> None:
    runs: list[int] = []

    def work(session: Session) -> None:
        runs.append(1)
        raise error

    with pytest.raises(Problem) as problem:
        database.write("r", work)
    assert problem.value.slug == "unavailable"
    assert runs == [1]


def test_a_connection_lost_while_committing_leaves_the_outcome_open(database: Database) -> None:
    def work(session: Session) -> None:
        def lose(*_: object) -> None:
            raise mysql_error(2013)

        event.listen(session, "before_commit", lose)

    with pytest.raises(CommitLost):
        database.write("r", work)


@pytest.mark.parametrize(
    "error", [mysql_error(1064), mysql_error(1146, "item"), sqlite_error("SQLITE_ERROR", "no such table: item")]
)
def test_our_own_mistakes_are_not_hidden(error: OperationalError) -> None:
    assert dialects.trouble(error) is None


def test_a_violated_constraint_is_the_callers_business(database: Database) -> None:
    def work(session: Session) -> None:
        session.execute(text("INSERT INTO t (v) VALUES ('a'), ('a')"))

    with pytest.raises(IntegrityError):
        database.write("r", work)


def test_errors_never_carry_parameters(database: Database) -> None:
    def work(session: Session) -> None:
        session.execute(text("INSERT INTO nothing VALUES (:secret)"), {"secret": "sesame"})

    with pytest.raises(OperationalError) as error:
        database.write("r", work)
    assert "sesame" not in str(error.value)


def test_search_is_each_databases_own() -> None:
    query = select(func.instr(dialects.folded(column("name")), dialects.folded("x")) > 0).select_from(table("item"))
    assert "samebase_fold(name)" in str(query.compile(dialect=sqlite.dialect()))
    assert "(name COLLATE utf8mb4_0900_as_ci)" in str(query.compile(dialect=mysql.dialect()))


def test_on_mysql_the_intent_goes_to_its_own_schema_and_sync_tells_the_position() -> None:
    statements: list[str] = []

    def execute(statement: Any, parameters: Any) -> None:
        statements.append(str(statement))

    session: Any = SimpleNamespace(
        get_bind=lambda: SimpleNamespace(dialect=SimpleNamespace(name="mysql")), execute=execute
    )
    dialects.add_intent(session, "r", False, None)
    assert statements[0].startswith("INSERT INTO samebase.intent ")
    assert dialects.position(session) is None
