"""`samebase rejected`: the transactions that the log has rejected, as one replica has them on record."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from samebase.commands.common import fail
from samebase.config import ConfigError, load_settings, load_tables
from samebase.core.errors import Misuse, SamebaseError
from samebase.core.types import Rejection
from samebase.core.wire import dump_changes, dump_key
from samebase.ports import Store
from samebase.wiring import databases, replicated_tables

app = typer.Typer(
    no_args_is_help=True,
    help="What the log has rejected. Settings: as for `run`; the content is kept where it was written, so ask there.",
)
_BATCH = 500


@app.command("list")
def list_(
    start: Annotated[int, typer.Option("--from", help="offset to begin at", min=0)] = 0,
    limit: Annotated[int, typer.Option(help="so many at most", min=1)] = 1000,
) -> None:
    """A line for each: offset, origin, seq, reason, rows."""
    with _store() as store:
        for count, one in enumerate(_all(store, start)):
            if count == limit:
                break
            rows = " ".join(f"{table}{dump_key(key)}" for table, key in one.rows)
            kept = "  (content kept here)" if one.changes else ""
            sys.stdout.write(f"{one.offset:>10}  {one.origin}  seq {one.seq}  {one.reason}  {rows}{kept}\n")


@app.command()
def show(offset: Annotated[int, typer.Argument(help="the entry's offset in the log")]) -> None:
    """Everything about one, its content too. Exit code 1 if there is none at this offset."""
    with _store() as store:
        found = [one for one in store.rejected(offset, _BATCH) if one.offset == offset]
    if not found:
        fail(f"nothing was rejected at offset {offset}")
    for one in found:
        sys.stdout.write(json.dumps(_told(one), indent=2) + "\n")


@app.command()
def export(file: Annotated[Path, typer.Argument(help="must not exist")]) -> None:
    """All of them with their content, as JSON lines."""
    try:
        out = os.fdopen(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w", encoding="utf-8")
    except OSError as error:
        fail(f"{file} cannot be written: {error.strerror}")
    count = 0
    with out, _store() as store:
        for one in _all(store, 0):
            out.write(json.dumps(_told(one)) + "\n")
            count += 1
    sys.stdout.write(f"exported  {count} rejections to {file}\n")


def _told(one: Rejection) -> dict[str, Any]:
    return {
        "offset": one.offset,
        "origin": one.origin,
        "seq": one.seq,
        "request": one.request,
        "reason": one.reason,
        "rows": [[table, json.loads(dump_key(key))] for table, key in one.rows],
        "changes": json.loads(dump_changes(one.changes)),
    }


def _all(store: Store, start: int) -> Iterator[Rejection]:
    while found := store.rejected(start, _BATCH):
        # Several may be of one offset: those of the last one are read again with the next ones.
        last = found[-1].offset
        whole = found if len(found) < _BATCH or found[0].offset == last else [one for one in found if one.offset < last]
        yield from whole
        start = whole[-1].offset + 1


@contextmanager
def _store() -> Iterator[Store]:
    try:
        settings = load_settings()
        tables = load_tables(settings.tables)
        connect = databases(settings.database.get_secret_value(), replicated_tables(tables), settings.name)
    except ConfigError as error:
        fail(str(error), 2)
    except Misuse as error:
        fail(f"SAMEBASE_DATABASE: {error}", 2)
    try:
        source, store = connect()
        try:
            store.schema()
            yield store
        finally:
            source.close()
            store.close()
    except SamebaseError as error:
        fail(str(error))
