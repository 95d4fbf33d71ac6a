"""MySQL servers and Kafka brokers in containers, reached over loopback, that are gone when a block ends.

They share this machine's network: a container's own network would put a proxy between the servers and whoever is
outside of it, and the sides of a comparison are not outside alike.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from itertools import count
from typing import Any

import pymysql
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

MYSQL_IMAGE = "mysql:9.7"
KAFKA_IMAGE = "apache/kafka:4.3.1"
PREFIX = "samebase-bench-"
PASSWORD = "bench"  # noqa: S105 - of servers that listen on loopback only
DATABASE = "bench"

SETTINGS = (
    # what Samebase needs, and what makes a commit durable
    "--binlog-row-metadata=FULL",
    "--sync-binlog=1",
    "--innodb-flush-log-at-trx-commit=1",
    # what Group Replication needs
    "--gtid-mode=ON",
    "--enforce-gtid-consistency=ON",
    # the machine's
    "--innodb-buffer-pool-size=512M",
    "--innodb-redo-log-capacity=1G",
    "--bind-address=127.0.0.1",
    "--mysqlx=OFF",
)
"""What every mysqld is told; the rest is MySQL's default (replica_parallel_workers=4 among it)."""

_ACCESS_DENIED = 1045  # until the first start is over
_START_SECONDS = 180

_numbers = count(1)


class BenchError(Exception):
    """Something that was to be measured did not come about."""


def missing() -> str | None:
    """What has to be there before servers can be started; None for nothing."""
    if shutil.which("docker") is None:
        return "Docker Engine is not installed"
    if _docker("info", check=False).returncode:
        return "Docker's engine does not run"
    for image in (MYSQL_IMAGE, KAFKA_IMAGE):
        if _docker("image", "inspect", image, check=False).returncode:
            return f"the image {image} is not there: docker pull {image}"
    return None


def until(condition: Callable[[], object], reason: str, seconds: float = 60.0, every: float = 0.05) -> None:
    """Wait for a condition, with a deadline. Raises BenchError."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise BenchError(f"after {seconds:.0f} s: not {reason}")
        time.sleep(every)


def together(*actions: Callable[[], Any]) -> list[Any]:
    """Carry actions out at the same time; their results in order. Raises what the first failing one raises."""
    with ThreadPoolExecutor(len(actions)) as pool:
        return [future.result() for future in [pool.submit(action) for action in actions]]


def cpu_seconds(pid: int) -> float:
    """Processor time that a process has used so far, with all of its threads."""
    with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123 - not a file that a Path helps with
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Container:
    """A running container. `name` says what it is for."""

    def __init__(self, name: str, image: str, environment: dict[str, str], data: str, command: Sequence[str] = ()):
        self.name = f"{PREFIX}{name}-{os.getpid()}"
        variables = [part for key, value in environment.items() for part in ("--env", f"{key}={value}")]
        self.id = _docker(
            *("run", "--detach", "--network", "host", "--name", self.name, "--volume", data),
            *(*variables, image, *command),
        ).stdout.strip()
        self.pid = int(self._inspect("{{.State.Pid}}"))

    def _inspect(self, what: str) -> str:
        return _docker("inspect", "--format", what, self.id).stdout.strip()

    def check(self) -> None:
        """Raises BenchError if the server has ended."""
        if self._inspect("{{.State.Running}}") != "true":
            logs = _docker("logs", "--tail", "20", self.id, check=False)
            raise BenchError(f"{self.name} has ended: {logs.stdout}{logs.stderr}")

    def cpu_seconds(self) -> float:
        return cpu_seconds(self.pid)

    def run(self, *command: str, seconds: float) -> str:
        """A command inside; its output. Raises BenchError if it fails."""
        done = _docker("exec", "--env", f"MYSQL_PWD={PASSWORD}", self.id, *command, check=False, seconds=seconds)
        if done.returncode or "ERROR" in done.stderr.upper():
            raise BenchError(f"{command[0]} in {self.name}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def remove(self) -> None:
        _docker("rm", "--force", "--volumes", self.id, check=False)


class MySql(Container):
    """A mysqld with an empty database `bench`."""

    def __init__(self, name: str) -> None:
        self.port = free_port()
        super().__init__(
            name,
            MYSQL_IMAGE,
            {"MYSQL_ROOT_PASSWORD": PASSWORD},
            "/var/lib/mysql",
            (f"--server-id={next(_numbers)}", f"--port={self.port}", *SETTINGS),
        )
        try:
            until(self.answers, f"{self.name} answering", _START_SECONDS, 0.2)
            self.execute(f"CREATE DATABASE {DATABASE}")
        except BaseException:
            self.remove()
            raise

    def answers(self) -> bool:
        self.check()
        try:
            self.session(None).close()
        except pymysql.OperationalError:
            return False
        return True

    def url(self) -> str:
        """The database, as Samebase's settings name it."""
        return f"mysql://root:{PASSWORD}@127.0.0.1:{self.port}/{DATABASE}"

    def session(self, database: str | None = DATABASE) -> Any:
        """A session in which each statement commits by itself."""
        return session(self.port, database)

    def execute(self, *statements: str) -> None:
        with closing(self.session(None)) as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)

    def row(self, statement: str) -> tuple[Any, ...]:
        """The first row of a query."""
        with closing(self.session()) as connection, connection.cursor() as cursor:
            cursor.execute(statement)
            found: tuple[Any, ...] = cursor.fetchone()
            return found


def session(port: int, database: str | None = DATABASE) -> Any:
    """A session on the server at a port of this machine; not encrypted, as those of replicas of either kind are not."""
    return pymysql.connect(
        host="127.0.0.1",
        port=port,
        user="root",
        password=PASSWORD,
        database=database,
        charset="utf8mb4",
        autocommit=True,
        connect_timeout=5,
        ssl_disabled=True,
    )


class Kafka(Container):
    """A broker."""

    def __init__(self, name: str, warm_up: int = 0) -> None:
        """`warm_up`: records that it takes and gives one by one before it is used. A Java program is slow, and busy
        with becoming faster, for its first minute; the others here are not."""
        self.port, controller = free_port(), free_port()
        self.bootstrap = f"127.0.0.1:{self.port}"
        settings = {
            "KAFKA_NODE_ID": "1",
            "KAFKA_PROCESS_ROLES": "broker,controller",
            "KAFKA_LISTENERS": f"PLAINTEXT://{self.bootstrap},CONTROLLER://127.0.0.1:{controller}",
            "KAFKA_ADVERTISED_LISTENERS": f"PLAINTEXT://{self.bootstrap}",
            "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
            "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
            "KAFKA_CONTROLLER_QUORUM_VOTERS": f"1@127.0.0.1:{controller}",
            "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
            "KAFKA_HEAP_OPTS": "-Xmx512m -Xms512m",
        }
        super().__init__(name, KAFKA_IMAGE, settings, "/var/lib/kafka/data")
        quiet = {"bootstrap.servers": self.bootstrap, "log_level": 0}
        self._admin, self._consumer = AdminClient(quiet), Consumer({**quiet, "group.id": "unused"})
        try:
            until(self._answers, f"{self.name} answering", _START_SECONDS, 0.2)
            if warm_up:
                self._warm_up(quiet, warm_up)
        except BaseException:
            self.remove()
            raise

    def _warm_up(self, settings: dict[str, Any], records: int) -> None:
        producer, consumer = Producer({**settings, "acks": "all"}), Consumer({**settings, "group.id": "unused"})
        producer.produce("warm-up", b"first")
        producer.flush(_START_SECONDS)
        consumer.assign([TopicPartition("warm-up", 0, 1)])
        for _ in range(records):
            producer.produce("warm-up", bytes(500))
            producer.flush(_START_SECONDS)
            if consumer.poll(_START_SECONDS) is None:
                raise BenchError(f"{self.name} does not give what it has taken")
        consumer.close()

    def _answers(self) -> bool:
        self.check()
        probe = NewTopic("probe", 1, 1)
        try:
            self._admin.create_topics([probe], validate_only=True, request_timeout=2)["probe"].result(5)
        except KafkaException:
            return False
        return True

    def url(self, topic: str) -> str:
        return f"kafka://{self.bootstrap}/{topic}"

    def remove(self) -> None:
        self._consumer.close()
        super().remove()

    def end(self, topic: str) -> int:
        """The offset that the topic's next record will get."""
        return int(self._consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=10)[1])


@contextmanager
def running(*starts: Callable[[], Container]) -> Iterator[list[Any]]:
    """Start containers at the same time, remove them at the end of the block."""
    with ExitStack() as stack:

        def start(make: Callable[[], Container]) -> Container:
            container = make()
            stack.callback(container.remove)
            return container

        yield together(*(lambda make=make: start(make) for make in starts))


def replicate(source: MySql, replica: MySql) -> None:
    """Make the second server an asynchronous replica of the first."""
    for server in (source, replica):
        server.execute("RESET BINARY LOGS AND GTIDS")
    replica.execute(
        f"CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_PORT={source.port}, SOURCE_USER='root', "
        f"SOURCE_PASSWORD='{PASSWORD}', SOURCE_AUTO_POSITION=1, GET_SOURCE_PUBLIC_KEY=1",
        "START REPLICA",
    )
    until(lambda: _states(replica) == ("ON", "ON"), "the replica replicating", 30)


def _states(replica: MySql) -> tuple[Any, ...]:
    return replica.row(
        "SELECT c.service_state, a.service_state FROM performance_schema.replication_connection_status c "
        "JOIN performance_schema.replication_applier_status a USING (channel_name)"
    )


def group(*members: MySql) -> None:
    """Make the servers a Group Replication group in which all may write (multi-primary)."""
    places = [f"127.0.0.1:{free_port()}" for _ in members]
    for member, place in zip(members, places, strict=True):
        member.execute(
            "INSTALL PLUGIN group_replication SONAME 'group_replication.so'",
            "SET GLOBAL group_replication_group_name = '5a3eba5e-0000-4000-8000-000000000001'",
            f"SET GLOBAL group_replication_local_address = '{place}'",
            f"SET GLOBAL group_replication_group_seeds = '{','.join(places)}'",
            "SET GLOBAL group_replication_single_primary_mode = OFF",
            "SET GLOBAL group_replication_enforce_update_everywhere_checks = ON",
            "SET GLOBAL group_replication_recovery_get_public_key = ON",
            "RESET BINARY LOGS AND GTIDS",
            f"CHANGE REPLICATION SOURCE TO SOURCE_USER='root', SOURCE_PASSWORD='{PASSWORD}' "
            "FOR CHANNEL 'group_replication_recovery'",
        )
    for number, member in enumerate(members):
        first = number == 0
        member.execute(
            f"SET GLOBAL group_replication_bootstrap_group = {'ON' if first else 'OFF'}",
            "START GROUP_REPLICATION",
            "SET GLOBAL group_replication_bootstrap_group = OFF",
        )
    for member in members:
        until(lambda member=member: _online(member) == len(members), f"{member.name} in the group", 60)


def _online(member: MySql) -> int:
    query = "SELECT count(*) FROM performance_schema.replication_group_members WHERE member_state = 'ONLINE'"
    return int(member.row(query)[0])


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def engine_version() -> str:
    """Docker Engine's version."""
    return str(json.loads(_docker("version", "--format", "{{json .Server.Version}}").stdout))


def _docker(*arguments: str, check: bool = True, seconds: float = 120) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=check, timeout=seconds)
