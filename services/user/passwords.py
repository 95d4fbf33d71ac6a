"""Password hashes, and how much memory they may take."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from services.common.errors import Problem

_AT_ONCE = 2
_WAIT_SECONDS = 5.0


class Passwords:
    """Hashes and verifies. A call takes 64 MiB with the default hasher, so that few run at once; the others wait their
    turn, and after five seconds get Problem `unavailable`."""

    def __init__(self, hasher: PasswordHasher | None = None, at_once: int = _AT_ONCE) -> None:
        self._hasher = hasher or PasswordHasher()
        self._slots = threading.BoundedSemaphore(at_once)
        self._nobodys: str | None = None

    def hash(self, password: str, first: Callable[[], None] = lambda: None) -> str:
        """`first` runs when it is this call's turn: what it raises spares the work."""
        with self._slot():
            first()
            return self._hasher.hash(password)

    def verify(self, password_hash: str | None, password: str) -> bool:
        """Whether it is the password. None (there is no such account) takes as long as a wrong one."""
        with self._slot():
            if self._nobodys is None:
                self._nobodys = self._hasher.hash("nobody's password")
            try:
                self._hasher.verify(password_hash or self._nobodys, password)
            except (VerificationError, InvalidHashError):
                return False
            return password_hash is not None

    @contextmanager
    def _slot(self) -> Iterator[None]:
        if not self._slots.acquire(timeout=_WAIT_SECONDS):
            raise Problem("unavailable", "Too many people are signing in at this moment. Try again.")
        try:
            yield
        finally:
            self._slots.release()
