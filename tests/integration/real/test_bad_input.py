"""A setting that cannot be used, or what it names, is one clear line that names the setting; nothing is written."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import pytest

from samebase.core.types import Record
from samebase.kafka.log import KafkaLog
from samebase.kafka.topic import ensure_topic
from tests.integration.sync.test_command_line import run
from tests.support.kafka import free_port, shared_broker
from tests.support.mysql import DDL, PASSWORD, Server
from tests.support.replicas import wait_for
from tests.support.shop import TABLES, Sync, settings

pytestmark = pytest.mark.docker


@pytest.fixture
def where(servers: list[Server]) -> Server:
    servers[0].fresh(*DDL)
    return servers[0]


@pytest.fixture
def topic() -> str:
    return f"bad-input-{uuid4()}"


@pytest.fixture
def environment(where: Server, topic: str, tmp_path: Path) -> dict[str, str]:
    return settings(tmp_path, 1, where, f"kafka://{shared_broker().bootstrap}/{topic}")


def refused(environment: dict[str, str], where: Server, topic: str) -> str:
    """What a process that ends at once says."""
    ended = run(environment, "run")
    assert ended.returncode == 1, ended.stderr
    *log, line = ended.stderr.splitlines()
    assert line.startswith("samebase: ")
    # Only of who is not there yet the log tells as well: that it is waited for.
    assert all(told.startswith("{") and "nowhere.invalid" in told for told in log), log
    assert "Traceback" not in ended.stderr
    for secret in ("not-the-password", f":{PASSWORD}@"):
        assert secret not in ended.stderr
    assert where.rows("SHOW DATABASES LIKE 'samebase'") == [], "nothing is written"
    return line.removeprefix("samebase: ")


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("mysql://root:not-the-password@127.0.0.1:{port}/app", "Access denied for user 'root'"),
        ("mysql://nobody:{password}@127.0.0.1:{port}/app", "Access denied for user 'nobody'"),
        ("mysql://root:{password}@127.0.0.1:{port}/nothing", "Unknown database 'nothing'"),
        ("mysql://root:not-the-password@nowhere.invalid/app", "nowhere.invalid"),
    ],
)
def test_a_database_that_lets_nobody_in(
    environment: dict[str, str], where: Server, topic: str, url: str, named: str
) -> None:
    database = url.format(port=where.port, password=PASSWORD)
    line = refused(environment | {"SAMEBASE_DATABASE": database, "SAMEBASE_START_TIMEOUT_S": "1"}, where, topic)
    assert line.startswith("SAMEBASE_DATABASE: ")
    assert named in line
    assert not shared_broker().has_topic(topic), "no log is made for a database that is refused"


def test_a_log_on_a_host_that_nobody_knows(environment: dict[str, str], where: Server, topic: str) -> None:
    log = f"kafka://nowhere.invalid:9092/{topic}"
    line = refused(environment | {"SAMEBASE_LOG": log, "SAMEBASE_START_TIMEOUT_S": "1"}, where, topic)
    assert line.startswith("SAMEBASE_LOG: ")
    assert "nowhere.invalid" in line


def test_a_topic_with_3_partitions(environment: dict[str, str], where: Server, topic: str) -> None:
    shared_broker().make_topic(topic, partitions=3)
    line = refused(environment, where, topic)
    assert line.startswith("SAMEBASE_LOG: ")
    assert f"{topic} has 3 partitions" in line


def _variable(where: Server) -> tuple[str, Callable[[], None]]:
    where.execute("SET GLOBAL binlog_row_metadata = MINIMAL")
    return "root", lambda: where.execute("SET GLOBAL binlog_row_metadata = FULL")


def _no_privilege(where: Server) -> tuple[str, Callable[[], None]]:
    where.execute(
        f"CREATE USER poor IDENTIFIED BY '{PASSWORD}'",
        "GRANT SELECT, INSERT, UPDATE, DELETE, TRIGGER ON app.* TO poor",
        "GRANT ALL ON samebase.* TO poor",
    )
    return "poor", lambda: where.execute("DROP USER poor")


@pytest.mark.parametrize(
    ("prepare", "named"),
    [(_variable, "binlog_row_metadata: is MINIMAL: set it to FULL"), (_no_privilege, "REPLICATION SLAVE on *.*")],
)
def test_a_server_that_cannot_be_used(
    environment: dict[str, str],
    where: Server,
    topic: str,
    prepare: Callable[[Server], tuple[str, Callable[[], None]]],
    named: str,
) -> None:
    user, undo = prepare(where)
    database = f"mysql://{user}:{PASSWORD}@127.0.0.1:{where.port}/app"
    try:
        line = refused(environment | {"SAMEBASE_DATABASE": database}, where, topic)
    finally:
        undo()
    assert line.startswith("SAMEBASE_DATABASE: ")
    assert named in line
    assert not shared_broker().has_topic(topic)


def test_a_table_that_is_not_there(environment: dict[str, str], where: Server, topic: str) -> None:
    Path(environment["SAMEBASE_TABLES"]).write_text(TABLES + "[tables.ghost]\n")
    assert "table ghost" in refused(environment, where, topic)
    assert not shared_broker().has_topic(topic)


@pytest.mark.parametrize("which", ["SAMEBASE_DATABASE", "SAMEBASE_LOG"])
def test_a_server_that_is_not_up_yet_is_named_and_waited_for(
    environment: dict[str, str], topic: str, tmp_path: Path, which: str
) -> None:
    port = free_port()
    url = f"mysql://root:not-the-password@127.0.0.1:{port}/app"
    away = {which: url if which == "SAMEBASE_DATABASE" else f"kafka://127.0.0.1:{port}/{topic}"}
    said = tmp_path / "sync.log"
    with closing(Sync(environment | away, said)) as sync:
        wait_for(lambda: sync.get("/status")["state"] == "paused", "it says that it waits", 90)
        told = sync.get("/readyz")
    assert told["ready"] is False
    assert told["reason"].startswith(f"{which}: ")
    assert f"127.0.0.1:{port}" in told["reason"] or "'127.0.0.1' ([Errno 111]" in told["reason"]
    assert "not-the-password" not in told["reason"] + said.read_text()


def test_a_record_that_cannot_be_read_stops_with_its_offset_and_is_not_skipped(
    environment: dict[str, str], where: Server, topic: str, tmp_path: Path
) -> None:
    address = shared_broker().address(topic)
    ensure_topic(address)
    with closing(KafkaLog(address)) as log:
        log.append_all([Record(b"not json", {})])[0].result(20)
    said = tmp_path / "sync.log"
    with closing(Sync(environment, said)) as sync:
        assert "log entry 0 cannot be read" in sync.stopped()
        assert sync.get("/status")["offset"] == 0
    assert said.read_text().count("log entry 0 cannot be read") == 1
    assert "Traceback" not in said.read_text()
    assert where.rows("SELECT * FROM item") == []
