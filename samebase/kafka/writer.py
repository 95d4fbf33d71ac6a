"""Appending: an idempotent producer, and a thread that hands its delivery reports to whoever waits."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from samebase.core.errors import LogLost, SamebaseError, Unavailable
from samebase.core.types import Record
from samebase.kafka.config import KafkaAddress, LogLines, producer
from samebase.kafka.errors import Trouble

FLUSH_SECONDS = 1.0


class Writer:
    """Sends records in order. `wake` is called, from another thread, after appends were confirmed or have failed."""

    def __init__(self, address: KafkaAddress, patience: float, trouble: Trouble, wake: Callable[[], None]) -> None:
        self._topic, self._patience, self._trouble, self._wake = address.topic, patience, trouble, wake
        self._producer = Producer(producer(address, trouble.report, patience), logger=LogLines())
        self._closing = False
        self._thread = threading.Thread(target=self._report, name="kafka-reports", daemon=True)
        self._thread.start()
        self.end = 0
        """Offset after the last record of ours that is known to be in the log."""

    def append_all(self, records: Sequence[Record], known_end: int) -> list[Future[int]]:
        """As Log.append_all. Waits, at most `patience` seconds, while too much is on its way already.

        A producer whose topic was deleted lets the broker make a new one (auto.create.topics.enable), and there is no
        setting against it here. An offset before `known_end` gives that away: such a record is not where it should be.
        """
        futures: list[Future[int]] = [Future() for _ in records]
        failure: SamebaseError | None = None
        for record, future in zip(records, futures, strict=True):
            # After one that failed none is sent: they would only be ignored (the `prev` rule).
            if failure is None:
                failure = self._append(record, future, known_end)
            if failure is not None:
                future.set_exception(failure)
        return futures

    def close(self) -> None:
        """Wait a moment for what is on its way; what remains then fails, and nothing more is sent."""
        self._producer.flush(FLUSH_SECONDS)
        self._producer.purge()
        self._producer.flush(FLUSH_SECONDS)
        self._closing = True
        self._thread.join()

    def _append(self, record: Record, future: Future[int], known_end: int) -> SamebaseError | None:
        deadline = time.monotonic() + self._patience
        headers: list[tuple[str, str | bytes | None]] = [
            (name, value.encode()) for name, value in record.headers.items()
        ]
        while True:
            try:
                self._producer.produce(
                    self._topic,
                    record.value,
                    partition=0,
                    headers=headers,
                    on_delivery=partial(self._done, future, known_end),
                )
                return None
            except BufferError:
                if time.monotonic() > deadline:
                    return Unavailable(f"appending to {self._topic}: the records before it are still on their way")
                self._producer.poll(0.01)
            except KafkaException as error:
                return self._trouble.translated(f"appending to {self._topic}", error)

    def _done(self, future: Future[int], known_end: int, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            future.set_exception(self._trouble.translated(f"appending to {self._topic}", error))
            return
        offset = message.offset()
        if offset is None or offset < 0:
            future.set_exception(
                Unavailable(f"appending to {self._topic}: it is there, but the broker did not say where")
            )
            return
        if offset < known_end:
            future.set_exception(
                LogLost(
                    f"the topic {self._topic} was deleted and made again: a record got {offset} after {known_end - 1}"
                )
            )
            return
        self.end = max(self.end, offset + 1)
        future.set_result(offset)

    def _report(self) -> None:
        while not self._closing:
            if self._producer.poll(0.1):
                self._wake()
