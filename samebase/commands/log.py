"""`samebase log`: what is in the log, for people."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from samebase.commands.common import fail, settings
from samebase.core.errors import Misuse, SamebaseError, Unreadable
from samebase.core.types import Change, Entry, Part
from samebase.core.wire import decode, dump_key, dump_row
from samebase.ports import Log, LogRecord
from samebase.wiring import logs_of

_BATCH = 500
_POLL_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Which changes are shown, and how."""

    table: str | None
    origin: str | None
    values: bool


def log(
    *,
    start: Annotated[int | None, typer.Option("--from", help="offset to begin at", min=0)] = None,
    last: Annotated[int, typer.Option(help="without --from: so many entries before the end", min=0)] = 20,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="go on until Ctrl-C")] = False,
    table: Annotated[str | None, typer.Option(help="only changes of this table")] = None,
    origin: Annotated[str | None, typer.Option(help="only entries of origins that begin so")] = None,
    values: Annotated[bool, typer.Option("--values", help="show the values too: they may be secrets")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="records as they are, a line each")] = False,
) -> None:
    """Show the log's entries: offset, age, origin and seq, then each change. Setting: SAMEBASE_LOG."""
    url = settings().log
    if url is None:
        fail("SAMEBASE_LOG is needed: the URL of the log", 2)
    try:
        opened = logs_of(url.get_secret_value(), lambda: None).open(False)
    except Misuse as error:
        fail(f"SAMEBASE_LOG: {error}", 2)
    except SamebaseError as error:
        fail(str(error))
    show: Callable[[LogRecord], None] = _show_record if as_json else lambda record: _show(record, wanted)
    wanted = _Wanted(table, origin, values)
    try:
        for record in _records(opened, start, last, follow):
            show(record)
    except KeyboardInterrupt:
        return
    except SamebaseError as error:
        fail(str(error))
    finally:
        opened.close()


def _records(log: Log, start: int | None, last: int, follow: bool) -> Iterator[LogRecord]:
    end = log.end(exact=True)
    position = max(log.begin(), end - last) if start is None else start
    while follow or position < end:
        records = log.read(position, _BATCH)
        yield from records
        if records:
            position = records[-1].offset + 1
        else:
            sys.stdout.flush()
            time.sleep(_POLL_SECONDS)


def _show_record(record: LogRecord) -> None:
    sys.stdout.write(record.value.decode("utf-8", "replace") + "\n")


def _show(record: LogRecord, wanted: _Wanted) -> None:
    try:
        entry = decode(record.value, record.offset)
    except Unreadable as error:
        sys.stdout.write(f"{record.offset:>10}  CANNOT BE READ: {error}\n")
        return
    header = entry.content.header if isinstance(entry.content, Part) else entry.content
    changes = [change for change in header.changes if wanted.table in (None, change.table)]
    if not changes or not header.origin.startswith(wanted.origin or ""):
        return
    sys.stdout.write(f"{_headline(entry)}\n")
    for change in changes:
        sys.stdout.write(f"{'':>10}  {_told(change, wanted.values)}\n")


def _headline(entry: Entry) -> str:
    header = entry.content.header if isinstance(entry.content, Part) else entry.content
    words = [f"{entry.offset:>10}", f"{_age(header.ts_ms)} ago", header.origin, f"seq {header.seq}"]
    if header.certified:
        words.append("certified")
    if isinstance(entry.content, Part):
        words.append(
            f"changes {entry.content.start + 1} to {entry.content.start + len(header.changes)} of {entry.content.total}"
        )
    if header.request is not None:
        words.append(f"request {header.request}")
    return "  ".join(words)


def _age(ts_ms: int) -> str:
    seconds = max(0.0, time.time() - ts_ms / 1000)
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.1f} s"


def _told(change: Change, values: bool) -> str:
    before: Any = change.before or {}
    after: Any = change.after or {}
    op = "insert" if change.before is None else "delete" if change.after is None else "update"
    named = [column for column in after if column not in before or before[column] != after[column]]
    if op == "delete":
        shown = dump_row(change.before) if values else ""
    elif values:
        shown = json.dumps({name: json.loads(dump_row({name: after[name]}))[name] for name in named})
    else:
        shown = ", ".join(named)
    return f"{op} {change.table} {dump_key(change.key)}  {shown}".rstrip()
