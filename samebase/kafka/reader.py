"""Reading: a thread that fetches ahead from one place on, into a bounded buffer.

Why a thread: whoever waits for a record is woken the moment it arrives, and a read costs no call into librdkafka.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from samebase.core.errors import LogLost
from samebase.kafka.config import FETCHED_LIMIT_KB, KafkaAddress, LogLines, consumer
from samebase.kafka.errors import LOST, MISSING, Trouble
from samebase.ports import READ_BYTES, LogRecord, bounded

_BATCH = 1_000
_POLL_SECONDS = 0.1
_SILENCE_SECONDS = 0.05


class Reader:
    """The records of partition 0. `wake` is called, from another thread, when records have arrived."""

    def __init__(self, address: KafkaAddress, trouble: Trouble, wake: Callable[[], None]) -> None:
        self._topic, self._trouble, self._wake = address.topic, trouble, wake
        self._consumer = Consumer(consumer(address, trouble.report), logger=LogLines())
        self._changed = threading.Condition()
        self._buffer: deque[LogRecord] = deque()
        self._bytes = 0
        self._next: int | None = None  # the offset that a caller who goes on would ask for
        self._moved = False  # the consumer must be told of a new place
        self._failure: Exception | None = None
        self._closing = False
        self._thread = threading.Thread(target=self._fetch, name="kafka-fetch", daemon=True)
        self._thread.start()

    def stands_at(self, offset: int) -> bool:
        """Whether the last call to `take` ended there."""
        return offset == self._next

    def take(self, offset: int, due: int, limit: int, seconds: float) -> Sequence[LogRecord]:
        """Records from `offset` on: at least `due`, at most `limit`, but no more than READ_BYTES. Fewer if they don't
        come within `seconds`, or if after some of them nothing comes for a moment (offsets may have gaps).

        Raises LogLost if the topic doesn't hold that offset, and what the fetching thread has run into.
        """
        deadline = time.monotonic() + seconds
        with self._changed:
            if offset != self._next:
                self._move(offset)
            have = -1
            while self._failure is None and len(self._buffer) < due and self._bytes < READ_BYTES:
                left = deadline - time.monotonic()
                if left <= 0 or have == len(self._buffer) > 0:
                    break
                have = len(self._buffer)
                self._changed.wait(min(left, _SILENCE_SECONDS) if have else left)
            if not self._buffer and self._failure is not None:
                raise self._failure
            records = bounded(islice(self._buffer, limit))
            for _ in records:
                self._buffer.popleft()
            if records:
                self._bytes -= sum(len(record.value) for record in records)
                self._next = records[-1].offset + 1
                self._changed.notify_all()
        return records

    def close(self) -> None:
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()

    def _move(self, offset: int) -> None:
        self._buffer.clear()
        self._bytes = 0
        self._next, self._moved, self._failure = offset, True, None
        self._changed.notify_all()

    def _fetch(self) -> None:
        try:
            while self._turn():
                self._receive()
        except Exception as error:  # noqa: BLE001  # it ends the thread: the reading one raises it
            self._fail(error)
        finally:
            self._consumer.close()

    def _turn(self) -> bool:
        """Wait until there is something to do, and go to where the caller wants to read. False: closing."""
        with self._changed:
            while not self._closing and not self._moved and (self._next is None or self._full()):
                self._changed.wait()
            place = self._next if self._moved else None
            self._moved = False
            closing = self._closing
        if place is not None and not closing:
            self._consumer.assign([TopicPartition(self._topic, 0, place)])
        return not closing

    def _full(self) -> bool:
        return self._failure is not None or self._bytes >= FETCHED_LIMIT_KB * 1024

    def _receive(self) -> None:
        first = self._consumer.poll(_POLL_SECONDS)
        if first is None:
            return
        messages = [first, *self._consumer.consume(_BATCH, 0)]
        records, failure = self._sorted(messages)
        with self._changed:
            if self._moved:
                return  # they are from the place before
            self._buffer.extend(records)
            self._bytes += sum(len(record.value) for record in records)
            self._failure = failure
            self._changed.notify_all()
        if records or failure:
            self._wake()

    def _sorted(self, messages: Sequence[Message]) -> tuple[list[LogRecord], Exception | None]:
        """The records before the first failure, and that one."""
        records = []
        for message in messages:
            error = message.error()
            if error is None:
                offset, value = message.offset(), message.value()
                if offset is None:
                    raise LookupError("a record without an offset")
                records.append(LogRecord(offset, value or b""))
            elif error.code() not in MISSING:
                # A topic that is missing is not yet lost: the watch decides that, by its identity.
                return records, self._failed(error)
        return records, None

    def _failed(self, error: KafkaError) -> Exception:
        if error.code() in LOST:
            return LogLost(f"the topic {self._topic} does not hold the offset that is asked for: {error.str()}")
        return self._trouble.translated(f"reading {self._topic}", error)

    def _fail(self, error: Exception) -> None:
        if isinstance(error, KafkaException):
            error = self._trouble.translated(f"reading {self._topic}", error)
        with self._changed:
            self._failure = error
            self._changed.notify_all()
        self._wake()
