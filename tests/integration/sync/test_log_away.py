"""While the log is away: reads and merge writes go on, within limits, nobody waits for a verdict, and all heals."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from samebase.core.errors import Unavailable
from samebase.memory.log import MemoryLog
from samebase.ports import Store
from samebase.session import Pace, Surroundings
from tests.support.replicas import Replicas, SyncThread, replicas, wait_for
from tests.support.sqlite import connect

AWAY = "the log does not answer"


class Fickle:
    """A log that is away while the test says so, and then keeps nobody waiting."""

    def __init__(self) -> None:
        self.log = MemoryLog()
        self.away = threading.Event()

    def __getattr__(self, name: str) -> object:
        if self.away.is_set() and name not in ("close", "identity"):
            raise Unavailable(AWAY)
        return getattr(self.log, name)


@pytest.fixture
def log() -> Fickle:
    return Fickle()


@pytest.fixture
def group(tmp_path: Path, log: Fickle) -> Iterator[Replicas]:
    with replicas(tmp_path, lambda: log) as group:  # type: ignore[arg-type, return-value]
        yield group


def pace(**limits: float) -> Pace:
    return Pace(0.002, 50, backoff_seconds=0.001, **limits)  # type: ignore[arg-type]


def is_away(sync: SyncThread) -> bool:
    return sync.progress.position().reason == AWAY


def test_the_replica_stays_ready_takes_merge_writes_and_tells_them_from_others(group: Replicas, log: Fickle) -> None:
    a = group.ready("a", pace=pace())
    assert a.progress.position().writes == "all"
    log.away.set()
    wait_for(lambda: is_away(a), "the trouble is told")
    assert (a.phase, a.progress.position().writes) == ("ready", "merge")
    group.write("a", "INSERT INTO item (id) VALUES ('meanwhile')", request="r")
    fate = a.progress.fate("r", until=lambda fate: True, timeout=10)
    assert fate is not None, "it is known, and where it stands"
    assert (fate.level, fate.accepted) == ("local", None)
    log.away.clear()
    fate = a.progress.fate("r", until=lambda fate: fate.level == "ordered", timeout=10)
    assert fate is not None
    assert fate.accepted is True
    group.ready("b")
    assert len(group.assert_identical("a", "b")["item"]) == 1
    assert (a.progress.position().reason, a.progress.position().writes) == (None, "all")


def test_more_than_is_held_in_memory_is_still_all_there_afterwards(
    group: Replicas, log: Fickle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("samebase.session.HELD_LIMIT", 10)
    monkeypatch.setattr("samebase.session.CAPTURE_LIMIT", 5)
    a = group.ready("a", pace=pace())
    log.away.set()
    wait_for(lambda: is_away(a), "the trouble is told")
    for number in range(40):
        group.write("a", f"INSERT INTO item (id) VALUES ('{number}')", request=f"r{number}")
    wait_for(lambda: a.progress.position().pending >= 10, "some are captured")
    assert a.progress.position().pending < 20
    monkeypatch.undo()
    log.away.clear()
    wait_for(lambda: a.progress.position().offset >= 40, "all of them are in the log")
    group.ready("b")
    assert len(group.assert_identical("a", "b")["item"]) == 40


class Told:
    """A store that remembers what it was told about writes."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.refused: list[bool] = []

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    def refuse_writes(self, refuse: bool) -> None:
        self.refused.append(refuse)


@pytest.mark.parametrize("limits", [{"pending_max_bytes": 20_000}, {"pending_max_age_seconds": 0.2}])
def test_what_is_pending_is_bounded_and_the_bound_is_lifted_when_the_log_is_back(
    group: Replicas, log: Fickle, monkeypatch: pytest.MonkeyPatch, limits: dict[str, float]
) -> None:
    monkeypatch.setattr("samebase.session.MEASURE_SECONDS", 0.01)
    stores: list[Told] = []

    def wrap(surroundings: Surroundings) -> Surroundings:
        stores.append(Told(surroundings.store))
        return replace(surroundings, store=stores[-1])  # type: ignore[arg-type]

    a = group.ready("a", pace=pace(**limits), wrap=wrap)
    log.away.set()
    wait_for(lambda: is_away(a), "the trouble is told")
    assert a.progress.position().writes == "merge"
    with closing(connect(group.path("a"), timeout=20)) as connection:
        for number in range(30):
            connection.execute(f"INSERT INTO item (id) VALUES ('{number}')")
    wait_for(lambda: a.progress.position().writes == "none", "no more is taken")
    assert stores[-1].refused[-1] is True
    assert a.phase == "ready", "reads go on"
    log.away.clear()
    wait_for(lambda: a.progress.position().writes == "all", "writes are taken again")
    assert stores[-1].refused[-1] is False
    assert a.progress.position().pending == 0, "not before all is in the log"
    group.ready("b")
    assert len(group.assert_identical("a", "b")["item"]) == 30


def test_a_process_that_starts_again_lifts_what_the_one_before_refused(group: Replicas, log: Fickle) -> None:
    stores: list[Told] = []

    def wrap(surroundings: Surroundings) -> Surroundings:
        stores.append(Told(surroundings.store))
        return replace(surroundings, store=stores[-1])  # type: ignore[arg-type]

    log.away.set()
    a = group.start("a", pace=pace(), wrap=wrap)
    wait_for(lambda: a.phase == "paused", "without the log nothing begins")
    assert (a.progress.position().reason, a.progress.position().writes) == (AWAY, "merge")
    log.away.clear()
    wait_for(lambda: a.phase == "ready", "it is ready")
    wait_for(lambda: stores[-1].refused == [False], "it lifts what there may be")


def test_a_process_that_is_stopped_meanwhile_ends_at_once_and_loses_nothing(group: Replicas, log: Fickle) -> None:
    a = group.ready("a", pace=pace(flush_seconds=60))
    log.away.set()
    wait_for(lambda: is_away(a), "the trouble is told")
    group.write("a", "INSERT INTO item (id) VALUES ('meanwhile')")
    a.stop()
    log.away.clear()
    group.ready("a")
    group.ready("b")
    assert len(group.assert_identical("a", "b")["item"]) == 1
