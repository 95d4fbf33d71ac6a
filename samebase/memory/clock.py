"""A clock that a test moves."""

from __future__ import annotations


class MemoryClock:
    """Clock that stands still until it is told to go on."""

    def __init__(self, wall_ms: int = 1_700_000_000_000) -> None:
        self._start_ms = wall_ms
        self._elapsed = 0.0

    def monotonic(self) -> float:
        return self._elapsed

    def wall_ms(self) -> int:
        return self._start_ms + int(self._elapsed * 1000)

    def advance(self, seconds: float) -> None:
        """Let time pass. `seconds` is not negative."""
        self._elapsed += seconds
