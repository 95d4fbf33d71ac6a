"""What every Clock does."""

from __future__ import annotations

import time

import pytest

from samebase.memory.clock import MemoryClock
from samebase.ports import Clock
from samebase.wiring import SystemClock


@pytest.mark.parametrize("clock", [MemoryClock(), SystemClock()], ids=["memory", "system"])
def test_time_never_goes_back_and_the_wall_clock_counts_milliseconds(clock: Clock) -> None:
    moments = [clock.monotonic() for _ in range(100)]
    assert moments == sorted(moments)
    assert 1_600_000_000_000 < clock.wall_ms() < 10_000_000_000_000


def test_the_system_clock_tells_the_systems_time() -> None:
    assert abs(SystemClock().wall_ms() / 1000 - time.time()) < 60
    assert abs(SystemClock().monotonic() - time.monotonic()) < 60


def test_the_fake_goes_on_only_when_told() -> None:
    clock = MemoryClock()
    before, wall = clock.monotonic(), clock.wall_ms()
    assert (clock.monotonic(), clock.wall_ms()) == (before, wall)
    clock.advance(1.5)
    assert clock.monotonic() == before + 1.5
    assert clock.wall_ms() == wall + 1500
