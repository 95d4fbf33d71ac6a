"""The value of X-Replica-Token: at most one `origin:seq` per origin, comma-separated.

Anything else in a token is ignored, never refused: it comes from clients, and replicas go away.
"""

from __future__ import annotations

import re

HEADER = "X-Replica-Token"
STALE_HEADER = "X-Replica-Stale"

_POSITION = re.compile(r"([A-Za-z0-9._@-]{1,128}):([0-9]{1,19})")
_MAX_ORIGINS = 64


def parse(value: str | None) -> dict[str, int]:
    """Highest seq by origin; {} for None and for nonsense."""
    positions: dict[str, int] = {}
    for part in (value or "").split(","):
        match = _POSITION.fullmatch(part.strip())
        if match and len(positions) < _MAX_ORIGINS:
            origin, seq = match[1], int(match[2])
            positions[origin] = max(seq, positions.get(origin, 0))
    return positions


def render(positions: dict[str, int]) -> str:
    return ",".join(f"{origin}:{seq}" for origin, seq in sorted(positions.items()))


def merge(*values: str | None) -> str:
    """One token that covers all of them."""
    merged: dict[str, int] = {}
    for value in values:
        for origin, seq in parse(value).items():
            merged[origin] = max(seq, merged.get(origin, 0))
    return render(merged)
