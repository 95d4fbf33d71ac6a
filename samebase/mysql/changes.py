"""The local change log: the server's binary log, cut into transactions.

A transaction's seq is the place where it ends: the number of the binary log file, shifted by 40 bits, plus the offset
there. So it grows with each commit, is the same at every read, and `SHOW BINARY LOG STATUS` compares with it.

Reading must begin at an event, and an arbitrary position need not be one. So `samebase.capture` notes a *boundary*, a
place to begin at, and the seq of the last transaction before it: there is none of ours in between. A position in a
later file is read from the beginning of that file.

What the sync process writes is not in the binary log (sql_log_bin = 0), and so is never read here.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence

from samebase.core.errors import Diverged, Unavailable
from samebase.core.types import Commit
from samebase.mysql.connection import connect, every, execute, one, translated
from samebase.mysql.database import Database
from samebase.mysql.install import SCHEMA, server_end
from samebase.mysql.stream import Position, Stream, file_number
from samebase.mysql.transactions import Transactions

BEHIND_SECONDS = 30.0
"""How long the stream may take for what the server's log has."""
_FIRST_EVENT = 4
_IDLE_EVENTS = 16
"""How much is taken from an idle stream at once: heartbeats, which must not pile up."""


class MySqlChanges:
    """ChangeSource of a replica's database."""

    def __init__(self, database: Database, wake: Callable[[], None] = lambda: None) -> None:
        """`wake` is called, from another thread, when something was written to the binary log after a read that had
        come to its end."""
        self._database = database
        self._wake = wake
        self._control = connect(database.address)
        self._stream: Stream | None = None
        self._transactions = Transactions(database)
        self._ahead: deque[Commit] = deque()
        self._cursor = 0
        self._handed: deque[int] = deque()
        self._noted: tuple[int, Position] | None = None

    @translated("reading the binary log")
    def read(self, after: int, limit: int) -> Sequence[Commit]:
        if self._stream is not None:
            self._stream.unset_alarm()
        end, like = server_end(self._control)
        stream = self._stream
        if stream is None or after != self._cursor:
            stream = self._seek(after, end, like)
        commits: list[Commit] = []
        while len(commits) < limit:
            commit = self._ahead.popleft() if self._ahead else self._next(stream, end)
            if commit is None:
                break
            if commit.seq > after:
                commits.append(commit)
        if commits:
            self._cursor = commits[-1].seq
            self._handed.extend(commit.seq for commit in commits)
        else:
            self._look_idle(stream)
        if len(commits) < limit:
            stream.alarm()
        return commits

    @translated("reading the end of the binary log")
    def end(self) -> int:
        end, like = server_end(self._control)
        stream = self._stream or self._seek(self._boundary()[0], end, like)
        while (commit := self._next(stream, end)) is not None:
            self._ahead.append(commit)
        return self._ahead[-1].seq if self._ahead else self._cursor

    @translated("measuring the binary log")
    def size(self, after: int) -> int:
        start = Position.of_seq(after)
        files: dict[int, int] = {file_number(name): size for name, size, *_ in every(self._control, "SHOW BINARY LOGS")}
        begun = min(start.offset, files.get(start.file, 0))
        return sum(size for number, size in files.items() if number >= start.file) - begun

    @translated("noting how far the binary log was read")
    def forget(self, upto: int) -> None:
        """Only noted here: the binary log's files are the operator's to purge, but never beyond this."""
        last = 0
        while self._handed and self._handed[0] <= upto:
            last = self._handed.popleft()
        if last > self._boundary()[0]:
            self._note(last, Position.of_seq(last))

    def close(self) -> None:
        self._close_stream()
        self._control.close()

    # -- inside --------------------------------------------------------------------------------------------------

    def _next(self, stream: Stream, end: Position) -> Commit | None:
        """The next transaction that lies before `end`, None if there is none."""
        deadline = time.monotonic() + BEHIND_SECONDS
        while stream.position < end:
            event = stream.next()
            if event is None:
                if time.monotonic() > deadline:
                    raise Unavailable(f"the binary log stream stays at {stream.position}, the log ends at {end}")
                continue
            commit = self._transactions.take(event, stream)
            if commit is not None:
                return commit
        return None

    def _look_idle(self, stream: Stream) -> None:
        """Nothing is there to be read: take the heartbeats in, and keep the noted boundary in a young file."""
        for _ in range(_IDLE_EVENTS):
            if not stream.waiting():
                break
            event = stream.next()
            commit = None if event is None else self._transactions.take(event, stream)
            if commit is not None:
                self._ahead.append(commit)
        last, boundary = self._boundary()
        settled = last == self._cursor and not self._ahead and not self._transactions.within
        if settled and stream.position.file > boundary.file:
            self._note(last, stream.position)

    def _seek(self, after: int, end: Position, like: str) -> Stream:
        self._close_stream()
        last, boundary = self._boundary()
        if after < last:
            raise Diverged(f"local commits after {after} are asked for, those up to {last} were settled and forgotten")
        asked = Position.of_seq(after)
        start = boundary if boundary.file >= asked.file else Position(asked.file, _FIRST_EVENT)
        if max(asked, start) > end:
            raise Diverged(
                f"the binary log ends at {end}, before {max(asked, start)}, which this replica has read: it was reset, "
                "or the server's data is older than what was published"
            )
        self._transactions.reset()
        self._stream = Stream(
            self._database.address,
            start,
            like,
            (self._database.address.database, SCHEMA),
            self._transactions.tables,
            wake=self._wake,
        )
        self._cursor = after
        self._handed.clear()
        return self._stream

    def _close_stream(self) -> None:
        self._ahead.clear()
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _boundary(self) -> tuple[int, Position]:
        if self._noted is None:
            self._database.schema()
            last, boundary = one(self._control, "SELECT last, boundary FROM samebase.capture")
            self._noted = last, Position.of_seq(boundary)
        return self._noted

    def _note(self, last: int, boundary: Position) -> None:
        execute(self._control, "UPDATE samebase.capture SET last = %s, boundary = %s", last, boundary.seq)
        self._noted = last, boundary
