"""`samebase preflight`: what would stop this replica, looked at without starting it.

One line for each thing that was checked: ok, or what to change. `samebase run` makes the same checks at every start and
stops with the same words.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from samebase.config import Settings, TablesFile
from samebase.core.errors import LogLost, SamebaseError
from samebase.replicated import Replicated
from samebase.wiring import replicated_tables, scheme_of


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that was looked at. `text` names it and says ok, or what to change."""

    text: str
    ok: bool


def preflight(settings: Settings, tables: TablesFile) -> Iterator[Line]:
    """Every check of the database, then of the log. Raises Misuse for a URL that means nothing."""
    replicated = replicated_tables(tables)
    parts = (
        ("SAMEBASE_DATABASE", _database(settings.database.get_secret_value(), replicated)),
        ("SAMEBASE_LOG", _log(settings.log.get_secret_value())),
    )
    for name, lines in parts:
        try:
            yield from lines
        except SamebaseError as error:
            yield Line(f"{name}: {error}", ok=False)


def _database(url: str, tables: Mapping[str, Replicated]) -> Iterator[Line]:
    if scheme_of(url) == "sqlite":
        from samebase.sqlite.connection import Database, database_path
        from samebase.sqlite.preflight import inspect

        database = Database(database_path(url))
        try:
            yield Line(f"database {database.path}: ok", ok=True)
            for name, settings in tables.items():
                try:
                    inspect(database.connection, {name: settings})
                    yield Line(f"table {name}: ok", ok=True)
                except SamebaseError as error:
                    yield Line(f"table {name}: {error}", ok=False)
        finally:
            database.close()
    else:
        from samebase.mysql.connection import address_of
        from samebase.mysql.preflight import preflight as checks

        for check in checks(address_of(url), tables):
            yield Line(str(check), check.ok)


def _log(url: str) -> Iterator[Line]:
    if scheme_of(url) == "sqlite":
        from samebase.sqlite.connection import database_path

        path = database_path(url)
        there = "ok" if path.exists() else "not there yet, it will be made"
        place = path.parent.is_dir()
        yield Line(f"log {path}: {there if place else 'its directory does not exist: make it'}", ok=place)
    else:
        from samebase.kafka.config import kafka_address
        from samebase.kafka.topic import check_topic

        address = kafka_address(url)
        try:
            for finding in check_topic(address):
                yield Line(f"topic {address.topic}: {finding}", ok=finding.problem is None)
        except LogLost:
            yield Line(f"topic {address.topic}: not there yet, it will be made", ok=True)
