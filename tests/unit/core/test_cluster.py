"""Random schedules of two to five replicas on the real core, compared with the dumb oracle after every step.

Checked after every step: the invariant database == replay(pending, S(offset)) (which includes atomicity: no state in
between is ever visible), verdicts and records, and that an own echo writes no row. At the end of every schedule
everything is drained, and all replicas, those booted from snapshots too, must hold the same rows and records byte for
byte.

Schedules contain lost, repeated, late and cut publishes, crashes between any two effects, deadlocks, a zombie process
on the same database, commits between capture and apply and between lock and barrier, snapshots, and a migration.

`python bench/soak.py --minutes 60` runs it for an hour. A failure prints the blob that reproduces it.
"""

from __future__ import annotations

import sys

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from tests.support.cluster import NEW, OLD, Cluster, Database, Locked, Outgoing, Statement, Sync

KEYS = (1, 2, 3)
NAMES = ("x", "y", None)


def statements(table: str) -> list[Statement]:
    """What an application may say, on spaces so small that it conflicts all the time."""
    made: list[Statement] = []
    for key in KEYS:
        other = key % 3 + 1
        if table == "note":
            made += [("insert", "note", {"id": key, "a": value}) for value in (1, 2)]
            made += [("update", "note", (key,), {column: value}) for column in "ab" for value in (1, 2)]
        elif table == "hits":
            made += [("insert", "hits", {"id": key, "n": value}) for value in (0, 2)]
            made += [("add", "hits", (key,), "n", value) for value in (1, -1, 3)]
            made += [("update", "hits", (key,), {"tag": value}) for value in (1, 2)]
        elif table == "acct":
            made += [("insert", "acct", {"id": key, "name": value}) for value in NAMES]
            made += [("update", "acct", (key,), {"name": value}) for value in NAMES]
            made += [("update", "acct", (key,), {"v": value}) for value in (1, 2)]
            made.append(("swap", "acct", (key,), (other,), "name"))
        else:
            made += [
                ("insert", "seat", {"row": 1, "no": key, "guest": guest, "hall": 1, "label": label})
                for guest, label in (("p", "l"), (None, "m"), ("q", None))
            ]
            made += [("update", "seat", (1, key), {"guest": value}) for value in ("p", "q", None)]
            made += [("update", "seat", (1, key), {"hall": 1, "label": value}) for value in ("l", "m")]
            made.append(("swap", "seat", (1, key), (1, other), "guest"))
        place, elsewhere = ((1, key), (1, other)) if table == "seat" else ((key,), (other,))
        made += [("delete", table, place), ("rekey", table, place, elsewhere)]
    return made


BY_TABLE = {name: statements(name) for name in OLD}
START: list[Statement] = [
    *(("insert", "note", {"id": key, "a": 0}) for key in KEYS),
    *(("insert", "hits", {"id": key, "n": 2}) for key in KEYS),
    *(("insert", "acct", {"id": key, "name": name}) for key, name in zip(KEYS, NAMES, strict=True)),
    *(("insert", "seat", {"row": 1, "no": key, "guest": guest, "hall": 1, "label": label})
      for key, guest, label in ((1, "p", "l"), (2, "q", "m"))),
]  # fmt: skip
WITH_NEW_COLUMNS: list[Statement] = [
    *(("update", table, (key,), {column: value}) for table, column in (("note", "c"), ("acct", "w"))
      for key in KEYS for value in (7, 8)),
    *(("insert", "note", {"id": key, "c": 8}) for key in KEYS),
]  # fmt: skip

one_statement = st.one_of(*(st.sampled_from(made) for made in BY_TABLE.values()))
merge_statement = st.sampled_from(BY_TABLE["note"] + BY_TABLE["hits"])
writes = st.lists(one_statement, min_size=1, max_size=3)
fates = st.lists(
    st.sampled_from(["arrive", "arrive", "arrive", "lost", "late", "twice", "cut 1", "cut 2"]), min_size=1, max_size=6
)
sizes = st.integers(1, 5)
who = st.integers(0, 9)


class ClusterMachine(RuleBasedStateMachine):
    """Hypothesis chooses the effects; the cluster checks each of them."""

    def __init__(self) -> None:
        super().__init__()
        self.cluster = Cluster([])
        self.number = 0

    @initialize(schemas=st.sampled_from(["nn", "nnn", "nnnn", "onn", "no"]), start=st.booleans())
    def begin(self, schemas: str, start: bool) -> None:
        """One letter a replica: new, or old and to be migrated. Rows to begin with, known to all, or none."""
        self.cluster = Cluster([NEW if letter == "n" else OLD for letter in schemas])
        if start:
            self.commit(self.cluster.databases[-1 if schemas == "no" else 0], START)
            self.everybody(sizes=10)

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

    def everybody(self, sizes: int) -> None:
        for syncs in self.cluster.syncs:
            syncs[0].capture()
            while syncs[0].database.owner is None and syncs[0].outbox:
                syncs[0].send()
        for syncs in self.cluster.syncs:
            while syncs[0].deliver(sizes):
                self.cluster.check(syncs[0].database)

    # -- applications --------------------------------------------------------------------------------------------

    @rule(index=who, statements=writes)
    def write(self, index: int, statements: list[Statement]) -> None:
        self.commit(self.database(index), statements)

    @rule(index=who, statements=st.lists(merge_statement, min_size=1, max_size=2))
    def write_certified(self, index: int, statements: list[Statement]) -> None:
        self.commit(self.database(index), statements, certify=True)

    @rule(statements=st.lists(st.lists(one_statement, max_size=2), min_size=5, max_size=5))
    def write_everywhere(self, statements: list[list[Statement]]) -> None:
        """Something on every replica at once."""
        for database, made in zip(self.cluster.databases, statements, strict=False):
            self.commit(database, made)

    @rule(index=who)
    def write_nothing(self, index: int) -> None:
        """A commit that nets to nothing."""
        self.commit(self.database(index), [("insert", "acct", {"id": 9, "name": "z"}), ("delete", "acct", (9,))])

    @rule(index=who, statement=st.sampled_from(WITH_NEW_COLUMNS))
    def write_new_column(self, index: int, statement: Statement) -> None:
        database = self.database(index)
        if database.schema is NEW:
            self.commit(database, [statement])

    # -- publishing ----------------------------------------------------------------------------------------------

    @rule(index=who, limit=st.sampled_from([1, 2, None]))
    def capture(self, index: int, limit: int | None) -> None:
        self.sync(index).capture(limit)

    @rule(index=who, fates=fates)
    def publish(self, index: int, fates: list[str]) -> None:
        """What becomes of the next records, one by one; a part is a record like any other."""
        sync = self.sync(index)
        sync.capture()
        for fate in fates:
            if fate.startswith("cut"):
                sync.cut(int(fate[-1]))
                sync.send()
                continue
            record = sync.publish()
            if record is None:
                return
            if fate == "late":
                self.cluster.flying.append(record)
            for _ in range({"arrive": 1, "twice": 2}.get(fate, 0)):
                sync.arrived(record, self.cluster.append(record.content))

    @rule(index=who, statements=st.lists(one_statement, min_size=4, max_size=6), size=st.integers(1, 2), sent=sizes)
    def write_large(self, index: int, statements: list[Statement], size: int, sent: int) -> None:
        """A transaction in parts, perhaps unfinished, perhaps with the parts of a zombie in between."""
        self.commit(self.database(index), statements)
        syncs = self.cluster.syncs[index % len(self.cluster.syncs)]
        for sync in syncs:
            sync.capture()
            while sync.database.owner is None and len(sync.outbox) > 1:
                sync.send()
            sync.cut(size)
            size = 3 - size
        for turn in range(sent):
            syncs[turn % len(syncs)].send()

    @rule(index=who)
    def land(self, index: int) -> None:
        """A late record arrives, whatever became of its sender."""
        if self.cluster.flying:
            record: Outgoing = self.cluster.flying.pop(index % len(self.cluster.flying))
            self.cluster.append(record.content)

    # -- applying ------------------------------------------------------------------------------------------------

    @rule(index=who, size=sizes, times=st.integers(1, 4))
    def deliver(self, index: int, size: int, times: int) -> None:
        sync = self.sync(index)
        for _ in range(times):
            sync.deliver(size)
            self.cluster.check(sync.database)

    @rule(
        index=who,
        size=sizes,
        locked=st.lists(one_statement, max_size=2),
        captured=st.lists(one_statement, max_size=2),
        ending=st.sampled_from(["commit", "commit", "crash before", "crash after", "deadlock"]),
    )
    def deliver_disturbed(
        self, index: int, size: int, locked: list[Statement], captured: list[Statement], ending: str
    ) -> None:
        """The application commits after the locks were taken and again after the barrier; anything may happen then."""
        sync = self.sync(index)
        if not sync.open(size):
            return
        self.commit(sync.database, locked)
        while not sync.barrier():
            pass
        self.commit(sync.database, captured)
        if ending == "crash before":
            sync.start()
        elif ending == "deadlock":
            sync.deadlock()
        else:
            sync.finish(crash=ending == "crash after")
        self.cluster.check(sync.database)

    @rule(index=who, size=sizes)
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

    @rule(size=sizes)
    def deliver_everywhere(self, size: int) -> None:
        """Everybody publishes and catches up, undisturbed."""
        self.everybody(size)

    # -- processes and replicas ----------------------------------------------------------------------------------

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

    @rule(index=who, statements=st.lists(one_statement, max_size=2), restarted=st.booleans())
    def boot(self, index: int, statements: list[Statement], restarted: bool) -> None:
        """A new replica from the snapshot of one that runs, or of one that has just begun to."""
        if len(self.cluster.databases) < 5:
            index %= len(self.cluster.databases)
            if restarted:
                self.cluster.syncs[index][0].start()
            self.cluster.boot(index, statements)

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
        if sys.exc_info()[0] is None:
            self.cluster.drain()


# Four times 500 schedules, so that two workers share them. Random ones each time; a failure prints how to repeat it.
SETTINGS = settings(
    max_examples=500,
    stateful_step_count=60,
    deadline=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)


class TestCluster1(ClusterMachine.TestCase):
    settings = SETTINGS


class TestCluster2(ClusterMachine.TestCase):
    settings = SETTINGS


class TestCluster3(ClusterMachine.TestCase):
    settings = SETTINGS


class TestCluster4(ClusterMachine.TestCase):
    settings = SETTINGS
