"""The migrated schema is the models' schema, replicable, and migrating again changes nothing."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, create_engine
from sqlalchemy.dialects import mysql
from sqlalchemy.schema import CreateTable

from services.common import dialects
from services.common.migrations import migrate
from services.rule import models as rule_models
from services.user import models as user_models
from tests.support.services import SERVICES, ServiceName, install_change_log

METADATA: dict[ServiceName, Any] = {"rule": rule_models.Base.metadata, "user": user_models.Base.metadata}


@pytest.mark.parametrize("service", ["rule", "user"])
def test_the_migrated_schema_is_the_models_and_can_be_replicated(tmp_path: Path, service: ServiceName) -> None:
    path = tmp_path / "replica.db"
    url = f"sqlite:///{path}"
    migrate(url, SERVICES / service / "migrations")
    engine = create_engine(url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, METADATA[service]) == []
    engine.dispose()
    install_change_log(path, service)
    with sqlite3.connect(path) as connection:
        before = connection.execute("SELECT * FROM sqlite_master").fetchall()
        migrate(url, SERVICES / service / "migrations")
        assert connection.execute("SELECT * FROM sqlite_master").fetchall() == before
    connection.close()


@pytest.mark.parametrize("service", ["rule", "user"])
def test_on_mysql_text_is_compared_exactly_and_times_have_microseconds(service: ServiceName) -> None:
    for table in METADATA[service].sorted_tables:
        ddl = str(CreateTable(table).compile(dialect=mysql.dialect()))
        for line in ddl.splitlines():
            if any(kind in line for kind in ("VARCHAR", "TEXT")):
                assert "COLLATE utf8mb4_0900_bin" in line, line
            if "DATETIME" in line:
                assert "DATETIME(6)" in line, line


def test_a_migration_waits_for_its_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It reads the version before it writes: in SQLite it must have the write lock from the start."""
    path = tmp_path / "replica.db"
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("PRAGMA journal_mode = WAL")
    other.execute("BEGIN IMMEDIATE")
    other.execute("CREATE TABLE somebody_elses (id INTEGER)")
    began = threading.Event()
    begin = dialects._sqlite_begin

    def beginning(connection: Connection) -> None:
        began.set()
        begin(connection)

    monkeypatch.setattr(dialects, "_sqlite_begin", beginning)
    with ThreadPoolExecutor(1) as pool:
        migrating = pool.submit(migrate, f"sqlite:///{path}", SERVICES / "rule" / "migrations")
        assert began.wait(30)
        with pytest.raises(TimeoutError):
            migrating.result(0.2)
        other.execute("COMMIT")
        migrating.result(30)
    other.close()
    install_change_log(path, "rule")


def run(service: ServiceName, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TODO_")}
    return subprocess.run(
        [sys.executable, "-m", f"services.{service}.migrate"],
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("service", ["rule", "user"])
def test_the_command_migrates_and_may_be_repeated(tmp_path: Path, service: ServiceName) -> None:
    for _ in range(2):
        done = run(service, TODO_DATABASE_URL=f"sqlite:///{tmp_path}/replica.db")
        assert done.returncode == 0, done.stderr
    install_change_log(tmp_path / "replica.db", service)


@pytest.mark.parametrize(
    ("environment", "code", "said"),
    [
        ({}, 2, "TODO_DATABASE_URL"),
        ({"TODO_DATABASE_URL": "nonsense"}, 2, "TODO_DATABASE_URL"),
        ({"TODO_DATABASE_URL": "sqlite:///x.db", "TODO_COLOUR": "red"}, 2, "TODO_COLOUR"),
        ({"TODO_DATABASE_URL": "sqlite:////nothing/there/x.db"}, 1, "unable to open"),
    ],
)
def test_the_command_refuses_bad_settings_in_a_line(environment: dict[str, str], code: int, said: str) -> None:
    done = run("rule", **environment)
    assert done.returncode == code
    assert done.stderr.startswith("error: ")
    assert said in done.stderr
    assert "Traceback" not in done.stderr
