"""The shared log as a SQLite file: for replicas on one machine."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from samebase.core.errors import LogLost, SamebaseError, Stop
from samebase.core.types import Record
from samebase.ports import LogRecord, bounded
from samebase.sqlite.connection import translated


class SqliteLog:
    """Log in a file that all replicas of a service share. An append is durable when it returns."""

    def __init__(self, path: Path, busy_timeout: float = 5.0) -> None:
        """Open the file, or make it if there is none. `busy_timeout` (seconds): how long to wait for another writer.
        Raises Stop if it is something else or cannot be used safely."""
        self._path = path.absolute()
        with translated(f"opening the log {path}"):
            self._connection = sqlite3.connect(
                self._path, isolation_level=None, timeout=busy_timeout, check_same_thread=False
            )
            try:
                self._prepare(time.monotonic() + busy_timeout)
            except BaseException:
                self._connection.close()
                raise

    def _prepare(self, deadline: float) -> None:
        self._use_wal(deadline)
        self._connection.execute("PRAGMA synchronous=FULL")
        with self._transaction("IMMEDIATE"):
            tables = {
                name for (name,) in self._connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            }
            if not tables:
                self._connection.execute("CREATE TABLE entries (offset INTEGER PRIMARY KEY, value BLOB NOT NULL)")
                self._connection.execute("CREATE TABLE meta (identity TEXT NOT NULL)")
                self._connection.execute("INSERT INTO meta VALUES (?)", (str(uuid4()),))
            elif tables != {"entries", "meta"}:
                raise Stop(f"{self._path} is a database, but not a log")
        self._identity: str = self._connection.execute("SELECT identity FROM meta").fetchone()[0]
        self._inode = self._path.stat().st_ino

    def _use_wal(self, deadline: float) -> None:
        # Changing the mode does not wait for a process that does the same at this moment, so we have to.
        while True:
            try:
                mode = self._connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
                break
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
        if mode != "wal":
            raise Stop(f"{self._path} cannot use a write-ahead log (journal_mode=WAL)")

    @property
    def identity(self) -> str:
        return self._identity

    def append_all(self, records: Sequence[Record]) -> list[Future[int]]:
        """All of the records or none: one transaction, so that the disk is waited for once."""
        futures: list[Future[int]] = [Future() for _ in records]
        try:
            with translated("appending to the log"), self._transaction("IMMEDIATE"):
                self._check()
                first = self._end()
                self._connection.executemany(
                    "INSERT INTO entries VALUES (?, ?)",
                    [(first + index, record.value) for index, record in enumerate(records)],
                )
        except SamebaseError as error:
            for future in futures:
                future.set_exception(error)
            return futures
        for index, future in enumerate(futures):
            future.set_result(first + index)
        return futures

    @translated("reading the log")
    def read(self, offset: int, limit: int) -> Sequence[LogRecord]:
        with self._transaction("DEFERRED"):
            self._check()
            records = bounded(
                LogRecord(*found)
                for found in self._connection.execute(
                    "SELECT offset, value FROM entries WHERE offset >= ? ORDER BY offset LIMIT ?", (offset, limit)
                )
            )
            if not records or records[0].offset != offset:
                begin, end = self._begin(), self._end()
                if not begin <= offset <= end:
                    raise LogLost(f"offset {offset} is asked for, the log {self._path} holds {begin} to {end}")
        return records

    @translated("reading the beginning of the log")
    def begin(self) -> int:
        with self._transaction("DEFERRED"):
            self._check()
            return self._begin()

    @translated("reading the end of the log")
    def end(self, exact: bool = False) -> int:  # noqa: ARG002 - it always is
        with self._transaction("DEFERRED"):
            self._check()
            return self._end()

    def close(self) -> None:
        self._connection.close()

    def _begin(self) -> int:
        begin: int = self._connection.execute("SELECT coalesce(min(offset), 0) FROM entries").fetchone()[0]
        return begin

    def _end(self) -> int:
        end: int = self._connection.execute("SELECT coalesce(max(offset) + 1, 0) FROM entries").fetchone()[0]
        return end

    def _check(self) -> None:
        """Raise LogLost unless the open file is still the one under its name, with the identity that it had."""
        try:
            same = self._path.stat().st_ino == self._inode
        except FileNotFoundError:
            same = False
        if not same or self._connection.execute("SELECT identity FROM meta").fetchone() != (self._identity,):
            raise LogLost(f"the log {self._path} was deleted or replaced while it was in use")

    @contextmanager
    def _transaction(self, kind: str) -> Iterator[None]:
        self._connection.execute(f"BEGIN {kind}")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
