"""The data directory: made at the first run, used by one system at a time, refused when something in it is broken."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TextIO

from sqlalchemy.exc import SQLAlchemyError

from services.common.migrations import migrate
from tools.embedded.errors import Refused
from tools.embedded.plan import MIGRATIONS, Replica

BEGIN_ANEW = "restore it, or remove {} to begin anew"
REBUILD = "remove it and its -wal file, and it is built again from the log (without what it had not published)"


def take(directory: Path) -> TextIO:
    """Make the directory if need be and lock it; it stays ours as long as the returned file is open. Raises Refused."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        (directory / "logs").mkdir(exist_ok=True)
        file = os.fdopen(os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o600), "r+")
    except FileExistsError as error:
        raise Refused(f"{error.filename} is in the way: it must be a directory; move it away") from error
    except OSError as error:
        raise Refused(f"the data directory {directory} cannot be used: {error.strerror}") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        who = file.read().strip()
        file.close()
        raise Refused(
            f"{directory} is in use by another `make run` ({who or 'just starting'}); stop that one"
        ) from error
    return file


def sign(lock: TextIO, url: str) -> None:
    """Tell others who holds the directory."""
    lock.seek(0)
    lock.truncate()
    lock.write(f"pid {os.getpid()}, {url}\n")
    lock.flush()


def check(directory: Path, replicas: Sequence[Replica]) -> None:
    """Raises Refused if a database or a log is damaged, or if databases and log do not belong together."""
    anew = BEGIN_ANEW.format(directory)
    for log in sorted({replica.log for replica in replicas}):
        identity = _identity(log, "SELECT identity FROM meta", anew)
        for database in sorted(directory.glob(f"{log.name.partition('.')[0]}-*.db")):
            bound = _identity(database, "SELECT log_identity FROM samebase_replica", REBUILD)
            if bound is None or bound == identity:
                continue
            if identity is None:
                raise Refused(f"the log {log} is gone, and {database.name} has data of it: {anew}")
            raise Refused(f"the log {log} is not the one that {database.name} has data of: {anew}")


def migrate_all(replicas: Sequence[Replica]) -> None:
    """Bring the replicas' databases up to date, or make them. Raises Refused."""
    for replica in replicas:
        try:
            migrate(f"sqlite:///{replica.database}", MIGRATIONS[replica.service])
        except SQLAlchemyError as error:
            why = str(error).splitlines()[0]
            raise Refused(f"the database {replica.database} cannot be migrated: {why}: {REBUILD}") from error


def _identity(path: Path, query: str, hint: str) -> str | None:
    """What the query finds in a sound database; None if there is no such file, table or row."""
    if not path.exists():
        return None
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True)) as connection:
            found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            if found != "ok":
                raise Refused(f"the database {path} is damaged ({found.splitlines()[-1]}): {hint}")
            table = query.rpartition(" ")[2]
            if connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table,)).fetchone() is None:
                return None
            row = connection.execute(query).fetchone()
            return None if row is None else row[0]
    except sqlite3.Error as error:
        raise Refused(f"the database {path} cannot be read ({error}): {hint}") from error
