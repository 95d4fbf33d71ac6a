"""A few numbers from many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that at least `percent` of a hundred do not exceed (nearest rank)."""
    ranked = sorted(values)
    rank = -(-len(ranked) * percent // 100)
    return ranked[max(0, int(rank) - 1)]


@dataclass(frozen=True, slots=True)
class Spread:
    """What several repetitions gave."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return median(self.values)

    def text(self, digits: int = 1) -> str:
        """The median, and the smallest and the largest value if there were several."""

        def number(value: float) -> str:
            return f"{value:,.{digits}f}"

        if len(self.values) == 1:
            return number(self.median)
        return f"{number(self.median)} ({number(min(self.values))} to {number(max(self.values))})"
