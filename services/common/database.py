"""The replica's own database: plain reads, and write transactions that sync can follow.

Rules of a write transaction:

1. Its first write is its intent row: by the request id in it the sync process knows the transaction, and a change log
   without commit marks (SQLite) is cut at these rows.
2. The database may refuse it because it is busy or chose it as a deadlock's victim: it is run again, a bounded number
   of times, with the same request id. So the work may run several times and must have no effects outside its session.
3. If the connection is lost while it commits, nobody here knows the outcome: it is not run again.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from services.common import dialects, tracing
from services.common.errors import Problem

T = TypeVar("T")
Work = Callable[[Session], T]

ATTEMPTS = 6
_FIRST_PAUSE_SECONDS = 0.01
REQUEST = "request"
"""Key of `Session.info` under which work finds the id of its request."""


class CommitLost(Exception):
    """The connection broke while the transaction committed; the outcome is unknown."""


@dataclass(frozen=True, slots=True)
class Committed(Generic[T]):
    """Attributes: value: what the work returned; position: the transaction's token if the database could tell it."""

    value: T
    position: str | None


class Database:
    """Args: url: an SQLAlchemy URL; retried: called at each repetition. Nothing connects before the first use."""

    def __init__(self, url: str, retried: Callable[[], None] = lambda: None) -> None:
        self._url = url
        self._retried = retried
        self._engine: Engine | None = None
        self._lock = threading.Lock()

    @property
    def engine(self) -> Engine:
        with self._lock:
            if self._engine is None:
                self._engine = dialects.engine(self._url)
                tracing.instrument_engine(self._engine)
            return self._engine

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session for reading; all its statements see one state. Raises Problem `unavailable`."""
        try:
            with Session(self.engine, expire_on_commit=False) as session:
                yield session
        except (DBAPIError, PoolTimeout) as error:
            if isinstance(error, DBAPIError) and dialects.trouble(error) is None:
                raise
            raise _unavailable() from error

    def write(self, request: str, work: Work[T], *, certify: bool = False) -> Committed[T]:
        """Run the work in a write transaction and commit it.

        Args:
            request: id of the intent row.
            certify: every change is certified, on merge tables too.

        Raises: what the work raises (then nothing was written), IntegrityError, Problem `unavailable` (nothing was
            written), CommitLost.
        """
        traceparent = tracing.traceparent()
        for attempt in range(1, ATTEMPTS + 1):
            committing = False
            try:
                with Session(
                    self.engine.execution_options(**{dialects.WRITES: True}), expire_on_commit=False
                ) as session:
                    session.info[REQUEST] = request
                    dialects.add_intent(session, request, certify, traceparent)
                    value = work(session)
                    session.flush()
                    position = dialects.position(session)
                    committing = True
                    session.commit()
                    return Committed(value, position)
            except PoolTimeout as error:
                raise _unavailable() from error
            except DBAPIError as error:
                trouble = dialects.trouble(error)
                if trouble is None:
                    raise
                if trouble == "away" and committing:
                    raise CommitLost(request) from error
                if trouble == "away" or attempt == ATTEMPTS:
                    raise _unavailable() from error
                self._retried()
                time.sleep(random.uniform(0.5, 1.5) * _FIRST_PAUSE_SECONDS * 2**attempt)
        raise AssertionError("unreachable")

    def close(self) -> None:
        with self._lock:
            if self._engine is not None:
                self._engine.dispose()
                self._engine = None


def _unavailable() -> Problem:
    return Problem("unavailable", "The database does not answer for now; nothing was changed. Try again.")
