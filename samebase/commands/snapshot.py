"""`samebase snapshot save` and `samebase snapshot restore`: a backup of a whole service, as a file."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, BinaryIO
from uuid import uuid4

import typer
from rich.progress import Progress

from samebase.commands.common import bar, fail, replicas
from samebase.config import ConfigError, load_settings, load_tables
from samebase.core.errors import SamebaseError
from samebase.session import Surroundings
from samebase.snapshot import take
from samebase.snapshot.errors import Refused
from samebase.snapshot.seed import seed
from samebase.snapshot.shape import difference, shape_of
from samebase.snapshot.stream import Reader
from samebase.wiring import SystemClock, connector

app = typer.Typer(no_args_is_help=True, help="Save a service's rows in a file, or begin from such a file.")


@app.command()
def save(
    file: Annotated[Path, typer.Argument(help="must not exist")],
    urls: Annotated[
        list[str] | None, typer.Argument(help="a sync process, or several: the first that gives one")
    ] = None,
) -> None:
    """Save a service's rows, as they are at an offset of its log. Whoever can read the file can read every row."""
    peers, found = replicas(urls or [])
    if file.exists():
        fail(f"{file} exists")
    part = file.with_name(f"{file.name}.{uuid4()}.part")
    refused: list[str] = []
    try:
        for url in found:
            try:
                with os.fdopen(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as out, bar() as shown:
                    with peers.snapshot(url, copy=out.write) as reader:
                        _read(reader, shown, f"saving from {url}")
                    out.flush()
                    os.fsync(out.fileno())
                part.rename(file)
                _say("saved", reader)
                return
            except Refused as error:
                refused.append(str(error))
                part.unlink()
    except OSError as error:
        fail(f"{file} cannot be written: {error.strerror}")
    finally:
        with suppress(FileNotFoundError):
            part.unlink()
    fail("; ".join(refused))


@app.command()
def restore(file: Annotated[Path, typer.Argument(help="what `save` has written")]) -> None:
    """Begin from a file. Settings: as for `run`, of one replica whose sync process does not run and whose tables are
    migrated and empty.

    Into a log that is new, the rows are published, and every replica gets them from there; all replicas begin with
    empty tables. If the log is still the one that the snapshot was taken from, only this replica's database is filled.
    """
    clock = SystemClock()
    try:
        settings = load_settings()
        tables = load_tables(settings.tables)
        connect = connector(settings, tables, lambda: None)
    except ConfigError as error:
        fail(str(error), 2)
    try:
        with _opened(file) as (reader, shown):
            _read(reader, shown, "checking")
        surroundings = connect()
        try:
            with _opened(file) as (reader, shown):
                if reader.header.log == surroundings.log.identity:
                    _fill(reader, surroundings, tables.service, shown)
                else:
                    _publish(reader, surroundings, clock, shown)
            _say("restored", reader)
        finally:
            surroundings.close()
    except SamebaseError as error:
        fail(f"{file} was not restored: {error}")


def _fill(reader: Reader, surroundings: Surroundings, service: str, shown: Progress) -> None:
    take.check(reader.header, service, surroundings)
    task = shown.add_task("filling the database", told="", total=None)
    take.take(reader, surroundings, lambda rows: shown.update(task, told=f"{rows} rows"))
    surroundings.store.bind(surroundings.log.identity)


def _publish(reader: Reader, surroundings: Surroundings, clock: SystemClock, shown: Progress) -> None:
    store, schema = surroundings.store, surroundings.store.schema()
    why = difference(reader.header.shape, shape_of(schema))
    if why is not None:
        raise Refused(f"its tables are not those that are here: {why}")
    with store.begin(store.load().offset) as transaction:
        occupied = transaction.occupied()
    if occupied is not None:
        raise Refused(f"table {occupied} has rows: every replica begins with empty tables")
    for _ in reader.rejected():
        pass  # they were of another log
    task = shown.add_task("publishing", told="", total=None)
    origin = f"restored@{uuid4()}"
    chunks = reader.chunks()

    def tell(rows: int) -> None:
        shown.update(task, told=f"{rows} rows")

    seed(surroundings.log, origin, chunks, schema, clock=clock, tell=tell)


def _read(reader: Reader, shown: Progress, what: str) -> None:
    """To its end, which checks it."""
    task = shown.add_task(what, told="", total=None)
    for _ in reader.rejected():
        pass
    for _ in reader.chunks():
        shown.update(task, told=f"{reader.counts.rows} rows, {reader.counts.bytes / 1e6:.1f} MB")


@contextmanager
def _opened(file: Path) -> Iterator[tuple[Reader, Progress]]:
    try:
        opened: BinaryIO = file.open("rb")
    except OSError as error:
        raise Refused(str(error.strerror)) from error
    with opened, bar() as shown:
        yield Reader(opened.read), shown


def _say(done: str, reader: Reader) -> None:
    counts, header = reader.counts, reader.header
    sys.stdout.write(
        f"{done}  {header.service} at offset {header.state.offset}: {counts.rows} rows, {counts.bytes / 1e6:.1f} MB\n"
    )
