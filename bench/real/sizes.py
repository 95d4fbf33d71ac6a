"""How much is measured."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sizes:
    """Whatever clients share is a multiple of their number.

    Attributes:
    warm_up: records that Kafka takes and gives before it is measured.
    repetitions: of each side of a comparison.
    rates: transactions per second at which the lag is measured, for `lag_seconds` each.
    one_row, many_row: transactions of one and of 100 rows that are drained.
    sustained: transactions that are committed over three replicas.
    acknowledged: writes of one client, each waited for.
    backlog: transactions that a sync process finds waiting when its memory is looked at.
    """

    warm_up: int
    repetitions: int
    rates: tuple[int, ...]
    lag_seconds: float
    one_row: int
    many_row: int
    sustained: int
    acknowledged: int
    backlog: int


FULL = Sizes(20_000, 3, (50, 200, 500), 8, 20_000, 2_000, 24_000, 500, 100_000)
QUICK = Sizes(200, 1, (200,), 2, 2_000, 320, 1_600, 50, 4_800)
"""Enough to see that everything works; the figures say nothing."""
