"""kill -9 of any process while writes are under way: what was answered is there afterwards, on every replica."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest

from tests.support.load import Load
from tests.support.people import Person
from tests.support.replicas import wait_for
from tests.support.system import System, children

WRITES = 500
KILL_AFTER = 150
WRITERS = 8
PROCESSES = [
    "gateway",
    *(f"{replica}{part}" for replica in ("user-1", "user-2", "rule-1", "rule-2", "rule-3") for part in ("", "-sync")),
]


@pytest.fixture(scope="module")
def people(shared_system: System) -> list[Person]:
    return [Person(shared_system.gateway) for _ in range(WRITERS)]


@pytest.mark.parametrize("name", PROCESSES)
def test_no_answered_write_is_lost_when_a_process_is_killed(system: System, people: list[Person], name: str) -> None:
    load = under_load(system, people, lambda: system.wait_back(name, system.kill(name)))
    assert_nothing_lost(system, load)


@pytest.mark.parametrize("name", ["gateway", "rule-1"])
def test_no_answered_write_is_lost_when_a_worker_is_killed(system: System, people: list[Person], name: str) -> None:
    """gunicorn itself lives, and starts another worker."""
    (worker,) = children(system.pids()[name])

    def kill() -> None:
        os.kill(worker, signal.SIGKILL)
        wait_for(lambda: children(system.pids()[name]) not in ([], [worker]), "there is another worker")

    load = under_load(system, people, kill)
    assert_nothing_lost(system, load)


def under_load(system: System, people: list[Person], kill: Callable[[], object]) -> Load:
    """Write, kill in the midst of it, and go on until enough was answered."""
    load = Load(system.gateway)
    with load.going(people):
        wait_for(lambda: load.answered >= KILL_AFTER, "writes are under way")
        kill()
        wait_for(lambda: load.answered >= WRITES, "writes go on")
    return load


def assert_nothing_lost(system: System, load: Load) -> None:
    """Every replica has what was answered, and all have the same."""
    system.wait_ready()
    system.compare_replicas()
    load.assert_nothing_lost(system.rows, {service: system.replicas(service) for service in ("user", "rule")})
