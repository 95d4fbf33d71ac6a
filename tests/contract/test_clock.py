"""What every Clock does."""

from __future__ import annotations

from samebase.memory.clock import MemoryClock


def test_the_fake_goes_on_only_when_told() -> None:
    clock = MemoryClock()
    before, wall = clock.monotonic(), clock.wall_ms()
    assert (clock.monotonic(), clock.wall_ms()) == (before, wall)
    clock.advance(1.5)
    assert clock.monotonic() == before + 1.5
    assert clock.wall_ms() == wall + 1500
