"""The servers that figures are measured on. Those of both sides run at the same time, so that a figure can be measured
by turns; who is not measured has nothing to do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.real.servers import Kafka, MySql, group, replicate, running
from bench.real.sizes import Sizes
from bench.real.syncs import Replicas
from bench.real.table import DDL


@dataclass(frozen=True, slots=True)
class Pairs:
    """Two replicas of Samebase; a server and its native replica."""

    replicas: Replicas
    source: MySql
    replica: MySql

    def cpu_seconds(self, side: str) -> float:
        """What all servers and sync processes of a side have used so far."""
        if side == "native":
            return self.source.cpu_seconds() + self.replica.cpu_seconds()
        syncs = self.replicas.syncs
        return self.replicas.broker.cpu_seconds() + sum(s.cpu_seconds() + s.server.cpu_seconds() for s in syncs)


@dataclass(frozen=True, slots=True)
class Trios:
    """Three replicas of Samebase; three members of a multi-primary group."""

    replicas: Replicas
    members: Sequence[MySql]


@contextmanager
def pairs(sizes: Sizes) -> Iterator[Pairs]:
    with _servers(sizes, "a", "b", "source", "replica") as (directory, broker, (a, b, source, replica)):
        replicate(source, replica)
        source.execute(*DDL)
        yield Pairs(Replicas((a, b), broker, "bench.changes", directory), source, replica)


@contextmanager
def trios(sizes: Sizes) -> Iterator[Trios]:
    names = [f"{kind}-{number}" for kind in ("replica", "member") for number in (1, 2, 3)]
    with _servers(sizes, *names) as (directory, broker, servers):
        replicas, members = servers[:3], servers[3:]
        group(*members)
        members[0].execute(*DDL)
        yield Trios(Replicas(replicas, broker, "bench.changes", directory), members)


@contextmanager
def _servers(sizes: Sizes, *names: str) -> Iterator[tuple[Path, Kafka, list[MySql]]]:
    starts = [lambda: Kafka("kafka", sizes.warm_up), *(lambda name=name: MySql(name) for name in names)]
    with TemporaryDirectory(prefix="samebase-bench-") as directory, running(*starts) as found:
        broker, *servers = found
        yield Path(directory), broker, servers
