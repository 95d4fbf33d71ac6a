"""A consistent view of S(offset) for somebody, while the replica goes on: the sync process's side of source.py."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from io import BufferedReader
from typing import Any, BinaryIO, cast

from samebase import metrics
from samebase.core.wire import dump_key, dump_row
from samebase.desk import Boundary, Desk
from samebase.logs import get_logger
from samebase.ports import Clock
from samebase.replicated import Replicated
from samebase.snapshot.errors import Refused

OPEN_SECONDS = 10.0
"""How long the process may take for its view: the replica makes no Write meanwhile. It takes milliseconds."""
PREPARE_SECONDS = 30.0
PIECE = 1 << 16

log_line = get_logger()


@dataclass(frozen=True, slots=True)
class Views:
    """How a replica gives views of itself.

    Args:
        database: URL of its database.
    """

    service: str
    name: str
    database: str
    tables: Mapping[str, Replicated]
    desk: Desk
    clock: Clock

    def open(self, do: Mapping[str, Any], at: int | None = None, timeout: float = PREPARE_SECONDS) -> View:
        """A view of this replica at its present offset, or at this one; `do`: what to make of it (source.py).
        `timeout`: seconds, for coming so far. Raises Refused, Unavailable. The caller closes the view."""
        view = View(
            {
                "service": self.service,
                "name": self.name,
                "database": self.database,
                "tables": {name: (table.kind, table.delta) for name, table in self.tables.items()},
                "do": do,
            }
        )
        try:
            held = self.desk.ask(lambda boundary: self._take(view, boundary), timeout, at)
        except BaseException:
            view.close()
            raise
        metrics.held_seconds.observe(held)
        log_line.info("view opened", make=do["make"], offset=view.offset, held_ms=round(held * 1000, 1))
        return view

    def _take(self, view: View, boundary: Boundary) -> float:
        """In the runner's thread: no Write is made until this returns. Returns how long that was, in seconds."""
        began = self.clock.monotonic()
        offset = view.look()
        replica = boundary.replica
        if offset != replica.offset:
            raise Refused(f"the database is at offset {offset}, the core at {replica.offset}: another process moved it")
        # Every commit that the view shows is in the change log by now.
        boundary.publish(boundary.capture())
        state = replica.snapshot_state()
        view.tell(
            {
                "log": boundary.log.identity,
                "state": {"offset": state.offset, "applied": dict(state.applied), "held": dict(state.held)},
                "bases": [(table, dump_key(key), dump_row(row)) for (table, key), row in replica.bases().items()],
            }
        )
        return self.clock.monotonic() - began


class View:
    """The process that reads, the offset at which it does, and the hash of the shape of the tables."""

    def __init__(self, job: Mapping[str, Any]) -> None:
        """Start it and wait until it is prepared. Raises Refused."""
        self.offset = 0
        self._process = subprocess.Popen(
            [sys.executable, "-m", "samebase.snapshot.source"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._input = cast(BinaryIO, self._process.stdin)
        self._output = cast(BufferedReader, self._process.stdout)
        try:
            self.shape: str = self._ask(job, PREPARE_SECONDS)["shape"]
        except BaseException:
            self.close()
            raise

    def look(self) -> int:
        """Open the consistent view; returns its stored offset."""
        self.offset = self._ask({"open": True}, OPEN_SECONDS)["offset"]
        return self.offset

    def tell(self, known: Mapping[str, Any]) -> None:
        """What the core knows of the view's moment. Then the output comes."""
        # Written by a thread: what is pending may be more than the pipe takes at once, and the runner does not wait.
        threading.Thread(target=self._write_or_leave, args=(known,), daemon=True).start()

    def output(self) -> Iterator[bytes]:
        """What the process makes, piece by piece. Raises Refused if it breaks off; closes the view at the end."""
        with closing(self):
            while piece := self._output.read1(PIECE):
                yield piece
            if self._process.wait() != 0:
                raise Refused("reading the database broke off")

    def close(self) -> None:
        """End the process. More than one call does no harm."""
        self._process.kill()
        self._process.wait()
        self._output.close()
        with suppress(BrokenPipeError):  # what was not taken any more
            self._input.close()

    def _ask(self, request: Mapping[str, Any], seconds: float) -> Mapping[str, Any]:
        late = threading.Timer(seconds, self._process.kill)
        late.start()
        try:
            self._write(request)
            line = self._output.readline()
        except OSError as error:
            raise Refused(f"the process that reads the database is gone: {error}") from error
        finally:
            late.cancel()
        answer: Mapping[str, Any] = json.loads(line or b'{"error": "the process that reads the database has ended"}')
        if "error" in answer:
            raise Refused(answer["error"])
        return answer

    def _write_or_leave(self, request: Mapping[str, Any]) -> None:
        with suppress(OSError, ValueError):  # the process has ended, or was closed: `output` says so
            self._write(request)

    def _write(self, request: Mapping[str, Any]) -> None:
        self._input.write(json.dumps(request).encode() + b"\n")
        self._input.flush()
