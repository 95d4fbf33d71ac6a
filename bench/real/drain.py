"""How fast a backlog is worked off: from a database to the log, and from the log to a database."""

from __future__ import annotations

import time
from dataclasses import dataclass

from bench.real.load import CLIENTS, slap
from bench.real.report import Figure, Target
from bench.real.servers import BenchError, Container, until
from bench.real.sizes import Sizes
from bench.real.stages import Pairs
from bench.real.stats import Spread
from bench.real.syncs import Sync

_POLL_SECONDS = 0.005
_PATIENCE_SECONDS = 300.0
_COMMAND = "python -m bench.real drain"


@dataclass(frozen=True, slots=True)
class _Cost:
    """Processor seconds of one step: of the process that does the work, and of the servers that it talks to."""

    own: float
    servers: float


@dataclass(frozen=True, slots=True)
class _Run:
    """Transactions per second, and what they cost."""

    commit: float
    capture: float
    capture_cost: _Cost
    apply: float
    apply_cost: _Cost
    native_commit: float
    native_apply: float
    native_cost: float


class _Meter:
    """What processes use from now on."""

    def __init__(self, *measured: Container | Sync) -> None:
        self._measured = measured
        self._before = [each.cpu_seconds() for each in measured]

    def used(self) -> list[float]:
        return [each.cpu_seconds() - before for each, before in zip(self._measured, self._before, strict=True)]


def measure(pairs: Pairs, sizes: Sizes) -> list[Figure]:
    """Transactions of one row and of 100."""
    speed: list[tuple[str, ...]] = []
    cost: list[tuple[str, ...]] = []
    targets: list[Target] = []
    for rows, count in ((1, sizes.one_row), (100, sizes.many_row)):
        runs = [_run(pairs, rows, count) for _ in range(sizes.repetitions)]
        label = "one row" if rows == 1 else f"{rows} rows"

        def rate(name: str, runs: list[_Run] = runs) -> Spread:
            return Spread(tuple(getattr(run, name) for run in runs))

        def line(what: str, found: Spread, compared: Spread | None = None, rows: int = rows, of: str = label) -> None:
            ratio = "" if compared is None else f"{found.median / compared.median:.2f}"
            speed.append((f"{of}: {what}", found.text(0), f"{found.median * rows:,.0f}", ratio))

        commit, capture, applied, native = map(rate, ("commit", "capture", "apply", "native_apply"))
        line(f"mysqld commits, {CLIENTS} clients", commit)
        line("Samebase, database to log", capture, commit)
        line("Samebase, log to database", applied, native)
        line("native replica", native)
        if rows == 1:
            targets.append(Target("capture, one row : mysqld's commits", capture.median / commit.median, 1.2))
        targets.append(Target(f"apply, {label}, Samebase : native", applied.median / native.median, 1.0))

        per = 10_000 / (rows * count)
        for what, name in (("database to log", "capture_cost"), ("log to database", "apply_cost")):
            own = Spread(tuple(getattr(run, name).own * per for run in runs))
            servers = Spread(tuple(getattr(run, name).servers * per for run in runs))
            cost.append((f"{label}: Samebase, {what}", own.text(2), servers.text(2)))
        native_cost = Spread(tuple(run.native_cost * per for run in runs))
        cost.append((f"{label}: native replica", "", native_cost.text(2)))
    return [
        Figure(
            "Draining a backlog",
            _COMMAND,
            f"The first database gets {sizes.one_row:,} transactions of one row, or {sizes.many_row:,} of 100, by "
            f"{CLIENTS} clients (mysqlslap) while its sync process is not there. *Database to log*: the sync process "
            "of that database starts, from the beginning of its session to the log having the last. *Log to "
            "database*: the other's starts, to its database having the last. *Native replica*: its SQL thread was "
            "stopped, all is in its relay log, from START REPLICA to the last being executed; with MySQL's default of "
            "replica_parallel_workers=4. In the last column the rate is divided by that of mysqld's commits, or of "
            "the native replica.",
            ("", "transactions/s", "rows/s", "ratio"),
            speed,
            targets,
        ),
        Figure(
            "Processor time",
            _COMMAND,
            "Of the same drains, in seconds for 10,000 rows, user and system, as /proc tells it: of the sync process "
            "without its start, and of the servers that it talks to (mysqld and Kafka). For the native replica: of "
            "the source and the replica together, while the relay log is executed (fetching it was before).",
            ("", "sync process", "servers"),
            cost,
        ),
    ]


def _run(pairs: Pairs, rows: int, count: int) -> _Run:
    commit = count / slap(pairs.replicas.syncs[0].server, CLIENTS, count, rows)
    capture, capture_cost = _capture(pairs, count)
    applied, apply_cost = _apply(pairs, count)
    native_commit, native, native_cost = _native(pairs, rows, count)
    return _Run(commit, capture, capture_cost, applied, apply_cost, native_commit, native, native_cost)


def _capture(pairs: Pairs, count: int) -> tuple[float, _Cost]:
    replicas, sync = pairs.replicas, pairs.replicas.syncs[0]
    wanted = replicas.end() + count
    began = sync.start()
    meter = _Meter(sync, sync.server, replicas.broker)
    try:
        until(lambda: replicas.end() >= wanted, "everything in the log", _PATIENCE_SECONDS, _POLL_SECONDS)
        took = time.time() - began
        own, *servers = meter.used()
        until(sync.settled, "nothing pending")
    finally:
        sync.stop()
    if replicas.end() != wanted:
        raise BenchError(f"the log got {replicas.end() - wanted} records too many")
    return count / took, _Cost(own, sum(servers))


def _apply(pairs: Pairs, count: int) -> tuple[float, _Cost]:
    replicas, sync = pairs.replicas, pairs.replicas.syncs[1]
    wanted = replicas.end()
    if sync.offset() != wanted - count:
        raise BenchError(f"the second replica stands at {sync.offset()}, not at {wanted - count}")
    began = sync.start()
    meter = _Meter(sync, sync.server, replicas.broker)
    try:
        until(lambda: sync.offset() >= wanted, "everything in the database", _PATIENCE_SECONDS, _POLL_SECONDS)
        took = time.time() - began
        own, *servers = meter.used()
    finally:
        sync.stop()
    return count / took, _Cost(own, sum(servers))


def _native(pairs: Pairs, rows: int, count: int) -> tuple[float, float, float]:
    source, replica = pairs.source, pairs.replica
    replica.execute("STOP REPLICA SQL_THREAD")
    commit = count / slap(source, CLIENTS, count, rows)
    (wanted,) = source.row("SELECT @@global.gtid_executed")
    received = (
        f"SELECT gtid_subset('{wanted}', concat(@@global.gtid_executed, ',', received_transaction_set)) "
        "FROM performance_schema.replication_connection_status"
    )
    until(lambda: replica.row(received)[0], "everything in the relay log", _PATIENCE_SECONDS)
    meter = _Meter(source, replica)
    began = time.time()
    replica.execute("START REPLICA SQL_THREAD")
    timed_out = replica.row(f"SELECT wait_for_executed_gtid_set('{wanted}', {_PATIENCE_SECONDS})")[0]
    took = time.time() - began
    if timed_out:
        raise BenchError("the native replica did not come to the end")
    return commit, count / took, sum(meter.used())
