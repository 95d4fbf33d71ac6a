"""kill -9 of any process while writes are under way: what was answered is there afterwards, on every replica."""

from __future__ import annotations

import itertools
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest
import requests

from tests.support.people import Person
from tests.support.replicas import wait_for
from tests.support.system import System, answers, children

WRITES = 500
KILL_AFTER = 150
WRITERS = 8
NUMBERS = itertools.count()
"""Each writer's display names are larger than all that were there before."""
PROCESSES = [
    "gateway",
    *(f"{replica}{part}" for replica in ("user-1", "user-2", "rule-1", "rule-2", "rule-3") for part in ("", "-sync")),
]


@dataclass
class Load:
    """Writes through the gateway.

    Attributes:
        items: keys of the items whose adding was answered, with their names.
        profiles: ids of people, with the last display name whose setting was answered.
        answered: how many of both. What was refused or not answered may be there or not.
        over: nothing more is to be written.
    """

    system: System
    items: dict[str, str] = field(default_factory=dict)
    profiles: dict[str, int] = field(default_factory=dict)
    answered: int = 0
    over: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, person: Person) -> None:
        for number in itertools.count(next(NUMBERS) * 100_000):
            if self.over:
                return
            try:
                # Items are of the rule service, profiles of the user service.
                answered = self._rename(person, number) if number % 5 == 0 else self._add(person, number)
            except requests.RequestException:
                wait_for(lambda: answers(f"{self.system.gateway}/healthz"), "the gateway answers again")
            else:
                with self.lock:
                    self.answered += answered

    def _add(self, person: Person, number: int) -> bool:
        answer = person.call("POST", f"{self.system.gateway}/rule", json={"name": f"item {number}"})
        if answer.status_code == 201:
            self.items[answer.json()["key"]] = f"item {number}"
        return answer.status_code == 201

    def _rename(self, person: Person, number: int) -> bool:
        answer = person.call("PATCH", f"{self.system.gateway}/user/me", json={"displayName": str(number)})
        if answer.status_code == 200:
            self.profiles[person.id] = number
        return answer.status_code == 200


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
    load = Load(system)
    with ThreadPoolExecutor(WRITERS) as pool:
        tasks = [pool.submit(load.run, person) for person in people]
        try:
            wait_for(lambda: load.answered >= KILL_AFTER, "writes are under way")
            kill()
            wait_for(lambda: load.answered >= WRITES, "writes go on")
        finally:
            load.over = True
        for task in tasks:
            task.result()
    return load


def assert_nothing_lost(system: System, load: Load) -> None:
    """Every replica has what was answered, and all have the same."""
    system.wait_ready()
    system.compare_replicas()
    for replica in system.replicas("rule"):
        there = dict(system.rows(replica, "SELECT id, name FROM item"))
        lost = {key: name for key, name in load.items.items() if there.get(key) != name}
        assert not lost, f"{replica} has lost {lost}"
    for replica in system.replicas("user"):
        shown = dict(system.rows(replica, "SELECT id, display_name FROM account"))
        for person, number in load.profiles.items():
            # A later change that was not answered may have happened all the same.
            assert int(shown[person]) >= number, f"{replica} has lost the display name {number} of {person}"
