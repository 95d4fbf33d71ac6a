"""A circuit breaker per upstream address.

pybreaker keeps its lock while the guarded function runs, which would send one request at a time to each address.
So a call here asks first (`admit`), runs without the lock, and reports how it went (`succeeded`, `failed`); the
states and their transitions are pybreaker's.
"""

from __future__ import annotations

import threading
import time

import pybreaker


class _UpstreamFailure(Exception):
    """Reported to pybreaker in place of whatever went wrong."""


def _fail() -> None:
    raise _UpstreamFailure


def _succeed() -> None:
    return None


class Breaker:
    """Opens after `fail_max` failures in a row; after `reset_seconds` one trial call decides whether it closes."""

    def __init__(self, name: str, fail_max: int, reset_seconds: float) -> None:
        self._breaker = pybreaker.CircuitBreaker(
            fail_max=fail_max, reset_timeout=reset_seconds, name=name, throw_new_error_on_trip=False
        )
        self._opened_at = 0.0
        self._lock = threading.Lock()

    @property
    def state(self) -> str:
        """`closed`, `open` or `half-open` (a trial call is under way)."""
        return self._breaker.current_state

    def admit(self) -> bool:
        """May a call be made now? After True the caller must report `succeeded` or `failed`."""
        with self._lock:
            state = self._breaker.current_state
            if state == pybreaker.STATE_CLOSED:
                return True
            if state == pybreaker.STATE_HALF_OPEN or not self._rested():
                return False
            self._breaker.half_open()
            return True

    def succeeded(self) -> None:
        """The upstream answered, whatever it said. A late answer to a call from before the circuit opened counts
        for nothing."""
        with self._lock:
            if self._breaker.current_state != pybreaker.STATE_OPEN:
                self._breaker.call(_succeed)

    def failed(self) -> None:
        """The upstream did not answer."""
        with self._lock:
            if self._breaker.current_state == pybreaker.STATE_OPEN:
                return
            try:
                self._breaker.call(_fail)
            except _UpstreamFailure:
                if self._breaker.current_state == pybreaker.STATE_OPEN:
                    self._opened_at = time.monotonic()

    def _rested(self) -> bool:
        return time.monotonic() >= self._opened_at + self._breaker.reset_timeout
