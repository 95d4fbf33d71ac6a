"""`samebase run` refuses what it cannot use with one clear line, and runs, serves and stops as a process."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import requests

from samebase.core.types import Record
from samebase.sqlite.log import SqliteLog
from tests.support.replicas import wait_for
from tests.support.sqlite import execute, make_database

TABLES = """
service = "shop"
[tables.item]
policy = "merge"
delta = ["n"]
[tables.account]
policy = "strict"
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    make_database(tmp_path / "a.db")
    (tmp_path / "tables.toml").write_text(TABLES)
    return {
        "SAMEBASE_NAME": "a",
        "SAMEBASE_DATABASE": f"sqlite:///{tmp_path}/a.db",
        "SAMEBASE_LOG": f"sqlite:///{tmp_path}/log.db",
        "SAMEBASE_TABLES": f"{tmp_path}/tables.toml",
        "SAMEBASE_LISTEN": f"127.0.0.1:{free_port()}",
        "SAMEBASE_LOG_FORMAT": "json",
    }


def free_port() -> int:
    with closing(socket.socket()) as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-c", "from samebase.cli import main; main()", *arguments]


def run(environment: Mapping[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), env=os.environ | environment, capture_output=True, text=True, timeout=60, check=False
    )


@contextmanager
def running(environment: Mapping[str, str]) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        command("run"), env=os.environ | environment, stderr=subprocess.PIPE, text=True, stdout=subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def status(environment: Mapping[str, str]) -> str:
    try:
        answer = requests.get(f"http://{environment['SAMEBASE_LISTEN']}/status", timeout=5)
    except requests.ConnectionError:
        return "unreachable"
    state: str = answer.json()["state"]
    return state


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"SAMEBASE_COLOUR": "red"}, "SAMEBASE_COLOUR"),
        ({"SAMEBASE_NAME": ""}, "SAMEBASE_NAME"),
        ({"SAMEBASE_LISTEN": "everywhere"}, "SAMEBASE_LISTEN"),
        ({"SAMEBASE_DATABASE": "postgres://u:s3cret@h/d"}, "SAMEBASE_DATABASE"),
        ({"SAMEBASE_LOG": "sqlite:///relative"}, "SAMEBASE_LOG"),
        ({"SAMEBASE_TABLES": "/nowhere.toml"}, "SAMEBASE_TABLES: the tables file /nowhere.toml"),
        ({"SAMEBASE_POLL_MS": "soon"}, "SAMEBASE_POLL_MS"),
        ({"SAMEBASE_SECRETS_DIR": "/nowhere"}, "SAMEBASE_SECRETS_DIR"),
    ],
)
def test_settings_that_cannot_be_used_exit_2_with_one_line_that_names_them(
    environment: dict[str, str], change: dict[str, str], named: str
) -> None:
    ended = run(environment | change, "run")
    assert ended.returncode == 2
    assert named in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1
    assert "s3cret" not in ended.stderr


def test_what_is_secret_can_stand_in_a_file(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "samebase_database").write_text(environment.pop("SAMEBASE_DATABASE") + "\n")
    assert "SAMEBASE_DATABASE: Field required" in run(environment, "preflight").stderr
    told = run({**environment, "SAMEBASE_SECRETS_DIR": str(tmp_path)}, "preflight")
    assert (told.returncode, told.stderr) == (0, "")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("service = ", "TOML"),
        ('service = "x"\n[tables.item]\npolicy = "last"', "tables.item.policy"),
        ('service = "x"\ncolour = 1\n[tables.item]', "colour"),
        ('service = "x"\n[tables]', "tables"),
    ],
)
def test_a_tables_file_that_makes_no_sense_exits_2(environment: dict[str, str], text: str, named: str) -> None:
    Path(environment["SAMEBASE_TABLES"]).write_text(text)
    ended = run(environment, "run")
    assert ended.returncode == 2
    assert named in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1


def test_a_port_in_use_exits_1_and_names_the_setting(environment: dict[str, str]) -> None:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        ended = run(environment | {"SAMEBASE_LISTEN": address}, "run")
    assert ended.returncode == 1
    assert "SAMEBASE_LISTEN" in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("change", "tables", "named"),
    [
        ({"SAMEBASE_DATABASE": "sqlite:////nowhere.db"}, TABLES, "SAMEBASE_DATABASE: there is no database /nowhere.db"),
        ({}, 'service = "x"\n[tables.nothing]', "SAMEBASE_DATABASE: table nothing cannot be replicated"),
        ({}, 'service = "x"\n[tables.account]', "SAMEBASE_DATABASE: table account cannot be replicated"),
        ({"SAMEBASE_LOG": "sqlite:////nowhere/log.db"}, TABLES, "SAMEBASE_LOG: there is no directory /nowhere"),
    ],
)
def test_what_a_setting_names_and_cannot_be_used_exits_1_with_one_line(
    environment: dict[str, str], tmp_path: Path, change: dict[str, str], tables: str, named: str
) -> None:
    Path(environment["SAMEBASE_TABLES"]).write_text(tables)
    ended = run(environment | change, "run")
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"samebase: {named}")
    assert len(ended.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "log.db").exists(), "a database that is refused makes no log"
    with closing(sqlite3.connect(tmp_path / "a.db")) as connection:
        made = connection.execute("SELECT name FROM sqlite_master WHERE name LIKE 'samebase%'").fetchall()
    assert made == []


def test_an_entry_that_cannot_be_read_is_one_line_in_the_log_and_a_reason(
    environment: dict[str, str], tmp_path: Path
) -> None:
    with closing(SqliteLog(tmp_path / "log.db")) as log:
        log.append_all([Record(b"not json", {})])
    with running(environment) as process:
        wait_for(lambda: status(environment) == "stopped", "it is stopped")
        answer = requests.get(f"http://{environment['SAMEBASE_LISTEN']}/readyz", timeout=5)
        assert answer.status_code == 503
        assert "log entry 0 cannot be read" in answer.json()["reason"]
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 1
        assert process.stderr is not None
        said = process.stderr.read()
    assert said.count("log entry 0 cannot be read") == 1
    assert "Traceback" not in said


def test_a_log_that_is_gone_at_a_start_is_not_made_anew(environment: dict[str, str], tmp_path: Path) -> None:
    with running(environment):
        wait_for(lambda: status(environment) == "ready", "it is ready")
    for file in tmp_path.glob("log.db*"):
        file.unlink()
    with running(environment):
        wait_for(lambda: status(environment) == "stopped", "the loss is noticed")
        reason = requests.get(f"http://{environment['SAMEBASE_LISTEN']}/status", timeout=5).json()["reason"]
        assert "log.db is gone" in reason
    assert not (tmp_path / "log.db").exists()


def test_runs_replicates_and_stops_cleanly_on_a_signal(environment: dict[str, str], tmp_path: Path) -> None:
    with running(environment) as process:
        wait_for(lambda: status(environment) == "ready", "it is ready")
        execute(
            tmp_path / "a.db", "INSERT INTO samebase_intent (request) VALUES ('r')", "INSERT INTO item (id) VALUES (1)"
        )
        url = f"http://{environment['SAMEBASE_LISTEN']}"
        told = requests.get(f"{url}/wait?request=r&level=ordered&timeout=10000", timeout=20).json()
        assert told["outcome"] == "accepted"
        assert "samebase_applied_transactions_total 1.0" in requests.get(f"{url}/metrics", timeout=5).text
        shown = run({}, "status", url)
        assert shown.returncode == 0
        assert "ready" in shown.stdout
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def test_preflight_says_of_each_thing_that_it_is_well(environment: dict[str, str], tmp_path: Path) -> None:
    ended = run(environment, "preflight")
    assert ended.returncode == 0, ended.stdout
    assert ended.stdout.splitlines() == [
        f"ok      database {tmp_path}/a.db: ok",
        "ok      table item: ok",
        "ok      table account: ok",
        f"ok      log {tmp_path}/log.db: not there yet, it will be made",
    ]
    assert not (tmp_path / "log.db").exists(), "it looks and makes nothing"


def test_preflight_names_what_must_be_changed(environment: dict[str, str]) -> None:
    tables = 'service = "x"\n[tables.account]\npolicy = "merge"\n[tables.nothing]\n'
    Path(environment["SAMEBASE_TABLES"]).write_text(tables)
    ended = run(environment | {"SAMEBASE_LOG": "sqlite:////nowhere/log.db"}, "preflight")
    assert ended.returncode == 1
    to_change = [line for line in ended.stdout.splitlines() if line.startswith("CHANGE")]
    assert len(to_change) == 3
    assert "account" in to_change[0]
    assert "unique" in to_change[0]
    assert "nothing" in to_change[1]
    assert "/nowhere" in to_change[2]


def test_preflight_of_a_database_that_is_not_there_is_one_line(environment: dict[str, str]) -> None:
    ended = run(environment | {"SAMEBASE_DATABASE": "sqlite:////nowhere.db"}, "preflight")
    assert ended.returncode == 1
    assert "CHANGE  SAMEBASE_DATABASE: there is no database /nowhere.db" in ended.stdout


def test_status_of_a_replica_that_does_not_answer_exits_1() -> None:
    ended = run({}, "status", f"http://127.0.0.1:{free_port()}")
    assert ended.returncode == 1
    assert "unreac" in ended.stdout
