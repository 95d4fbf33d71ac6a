"""The most memory that a sync process holds while it works off a large backlog."""

from __future__ import annotations

from bench.real.load import CLIENTS, slap
from bench.real.report import Figure, Target
from bench.real.servers import until
from bench.real.sizes import Sizes
from bench.real.stages import Pairs

LIMIT_MB = 150
_PATIENCE_SECONDS = 600.0


def measure(pairs: Pairs, sizes: Sizes) -> list[Figure]:
    """A backlog in the database, then the same in the log."""
    writer, other = pairs.replicas.syncs
    slap(writer.server, CLIENTS, sizes.backlog)
    peaks = []
    for sync, what in ((writer, "its database"), (other, "the log")):
        sync.start()
        try:
            until(sync.settled, "nothing left to do", _PATIENCE_SECONDS)
            peaks.append((f"in {what}", sync.peak_memory_mb()))
        finally:
            sync.stop()
    return [
        Figure(
            "Memory",
            "python -m bench.real memory",
            f"The most that a sync process held (VmHWM, in MB of 1,000,000 bytes) while it worked off "
            f"{sizes.backlog:,} one-row transactions that it found when it started.",
            (f"{sizes.backlog:,} transactions waiting", "MB"),
            [(what, f"{peak:.0f}") for what, peak in peaks],
            [
                Target(f"memory, backlog {what} : {LIMIT_MB} MB", peak / LIMIT_MB, 1.0, at_most=True)
                for what, peak in peaks
            ],
        )
    ]
