"""Password hashing is bounded in memory, and tells nothing by its time."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from argon2 import PasswordHasher

from services.common.errors import Problem
from services.user import passwords
from services.user.passwords import Passwords

CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


def test_a_password_verifies_against_its_own_hash_only() -> None:
    checker = Passwords(CHEAP)
    hashed = checker.hash("correct")
    assert checker.verify(hashed, "correct")
    assert not checker.verify(hashed, "Correct")
    assert not checker.verify("not a hash", "correct")
    assert not checker.verify(None, "correct")
    assert not checker.verify(None, "nobody's password")


def test_the_default_takes_64_mebibytes() -> None:
    assert "m=65536," in Passwords().hash("correct")


class Slow:
    """A hasher that waits for the test and counts who is inside."""

    def __init__(self) -> None:
        self.inside = 0
        self.most = 0
        self.lock = threading.Lock()
        self.full = threading.Event()
        self.go = threading.Event()

    def hash(self, password: str) -> str:
        with self.lock:
            self.inside += 1
            self.most = max(self.most, self.inside)
            if self.inside == 2:
                self.full.set()
        self.go.wait(30)
        with self.lock:
            self.inside -= 1
        return password


def test_only_so_many_hash_at_once_and_the_rest_wait_their_turn() -> None:
    slow: Any = Slow()
    checker = Passwords(slow, at_once=2)
    with ThreadPoolExecutor(6) as pool:
        running = [pool.submit(checker.hash, str(number)) for number in range(6)]
        assert slow.full.wait(30)
        slow.go.set()
        assert [future.result(30) for future in running] == [str(number) for number in range(6)]
    assert slow.most == 2


def test_who_waits_too_long_is_told_to_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "_WAIT_SECONDS", 0.01)
    slow: Any = Slow()
    checker = Passwords(slow, at_once=2)
    with ThreadPoolExecutor(2) as pool:
        running = [pool.submit(checker.hash, "x") for _ in range(2)]
        assert slow.full.wait(30)
        with pytest.raises(Problem) as problem:
            checker.hash("x")
        slow.go.set()
        assert [future.result(30) for future in running] == ["x", "x"]
    assert (problem.value.slug, problem.value.headers["Retry-After"]) == ("unavailable", "1")
