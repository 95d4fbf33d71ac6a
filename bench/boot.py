"""`python -m bench.boot [--rows N]`: new replicas, `verify` and catching up, beside what people use for these today.

One run, one machine: real MySQL and Kafka. Prints figures and ratios; says which targets are missed, and fails only if
something could not be measured.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from bench.real.servers import DATABASE, PASSWORD, Kafka, MySql, missing, running, together, until
from bench.real.stats import percentile
from bench.real.syncs import Sync
from bench.real.table import DDL, TABLE, TABLES_FILE, insert

TOKEN = "a token for the bench only"  # noqa: S105 - of servers that listen on loopback only
TOPIC = "bench.changes"
FILL_ROWS = 20_000
"""Rows of one statement."""
WRITES_PER_SECOND = 100
BOOT_SECONDS, BOOT_RATIO, VERIFY_SECONDS, MEMORY_MB, HELD_RATIO = 60.0, 1.5, 60.0, 200.0, 2.0
"""What is to be reached."""
LONG = 1800.0
DUMP = "mysqldump -uroot --host=127.0.0.1 --port={} --single-transaction --set-gtid-purged=OFF " + f"{DATABASE} {TABLE}"


@dataclass(slots=True)
class Peak:
    """The most memory that a process and its children hold, in MB, while a block runs."""

    pid: int
    megabytes: float = 0.0
    stop: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def watched(self) -> Iterator[Peak]:
        thread = threading.Thread(target=self._watch)
        thread.start()
        try:
            yield self
        finally:
            self.stop.set()
            thread.join()

    def _watch(self) -> None:
        while not self.stop.wait(0.05):
            self.megabytes = max(self.megabytes, sum(map(_resident_mb, [self.pid, *_children(self.pid)])))


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()] + [
            int(child)
            for task in Path(f"/proc/{pid}/task").iterdir()
            for child in (task / "children").read_text().split()
            if task.name != str(pid)
        ]
    except OSError:  # it has ended
        return []


def _resident_mb(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:  # it has ended
        return 0.0
    return sum(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmRSS"))


class Writer:
    """An application of one replica: single-row transactions at a steady rate, each timed."""

    def __init__(self, server: MySql) -> None:
        self._server = server
        self.milliseconds: list[float] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Writer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        due = time.monotonic()
        with closing(self._server.session()) as session, session.cursor() as cursor:
            while not self._stop.is_set():
                due += 1 / WRITES_PER_SECOND
                time.sleep(max(0.0, due - time.monotonic()))
                began = time.monotonic()
                cursor.execute(insert(1))
                self.milliseconds.append((time.monotonic() - began) * 1000)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.boot", description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--backlog", type=int, default=36_000, help="transactions of an hour's absence: 10 per second")
    given = parser.parse_args()
    reason = missing()
    if reason is not None:
        sys.exit(f"bench: not measured: {reason}")
    starts = [lambda name=name: MySql(name) for name in ("a", "b", "c", "dumped", "cloned")]
    with (
        TemporaryDirectory(prefix="samebase-bench-") as directory,
        running(lambda: Kafka("kafka"), *starts) as (broker, *servers),
    ):
        measure(broker, servers, Path(directory), given.rows, given.backlog)


def measure(broker: Kafka, servers: list[MySql], directory: Path, rows: int, backlog: int) -> None:
    """All figures, in the order in which they build on each other."""
    a, b, c, dumped, cloned = servers
    (directory / "tables.toml").write_text(TABLES_FILE)
    together(*(lambda server=server: server.execute(*DDL) for server in (a, b, c, dumped)))
    fill(a, rows)
    log = broker.url(TOPIC)
    first = Sync(a, log, directory, SAMEBASE_PEER_TOKEN=TOKEN)
    syncs = [first]
    say(f"{rows:,} rows, {os.cpu_count()} cores")
    try:
        say(f"adopt: {timed(lambda: samebase(first, 'adopt')):.1f} s")
        first.start()
        first.await_ready()
        forget(broker)
        peers = {"SAMEBASE_PEERS": first.url, "SAMEBASE_PEER_TOKEN": TOKEN}

        idle = p99_of(a, 10.0)
        second = Sync(b, log, directory, **peers)
        syncs.append(second)
        quiet = boot(first, second, "boot from a peer")
        with Writer(a) as writer:
            time.sleep(1)  # it is at its rate
            writer.milliseconds.clear()
            dump(a, dumped)
        dumping = percentile(writer.milliseconds, 99)
        dumped.execute(f"TRUNCATE {DATABASE}.{TABLE}")
        by_dump = timed(lambda: dump(a, dumped))
        say(f"mysqldump | mysql: {by_dump:.1f} s; boot takes {quiet / by_dump:.2f} of it {verdict(quiet, by_dump)}")
        say(f"CLONE, until the server answers again: {timed(lambda: clone(a, cloned)):.1f} s")

        third = Sync(c, log, directory, **peers)
        syncs.append(third)
        with Writer(a) as writer:
            boot(first, third, f"boot from a peer with {WRITES_PER_SECOND} writes/s")
        busy = percentile(writer.milliseconds, 99)
        told = "" if busy <= HELD_RATIO * idle else f"MISSED: {HELD_RATIO}"
        say(f"p99 of the peer's writes: {idle:.1f} ms; during a boot {busy:.1f} ms, {busy / idle:.1f} times {told}")
        say(f"  (during mysqldump | mysql {dumping:.1f} ms; either way a second server writes on the same machine)")
        say(f"the peer applied nothing for {held_ms(first):.0f} ms at the most")

        seconds = timed(lambda: samebase(first, "verify", *(sync.url for sync in syncs)))
        say(f"verify of 3: {seconds:.1f} s {'' if seconds <= VERIFY_SECONDS else 'MISSED: 60 s'}")
        by_query = timed(lambda: together(*(lambda server=server: checksum(server) for server in (a, b, c))))
        say(f"checksums by queries, one chunk of 1,000 after another: {by_query:.1f} s")

        third.stop()
        write(a, backlog)
        until(first.settled, "the backlog in the log", LONG)
        began = time.monotonic()
        third.start()
        third.await_ready()
        seconds = time.monotonic() - began
        say(f"catching up with {backlog:,} transactions: {seconds:.1f} s, {backlog / seconds:,.0f} per second")
    finally:
        together(*(sync.stop for sync in syncs))


def boot(peer: Sync, new: Sync, what: str) -> float:
    """Start a replica with an empty database; seconds until it is ready."""
    began = time.monotonic()
    with Peak(peer.pid).watched() as giving:
        taking = threading.Thread(target=new.start, args=(LONG,))
        taking.start()
        until(lambda: new.running, "the process", 10, 0.001)
        with Peak(new.pid).watched() as other:
            taking.join()
            until(lambda: new.get("/readyz").ok, "the new replica ready", LONG)
            seconds = time.monotonic() - began
    well = seconds <= BOOT_SECONDS and max(giving.megabytes, other.megabytes) <= MEMORY_MB
    say(
        f"{what}: {seconds:.1f} s; memory {giving.megabytes:.0f} MB giving, {other.megabytes:.0f} MB taking "
        f"{'' if well else f'MISSED: {BOOT_SECONDS:.0f} s, {MEMORY_MB:.0f} MB'}"
    )
    return seconds


def verdict(boot_seconds: float, dump_seconds: float) -> str:
    return "" if boot_seconds <= BOOT_RATIO * dump_seconds else f"MISSED: {BOOT_RATIO}"


def fill(server: MySql, rows: int) -> None:
    with closing(server.session()) as session, session.cursor() as cursor:
        cursor.execute("SET SESSION sql_log_bin = 0, cte_max_recursion_depth = 1000000")
        for start in range(0, rows, FILL_ROWS):
            cursor.execute(insert(min(FILL_ROWS, rows - start)))


def write(server: MySql, transactions: int) -> None:
    with closing(server.session()) as session, session.cursor() as cursor:
        for _ in range(transactions):
            cursor.execute(insert(1))


def p99_of(server: MySql, seconds: float) -> float:
    """Of a writer that has the replica for itself, in ms."""
    with Writer(server) as writer:
        time.sleep(seconds)  # that is what is measured
    return percentile(writer.milliseconds, 99)


def forget(broker: Kafka) -> None:
    """As the topic's retention does: a new replica must ask a peer."""
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    (done,) = admin.delete_records([TopicPartition(TOPIC, 0, broker.end(TOPIC))]).values()
    done.result(30)


def samebase(sync: Sync, *arguments: str) -> None:
    command = [str(Path(sys.executable).with_name("samebase")), *arguments]
    subprocess.run(command, env=os.environ | sync.environment, check=True, stdout=subprocess.DEVNULL, timeout=LONG)


def dump(source: MySql, target: MySql) -> None:
    into = f"mysql -uroot --host=127.0.0.1 --port={target.port} {DATABASE}"
    source.run("bash", "-c", f"set -o pipefail; {DUMP.format(source.port)} | {into}", seconds=LONG)


def clone(source: MySql, target: MySql) -> None:
    for server in (source, target):
        server.execute("INSTALL PLUGIN clone SONAME 'mysql_clone.so'")
    target.execute(f"SET GLOBAL clone_valid_donor_list = '127.0.0.1:{source.port}'")
    statement = f"CLONE INSTANCE FROM 'root'@'127.0.0.1':{source.port} IDENTIFIED BY '{PASSWORD}'"
    with closing(target.session(None)) as session, session.cursor() as cursor:
        try:
            cursor.execute(statement)
        except Exception as error:
            if "3707" not in str(error) and "Lost connection" not in str(error):
                raise
    for command in ("wait", "start"):
        subprocess.run(["docker", command, target.id], check=True, stdout=subprocess.DEVNULL, timeout=60)
    until(target.answers, "the clone answering", 300, 0.05)


def checksum(server: MySql) -> None:
    """As tools for MySQL do it: an aggregate over each chunk of the primary key."""
    columns = "id, name, description, status, progress, calls, owner, created, updated"
    with closing(server.session()) as session, session.cursor() as cursor:
        last = ""
        while True:
            cursor.execute(
                f"SELECT count(*), bit_xor(crc32(concat_ws('#', {columns}))), max(id) FROM "
                f"(SELECT * FROM {TABLE} FORCE INDEX (PRIMARY) WHERE id > %s ORDER BY id LIMIT 1000) AS chunk",
                (last,),
            )
            count, _, last = cursor.fetchone()
            if not count:
                return


def held_ms(sync: Sync) -> float:
    """The longest that a snapshot has held back its replica's Writes, as it logged it."""
    lines = [line for line in sync.lines() if line.get("event") == "view opened"]
    return max(float(line["held_ms"]) for line in lines)


def timed(do: Callable[[], object]) -> float:
    began = time.monotonic()
    do()
    return time.monotonic() - began


def say(text: str) -> None:
    print(text.rstrip(), flush=True)


if __name__ == "__main__":
    main()
