"""Sync processes: `samebase run`, one per MySQL server."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import requests

from bench.real.servers import BenchError, Kafka, MySql, cpu_seconds, free_port, together, until
from bench.real.table import DDL, TABLES_FILE

_START_SECONDS = 60


class Sync:
    """The sync process of one replica. It can be stopped and started again."""

    def __init__(self, server: MySql, log: str, directory: Path, **settings: str) -> None:
        """`log`: URL of the log. `settings`: more environment variables. Nothing runs yet."""
        self.server = server
        self._directory = directory
        self._log_lines = directory / f"{server.name}.log"
        listen = f"127.0.0.1:{free_port()}"
        self.url = f"http://{listen}"
        self.environment = {
            "SAMEBASE_NAME": server.name,
            "SAMEBASE_DATABASE": server.url(),
            "SAMEBASE_LOG": log,
            "SAMEBASE_TABLES": str(directory / "tables.toml"),
            "SAMEBASE_LISTEN": listen,
            "SAMEBASE_LOG_FORMAT": "json",
            **settings,
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._http = requests.Session()
        self._http.trust_env = False

    def start(self, seconds: float = _START_SECONDS) -> float:
        """Start it; its session must begin within so many seconds. Returns when that was, as time.time() tells it; it
        works from then on."""
        lines = self._log_lines.open("wb")
        command = [str(Path(sys.executable).with_name("samebase")), "run"]
        self._process = subprocess.Popen(command, env=self.environment, stderr=lines, stdout=lines)
        lines.close()
        until(lambda: self._began() is not None, "a session of sync", seconds, 0.002)
        began = self._began()
        assert began is not None  # noqa: S101 - it was awaited
        return began

    def _began(self) -> float | None:
        if self._process is None or self._process.poll() is not None:
            raise BenchError(f"sync has ended: {self._log_lines.read_text()[-2000:]}")
        for line in self._log_lines.read_text().splitlines():
            if '"session begins"' in line:
                return datetime.fromisoformat(json.loads(line)["timestamp"]).timestamp()
        return None

    def await_ready(self) -> None:
        until(lambda: self.get("/readyz").ok, "sync ready")

    def stop(self) -> None:
        """Let it end by itself."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    @property
    def running(self) -> bool:
        return self._process is not None

    def lines(self) -> list[dict[str, Any]]:
        """What it has written to its log."""
        return [json.loads(line) for line in self._log_lines.read_text().splitlines() if line.startswith("{")]

    @property
    def pid(self) -> int:
        assert self._process is not None  # noqa: S101 - it was started
        return self._process.pid

    def cpu_seconds(self) -> float:
        return cpu_seconds(self.pid)

    def peak_memory_mb(self) -> float:
        """The most memory that it has held at once so far (VmHWM)."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) * 1024 / 1e6
        raise BenchError("the system does not tell how much memory a process holds")

    def get(self, path: str) -> Any:
        for _ in range(2):
            try:
                return self._http.get(self.url + path, timeout=10)
            except requests.ConnectionError:
                # It listens before its first session begins; an old connection is another process's.
                time.sleep(0.05)
        raise BenchError(f"sync does not answer {path}")

    def offset(self) -> int:
        """How far its database is, as that says."""
        return int(self.server.row("SELECT `offset` FROM samebase.replica")[0])

    def settled(self) -> bool:
        """Whether nothing is pending here and all of the log is applied."""
        status = self.get("/status").json()
        if status["state"] in ("stopped", "paused"):
            raise BenchError(f"{self.server.name}: sync is {status['state']}: {status['reason']}")
        return bool(status["state"] == "ready" and not status["pending"] and status["offset"] == status["log_end"])


class Replicas:
    """Replicas with one log. Their sync processes run only while they are measured."""

    def __init__(self, servers: Sequence[MySql], broker: Kafka, topic: str, directory: Path) -> None:
        """Makes the databases and the log anew, with an empty table in each."""
        self.broker, self.topic = broker, topic
        (directory / "tables.toml").write_text(TABLES_FILE)
        for server in servers:
            server.execute(*DDL)
        self.syncs = [Sync(server, broker.url(topic), directory) for server in servers]
        with self.running():
            pass

    def end(self) -> int:
        return self.broker.end(self.topic)

    @contextmanager
    def running(self) -> Iterator[Sequence[Sync]]:
        """All of them at work; at the end everything is everywhere, and they are stopped."""
        try:
            together(*(sync.start for sync in self.syncs))
            for sync in self.syncs:
                sync.await_ready()
            yield self.syncs
            self.settle()
        finally:
            self.stop()

    def settle(self) -> None:
        """Wait until all running ones are at the log's end."""

        def same() -> bool:
            return all(sync.settled() for sync in self.syncs) and {sync.offset() for sync in self.syncs} == {self.end()}

        until(same, "replicas that are the same", 120)

    def stop(self) -> None:
        together(*(sync.stop for sync in self.syncs))
