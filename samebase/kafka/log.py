"""The log as a Kafka topic with exactly one partition."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import ExitStack

from samebase.core.errors import LogLost, Misuse, Unavailable
from samebase.core.types import Record
from samebase.kafka.config import KafkaAddress
from samebase.kafka.reader import Reader
from samebase.kafka.topic import TopicAdmin
from samebase.kafka.watch import Watch
from samebase.kafka.writer import Writer
from samebase.ports import LogRecord


def _nobody() -> None:
    """Nobody waits to be woken."""


class KafkaLog:
    """Log in one topic, which must be there (see topic.ensure_topic, which checks its settings too).

    Where it ends is known from what was fetched and what was acknowledged to us, and asked for every `freshness`
    seconds: a record that another process has appended is seen as soon as it is fetched, a few milliseconds after its
    append at the most; so are our own. With `freshness` 0 every call asks the broker first.

    Not to be used in a child process that was forked after it was opened.
    """

    def __init__(
        self,
        address: KafkaAddress,
        *,
        patience: float = 10.0,
        freshness: float = 1.0,
        wake: Callable[[], None] = _nobody,
    ) -> None:
        """Connect.

        Args:
            patience: seconds without an answer of the broker after which calls raise and appends fail with Unavailable.
            freshness: see above.
            wake: called, from another thread, when records have arrived or appends were confirmed or have failed.

        Raises LogLost if there is no such topic, Stop if it has several partitions or we are not let in, Unavailable if
        no broker answers.
        """
        if patience < 0.1 or freshness < 0:
            raise Misuse(f"a Kafka log needs patience (0.1 s at least, not {patience}) and a freshness of 0 or more")
        self._address, self._patience, self._process = address, patience, os.getpid()
        admin = TopicAdmin(address, patience)
        self._trouble = admin.trouble
        self._watch = Watch(admin, patience, freshness)
        with ExitStack() as undo:
            undo.callback(self._watch.close)
            self._reader = Reader(address, self._trouble, wake)
            undo.callback(self._reader.close)
            self._writer = Writer(address, patience, self._trouble, wake)
            undo.pop_all()
        self._end = self._watch.end

    @property
    def identity(self) -> str:
        return self._watch.identity

    def append_all(self, records: Sequence[Record]) -> list[Future[int]]:
        self._check_process()
        return self._writer.append_all(records, self._known_end())

    def read(self, offset: int, limit: int) -> Sequence[LogRecord]:
        end = self.end()
        if offset > end:
            self._watch.ask()
            end = self._known_end()
            if offset > end:
                raise LogLost(f"offset {offset} is asked for, {self._address} ends at {end}")
        # Who reads on need not wait for what was acknowledged to us a moment ago: it comes by itself, and wakes.
        until = self._watch.end if self._reader.stands_at(offset) else end
        due = min(limit, max(0, until - offset))
        try:
            records = self._reader.take(offset, due, limit, self._patience)
        except LogLost as error:
            raise LogLost(f"{self._address} begins at {self.begin()}, offset {offset} is asked for: {error}") from error
        if due and not records:
            raise Unavailable(f"{self._address} has not delivered offset {offset} for {self._patience:.0f} s")
        if records:
            self._end = max(self._end, records[-1].offset + 1)
        return records

    def begin(self) -> int:
        self._check_process()
        return self._watch.begin()

    def end(self, exact: bool = False) -> int:
        self._check_process()
        self._trouble.check()
        if exact:
            self._watch.ask()
        else:
            self._watch.look()
        return self._known_end()

    def close(self) -> None:
        self._writer.close()
        self._reader.close()
        self._watch.close()

    def _known_end(self) -> int:
        self._end = max(self._end, self._watch.end, self._writer.end)
        return self._end

    def _check_process(self) -> None:
        # The clients' threads are not in the child.
        if os.getpid() != self._process:
            raise Misuse("a Kafka log cannot be used after a fork: open it in the process that uses it")
