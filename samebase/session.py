"""One life of a core: from the stored state on, round after round, until something unexpected ends it.

A *round* captures what was committed here, publishes it, reads the log, and applies a batch, in the order that the core
documents (core/replica.py). What ends a session is raised; the runner knows what to do about it (runner.py).
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import NamedTuple

from samebase import metrics
from samebase.core.errors import Busy, LogLost, Restart, SchemaBehind, TooLarge, Unavailable, Unreadable
from samebase.core.replica import Replica
from samebase.core.types import Commit, Concerned, Entry, Publish, Record, Rows, Schema, Transaction, Verdict, Write
from samebase.core.wire import decode, encode
from samebase.desk import Boundary, Desk
from samebase.logs import get_logger, note
from samebase.ports import ChangeSource, Clock, Log, LogRecord, Store, StoreTransaction
from samebase.progress import Position, Progress

CAPTURE_LIMIT = 500
CAPTURE_BYTES = 4 * 2**20
FIRST_CAPTURE_LIMIT = 50
"""Commits that are captured in one go, and how large they are together, if they are like those before them; and the
first time, when nothing is known of them."""
UNLOGGED_LIMIT = 2_000
UNLOGGED_BYTES = 16 * 2**20
"""Transactions on their way into the log, at most; beyond that capturing waits (they are safe in the change log)."""
LOCK_TRIES = 5
"""How often a batch is tried that the database takes back because of locks."""
HELD_LIMIT = 2_000
"""Commits that are captured, at most, while the log is away: those who ask about them are told."""
AWAY_POLL_SECONDS = 0.1
MEASURE_SECONDS = 1.0
"""While the log is away: how often it is asked, and how often it is looked how much is pending."""
REMEMBER_ENTRIES = 10_000
"""Log entries that are looked through at a start, for what became of recent requests."""
FORGET_EVERY = 10_000
FORGET_SECONDS = 10.0
"""Settled commits are discarded once there are so many, or after so long."""

log_line = get_logger()


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The adapters of one session. They are opened anew for each."""

    source: ChangeSource
    log: Log
    store: Store

    def close(self) -> None:
        with ExitStack() as stack:
            for part in (self.source, self.log, self.store):
                stack.callback(part.close)


@dataclass(frozen=True, slots=True)
class Pace:
    """How a runner takes its time: see Settings for the meaning of most.

    Attributes:
        backoff_seconds: pause after a session that ended with an error; doubles with each that achieved nothing.
        flush_seconds: how long a process that is stopped waits for the log to take what was committed here.
        pending_max_bytes, pending_max_age_seconds: while the log is away, so much may be committed here and so long;
            then writes are refused.
        start_seconds: how long a process that has just started waits for a host's name to mean something.
    """

    poll_seconds: float = 0.01
    batch: int = 500
    republish_after_seconds: float = 5.0
    backoff_seconds: float = 0.04
    flush_seconds: float = 5.0
    pending_max_bytes: int = 256 * 2**20
    pending_max_age_seconds: float = 3600.0
    start_seconds: float = 60.0


class Session:
    """One life of a core, from the stored state on."""

    def __init__(
        self, surroundings: Surroundings, clock: Clock, progress: Progress, pace: Pace, desk: Desk | None = None
    ) -> None:
        self._source, self._log, self._store = surroundings.source, surroundings.log, surroundings.store
        self._clock, self._progress, self._pace = clock, progress, pace
        self._schema: Schema = self._store.schema()
        state = self._store.load()
        self._bind()
        self._replica = Replica(state, self._schema)
        self._desk = desk or Desk()
        self._boundary = Boundary(self._replica, self._log, self._store, self._capture_all, self._publish)
        self._position = state.reread
        self._log_end = self._log.end(exact=True)
        self._unlogged: deque[_Unlogged] = deque()
        self._unlogged_bytes = 0
        self._capture_limit = min(FIRST_CAPTURE_LIMIT, CAPTURE_LIMIT)
        self._republished: Future[int] | None = None
        self._moved_at = clock.monotonic()
        self._forgotten, self._forgot_at = state.settled, clock.monotonic()
        self._rejected = self._store.count_rejected()
        # Whoever was at the log's end once in this process stays ready, whatever ends its sessions meanwhile.
        self._ready = progress.position().phase == "ready"
        self.applied_any = False
        self._away_since: float | None = None
        self._measured_at = float("-inf")
        self._held: list[Publish] = []
        self._waiting = 0
        self._refusing: bool | None = None  # an earlier session may have left it so

    def run(self, stop: threading.Event) -> None:
        """Rounds until `stop` is set, then what is left goes into the log. Raises what ends the session."""
        self._remember()
        log_line.info(
            "session begins", origin=self._replica.origin, offset=self._replica.offset, read_from=self._position
        )
        exact_end = self._progress.begin_round()
        # Everything that was committed before is known before the first entry is decided.
        while self._capture() and not stop.is_set():
            self._settle_publishes()
        while not stop.is_set():
            try:
                busy = self._round(exact_end)
                self._progress.end_round(self._where())
                self._desk.serve(self._boundary)
                pause = 0 if busy else self._pace.poll_seconds
            except _LogAway as error:
                self._without_log(str(error))
                pause = AWAY_POLL_SECONDS
            if pause:
                self._progress.idle(pause)
            exact_end = self._progress.begin_round()
        self._flush()

    def _flush(self) -> None:
        """Our database may never be seen again: what was committed in it goes into the log, if that takes it soon.
        What it does not take stays pending."""
        if self._away_since is not None:
            log_line.warning("stopped while the log is away", pending=self._replica.pending)
            return
        deadline = self._clock.monotonic() + self._pace.flush_seconds
        while self._capture() or self._unlogged:
            self._settle_publishes()
            if self._clock.monotonic() >= deadline:
                log_line.warning("stopped, and not all of it is in the log", pending=self._replica.pending)
                return
            if self._unlogged:
                self._progress.idle(self._pace.poll_seconds)
                self._progress.begin_round()

    def _bind(self) -> None:
        bound, identity = self._store.bind(self._log.identity), self._log.identity
        if bound != identity:
            raise LogLost(f"this database belongs to the log {bound}, the log that is there now is {identity}")

    def _remember(self) -> None:
        """Look through the latest entries below our offset, so that we know what became of recent requests."""
        if self._log_end < self._replica.offset:
            raise LogLost(f"this database is at offset {self._replica.offset}, the log ends at {self._log_end} already")
        begin = self._log.begin()
        if begin > self._position:
            raise LogLost(f"this database needs the log from offset {self._position} on, it begins at {begin} by now")
        start = max(begin, self._replica.offset - REMEMBER_ENTRIES)
        rejected = {
            (rejection.origin, rejection.seq): rejection
            for rejection in self._store.rejected(start, REMEMBER_ENTRIES)
            if rejection.reason != "gone"
        }
        while start < self._replica.offset:
            records = self._log.read(start, min(self._pace.batch, self._replica.offset - start))
            verdicts = []
            for offset, value in records:
                content = decode(value, offset).content
                header = content if isinstance(content, Transaction) else content.header
                if header.seq <= (self._replica.applied(header.origin) or 0):
                    no = rejected.get((header.origin, header.seq))
                    reason, rows = (None, ()) if no is None else (no.reason, no.rows)
                    verdicts.append(
                        Verdict(header.origin, header.seq, header.request, no is None, reason, rows, offset)
                    )
            self._progress.decided(verdicts)
            start = records[-1].offset + 1

    # -- one round -----------------------------------------------------------------------------------------------

    def _round(self, exact_end: bool) -> bool:
        """Capture, publish, consume, once. Returns whether there is likely more to do."""
        if self._store.schema() is not self._schema:
            raise Restart("the tables were migrated")
        with _asking():
            # An exact answer is waited for, while it is not known whether there will be one.
            self._log_end = self._log.end(exact_end and self._away_since is None)
        if self._away_since is not None:
            self._settle_publishes()  # raises if one has failed: then all is published again
            log_line.warning("the log is back", away_seconds=round(self._clock.monotonic() - self._away_since, 1))
            self._away_since = None
        self._settle_publishes()
        more = self._capture()
        with _asking():
            records = self._desk.cut(self._log.read(self._position, self._pace.batch))
        if records:
            entries, unreadable = _decoded(records)
            if entries:
                self._apply(entries)
            if unreadable is not None:
                raise unreadable
            self._moved_at = self._clock.monotonic()
        else:
            self._look_after_pending()
        self._forget()
        if self._position >= self._log_end and not self._ready:
            self._ready = True
            log_line.info("caught up", offset=self._replica.offset)
        if self._ready and not more and not records and not self._unlogged:
            self._refuse(False)
        return more or bool(records)

    def _capture(self) -> bool:
        """Read local commits and publish them. Returns whether there may be more."""
        if len(self._unlogged) >= UNLOGGED_LIMIT or self._unlogged_bytes >= UNLOGGED_BYTES:
            return False
        limit = self._capture_limit
        commits = self._source.read(self._replica.last_captured, limit)
        self._publish(self._take(commits))
        return len(commits) == limit

    def _take(self, commits: Sequence[Commit]) -> list[Publish]:
        publishes = []
        for commit in commits:
            publish = self._replica.captured(commit)
            if publish is not None:
                self._progress.captured(publish.transaction)
                publishes.append(publish)
            elif commit.seq == self._replica.last_captured:
                self._progress.committed(self._replica.origin, self._replica.last_published, commit.request)
        return publishes

    def _publish(self, publishes: Sequence[Publish]) -> Future[int] | None:
        """Append to the log, in order; what becomes of it is seen later. Returns the last append.

        Raises TooLarge at a transaction that cannot be published; those before it are on their way then.
        """
        held, self._held = self._held, []
        publishes = [*held, *publishes]
        groups: list[list[Record]] = []
        for publish in publishes:
            try:
                groups.append(encode(publish.transaction))
            except TooLarge:
                self._append(publishes[: len(groups)], groups)
                raise
        return self._append(publishes, groups)

    def _append(self, publishes: Sequence[Publish], groups: Sequence[Sequence[Record]]) -> Future[int] | None:
        if not publishes:
            return None
        futures = self._log.append_all([record for group in groups for record in group])
        taken = iter(futures)
        total = 0
        for publish, group in zip(publishes, groups, strict=True):
            size = sum(len(record.value) for record in group)
            self._unlogged.append(_Unlogged(publish.transaction, [next(taken) for _ in group], size))
            total += size
        self._unlogged_bytes += total
        self._capture_limit = max(1, min(CAPTURE_LIMIT, CAPTURE_BYTES * len(publishes) // total))
        metrics.published.inc(len(publishes))
        return futures[-1]

    def _settle_publishes(self) -> None:
        """Look which appends the log has confirmed: in order, so that level `log` speaks for all earlier ones too. One
        that failed raises: the next session publishes everything pending again."""
        logged = []
        while self._unlogged and all(future.done() for future in self._unlogged[0].futures):
            transaction, futures, size = self._unlogged.popleft()
            self._unlogged_bytes -= size
            offset = max(future.result() for future in futures)
            logged.append(transaction)
            note(transaction.traceparent, "published", request=transaction.request, seq=transaction.seq, offset=offset)
        if logged:
            self._progress.logged(logged)

    def _republish(self) -> None:
        self._republished = self._publish(self._replica.pending_publishes())

    def _look_after_pending(self) -> None:
        """All of the log was read. What is still pending although the log has confirmed it is not there: no log that
        keeps its word does this, but a silent loss must not become a silent wait."""
        if not self._replica.pending or self._unlogged:
            self._moved_at = self._clock.monotonic()
        elif self._clock.monotonic() - self._moved_at >= self._pace.republish_after_seconds:
            log_line.warning("pending transactions are not in the log: publishing again", pending=self._replica.pending)
            self._republish()
            self._moved_at = self._clock.monotonic()

    def _forget(self) -> None:
        """Now and then: it is a write, and nobody waits for it."""
        now, settled = self._clock.monotonic(), self._replica.settled
        waited = now - self._forgot_at >= FORGET_SECONDS
        if settled >= self._forgotten + FORGET_EVERY or (waited and settled > self._forgotten):
            self._source.forget(settled)
            self._forgotten, self._forgot_at = settled, now

    # -- without the log -----------------------------------------------------------------------------------------

    def _without_log(self, reason: str) -> None:
        """The log does not answer. What is committed here stays pending, within limits; nobody gets a verdict."""
        now = self._clock.monotonic()
        if self._away_since is None:
            self._away_since = now
            log_line.warning("the log is away", reason=reason)
        complete = False
        if self._replica.pending < HELD_LIMIT and self._waiting < UNLOGGED_BYTES:
            commits = self._source.read(self._replica.last_captured, self._capture_limit)
            self._held += self._take(commits)
            complete = len(commits) < self._capture_limit
        if now - self._measured_at >= MEASURE_SECONDS:
            self._measured_at = now
            self._waiting = self._source.size(self._replica.settled)
            old = now - self._away_since >= self._pace.pending_max_age_seconds and self._replica.pending > 0
            if old or self._waiting >= self._pace.pending_max_bytes:
                self._refuse(True)
        position = replace(self._where(), reason=reason, writes="none" if self._refusing else "merge")
        if complete:
            self._progress.end_round(position)
        else:
            self._progress.stand(position)

    def _refuse(self, refuse: bool) -> None:
        """Let nobody write here but us, or everybody again."""
        if refuse is self._refusing:
            return
        try:
            self._store.refuse_writes(refuse)
        except Unavailable as error:
            log_line.warning("who may write cannot be changed yet", reason=str(error))
            return
        if refuse or self._refusing:
            log_line.warning("writes are refused: too much is pending" if refuse else "writes are taken again")
        self._refusing = refuse

    # -- a batch -------------------------------------------------------------------------------------------------

    def _apply(self, entries: tuple[Entry, ...]) -> None:
        """Decide and write one batch, as core/replica.py orders it."""
        began = self._clock.monotonic()
        try:
            write, late = self._locked(entries)
        except SchemaBehind as error:
            # What stands before the entry that has to wait is applied all the same.
            before = tuple(entry for entry in entries if entry.offset < error.offset)
            if before:
                self._apply(before)
            raise
        self._replica.written(write)
        self._position = entries[-1].offset + 1
        self.applied_any = True
        self._publish(late)
        self._rejected += sum(rejection.reason != "gone" for rejection in write.rejected)
        self._progress.decided(write.verdicts)
        for verdict, traceparent in zip(write.verdicts, _traceparents(entries, write.verdicts), strict=True):
            outcome = "applied" if verdict.accepted else "rejected"
            note(
                traceparent,
                outcome,
                request=verdict.request,
                origin=verdict.origin,
                seq=verdict.seq,
                offset=verdict.offset,
                reason=verdict.reason,
            )
        metrics.applied.inc(len(write.verdicts))
        metrics.apply_seconds.observe(self._clock.monotonic() - began)
        if write.gap is not None and self._gap_is_news(write.gap):
            log_line.warning("an own entry was lost: publishing again", offset=write.gap, pending=self._replica.pending)
            self._republish()

    def _locked(self, entries: tuple[Entry, ...]) -> tuple[Write, list[Publish]]:
        """The batch's Write, committed, and what was captured meanwhile: it is published after the commit."""
        late: list[Publish] = []
        for _ in range(LOCK_TRIES - 1):
            try:
                return self._write(entries, late), late
            except Busy as error:
                # R6: with the application's locks gone the same batch is decided again; others' work may have come in.
                log_line.info("a batch is tried again", reason=str(error))
        return self._write(entries, late), late

    def _write(self, entries: tuple[Entry, ...], late: list[Publish]) -> Write:
        """The batch's Write, committed. What is captured meanwhile is added to `late`."""
        concerned = self._replica.concerned(entries)
        if not (concerned.rows or concerned.uniques or concerned.capture_first):
            # Own entries that come back: most often nothing is left to do.
            write = self._replica.delivered(entries, Rows())
            if write.only_moves:
                self._settle_publishes()
                self._store.move(write)
                return write
        with self._store.begin(self._replica.offset) as transaction:
            rows = Rows()
            while concerned.capture_first or not _covers(rows, concerned):
                rows = _read(transaction, concerned, rows)
                # The barrier: every commit on a locked row is in the change log by now.
                captured = self._capture_all()
                late.extend(captured)
                if captured or concerned.capture_first:
                    concerned = replace(self._replica.concerned(entries), capture_first=False)
            # Whoever waits for the log need not wait for this batch too.
            self._settle_publishes()
            write = self._replica.delivered(entries, rows)
            transaction.write(write)
        return write

    def _capture_all(self) -> list[Publish]:
        publishes: list[Publish] = []
        limit = self._capture_limit
        while True:
            commits = self._source.read(self._replica.last_captured, limit)
            publishes += self._take(commits)
            if len(commits) < limit:
                return publishes

    def _gap_is_news(self, offset: int) -> bool:
        """Whether a gap was seen after what we published again the last time: entries before that are explained."""
        if self._republished is None:
            return True
        return self._republished.done() and offset > self._republished.result()

    # -- telling -------------------------------------------------------------------------------------------------

    def _where(self) -> Position:
        replica = self._replica
        position = Position(
            phase="ready" if self._ready else "catching-up",
            origin=replica.origin,
            offset=replica.offset,
            log_end=max(self._log_end, replica.offset),
            pending=replica.pending,
            rejected=self._rejected,
            last_published=replica.last_published,
            applied=replica.origins(),
            writes="none" if self._refusing else "all",
        )
        metrics.offset.set(position.offset)
        metrics.log_end.set(position.log_end)
        metrics.pending.set(position.pending)
        metrics.rejected.set(position.rejected)
        return position


class _Unlogged(NamedTuple):
    """A transaction on its way into the log; `size` in bytes."""

    transaction: Transaction
    futures: list[Future[int]]
    size: int


class _LogAway(Unavailable):
    """The log does not answer for now."""


@contextmanager
def _asking() -> Iterator[None]:
    """Whether it is the log that does not answer."""
    try:
        yield
    except Unavailable as error:
        raise _LogAway(str(error)) from error


def _decoded(records: Sequence[LogRecord]) -> tuple[tuple[Entry, ...], Unreadable | None]:
    """The entries up to the first that cannot be read, and its error."""
    entries = []
    for record in records:
        try:
            entries.append(decode(record.value, record.offset))
        except Unreadable as error:
            return tuple(entries), error
    return tuple(entries), None


def _covers(rows: Rows, concerned: Concerned) -> bool:
    return all(id in rows.rows for id in concerned.rows) and all(unique in rows.holders for unique in concerned.uniques)


def _read(transaction: StoreTransaction, concerned: Concerned, have: Rows) -> Rows:
    """What is concerned and not read yet, locked and read, with what there is already."""
    more = transaction.read(
        Concerned(
            tuple(id for id in concerned.rows if id not in have.rows),
            tuple(unique for unique in concerned.uniques if unique not in have.holders),
        )
    )
    return Rows({**have.rows, **more.rows}, {**have.holders, **more.holders})


def _traceparents(entries: Sequence[Entry], verdicts: Sequence[Verdict]) -> list[str | None]:
    by_offset = {
        offset: content.traceparent if isinstance(content, Transaction) else content.header.traceparent
        for offset, content in entries
    }
    return [by_offset[verdict.offset] for verdict in verdicts]
