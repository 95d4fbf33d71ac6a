"""Random schedules of two to five replicas on the real core, compared with the dumb oracle after every step.

Checked after every step: the invariant database == replay(pending, S(offset)) (which includes atomicity: no state in
between is ever visible), verdicts and records, and that an own echo writes no row. At the end of every schedule everything
is drained, and all replicas, those booted from snapshots too, must hold the same rows and records byte for byte.

Schedules contain lost, repeated, late and cut publishes, crashes between any two effects, deadlocks, a zombie process
on the same database, commits between capture and apply and between lock and barrier, snapshots, and a migration.

`python bench/soak.py --minutes 60` runs it for an hour. A failure prints the blob that reproduces it.
"""

from __future__ import annotations

from itertools import product

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from tests.support.cluster import NEW, OLD, Cluster, Database, Locked, Outgoing, Statement, Sync

KEYS = (1, 2)
NAMES = ("x", "y", None)


def statements() -> list[Statement]:
    """Everything that an application may say, on spaces so small that it conflicts all the time."""
    made: list[Statement] = []
    for key in KEYS:
        made += [("insert", "note", {"id": key, "a": value}) for value in (1, 2)]
        made += [("update", "note", (key,), {column: value}) for column in "ab" for value in (1, 2)]
        made += [("insert", "hits", {"id": key, "n": value}) for value in (0, 2)]
        made += [("add", "hits", (key,), "n", value) for value in (1, -1, 3)]
        made += [("update", "hits", (key,), {"tag": value}) for value in (1, 2)]
        made += [("insert", "acct", {"id": key, "name": value}) for value in NAMES]
        made += [("update", "acct", (key,), {"name": value}) for value in NAMES]
        made += [("update", "acct", (key,), {"v": value}) for value in (1, 2)]
        seats = product(("p", None), (1, None), ("l", "m"))
        made += [
            ("insert", "seat", {"row": 1, "no": key, "guest": guest, "hall": hall, "label": label})
            for guest, hall, label in seats
        ]
        made += [("update", "seat", (1, key), {"guest": value}) for value in ("p", "q", None)]
        made += [("update", "seat", (1, key), {"hall": 1, "label": value}) for value in ("l", "m")]
        for table in ("note", "hits", "acct"):
            made += [("delete", table, (key,)), ("rekey", table, (key,), (3 - key,))]
        made += [("delete", "seat", (1, key)), ("rekey", "seat", (1, key), (1, 3 - key))]
    made += [("swap", "acct", (1,), (2,), "name"), ("swap", "seat", (1, 1), (1, 2), "guest")]
    return made


WITH_NEW_COLUMNS: list[Statement] = [
    *(("update", table, (key,), {column: value}) for table, column in (("note", "c"), ("acct", "w"))
      for key in KEYS for value in (7, 8)),
    *(("insert", "note", {"id": key, "c": 8}) for key in KEYS),
]  # fmt: skip

STATEMENTS = statements()
BY_TABLE = {name: [made for made in STATEMENTS if made[1] == name] for name in OLD}
one_statement = st.one_of(*(st.sampled_from(made) for made in BY_TABLE.values()))
writes = st.lists(one_statement, min_size=1, max_size=4)
few = st.integers(1, 4)
who = st.integers(0, 7)


class ClusterMachine(RuleBasedStateMachine):
    """Hypothesis chooses the effects; the cluster checks each of them."""

    def __init__(self) -> None:
        super().__init__()
        self.cluster = Cluster([])
        self.number = 0

    @initialize(schemas=st.sampled_from(["nn", "nnn", "nnnn", "oo", "onn", "nno"]))
    def begin(self, schemas: str) -> None:
        """One letter a replica: new, or old and to be migrated."""
        self.cluster = Cluster([NEW if letter == "n" else OLD for letter in schemas])

    def database(self, index: int) -> Database:
        return self.cluster.databases[index % len(self.cluster.databases)]

    def sync(self, index: int) -> Sync:
        """Any process of any replica; the first ones are likelier than zombies."""
        syncs = self.cluster.syncs[index % len(self.cluster.syncs)]
        return syncs[index // len(self.cluster.syncs) % len(syncs)]

    def commit(self, database: Database, statements: list[Statement], certify: bool = False) -> None:
        self.number += 1
        try:
            database.commit(statements, certify, f"q{self.number}" if self.number % 4 else None)
        except Locked:
            return
        self.cluster.check(database)

    @rule(index=who, statements=writes)
    def write(self, index: int, statements: list[Statement]) -> None:
        self.commit(self.database(index), statements)

    @rule(index=who, statements=st.lists(st.sampled_from(BY_TABLE["note"] + BY_TABLE["hits"]), min_size=1, max_size=2))
    def write_certified(self, index: int, statements: list[Statement]) -> None:
        self.commit(self.database(index), statements, certify=True)

    @rule(index=who, statements=writes, undo=st.booleans())
    def write_everywhere(self, index: int, statements: list[Statement], undo: bool) -> None:
        """The same on every replica at once: conflicts without a doubt. Or a commit that nets to nothing."""
        if undo:
            made: list[Statement] = [("insert", "acct", {"id": 3, "name": "aside"}), ("delete", "acct", (3,))]
            self.commit(self.database(index), made)
            return
        for database in self.cluster.databases:
            self.commit(database, statements)

    @rule(index=who, statement=st.sampled_from(WITH_NEW_COLUMNS))
    def write_new_column(self, index: int, statement: Statement) -> None:
        database = self.database(index)
        if database.schema is NEW:
            self.commit(database, [statement])

    @rule(index=who, limit=st.sampled_from([1, 2, None]))
    def capture(self, index: int, limit: int | None) -> None:
        self.sync(index).capture(limit)

    @rule(index=who, count=st.integers(1, 6))
    def publish(self, index: int, count: int) -> None:
        sync = self.sync(index)
        sync.capture()
        for _ in range(count):
            sync.send()

    @rule(index=who, fate=st.sampled_from(["lost", "late", "twice"]))
    def publish_badly(self, index: int, fate: str) -> None:
        sync = self.sync(index)
        record = sync.publish()
        if record is None:
            return
        if fate == "late":
            self.cluster.flying.append(record)
        elif fate == "twice":
            self.cluster.append(record.content)
            sync.arrived(record, self.cluster.append(record.content))

    @rule(index=who, size=st.integers(1, 2), sent=st.integers(0, 3))
    def publish_parts(self, index: int, size: int, sent: int) -> None:
        sync = self.sync(index)
        sync.cut(size)
        for _ in range(sent):
            sync.send()

    @rule(index=who)
    def land(self, index: int) -> None:
        """A late record arrives, whatever became of its sender."""
        if self.cluster.flying:
            record: Outgoing = self.cluster.flying.pop(index % len(self.cluster.flying))
            self.cluster.append(record.content)

    @rule(index=who, size=few)
    def open(self, index: int, size: int) -> None:
        self.sync(index).open(size)

    @rule(index=who)
    def barrier(self, index: int) -> None:
        self.sync(index).barrier()

    @rule(index=who, crash=st.booleans())
    def finish(self, index: int, crash: bool) -> None:
        sync = self.sync(index)
        sync.finish(crash)
        self.cluster.check(sync.database)

    @rule(index=who, size=few, times=st.integers(1, 3))
    def deliver(self, index: int, size: int, times: int) -> None:
        sync = self.sync(index)
        for _ in range(times):
            sync.deliver(size)
            self.cluster.check(sync.database)

    @rule(size=few)
    def deliver_everywhere(self, size: int) -> None:
        """Everybody publishes and catches up, undisturbed."""
        for syncs in self.cluster.syncs:
            syncs[0].capture()
            while syncs[0].database.owner is None and syncs[0].outbox:
                syncs[0].send()
        for syncs in self.cluster.syncs:
            while syncs[0].deliver(size):
                self.cluster.check(syncs[0].database)

    @rule(index=who)
    def deadlock(self, index: int) -> None:
        self.sync(index).deadlock()

    @rule(index=who)
    def crash(self, index: int) -> None:
        sync = self.sync(index)
        sync.start()
        self.cluster.check(sync.database)

    @rule(index=who)
    def zombie(self, index: int) -> None:
        syncs = self.cluster.syncs[index % len(self.cluster.syncs)]
        if len(syncs) == 1:
            syncs.append(Sync(self.cluster, syncs[0].database))

    @rule(index=who, statements=st.lists(one_statement, max_size=2))
    def boot(self, index: int, statements: list[Statement]) -> None:
        if len(self.cluster.databases) < 5:
            self.cluster.boot(index % len(self.cluster.databases), statements)

    @rule(index=who)
    def migrate(self, index: int) -> None:
        database = self.database(index)
        if database.schema is OLD:
            self.cluster.oracle(NEW)
            database.end()
            database.migrate(NEW)
            for sync in self.cluster.syncs[index % len(self.cluster.syncs)]:
                sync.start()
            self.cluster.check(database)

    def teardown(self) -> None:
        self.cluster.drain()


TestCluster = ClusterMachine.TestCase
