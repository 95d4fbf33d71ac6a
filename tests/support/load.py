"""People who read and write through the gateway while something happens to the system, and keep account of it."""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import requests

from tests.support.people import Person
from tests.support.replicas import wait_for
from tests.support.system import answers

NUMBERS = itertools.count()
"""Each writer's display names are larger than all that were there before."""
Query = Callable[[str, str], Sequence[tuple[Any, ...]]]
"""What a statement finds in the database of a replica."""


@dataclass
class Load:
    """Calls through a gateway.

    Attributes:
        items: keys of the items whose adding was answered, with their names.
        profiles: ids of people, with the last display name whose setting was answered.
        answered: how many of both. What was refused or not answered may be there or not.
        refused: what was not: status and text, or the error.
        owners: who has added which item.
        reads: how many were answered as they must be: 200, and with what had been answered before.
        failed_reads: what the others were.
        over: nothing more is to be done.
    """

    gateway: str
    items: dict[str, str] = field(default_factory=dict)
    profiles: dict[str, int] = field(default_factory=dict)
    answered: int = 0
    refused: list[str] = field(default_factory=list)
    reads: int = 0
    failed_reads: list[str] = field(default_factory=list)
    over: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)
    owners: dict[str, Person] = field(default_factory=dict)

    def write(self, person: Person) -> None:
        for number in itertools.count(next(NUMBERS) * 100_000):
            if self.over:
                return
            try:
                # Items are of the rule service, profiles of the user service.
                self._rename(person, number) if number % 5 == 0 else self._add(person, number)
            except requests.RequestException as error:
                self.refused.append(repr(error))
                wait_for(lambda: answers(f"{self.gateway}/healthz"), "the gateway answers again")

    def read(self, person: Person) -> None:
        """Read what `person` has written, at once."""
        while not self.over:
            mine = [key for key, owner in list(self.owners.items()) if owner is person]
            if not mine:
                continue
            key = random.choice(mine)
            try:
                answer = person.call("GET", f"{self.gateway}/rule/{key}", token=person.token)
            except requests.RequestException as error:
                self.failed_reads.append(repr(error))
                continue
            if answer.status_code == 200 and answer.json()["name"] == self.items[key]:
                with self.lock:
                    self.reads += 1
            else:
                self.failed_reads.append(f"{answer.status_code} {answer.text}")

    @contextmanager
    def going(self, writers: Sequence[Person], readers: Sequence[Person] = ()) -> Iterator[None]:
        """While the block runs, and until all of them have ended."""
        with ThreadPoolExecutor(len(writers) + len(readers)) as pool:
            tasks = [pool.submit(self.write, person) for person in writers]
            tasks += [pool.submit(self.read, person) for person in readers]
            try:
                yield
            finally:
                self.over = True
            for task in tasks:
                task.result()

    def assert_nothing_lost(self, query: Query, replicas: dict[str, Sequence[str]]) -> None:
        """Every replica, by service, has what was answered."""
        for replica in replicas["rule"]:
            there = dict(query(replica, "SELECT id, name FROM item"))
            lost = {key: name for key, name in self.items.items() if there.get(key) != name}
            assert not lost, f"{replica} has lost {lost}"
        for replica in replicas["user"]:
            shown = dict(query(replica, "SELECT id, display_name FROM account"))
            for person, number in self.profiles.items():
                # A later change that was not answered may have happened all the same.
                assert int(shown[person]) >= number, f"{replica} has lost the display name {number} of {person}"

    def _add(self, person: Person, number: int) -> None:
        answer = person.call("POST", f"{self.gateway}/rule", token=person.token, json={"name": f"item {number}"})
        if self._told(answer, 201):
            key = answer.json()["key"]
            self.items[key] = f"item {number}"
            person.token = answer.headers["X-Replica-Token"]
            self.owners[key] = person

    def _rename(self, person: Person, number: int) -> None:
        answer = person.call("PATCH", f"{self.gateway}/user/me", json={"displayName": str(number)})
        if self._told(answer, 200):
            self.profiles[person.id] = number

    def _told(self, answer: requests.Response, wanted: int) -> bool:
        well = answer.status_code == wanted
        if well:
            with self.lock:
                self.answered += 1
        else:
            self.refused.append(f"{answer.status_code} {answer.text}")
        return well
