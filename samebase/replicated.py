"""A replicated table as the configuration names it; what the database says of it besides is in core.types.Table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Replicated:
    """What the configuration says of a table: its policy and the names of its delta columns."""

    kind: Literal["merge", "strict"] = "merge"
    delta: tuple[str, ...] = ()
