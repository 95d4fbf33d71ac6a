"""Transactions per second that three writable replicas take and have, all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from bench.real.load import CLIENTS, slap
from bench.real.report import Figure, Target
from bench.real.servers import BenchError, MySql, together, until
from bench.real.sizes import Sizes
from bench.real.stages import Trios
from bench.real.stats import Spread
from bench.real.syncs import Replicas
from bench.real.table import TABLE

SHARES = (6, 5, 5)
"""Clients at each replica."""
_POLL_SECONDS = 0.02
_PATIENCE_SECONDS = 300.0


def measure(trios: Trios, sizes: Sizes) -> list[Figure]:
    """By turns."""
    ours: list[float] = []
    theirs: list[float] = []
    for _ in range(sizes.repetitions):
        with trios.replicas.running():
            ours.append(_samebase(trios.replicas, sizes.sustained))
        theirs.append(_run(trios.members, sizes.sustained, lambda: _same(trios.members)))
    samebase, group = Spread(tuple(ours)), Spread(tuple(theirs))
    ratio = samebase.median / group.median
    return [
        Figure(
            "Sustained writes",
            "python -m bench.real sustained",
            f"{sizes.sustained:,} one-row transactions by {CLIENTS} clients (mysqlslap) over three replicas "
            "that all take writes, from the start of the clients until each of the three has all of them. Group "
            "Replication: multi-primary, group_replication_consistency EVENTUAL.",
            ("", "transactions/s"),
            [
                ("Samebase", samebase.text(0)),
                ("Group Replication", group.text(0)),
                ("Samebase : Group Replication", f"{ratio:.2f}"),
            ],
            [Target("sustained, Samebase : Group Replication", ratio, 1.0)],
        )
    ]


def _samebase(replicas: Replicas, transactions: int) -> float:
    wanted = replicas.end() + transactions
    servers = [sync.server for sync in replicas.syncs]
    return _run(servers, transactions, lambda: all(sync.offset() >= wanted for sync in replicas.syncs))


def _run(servers: Sequence[MySql], transactions: int, everywhere: Callable[[], bool]) -> float:
    each = transactions // CLIENTS
    before = {server.name: _rows(server) for server in servers}
    began = time.monotonic()
    together(
        *(
            lambda server=server, clients=clients: slap(server, clients, clients * each)
            for server, clients in zip(servers, SHARES, strict=True)
        )
    )
    until(everywhere, "everything everywhere", _PATIENCE_SECONDS, _POLL_SECONDS)
    took = time.monotonic() - began
    for server in servers:
        got = _rows(server) - before[server.name]
        if got != transactions:
            raise BenchError(f"{server.name} has got {got} of {transactions} rows")
    return transactions / took


def _rows(server: MySql) -> int:
    return int(server.row(f"SELECT count(*) FROM {TABLE}")[0])


def _same(members: Sequence[MySql]) -> bool:
    return len({str(member.row("SELECT @@global.gtid_executed")[0]) for member in members}) == 1
