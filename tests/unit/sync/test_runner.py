"""What ends the process, what halts it, and what is waited for; and that each reason is told once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pytest
from structlog.testing import capture_logs

from samebase.core.errors import Busy, Pause, Stop, Unavailable, UnknownHost, Unusable
from samebase.core.types import Commit, Concerned, Policy, Table
from samebase.memory.changes import MemoryChanges
from samebase.memory.database import MemoryDatabase
from samebase.memory.log import MemoryLog
from samebase.memory.store import MemoryStore, MemoryStoreTransaction
from samebase.progress import Progress
from samebase.runner import Runner
from samebase.session import LOCK_TRIES, Pace, Surroundings
from samebase.wiring import SystemClock
from tests.support.replicas import wait_for

SCHEMA = {"item": Table("item", Policy("merge", ("id",)), {"id": None})}


class Process:
    """A runner whose adapters come to be as the test says."""

    def __init__(self, connect: Callable[[], Surroundings], start_seconds: float = 60.0) -> None:
        self.progress = Progress(SystemClock())
        self.stop = threading.Event()
        pace = Pace(0.001, backoff_seconds=0.001, start_seconds=start_seconds)
        self.runner = Runner(connect, SystemClock(), self.progress, pace)

    def run(self) -> bool:
        return self.runner.run(self.stop)

    def __enter__(self) -> Process:
        self._thread = threading.Thread(target=self.run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self._thread.join(20)
        assert not self._thread.is_alive()

    def is_at(self, phase: str, reason: str | None) -> Callable[[], bool]:
        return lambda: (self.progress.position().phase, self.progress.position().reason) == (phase, reason)


def surroundings() -> Surroundings:
    database = MemoryDatabase(SCHEMA)
    return Surroundings(MemoryChanges(database), MemoryLog(), MemoryStore(database))


def failing(*errors: Exception, then: Exception | None = None) -> Callable[[], Surroundings]:
    """Fails with these errors one after another, then with `then` or not any more."""
    waiting: Iterator[Exception] = iter(errors)

    def connect() -> Surroundings:
        error = next(waiting, then)
        if error is not None:
            raise error
        return surroundings()

    return connect


def test_a_setting_that_cannot_be_used_at_the_start_ends_the_process() -> None:
    with pytest.raises(Unusable, match="SAMEBASE_LOG: it has 3 partitions"):
        Process(failing(Unavailable("not yet"), then=Unusable("SAMEBASE_LOG: it has 3 partitions"))).run()


def test_a_host_that_does_not_come_to_be_ends_the_process_in_time() -> None:
    with pytest.raises(UnknownHost, match="nowhere"):
        Process(failing(then=UnknownHost("SAMEBASE_DATABASE: nowhere")), start_seconds=0.05).run()


def test_a_host_that_comes_to_be_in_time_is_waited_for() -> None:
    with Process(failing(*[UnknownHost("nowhere")] * 5), start_seconds=60) as process:
        wait_for(process.is_at("ready", None), "it is ready")


def test_a_server_that_does_not_answer_is_waited_for_whatever_that_takes() -> None:
    with Process(failing(then=Unavailable("refused")), start_seconds=0) as process:
        wait_for(process.is_at("paused", "refused"), "it waits, and says for what")


@pytest.mark.parametrize("error", [Stop("the log was replaced"), ValueError("a defect")])
def test_what_is_not_a_setting_halts_and_leaves_the_process_alive_to_say_why(error: Exception) -> None:
    reason = str(error) if isinstance(error, Stop) else "unexpected ValueError: a defect"
    with Process(failing(error)) as process:
        wait_for(process.is_at("stopped", reason), "it is stopped")
        wait_for(lambda: process._thread.is_alive(), "it lives")


class Breaking(MemoryChanges):
    """A change log that cannot be read once the test says so."""

    def __init__(self, database: MemoryDatabase) -> None:
        super().__init__(database)
        self.broken = False

    def read(self, after: int, limit: int) -> Sequence[Commit]:
        if self.broken:
            raise Unavailable("broken off")
        return super().read(after, limit)


def test_a_setting_that_cannot_be_used_any_more_halts_a_process_that_ran() -> None:
    """It would else be lost in restarts why, and the replica can still be read."""
    database = MemoryDatabase(SCHEMA)
    source = Breaking(database)
    opened = [Surroundings(source, MemoryLog(), MemoryStore(database))]

    def connect() -> Surroundings:
        if not opened:
            raise Unusable("SAMEBASE_DATABASE: access denied")
        return opened.pop()

    with Process(connect) as process:
        wait_for(process.is_at("ready", None), "it is ready")
        source.broken = True
        wait_for(process.is_at("stopped", "SAMEBASE_DATABASE: access denied"), "it is stopped")


def test_a_batch_that_the_database_takes_back_because_of_locks_is_tried_again() -> None:
    """And what was captured in it meanwhile is published all the same."""
    log = MemoryLog()
    theirs, mine = MemoryDatabase(SCHEMA, "theirs"), MemoryDatabase(SCHEMA, "mine")
    taken_back: list[int] = []
    connected: list[int] = []

    class Contended(MemoryStore):
        @contextmanager
        def begin(self, was_offset: int) -> Iterator[MemoryStoreTransaction]:
            with super().begin(was_offset) as transaction:
                if len(taken_back) < LOCK_TRIES - 1:
                    taken_back.append(was_offset)
                    with mine.transaction() as application:
                        application.insert("item", {"id": f"mine-{len(taken_back)}"})
                    transaction.read(Concerned())
                    raise Busy("deadlock")
                yield transaction

    def connect() -> Surroundings:
        connected.append(1)
        return Surroundings(MemoryChanges(mine), log, Contended(mine))

    with Process(lambda: Surroundings(MemoryChanges(theirs), log, MemoryStore(theirs))), Process(connect) as process:
        wait_for(process.is_at("ready", None), "it is ready")
        with theirs.transaction() as application:
            application.insert("item", {"id": "theirs"})
        wait_for(lambda: mine.rows == theirs.rows and len(mine.rows["item"]) == LOCK_TRIES, "both have all")
    assert len(connected) == 1, "no session was lost"
    assert len(taken_back) == LOCK_TRIES - 1


def test_each_reason_is_told_once_and_only_a_defect_with_a_traceback() -> None:
    with capture_logs() as lines:
        errors = [Unavailable("one")] * 5 + [Unavailable("two")] * 5 + [Pause("three")] + [Stop("four")]
        with Process(failing(*errors)) as process:
            wait_for(process.is_at("stopped", "four"), "it is stopped")
        with Process(failing(KeyError("five"))) as process:
            wait_for(lambda: process.progress.position().phase == "stopped", "it is stopped")
    assert [(line["log_level"], line.get("reason"), "exc_info" in line) for line in lines] == [
        ("warning", "one", False),
        ("warning", "two", False),
        ("warning", "three", False),
        ("error", "four", False),
        ("error", None, True),
    ]
