"""`samebase adopt`: a database that has rows already becomes the first replica of a new service."""

from __future__ import annotations

import sys
from uuid import uuid4

from samebase.commands.common import bar, fail
from samebase.config import ConfigError, load_settings, load_tables
from samebase.core.errors import Misuse, SamebaseError
from samebase.core.types import Write
from samebase.ports import ADOPTING, ChangeSource, Log, Store
from samebase.snapshot.errors import Refused
from samebase.snapshot.seed import Tell, seed
from samebase.wiring import SystemClock, databases, logs_of, replicated_tables


def adopt() -> None:
    """Make this database's rows the beginning of a new log, from which every other replica gets them. Settings: as for
    `run`. Its applications cannot write meanwhile; what they write afterwards is replicated."""
    try:
        settings = load_settings()
        tables = replicated_tables(load_tables(settings.tables))
        connect = databases(settings.database.get_secret_value(), tables, settings.name, adopting=True)
        logs = logs_of(settings.log.get_secret_value(), lambda: None)
    except ConfigError as error:
        fail(str(error), 2)
    except Misuse as error:
        fail(f"SAMEBASE_DATABASE or SAMEBASE_LOG: {error}", 2)
    try:
        logs.check()
        source, store = connect()
        try:
            store.schema()
            if store.bound() != ADOPTING:
                raise Refused("it is replicated already")
            log = logs.open(True)
            try:
                with bar() as shown:
                    task = shown.add_task("publishing", told="", total=None)
                    rows = _adopt(source, store, log, lambda rows: shown.update(task, told=f"{rows} rows"))
            finally:
                log.close()
        finally:
            source.close()
            store.close()
    except SamebaseError as error:
        fail(f"the database was not adopted: {error}")
    sys.stdout.write(f"adopted  {rows} rows; start samebase run, then the other replicas, with empty tables\n")


def _adopt(source: ChangeSource, store: Store, log: Log, tell: Tell) -> int:
    """Publish, and note in the same transaction that this is what the database shows."""
    schema, offset = store.schema(), store.load().offset
    origin = f"adopted@{uuid4()}"
    with store.begin(offset) as transaction:
        seeded = seed(log, origin, transaction.everything(), schema, clock=SystemClock(), tell=tell)
        # All of it is locked: what was committed so far was read.
        settled = source.end()
        applied = {origin: seeded.seq} if seeded.seq else {}
        transaction.write(Write(offset, seeded.offset, applied=applied, settled=settled))
        transaction.rebind(log.identity)
    return seeded.rows
