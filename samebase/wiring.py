"""From settings to adapters: which implementation of each port a URL means.

Only what a URL names is imported, so that the embedded system needs neither a MySQL nor a Kafka client.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import NamedTuple, TypeAlias

from samebase.config import ConfigError, Settings, TablesFile
from samebase.core.errors import Diverged, LogLost, Misuse, Stop, Unavailable, UnknownHost, Unusable
from samebase.ports import ChangeSource, Log, Store
from samebase.replicated import Replicated
from samebase.session import Surroundings

Databases: TypeAlias = Callable[[], tuple[ChangeSource, Store]]


class Logs(NamedTuple):
    """How a log is opened.

    Attributes:
        check: raises Stop if there is one that cannot be used. Makes nothing.
        open: True makes it if there is none.
    """

    check: Callable[[], None]
    open: Callable[[bool], Log]


class SystemClock:
    """The system's time."""

    def monotonic(self) -> float:
        return time.monotonic()

    def wall_ms(self) -> int:
        return time.time_ns() // 1_000_000


def connector(settings: Settings, tables: TablesFile, wake: Callable[[], None]) -> Callable[[], Surroundings]:
    """A function that opens the adapters which the settings name, once per session.

    Args:
        wake: called, from any thread, when there is something new for the runner.

    Raises ConfigError for URLs that mean nothing. The function raises Unusable for a setting that cannot be used.
    """
    database_url, log_url = settings.database.get_secret_value(), settings.log.get_secret_value()
    replicated = replicated_tables(tables)
    if database_url == log_url:
        raise ConfigError("SAMEBASE_LOG: the log needs a place of its own, this is the database's")
    try:
        open_database = databases(database_url, replicated, settings.name, wake)
    except Misuse as error:
        raise ConfigError(f"SAMEBASE_DATABASE: {error}") from error
    try:
        logs = logs_of(log_url, wake)
    except Misuse as error:
        raise ConfigError(f"SAMEBASE_LOG: {error}") from error

    def connect() -> Surroundings:
        # A log that is refused leaves the database as it is, a database that is refused makes no log, and one that has
        # had a log does not get a new one.
        with _naming("SAMEBASE_LOG"):
            logs.check()
        with _naming("SAMEBASE_DATABASE"):
            source, store = open_database()
        try:
            with _naming("SAMEBASE_DATABASE"):
                bound = store.bound()
            with _naming("SAMEBASE_LOG"):
                log = logs.open(bound is None)
        except BaseException:
            source.close()
            store.close()
            raise
        return Surroundings(source, log, store)

    return connect


@contextmanager
def _naming(setting: str) -> Iterator[None]:
    """Errors of the block say which setting they are about. What is wrong with the data is not about a setting."""
    try:
        yield
    except (Diverged, LogLost):
        raise
    except Stop as error:
        raise Unusable(f"{setting}: {error}") from error
    except UnknownHost as error:
        raise UnknownHost(f"{setting}: {error}") from error
    except Unavailable as error:
        raise Unavailable(f"{setting}: {error}") from error


def databases(
    url: str,
    tables: Mapping[str, Replicated],
    name: str,
    wake: Callable[[], None] = lambda: None,
    *,
    adopting: bool = False,
) -> Databases:
    """A function that opens the change log and the store of the database that the URL names; `adopting`: one that
    is to be adopted. Raises Misuse."""
    match scheme_of(url):
        case "mysql" | "mysql+pymysql":
            from samebase.mysql.changes import MySqlChanges
            from samebase.mysql.connection import address_of
            from samebase.mysql.database import Database as MySqlDatabase
            from samebase.mysql.preflight import require
            from samebase.mysql.store import MySqlStore

            address = address_of(url)
            checked = False

            def open_mysql() -> tuple[ChangeSource, Store]:
                nonlocal checked
                if not checked:  # not at every session: beginning again must be quick
                    require(address, tables)
                    checked = True
                database = MySqlDatabase(address, tables, name, adopting=adopting)
                source = MySqlChanges(database, wake)
                try:
                    return source, MySqlStore(database)
                except BaseException:
                    source.close()
                    raise

            return open_mysql
        case "sqlite":
            from samebase.sqlite.changes import SqliteChanges
            from samebase.sqlite.connection import Database as SqliteDatabase
            from samebase.sqlite.connection import database_path
            from samebase.sqlite.store import SqliteStore

            path = database_path(url)

            def open_sqlite() -> tuple[ChangeSource, Store]:
                database = SqliteDatabase(path)
                return SqliteChanges(database), SqliteStore(database, tables, name, adopting=adopting)

            return open_sqlite
    raise Misuse("the URL begins neither with mysql:// nor with sqlite:///")


def logs_of(url: str, wake: Callable[[], None]) -> Logs:
    """How to open the log that the URL names. Raises Misuse."""
    match scheme_of(url):
        case "kafka":
            from samebase.kafka.config import kafka_address
            from samebase.kafka.log import KafkaLog
            from samebase.kafka.topic import GONE_SECONDS, ensure_topic

            address = kafka_address(url)

            def check_kafka() -> None:
                with suppress(LogLost):  # whether it may be made is decided once the database is known
                    ensure_topic(address, create=False)

            def open_kafka(create: bool) -> Log:
                ensure_topic(address, create=create, gone_after=GONE_SECONDS)
                return KafkaLog(address, wake=wake)

            return Logs(check_kafka, open_kafka)
        case "sqlite":
            from samebase.sqlite.connection import database_path
            from samebase.sqlite.log import SqliteLog

            path = database_path(url)

            def open_file(create: bool) -> Log:
                if not create and not path.exists():
                    raise LogLost(f"the log {path} is gone, and this database has entries of it")
                return SqliteLog(path)

            def check_file() -> None:
                if not path.parent.is_dir():
                    raise Stop(f"there is no directory {path.parent} for the log: make it")

            return Logs(check_file, open_file)
    raise Misuse("the URL begins neither with kafka:// nor with sqlite:///")


def replicated_tables(tables: TablesFile) -> dict[str, Replicated]:
    """The tables file as the adapters take it."""
    return {name: Replicated(table.policy, table.delta) for name, table in tables.tables.items()}


def scheme_of(url: str) -> str:
    """What stands before the ://, which says the kind of adapter."""
    return url.partition("://")[0]
