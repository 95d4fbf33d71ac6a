"""Whole sync processes of replicas on SQLite, as real processes with real HTTP."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import requests

from tests.support.replicas import wait_for
from tests.support.sqlite import execute, make_database

TOKEN = "a token that is long enough"
TABLES = """
service = "shop"
[tables.item]
policy = "merge"
delta = ["n"]
[tables.pair]
policy = "merge"
[tables.account]
policy = "strict"
"""


def free_port() -> int:
    with closing(socket.socket()) as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def samebase(environment: Mapping[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command, carried out to its end."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("SAMEBASE_")}
    return subprocess.run(
        [sys.executable, "-m", "samebase", *arguments],
        env=clean | {"COLUMNS": "200"} | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


class SyncProcess:
    """The sync process of one replica."""

    def __init__(self, directory: Path, name: str, **settings: str) -> None:
        """The database is made if there is none. `settings` by their names in lower case."""
        self.name, self.path = name, directory / f"{name}.db"
        if not self.path.exists():
            make_database(self.path)
        tables = directory / "tables.toml"
        if not tables.exists():
            tables.write_text(TABLES)
        self.url = f"http://127.0.0.1:{free_port()}"
        values = {
            "name": name,
            "database": f"sqlite:///{self.path}",
            "log": f"sqlite:///{directory}/log.db",
            "tables": str(tables),
            "listen": self.url.removeprefix("http://"),
            "log_format": "json",
            "peer_token": TOKEN,
            "poll_ms": "2",
            **settings,
        }
        self.environment = {f"SAMEBASE_{key.upper()}": value for key, value in values.items()}
        self.errors = directory / f"{name}.stderr"
        self.written: list[str] = []
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        with self.errors.open("ab") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "samebase", "run"], env=os.environ | self.environment, stderr=errors
            )

    def stop(self) -> None:
        """As SIGKILL does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def status(self) -> dict[str, Any]:
        try:
            told: dict[str, Any] = requests.get(f"{self.url}/status", timeout=5).json()
        except requests.RequestException:
            return {"state": "unreachable", "reason": ""}
        return told

    def wait(self, state: str = "ready") -> None:
        wait_for(lambda: self.status()["state"] == state, f"{self.name} is {state}")

    def wait_reason(self, text: str) -> None:
        wait_for(lambda: text in (self.status()["reason"] or ""), f"{self.name} says {text!r}")

    def write(self, *statements: str) -> None:
        """The replica's application commits these statements as one transaction."""
        request = str(uuid4())
        execute(self.path, f"INSERT INTO samebase_intent (request) VALUES ('{request}')", *statements)
        self.written.append(request)

    def caught_up(self) -> bool:
        """Everything that was written here came back in the log, and there is nothing more in it."""
        while self.written:
            url = f"{self.url}/wait?request={self.written[0]}&level=ordered&timeout=20000"
            if requests.get(url, timeout=30).json()["outcome"] not in ("accepted", "rejected"):
                return False
            del self.written[0]
        told = self.status()
        return told["state"] == "ready" and told["pending"] == 0 and told["offset"] == told["log_end"]

    def ask(self, path: str, token: str | None = TOKEN, **how: Any) -> requests.Response:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        return requests.request(how.pop("method", "GET"), self.url + path, headers=headers, timeout=30, **how)

    def lines(self) -> list[dict[str, Any]]:
        """What it has written to its log."""
        return [json.loads(line) for line in self.errors.read_text().splitlines() if line.startswith("{")]


class Group:
    """Replicas in one directory, on one log."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.processes: list[SyncProcess] = []

    def start(self, name: str, **settings: str) -> SyncProcess:
        process = SyncProcess(self.directory, name, **settings)
        self.processes.append(process)
        return process

    def ready(self, name: str, **settings: str) -> SyncProcess:
        process = self.start(name, **settings)
        process.wait()
        return process

    def settle(self) -> None:
        def same() -> bool:
            return all(one.caught_up() for one in self.processes) and (
                len({one.status()["offset"] for one in self.processes}) == 1
            )

        wait_for(same, "all stand at the log's end")


@contextmanager
def group(directory: Path) -> Iterator[Group]:
    """Processes that are ended at the end of the block, however it ends."""
    found = Group(directory)
    try:
        yield found
    finally:
        for process in found.processes:
            process.stop()
