"""From settings to adapters: which implementation of each port a URL means."""

from __future__ import annotations

import time
from collections.abc import Callable

from samebase.config import ConfigError, Settings, TablesFile
from samebase.core.errors import Misuse
from samebase.runner import Surroundings
from samebase.sqlite.changes import SqliteChanges
from samebase.sqlite.connection import Database, database_path
from samebase.sqlite.log import SqliteLog
from samebase.sqlite.preflight import Replicated
from samebase.sqlite.store import SqliteStore


class SystemClock:
    """The system's time."""

    def monotonic(self) -> float:
        return time.monotonic()

    def wall_ms(self) -> int:
        return time.time_ns() // 1_000_000


def connector(settings: Settings, tables: TablesFile) -> Callable[[], Surroundings]:
    """A function that opens the adapters which the settings name. Raises ConfigError for URLs that mean nothing."""
    try:
        database_file = database_path(settings.database.get_secret_value())
    except Misuse as error:
        raise ConfigError(f"SAMEBASE_DATABASE: {error}") from error
    try:
        log_file = database_path(settings.log.get_secret_value())
    except Misuse as error:
        raise ConfigError(f"SAMEBASE_LOG: {error}") from error
    if database_file == log_file:
        raise ConfigError("SAMEBASE_LOG: the log needs a file of its own, this is the database's")
    replicated = {name: Replicated(table.policy, table.delta) for name, table in tables.tables.items()}

    def connect() -> Surroundings:
        log = SqliteLog(log_file)
        try:
            database = Database(database_file)
        except BaseException:
            log.close()
            raise
        return Surroundings(SqliteChanges(database), log, SqliteStore(database, replicated, settings.name))

    return connect
