"""From a commit at one server to the row being readable at another, at a given rate of one-row transactions."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from bench.real.load import POLL_SECONDS, processes, watch, write_paced
from bench.real.report import Figure, Target
from bench.real.servers import BenchError, MySql
from bench.real.sizes import Sizes
from bench.real.stages import Pairs
from bench.real.stats import Spread, percentile

AT = 200
"""The rate of the targets."""
_LEAD_SECONDS = 1.0
_WARM_UP_SECONDS = 1.0
_PATIENCE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class _Side:
    name: str
    source: MySql
    reader: MySql
    at_work: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class _Measured:
    p50_ms: float
    p99_ms: float
    cpu_per_10k: float


def measure(pairs: Pairs, sizes: Sizes) -> list[Figure]:
    """Both sides at each rate, by turns."""
    sides = [
        _Side("Samebase", pairs.replicas.syncs[0].server, pairs.replicas.syncs[1].server, pairs.replicas.running),
        _Side("native", pairs.source, pairs.replica, nullcontext),
    ]
    rows, targets = [], []
    for rate in sizes.rates:
        runs: dict[str, list[_Measured]] = {side.name: [] for side in sides}
        for repetition in range(sizes.repetitions):
            for side in sides:
                with side.at_work():
                    runs[side.name].append(_run(pairs, side, f"{rate}-{repetition}", rate, sizes.lag_seconds))
        ours, native = ([_spread(runs[side.name], name) for name in ("p50_ms", "p99_ms")] for side in sides)
        for name, found in runs.items():
            cells = [_spread(found, name).text(2) for name in ("p50_ms", "p99_ms", "cpu_per_10k")]
            rows.append((f"{rate} tx/s, {name}", *cells))
        ratios = [one.median / other.median for one, other in zip(ours, native, strict=True)]
        rows.append((f"{rate} tx/s, Samebase : native", *(f"{ratio:.2f}" for ratio in ratios), ""))
        if rate == AT:
            targets = [
                Target(f"lag at {AT} tx/s, p50, Samebase : native", ratios[0], 3.0, at_most=True),
                Target(f"lag at {AT} tx/s, p99, Samebase : native", ratios[1], 1.5, at_most=True),
            ]
    method = (
        "From the moment a client at one server has its commit to the moment a reader of the other server sees the "
        f"row. One writer inserts single rows at the given rate; the reader looks every {POLL_SECONDS * 1000:g} ms "
        f"(besides the time a look takes), for both sides the same. {sizes.lag_seconds:g} s each, the first "
        f"{_WARM_UP_SECONDS:g} s left out. CPU: of all servers and sync processes of a side, the clients' statements "
        "included, as the system counts it."
    )
    return [
        Figure(
            "Lag",
            "python -m bench.real lag",
            method,
            ("", "p50 ms", "p99 ms", "CPU s per 10,000 rows"),
            rows,
            targets,
        )
    ]


def _spread(runs: list[_Measured], name: str) -> Spread:
    return Spread(tuple(getattr(run, name) for run in runs))


def _run(pairs: Pairs, side: _Side, name: str, rate: int, seconds: float) -> _Measured:
    count = int(rate * seconds)
    with processes(2) as pool:
        begin = time.monotonic() + _LEAD_SECONDS
        writing = pool.submit(write_paced, side.source.port, name, rate, count, begin)
        watching = pool.submit(watch, side.reader.port, name, count, begin, seconds + _PATIENCE_SECONDS)
        used = pairs.cpu_seconds(side.name)
        committed, seen = writing.result(), watching.result()
        used = pairs.cpu_seconds(side.name) - used
    if len(seen) < count:
        raise BenchError(f"{side.name} showed {len(seen)} of {count} rows at {rate} tx/s")
    first = min(int(rate * _WARM_UP_SECONDS), count // 2)
    lags = [1000 * (saw - done) for done, saw in zip(committed, seen, strict=True)][first:]
    return _Measured(percentile(lags, 50), percentile(lags, 99), used * 10_000 / count)
