"""Whole sync processes as threads of the test: real SQLite databases, a shared log, the real runner."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from samebase.ports import Log
from samebase.progress import Progress
from samebase.runner import Runner
from samebase.session import Pace, Surroundings
from samebase.sqlite.changes import SqliteChanges
from samebase.sqlite.connection import Database
from samebase.sqlite.log import SqliteLog
from samebase.sqlite.store import SqliteStore
from samebase.wiring import SystemClock
from tests.support.sqlite import TABLES, connect, make_database

PATIENCE = 30.0


def wait_for(condition: Callable[[], bool], reason: str, patience: float = PATIENCE) -> None:
    """Wait until the condition holds; fail with the reason after `patience` seconds."""
    deadline = time.monotonic() + patience
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {patience} s in vain until {reason}")
        time.sleep(0.005)


class SyncThread:
    """One sync process, as a thread.

    Args:
        wrap: may put a fault in the way of any adapter of a session.
    """

    def __init__(
        self,
        name: str,
        database: Path,
        log: Callable[[], Log],
        wrap: Callable[[Surroundings], Surroundings] = lambda surroundings: surroundings,
        pace: Pace = Pace(poll_seconds=0.002, batch=50),  # noqa: B008 - a frozen value
    ) -> None:
        self.name, self.path = name, database
        self._log, self._wrap, self._pace = log, wrap, pace
        self.progress = Progress(SystemClock())
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self.ended_well: bool | None = None
        self._thread.start()

    def _connect(self) -> Surroundings:
        database = Database(self.path)
        return self._wrap(Surroundings(SqliteChanges(database), self._log(), SqliteStore(database, TABLES, self.name)))

    def _run(self) -> None:
        self.ended_well = Runner(self._connect, SystemClock(), self.progress, self._pace).run(self._stop)

    @property
    def phase(self) -> str:
        return self.progress.position().phase

    def signal(self) -> None:
        """As SIGTERM does; waits for nothing."""
        self._stop.set()

    def stop(self) -> None:
        """As SIGTERM does; waits for the end."""
        self.signal()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), f"{self.name} does not stop"


class Replicas:
    """Several replicas on one log, in a directory."""

    def __init__(self, directory: Path, log: Callable[[], Log] | None = None) -> None:
        self.directory = directory
        self.log = log or (lambda: SqliteLog(directory / "log.db"))
        self.syncs: list[SyncThread] = []

    def path(self, name: str) -> Path:
        return self.directory / f"{name}.db"

    def start(self, name: str, **how: object) -> SyncThread:
        """Start (or start again) the sync process of a replica; its database is made if there is none."""
        if not self.path(name).exists():
            make_database(self.path(name))
        sync = SyncThread(name, self.path(name), self.log, **how)  # type: ignore[arg-type]
        self.syncs.append(sync)
        return sync

    def ready(self, name: str, **how: object) -> SyncThread:
        """Start a replica and wait until it may be written to."""
        sync = self.start(name, **how)
        wait_for(lambda: sync.phase == "ready", f"{name} is ready")
        return sync

    def write(self, name: str, *statements: str, request: str | None = None) -> None:
        """The replica's application commits these statements as one transaction."""
        with closing(connect(self.path(name), timeout=20)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            if request is not None:
                connection.execute("INSERT INTO samebase_intent (request) VALUES (?)", (request,))
            for statement in statements:
                connection.execute(statement)
            connection.execute("COMMIT")

    def content(self, name: str) -> dict[str, list[tuple[object, ...]]]:
        """Every replicated row and every recorded rejection, as this replica's database has them."""
        queries = {table: f"SELECT * FROM {table} ORDER BY 1, 2" for table in TABLES}
        queries["rejected"] = 'SELECT "offset", origin, seq, request, reason, rows FROM samebase_rejected ORDER BY 1'
        with closing(sqlite3.connect(self.path(name))) as connection:
            return {table: connection.execute(query).fetchall() for table, query in queries.items()}

    def settle(self, patience: float = PATIENCE) -> None:
        """Wait until the running replicas have nothing pending and stand at the log's end, with all local commits."""
        running = {sync.name: sync for sync in self.syncs if sync.ended_well is None}

        def settled() -> bool:
            # Whoever waits for an unknown request waits for a whole round over the change log.
            for sync in running.values():
                sync.progress.fate("no such request", until=lambda _: True, timeout=0)
            positions = [sync.progress.position() for sync in running.values()]
            return all(p.phase == "ready" and p.pending == 0 for p in positions) and (
                len({p.offset for p in positions} | {p.log_end for p in positions}) == 1
            )

        wait_for(settled, f"{list(running)} are settled", patience)

    def assert_identical(self, *names: str) -> dict[str, list[tuple[object, ...]]]:
        """Settle, then compare. Returns what all of them hold."""
        self.settle()
        contents = [self.content(name) for name in names]
        for name, content in zip(names[1:], contents[1:], strict=True):
            assert content == contents[0], f"{name} differs from {names[0]}"
        return contents[0]

    def stop(self) -> None:
        for sync in self.syncs:
            sync.stop()


@contextmanager
def replicas(directory: Path, log: Callable[[], Log] | None = None) -> Iterator[Replicas]:
    """Replicas that are stopped at the end of the block, however it ends."""
    group = Replicas(directory, log)
    try:
        yield group
    finally:
        group.stop()
