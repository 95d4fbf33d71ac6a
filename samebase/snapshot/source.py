"""The process that reads a whole database for somebody: `python -m samebase.snapshot.source`.

It is not a thread of the sync process, because that would make the replica's own writes wait for the interpreter; and
it is nice to the others on its machine. With the sync process (view.py) it speaks JSON lines, in turn:

    -> {"database", "tables", "name", "do": ...}    what to read, and what to make of it
    <- {"shape": "2f..."}                           connected; the next step will be quick
    -> {"open": true}                               the sync process makes no Write from here ...
    <- {"offset": 7}                                a consistent view is open; this is its stored offset
    -> {"service", "log", "state", "bases"}         ... to here; what the core knows of that moment
    <- the output, to its end

In place of any answer it may say {"error": "..."}. It ends when its input does.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from samebase import logs
from samebase.core.errors import SamebaseError
from samebase.core.snapshot import log_state
from samebase.core.types import RowId, State
from samebase.core.wire import load_key, load_row
from samebase.ports import Snapshot
from samebase.replicated import Replicated
from samebase.snapshot import digest, stream
from samebase.snapshot.shape import hash_of, shape_of
from samebase.wiring import databases

NICENESS = 10


def main() -> None:
    """Serve one request."""
    with suppress(OSError):
        os.nice(NICENESS)
    logs.configure("source", None, "WARNING")  # on stderr: the output is on stdout
    try:
        try:
            _serve(_read())
        except SamebaseError as error:
            _say({"error": str(error)})
            sys.exit(1)
    except BrokenPipeError:
        # Whoever wanted it is gone; and so is the place where the interpreter would flush its output.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def _serve(job: Mapping[str, Any]) -> None:
    tables = {name: Replicated(kind, tuple(delta)) for name, (kind, delta) in job["tables"].items()}
    source, store = databases(job["database"], tables, job["name"])()
    try:
        schema = store.schema()
        _say({"shape": hash_of(shape_of(schema))})
        _read()
        with store.snapshot() as snapshot:
            _say({"offset": snapshot.state.offset})
            known = _read()
            bases: dict[RowId, Any] = {(table, load_key(key)): load_row(row) for table, key, row in known["bases"]}
            rows = Snapshot(snapshot.state, snapshot.rejected, log_state(snapshot.chunks, bases, schema))
            out = sys.stdout.buffer
            for piece in _made(job, known, rows, shape_of(schema)):
                out.write(piece)
                out.flush()
    finally:
        source.close()
        store.close()


def _made(job: Mapping[str, Any], known: Mapping[str, Any], rows: Snapshot, shape: Any) -> Iterator[bytes]:
    do = job["do"]
    if do["make"] == "snapshot":
        state = State("", **known["state"])
        header = stream.Header(job["service"], job["name"], known["log"], state, shape)
        return stream.write(header, rows.rejected, rows.chunks)
    for _ in rows.rejected:
        pass
    if do["make"] == "digest":
        return digest.digest(rows.chunks, shape)
    return digest.listing(rows.chunks, shape, do["buckets"])


def _read() -> Any:
    line = sys.stdin.buffer.readline()
    if not line:
        sys.exit(1)
    return json.loads(line)


def _say(answer: Mapping[str, Any]) -> None:
    sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
