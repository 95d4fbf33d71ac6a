"""One SQLite connection, as the adapters of a replica share it, and what SQLite's errors mean for us."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from samebase.core.errors import Diverged, Misuse, SamebaseError, Stop, Unavailable

PASSING = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_SCHEMA,
    }
)
"""Primary result codes that may come right by themselves."""


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Raise what SQLite and its binding raise as errors of ours. Also a decorator. `doing` completes "while ..."."""
    try:
        yield
    except sqlite3.IntegrityError as error:
        raise Diverged(f"while {doing}: the database refuses a row: {error}") from error
    except sqlite3.Error as error:
        raise _meaning(error)(f"while {doing}: {error}") from error
    except (OverflowError, UnicodeError) as error:
        raise Diverged(f"while {doing}: SQLite cannot hold a value: {error}") from error


def _meaning(error: sqlite3.Error) -> type[SamebaseError]:
    # The upper bits of an extended result code are details; errors of the binding itself have no code.
    code = getattr(error, "sqlite_errorcode", None)
    return Unavailable if code is not None and code & 0xFF in PASSING else Stop


@cache
def quoted(name: str) -> str:
    """An identifier as SQL text."""
    return '"' + name.replace('"', '""') + '"'


class Database:
    """A replica's database file. The ChangeSource and the Store of a replica share one, because sealing the change log
    must be possible within the store's open transaction.

    For one thread at a time. The file must exist: a service's migration makes it.
    """

    def __init__(self, path: Path, busy_timeout: float = 5.0) -> None:
        """Open the file. `busy_timeout` (seconds): how long to wait for another writer.
        Raises Stop if there is no database, or one that cannot be used safely."""
        self.path = path.absolute()
        self._busy_timeout = busy_timeout
        if not self.path.is_file():
            raise Stop(f"there is no database {path}: migrate the service's database first")
        with translated(f"opening {path}"):
            self.connection = self._connect()
            try:
                self._prepare()
            except BaseException:
                self.connection.close()
                raise

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(
            f"{self.path.as_uri()}?mode=rw",
            uri=True,
            isolation_level=None,
            timeout=self._busy_timeout,
            check_same_thread=False,
            cached_statements=512,
        )

    def _prepare(self) -> None:
        execute = self.connection.execute
        if execute("PRAGMA journal_mode=WAL").fetchone()[0] != "wal":
            raise Stop(f"{self.path} cannot use a write-ahead log (journal_mode=WAL)")
        if execute("PRAGMA encoding").fetchone()[0] != "UTF-8":
            raise Stop(f"{self.path} is not encoded in UTF-8")
        # A transaction that was published must not be lost to a power failure.
        execute("PRAGMA synchronous=FULL")
        # A batch need not satisfy them between two of its statements, and a remote parent may be gone by a merge.
        execute("PRAGMA foreign_keys=OFF")

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the write lock: within the transaction that is open, or in one of its own that commits at the end of
        the block and is rolled back by an exception."""
        if self.connection.in_transaction:
            yield
            return
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.connection.execute("COMMIT")
        except BaseException:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            raise

    @contextmanager
    def reading(self) -> Iterator[None]:
        """All reads of the block see one state of the database."""
        if self.connection.in_transaction:
            yield
            return
        self.connection.execute("BEGIN")
        try:
            yield
        finally:
            self.connection.execute("ROLLBACK")

    @contextmanager
    def view(self) -> Iterator[sqlite3.Connection]:
        """A connection of its own that sees the committed state of one moment, whatever is written meanwhile."""
        connection = self._connect()
        try:
            connection.execute("BEGIN")
            yield connection
        finally:
            connection.close()

    def close(self) -> None:
        """Close the connection; what is uncommitted is lost. More than one call does no harm."""
        self.connection.close()


def database_path(url: str) -> Path:
    """The file that a URL of the form sqlite:////absolute/path names. Raises Misuse for anything else."""
    prefix = "sqlite:///"
    path = Path(url.removeprefix(prefix))
    if not url.startswith(prefix) or not path.is_absolute() or "?" in url:
        # Without the URL: it may be another database's, with a password.
        raise Misuse("the URL is not of the form sqlite:////absolute/path/of/a/file")
    return path
