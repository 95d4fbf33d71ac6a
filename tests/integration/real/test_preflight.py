"""`samebase preflight` and `samebase run` on real servers that are not as they must be: one clear line each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.integration.sync.test_command_line import TABLES, free_port, run
from tests.support.kafka import Broker, shared_broker
from tests.support.mysql import DDL, PASSWORD, Server, server

pytestmark = pytest.mark.docker


@pytest.fixture(scope="module")
def where() -> Iterator[Server]:
    yield from server()


@pytest.fixture(scope="module")
def broker() -> Broker:
    return shared_broker()


@pytest.fixture
def environment(where: Server, broker: Broker, tmp_path: Path) -> dict[str, str]:
    where.fresh(*DDL)
    (tmp_path / "tables.toml").write_text(TABLES)
    return {
        "SAMEBASE_NAME": "a",
        "SAMEBASE_DATABASE": f"mysql://root:{PASSWORD}@127.0.0.1:{where.port}/app",
        "SAMEBASE_LOG": f"kafka://{broker.bootstrap}/shop-{uuid4()}",
        "SAMEBASE_TABLES": f"{tmp_path}/tables.toml",
        "SAMEBASE_LISTEN": f"127.0.0.1:{free_port()}",
    }


def to_change(environment: dict[str, str]) -> list[str]:
    """The lines that say what to change; asserts that the exit code fits."""
    ended = run(environment, "preflight")
    lines = ended.stdout.splitlines()
    assert lines, ended.stderr
    assert all(line.startswith(("ok ", "CHANGE ")) for line in lines), ended.stdout
    found = [line for line in lines if line.startswith("CHANGE")]
    assert ended.returncode == (1 if found else 0)
    return found


def test_servers_as_they_must_be_are_ok(environment: dict[str, str]) -> None:
    assert to_change(environment) == []


def test_a_topic_with_three_partitions_is_named(environment: dict[str, str], broker: Broker) -> None:
    topic = f"three-{uuid4()}"
    broker.make_topic(topic, partitions=3)
    (line,) = [
        line
        for line in to_change(environment | {"SAMEBASE_LOG": f"kafka://{broker.bootstrap}/{topic}"})
        if "partition" in line
    ]
    assert topic in line
    assert "3" in line


def test_a_variable_that_is_wrong_is_named_with_what_it_must_be(environment: dict[str, str], where: Server) -> None:
    where.execute("SET GLOBAL binlog_row_metadata = MINIMAL")
    try:
        (line,) = to_change(environment)
    finally:
        where.execute("SET GLOBAL binlog_row_metadata = FULL")
    assert "binlog_row_metadata" in line
    assert "set it to FULL" in line


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("mysql://root:not-the-password@127.0.0.1:{port}/app", "Access denied"),
        ("mysql://root:{password}@no-such-host.invalid/app", "no-such-host.invalid"),
        ("mysql://root:{password}@127.0.0.1:{port}/nothing", "nothing"),
    ],
)
def test_a_server_that_lets_nobody_in_is_one_line_without_the_password(
    environment: dict[str, str], where: Server, url: str, named: str
) -> None:
    database = url.format(port=where.port, password=PASSWORD)
    (line,) = to_change(environment | {"SAMEBASE_DATABASE": database})
    assert named in line
    assert "not-the-password" not in line


def test_a_table_that_cannot_be_replicated_is_named(environment: dict[str, str], where: Server) -> None:
    where.execute("ALTER TABLE app.item ADD COLUMN place VECTOR(3)")
    (line,) = to_change(environment)
    assert "table item" in line
    assert "place" in line


def test_a_table_that_is_not_there_is_named(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "tables.toml").write_text(TABLES + '[tables.ghost]\npolicy = "merge"\n')
    assert any("ghost" in line for line in to_change(environment))
