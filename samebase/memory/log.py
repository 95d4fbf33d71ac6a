"""A log that can lose, delay, reorder and repeat what is appended, when a test says so."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from itertools import count

from samebase.core.errors import LogLost, Unavailable
from samebase.core.types import Record
from samebase.ports import LogRecord, bounded

_identities = count(1)


class MemoryLog:
    """Log in a list. Replicas share one object.

    After `hold()`, appends wait in `waiting` until the test delivers or loses them one by one, in any order, or calls
    `release()`. Closing does nothing, so that a restarted replica finds the log again.
    """

    def __init__(self) -> None:
        self._identity = f"memory-{next(_identities)}"
        self._values: list[bytes] = []
        self._first = 0
        self._holding = False
        self.waiting: list[tuple[Record, Future[int]]] = []

    @property
    def identity(self) -> str:
        return self._identity

    def append_all(self, records: Sequence[Record]) -> list[Future[int]]:
        futures: list[Future[int]] = [Future() for _ in records]
        self.waiting.extend(zip(records, futures, strict=True))
        while self.waiting and not self._holding:
            self.deliver()
        return futures

    def read(self, offset: int, limit: int) -> Sequence[LogRecord]:
        if not self.begin() <= offset <= self.end():
            raise LogLost(f"offset {offset} is asked for, the log holds {self.begin()} to {self.end()}")
        start = offset - self._first
        values = enumerate(self._values[start : start + limit])
        return bounded(LogRecord(offset + index, value) for index, value in values)

    def begin(self) -> int:
        return self._first

    def end(self, exact: bool = False) -> int:  # noqa: ARG002 - it always is
        return self._first + len(self._values)

    def close(self) -> None:
        pass

    def hold(self) -> None:
        """Let appends wait from now on."""
        self._holding = True

    def release(self) -> None:
        """Deliver all that wait, in their order, and all later ones at once."""
        self._holding = False
        self.append_all([])

    def deliver(self, index: int = 0, times: int = 1) -> None:
        """Let a waiting append reach the log, as if sent that often. An index above 0 overtakes earlier ones."""
        record, future = self.waiting.pop(index)
        offset = self.end()
        self._values.extend([record.value] * times)
        future.set_result(offset)

    def lose(self, index: int = 0, *, written: bool = False) -> None:
        """Let a waiting append fail; `written`: it reached the log nevertheless, and only the answer was lost."""
        record, future = self.waiting.pop(index)
        if written:
            self._values.append(record.value)
        future.set_exception(Unavailable("the append was lost"))

    def trim(self, before: int) -> None:
        """Discard the records before that offset, as a log's retention does."""
        del self._values[: before - self._first]
        self._first = before

    def recreate(self) -> None:
        """Become another, empty log under the same name."""
        self._identity = f"memory-{next(_identities)}"
        self._values.clear()
        self._first = 0
