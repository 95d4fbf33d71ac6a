"""Where others ask the runner's thread for something that must happen between two batches.

Between two batches the database shows exactly what the core knows: nothing is half written, and the stored offset is
the core's. What is asked for is done there, by the runner's thread, one job after the other; a job is short.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from typing import Any, TypeVar

from samebase.core.errors import Unavailable
from samebase.core.replica import Replica
from samebase.core.types import Publish
from samebase.ports import Log, LogRecord, Store
from samebase.snapshot.errors import Refused

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Boundary:
    """A session between two batches.

    Attributes:
        capture: reads the local change log to its end; what it returns must be published (`publish`), if a transaction
            of the store is open, after that has been committed; and committed it must be.
    """

    replica: Replica
    log: Log
    store: Store
    capture: Callable[[], Sequence[Publish]]
    publish: Callable[[Sequence[Publish]], object]


@dataclass(frozen=True, slots=True)
class _Job:
    """`at`: the offset at which it must be done; None for any."""

    do: Callable[[Boundary], Any]
    at: int | None
    done: Future[Any] = field(default_factory=Future)


class Desk:
    """Jobs for the runner's thread."""

    def __init__(self, wake: Callable[[], None] = lambda: None) -> None:
        """`wake`: called when there is a job."""
        self._wake = wake
        self._lock = threading.Lock()
        self._jobs: list[_Job] = []

    def ask(self, do: Callable[[Boundary], T], timeout: float, at: int | None = None) -> T:
        """Have `do` done between two batches and return what it returns; `at`: when this replica's offset is that one.
        Raises what `do` raises, Refused if the offset has passed already, Unavailable after `timeout` seconds."""
        job = _Job(do, at)
        with self._lock:
            self._jobs.append(job)
        try:
            self._wake()
            wait([job.done], timeout)
            if job.done.cancel():
                raise Unavailable("the replica is busy, or has not come so far: try again")
            # It is done, or is being done just now.
            result: T = job.done.result()
            return result
        finally:
            with self._lock:
                if job in self._jobs:
                    self._jobs.remove(job)

    def cut(self, records: Sequence[LogRecord]) -> Sequence[LogRecord]:
        """These records, but none at or behind an offset at which somebody wants something."""
        with self._lock:
            first = min((job.at for job in self._jobs if job.at is not None), default=None)
        return records if first is None else [record for record in records if record.offset < first]

    def serve(self, boundary: Boundary) -> None:
        """Do what can be done now. Raises what a job raises, except Refused, which concerns only the one who asked."""
        while (job := self._next(boundary.replica.offset)) is not None:
            if not job.done.set_running_or_notify_cancel():
                continue
            try:
                if job.at is not None and job.at < boundary.replica.offset:
                    raise Refused(f"offset {job.at} has passed: this replica is at {boundary.replica.offset}")
                job.done.set_result(job.do(boundary))
            except Refused as error:
                job.done.set_exception(error)
            except BaseException as error:
                job.done.set_exception(error)
                raise

    def _next(self, offset: int) -> _Job | None:
        with self._lock:
            for job in self._jobs:
                if job.at is None or job.at <= offset:
                    self._jobs.remove(job)
                    return job
        return None
