"""How long a client waits for a write, by what it is told."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

from bench.real.load import processes, timed
from bench.real.report import Figure, Target
from bench.real.servers import BenchError, session
from bench.real.sizes import Sizes
from bench.real.stages import Trios
from bench.real.stats import Spread, percentile
from bench.real.table import INSERT
from services.common.sync import SyncClient

_TIMEOUT_MS = 10_000
_WARM_UP = 20


@dataclass(frozen=True, slots=True)
class _Kind:
    name: str
    write: Callable[[int], list[float]]


def measure(trios: Trios, sizes: Sizes) -> list[Figure]:
    """By turns."""
    sync, member = trios.replicas.syncs[0], trios.members[0]
    found: dict[str, list[list[float]]] = {}
    with processes(1) as pool:
        for _ in range(sizes.repetitions):
            with trios.replicas.running():
                for level in ("log", "ordered"):
                    job = pool.submit(write_samebase, sync.server.port, sync.url, level, sizes.acknowledged)
                    found.setdefault(f"Samebase, `{level}`", []).append(job.result())
            for level in ("EVENTUAL", "AFTER"):
                job = pool.submit(write_group, member.port, level, sizes.acknowledged)
                found.setdefault(f"Group Replication, {level}", []).append(job.result())
    spreads = {
        name: [Spread(tuple(1000 * percentile(run, percent) for run in runs)) for percent in (50, 99)]
        for name, runs in found.items()
    }
    p50 = {name: spread[0].median for name, spread in spreads.items()}
    return [
        Figure(
            "Acknowledged writes",
            "python -m bench.real acknowledged",
            f"One client, {sizes.acknowledged} one-row transactions one after another on three replicas; from its "
            "BEGIN to knowing. Samebase: the transaction has an intent row, and after the commit GET /wait asks the "
            "sync process, with the services' own client. `log`: Kafka has it (here one broker). `ordered`: it came "
            "back in the log and was accepted. EVENTUAL: a majority of the group has received it and it was "
            "certified. AFTER: all members have applied it, which `ordered` does not say.",
            ("", "p50 ms", "p99 ms"),
            [(name, *(spread.text(2) for spread in both)) for name, both in spreads.items()],
            [
                Target(
                    "acknowledged, p50, `log` : EVENTUAL",
                    p50["Samebase, `log`"] / p50["Group Replication, EVENTUAL"],
                    1.0,
                    at_most=True,
                ),
                Target(
                    "acknowledged, p50, `ordered` : AFTER",
                    p50["Samebase, `ordered`"] / p50["Group Replication, AFTER"],
                    1.0,
                    at_most=True,
                ),
            ],
        )
    ]


def write_samebase(port: int, sync_url: str, level: str, count: int) -> list[float]:
    """Seconds until each write was acknowledged by the sync process."""
    client = SyncClient(sync_url)
    with closing(session(port)) as connection, connection.cursor() as cursor:

        def write(_: int) -> None:
            request = str(uuid.uuid4())
            cursor.execute("BEGIN")
            cursor.execute("INSERT INTO samebase.intent (request, certified) VALUES (%s, 0)", (request,))
            cursor.execute(INSERT, (request,))
            cursor.execute("COMMIT")
            outcome = client.wait_request(request, level, _TIMEOUT_MS)  # type: ignore[arg-type]
            if not outcome.has(level):  # type: ignore[arg-type]
                raise BenchError(f"a write was not acknowledged at {level}: {outcome}")

        return timed(write, _WARM_UP + count)[_WARM_UP:]


def write_group(port: int, level: str, count: int) -> list[float]:
    """Seconds until each write was committed in the group."""
    with closing(session(port)) as connection, connection.cursor() as cursor:
        cursor.execute(f"SET SESSION group_replication_consistency = '{level}'")

        def write(_: int) -> None:
            cursor.execute("BEGIN")
            cursor.execute(INSERT, (str(uuid.uuid4()),))
            cursor.execute("COMMIT")

        return timed(write, _WARM_UP + count)[_WARM_UP:]
