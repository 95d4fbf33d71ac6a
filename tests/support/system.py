"""The whole embedded system under test: the real command in a process of its own, in a directory of its own."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import requests

from tests.support.replicas import wait_for
from tools.embedded import plan, ports

START_SECONDS = 90.0
STOP_SECONDS = 40.0
CHECKOUT = Path(__file__).parents[2]


def free_base_port(user: int = 6, rule: int = 6) -> int:
    """A port for a gateway so that all ports that follow from it are free too."""
    for _ in range(100):
        port = random.randrange(10_000, 30_000)
        if not any(ports.in_use(plan.HOST, number) for number in ports_from(port, user, rule)):
            return port
    raise AssertionError("no free ports found")


def ports_from(port: int, user: int = 6, rule: int = 6) -> list[int]:
    """The ports of a system whose gateway has this one; those between may be anybody's."""
    replicas = plan.replicas(Path(), port, {"user": user, "rule": rule})
    return [port, *(number for replica in replicas for number in (replica.api_port, replica.sync_port))]


class System:
    """Started and stopped as a context manager. Processes are named as their log files: `rule-1`, `rule-1-sync`,
    `gateway`.

    Args:
        directory: the data directory.
        port: of the gateway; None takes free ones.
        ready: False: entering the context does not wait for readiness.
    """

    def __init__(
        self,
        directory: Path,
        *,
        user: int = 2,
        rule: int = 3,
        port: int | None = None,
        admins: str = "",
        ready: bool = True,
    ) -> None:
        self.directory = directory
        self.port = free_base_port() if port is None else port
        self._ready = ready
        self._counts = {"user": user, "rule": rule}
        self._replicas = {r.name: r for r in plan.replicas(directory, self.port, self._counts)}
        self.command = [sys.executable, "-m", "tools.embedded", "--directory", str(directory), "--admins", admins]
        self.command += ["--port", str(self.port), "--user", str(user), "--rule", str(rule)]
        self._output = directory.parent / f"{directory.name}.out"
        self._began = 0

    def __enter__(self) -> Self:
        with self._output.open("ab") as output:
            self._began = self._output.stat().st_size
            self.supervisor = subprocess.Popen(self.command, cwd=CHECKOUT, stdout=output, stderr=output)
        if self._ready:
            try:
                wait_for(lambda: "ready after" in self.said() or self._ended(), "the system is ready", START_SECONDS)
                assert not self._ended(), f"the system did not start: {self.said()}"
            except BaseException:
                self.stop()
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # -- where things are ----------------------------------------------------------------------------------------

    @property
    def gateway(self) -> str:
        return f"http://{plan.HOST}:{self.port}"

    @property
    def operator_token(self) -> str:
        return (self.directory / "keys" / "operator.token").read_text().strip()

    @property
    def ports(self) -> list[int]:
        """All ports that its processes listen on."""
        return ports_from(self.port, **self._counts)

    def replicas(self, service: str) -> list[str]:
        """Names of its replicas."""
        return [name for name, replica in self._replicas.items() if replica.service == service]

    def api(self, name: str) -> str:
        """URL of a replica's api."""
        return f"http://{plan.HOST}:{self._replicas[name].api_port}"

    def sync(self, name: str) -> str:
        """URL of a replica's sync process."""
        return f"http://{plan.HOST}:{self._replicas[name].sync_port}"

    def database(self, name: str) -> Path:
        return self._replicas[name].database

    def log_database(self, service: str) -> Path:
        return self.directory / f"{service}.changes.db"

    def log_lines(self, name: str) -> list[dict[str, Any]]:
        """A process's log lines."""
        text = (self.directory / "logs" / f"{name}.log").read_text()
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]

    def said(self) -> str:
        """What the command has printed since it was started."""
        return self._output.read_bytes()[self._began :].decode()

    # -- processes -----------------------------------------------------------------------------------------------

    def pids(self) -> dict[str, int]:
        """Of every process, by name."""
        pids: dict[str, int] = json.loads((self.directory / "pids.json").read_text())
        return pids

    def processes(self) -> set[int]:
        """All processes of the system, with those that gunicorn has forked."""
        return {pid for parent in self.pids().values() for pid in (parent, *children(parent))}

    def kill(self, name: str, number: int = signal.SIGKILL) -> int:
        """Send a signal to one process. Returns its pid."""
        pid = self.pids()[name]
        os.kill(pid, number)
        return pid

    def wait_back(self, name: str, killed: int) -> None:
        """Until another process has taken the place of the one that was killed, and is ready."""
        replica = name.removesuffix("-sync")
        ready = self.gateway if name == "gateway" else self.sync(replica) if name != replica else self.api(replica)
        wait_for(lambda: self.pids().get(name, killed) != killed, f"{name} is started again")
        wait_for(lambda: answers(f"{ready}/readyz"), f"{name} is ready again")

    def wait_ready(self) -> None:
        """Until every process is ready, and the gateway knows it."""
        for name in self._replicas:
            for url in (self.sync(name), self.api(name)):
                wait_for(lambda url=url: answers(f"{url}/readyz"), f"{url} ({name}) is ready")  # type: ignore[misc]
        wait_for(lambda: all(r["health"] == "ready" for r in self.seen_by_gateway()), "the gateway sees all as ready")

    def seen_by_gateway(self) -> list[dict[str, Any]]:
        """The entries of /replicas; none while the gateway does not answer."""
        try:
            response = requests.get(
                f"{self.gateway}/replicas", headers={"Authorization": f"Bearer {self.operator_token}"}, timeout=10
            )
        except requests.ConnectionError:
            return [{"health": "unknown"}]
        response.raise_for_status()
        return [entry for entries in response.json().values() for entry in entries]

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Stop it as Ctrl-C would, and return its exit code. Whatever happens, nothing of it is left."""
        pids = self.processes() if (self.directory / "pids.json").exists() else set()
        if not self._ended():
            self.supervisor.send_signal(number)
        try:
            return self.supervisor.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.supervisor.kill()
            raise AssertionError(f"the system did not stop within {STOP_SECONDS} s: {self.said()}") from None
        finally:
            self.supervisor.wait()
            for pid in pids:
                if alive(pid):
                    os.kill(pid, signal.SIGKILL)

    def _ended(self) -> bool:
        return self.supervisor.poll() is not None

    # -- data ----------------------------------------------------------------------------------------------------

    def rows(self, name: str, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """What a query finds in one replica's database."""
        return rows(self.database(name), sql, *values)

    def status(self, name: str) -> dict[str, Any]:
        """Where a replica's sync process stands."""
        status: dict[str, Any] = requests.get(f"{self.sync(name)}/status", timeout=10).json()
        return status

    def settle(self, service: str) -> None:
        """Until all replicas of the service have applied the whole log and have nothing pending."""

        def settled() -> bool:
            try:
                statuses = [self.status(name) for name in self.replicas(service)]
            except requests.ConnectionError:
                return False
            ends = {(status["offset"], status["log_end"]) for status in statuses}
            return (
                all(status["state"] == "ready" and status["pending"] == 0 for status in statuses)
                and len(ends) == 1
                and all(offset == end == self.log_end(service) for offset, end in ends)
            )

        wait_for(settled, f"the replicas of {service} have applied the whole log")

    def log_end(self, service: str) -> int:
        (found,) = rows(self.log_database(service), "SELECT coalesce(max(offset) + 1, 0) FROM entries")
        end: int = found[0]
        return end

    def compare_replicas(self) -> None:
        """Fails unless all replicas of each service, once settled, hold the same rows and the same rejections."""
        for service in self._counts:
            self.settle(service)
            tables = tomllib.loads((plan.SERVICES_DIRECTORY / service / "samebase.toml").read_text())["tables"]
            assert_same_rows([self.database(name) for name in self.replicas(service)], tables)


def assert_same_rows(databases: Sequence[Path], tables: Iterable[str]) -> None:
    """All databases hold the same rows in these tables and the same record of rejections, value by value."""
    queries = {table: f'SELECT * FROM "{table}"' for table in tables}
    queries["samebase_rejected"] = 'SELECT "offset", origin, seq, request, reason, rows FROM samebase_rejected'
    for table, query in queries.items():
        first, *others = ([*map(repr, rows(database, query))] for database in databases)
        for database, other in zip(databases[1:], others, strict=True):
            missing, more = set(first) - set(other), set(other) - set(first)
            assert sorted(first) == sorted(other), (
                f"{table} in {database.name} differs from {databases[0].name}: {missing=} {more=}"
            )


def rows(database: Path, sql: str, *values: object) -> list[tuple[Any, ...]]:
    """What a query finds in a SQLite file."""
    with closing(sqlite3.connect(database, timeout=10)) as connection:
        return connection.execute(sql, values).fetchall()


def answers(url: str, status: int = 200) -> bool:
    """Whether it answers with this status now."""
    try:
        return requests.get(url, timeout=5).status_code == status
    except requests.RequestException:
        return False


def alive(pid: int) -> bool:
    """Whether there is such a process, and it has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def children(pid: int) -> list[int]:
    """The processes that it has forked."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except FileNotFoundError:
        return []
    return [int(child) for child in text.split()]
