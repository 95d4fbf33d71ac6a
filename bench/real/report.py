"""What was measured, as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Target:
    """A ratio that is to be reached.

    Attributes:
        what: the two sides, as in "lag, p50, Samebase : native".
        ratio: what was measured.
        limit: what it may be at most, or must be at least.
    """

    what: str
    ratio: float
    limit: float
    at_most: bool = False

    @property
    def met(self) -> bool:
        return self.ratio <= self.limit if self.at_most else self.ratio >= self.limit

    @property
    def verdict(self) -> str:
        if self.met:
            return "reached"
        return f"missed by {abs(self.ratio / self.limit - 1):.0%}"

    def row(self) -> tuple[str, ...]:
        wanted = f"at {'most' if self.at_most else 'least'} {self.limit:g}"
        return self.what, f"{self.ratio:.2f}", wanted, self.verdict


@dataclass(frozen=True, slots=True)
class Figure:
    """One thing that was measured.

    Attributes:
        command: measures this one alone.
        method: how, in sentences.
    """

    title: str
    command: str
    method: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    targets: Sequence[Target] = field(default_factory=tuple)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, its columns after the first to the right."""
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def section(figure: Figure) -> str:
    """One figure."""
    return f"## {figure.title}\n\n`{figure.command}`. {figure.method}\n\n{table(figure.head, figure.rows)}\n"


def targets(figures: Sequence[Figure]) -> str:
    """All targets."""
    rows = [target.row() for figure in figures for target in figure.targets]
    return table(("what", "ratio", "wanted", ""), rows) + "\n"


def page(figures: Sequence[Figure], machine: Sequence[tuple[str, str]], core: str, bounds: str) -> str:
    """The whole page. `core`: what bench/core.py printed. `bounds`: what the figures are bounded by, as Markdown."""
    parts = [
        "# How fast it is\n",
        "`make bench` makes this page: everything below was measured in one run, on one machine, each side of a "
        "comparison by turns with the other. Where there are several repetitions, the median is given, and behind it "
        "the smallest and the largest. *Native* is MySQL's own asynchronous replication.\n",
        table(("machine", ""), machine) + "\n",
        "## Targets\n",
        targets(figures),
        bounds.strip() + "\n",
        *map(section, figures),
        f"## The core alone\n\n`make bench-core`\n\n```\n{core.strip()}\n```\n",
    ]
    return "\n".join(parts)
