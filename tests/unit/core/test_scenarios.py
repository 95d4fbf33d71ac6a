"""Scenario files: stories about the core, with what must come of them.

A file in tests/scenarios is a list of steps; the lines below a step are what it prints. Compare by running this test;
after a deliberate change, `python -m tests.unit.core.test_scenarios` writes what is printed now into the files: read
the difference before you commit it.

    # A line for the reader.
    cluster 2 [old]                two replicas, r0 and r1 (`old`: with the tables before the migration)
    r0: insert note id=1 a=1; ...  one application transaction; `certified` first asks for certification
    r0 publish [lost|late|twice]   capture all, publish what waits; the word is about the next record only
    r0 cut 1                       the next transaction is published in parts of one change
    land                           the late records arrive, in order
    r0 deliver [n]                 apply what is in the log (the next n entries) and print the verdicts
    r0 open, r0 barrier, r0 commit the same in steps: lock and read; capture; decide and write
    r0 deadlock                    the database rolls the open batch back
    r0 crash, r0 commit crashing   everything but database and log is lost; the second: right after the commit
    r0 zombie                      a second process on r0's database: r0z in what follows
    boot r1                        a new replica from a snapshot of r1
    r0 migrate                     the additional columns come, with their default
    show r0, log, state r0         rows and rejections; what is in the log; offsets, base rows, pending
    tamper r0 update note 1 a=9    a row changes behind the change log
    ask r0 q1                      what a caller is told of its request
    same                           every replica holds the same rows and rejections, byte for byte
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from samebase.core.errors import SamebaseError
from samebase.core.types import Part, RowId, Scalar, Transaction, Verdict
from tests.support.cluster import NEW, OLD, Cluster, Database, Locked, Statement, Sync, canonical

FOLDER = Path(__file__).parents[2] / "scenarios"
FILES = sorted(FOLDER.glob("*.txt"))


def value(text: str) -> Scalar:
    return None if text == "null" else int(text) if re.fullmatch(r"-?\d+", text) else text


def columns(words: list[str]) -> dict[str, Scalar]:
    return {name: value(text) for name, _, text in (word.partition("=") for word in words)}


def key(text: str) -> tuple[Scalar, ...]:
    return tuple(value(part) for part in text.split(","))


def statement(text: str) -> Statement:
    """`insert t col=v`, `update t key col=v`, `add t key col n`, `delete t key`, `rekey t key key`,
    `swap t key key col`."""
    kind, table, *rest = text.split()
    if kind == "insert":
        return (kind, table, columns(rest))
    if kind == "update":
        return (kind, table, key(rest[0]), columns(rest[1:]))
    if kind == "add":
        return (kind, table, key(rest[0]), rest[1], value(rest[2]))
    if kind == "delete":
        return (kind, table, key(rest[0]))
    if kind == "rekey":
        return (kind, table, key(rest[0]), key(rest[1]))
    return ("swap", table, key(rest[0]), key(rest[1]), rest[2])


def named(id: RowId) -> str:
    return f"{id[0]} {','.join(str(part) for part in id[1])}"


class Story:
    """Runs the steps of one file."""

    def __init__(self) -> None:
        self.cluster = Cluster([])
        self.requests: dict[str, tuple[str, int]] = {}
        self.verdicts: dict[str, dict[str, Verdict]] = {}

    def run(self, step: str) -> list[str]:
        """What the step prints."""
        words = step.split()
        if words[0] == "cluster":
            self.cluster = Cluster([OLD if "old" in words else NEW] * int(words[1]))
            return []
        if words[0] == "land":
            for record in self.cluster.flying:
                self.cluster.append(record.content)
            self.cluster.flying = []
            return []
        if words[0] == "log":
            return [f"{offset} {self.entry(made)}" for offset, made in enumerate(self.cluster.log)]
        if words[0] == "same":
            first, *others = self.cluster.databases
            return ["yes" if all(canonical(other) == canonical(first) for other in others) else "NO"]
        if words[0] == "boot":
            booted = self.cluster.boot(int(words[1][1:]))
            return [f"r{len(self.cluster.databases) - 1}" if booted else "refused"]
        if words[0] == "tamper":
            database = self.cluster.databases[int(words[1][1:])]
            database._execute(statement(" ".join(words[2:])), database.rows)
            return []
        if words[0] in ("show", "state", "ask"):
            return getattr(self, words[0])(*words[1:])  # type: ignore[no-any-return]
        replica = words[0].rstrip(":")
        index, zombie = int(replica[1]), replica.endswith("z")
        syncs = self.cluster.syncs[index]
        if words[0].endswith(":"):
            return self.write(syncs[0].database, step.partition(":")[2].strip())
        if words[1] == "zombie":
            syncs.append(Sync(self.cluster, syncs[0].database))
            return []
        return self.act(syncs[1 if zombie else 0], words[1], words[2:])

    def write(self, database: Database, text: str) -> list[str]:
        request = f"q{sum(len(other.commits) for other in self.cluster.databases) + 1}"
        certified = text.startswith("certified ")
        made = [statement(part) for part in text.removeprefix("certified ").split(";")]
        try:
            commit, failed = database.commit(made, certified, request)
        except Locked:
            return ["waits for a lock"]
        assert commit is not None
        self.cluster.check(database)
        self.requests[request] = (database.origin, commit.seq)
        return [*failed, f"{request}: local, seq {commit.seq}"]

    def act(self, sync: Sync, verb: str, words: list[str]) -> list[str]:
        try:
            printed = self._act(sync, verb, words)
        except SamebaseError as error:
            sync.database.end()
            return [f"{type(error).__name__}: {error}"]
        self.cluster.check(sync.database)
        return printed

    def _act(self, sync: Sync, verb: str, words: list[str]) -> list[str]:
        if verb == "publish":
            sync.capture()
            return self.publish(sync, words)
        if verb == "cut":
            sync.capture()
            sync.cut(int(words[0]))
        elif verb == "deadlock":
            sync.deadlock()
        elif verb == "crash":
            sync.start()
        elif verb == "migrate":
            self.cluster.oracle(NEW)
            sync.database.migrate(NEW)
            sync.start()
        elif verb == "open":
            offset = sync.core.offset
            if not sync.open(int(words[0]) if words else 99):
                return [sync.waits_for or ("fenced: begins anew" if sync.core.offset != offset else "nothing to do")]
            assert sync.rows is not None
            return ["locks " + (", ".join(named(id) for id in sync.rows.rows) or "nothing")]
        elif verb == "barrier":
            while not sync.barrier():
                pass
            assert sync.rows is not None
            return ["locks " + (", ".join(named(id) for id in sync.rows.rows) or "nothing")]
        elif verb == "commit":
            return self.commit(sync, crash=bool(words))
        else:
            printed = []
            while sync.open(int(words[0]) if words else 99):
                while not sync.barrier():
                    pass
                printed += self.commit(sync, crash=False)
                if words:
                    break
            return printed + ([sync.waits_for] if sync.waits_for else [])
        return []

    def publish(self, sync: Sync, words: list[str]) -> list[str]:
        if words:
            record = sync.publish()
            assert record is not None, "there is nothing to publish"
            if words[0] == "late":
                self.cluster.flying.append(record)
            for _ in range({"one": 1, "twice": 2}.get(words[0], 0)):
                sync.arrived(record, self.cluster.append(record.content))
            return []
        while sync.outbox:
            sync.send()
        return []

    def commit(self, sync: Sync, crash: bool) -> list[str]:
        write = sync.decide()
        printed = []
        for verdict in write.verdicts:
            gone = [row for lost in write.rejected if lost.offset == verdict.offset for row in lost.rows]
            outcome = "accepted" if verdict.accepted else f"rejected ({verdict.reason} {named(verdict.rows[0])})"
            if verdict.accepted and gone:
                outcome += f", gone: {', '.join(named(row) for row in gone)}"
            printed.append(f"{verdict.offset} {verdict.request} {outcome}")
            self.verdicts.setdefault(sync.database.origin, {})[verdict.request or ""] = verdict
        for id in write.deletes:
            printed.append(f"  delete {named(id)}")
        for put in write.puts:
            printed.append(f"  {'insert' if put.before is None else 'update'} {named(put.id)}")
        if write.gap is not None:
            printed.append(f"  gap at {write.gap}")
        sync.finish(crash)
        return printed

    def entry(self, made: Transaction | Part) -> str:
        header = made.header if isinstance(made, Part) else made
        part = f" changes {made.start}+{len(header.changes)} of {made.total}" if isinstance(made, Part) else ""
        return f"{header.origin}:{header.seq} after {header.prev}{part} {header.request}"

    def show(self, replica: str) -> list[str]:
        database = self.cluster.databases[int(replica[1])]
        rows = [
            named(id) + ": " + " ".join(f"{name}={'null' if item is None else item}" for name, item in row.items())
            for id, row in sorted(database.rows.items(), key=repr)
        ]
        lost = [
            f"{record.reason}: {record.request} at {record.offset}" + (" (with its changes)" if record.changes else "")
            for record in database.rejected
        ]
        return [*rows, *lost] or ["nothing"]

    def state(self, replica: str) -> list[str]:
        index = int(replica[1])
        state, core = self.cluster.databases[index].state, self.cluster.syncs[index][0].core
        bases = [named(id) + (" absent" if row is None else "") for id, row in sorted(state.base.items(), key=repr)]
        return [
            f"offset {state.offset}, reread {state.reread}, applied {dict(state.applied)}, settled {state.settled}, "
            f"pending {core.pending}, base rows: {', '.join(bases) or 'none'}"
        ]

    def ask(self, replica: str, request: str) -> list[str]:
        """What the core lets a caller know: local, log (its record and all earlier ones are in the log), ordered."""
        origin, seq = self.requests[request]
        assert origin == replica
        core = self.cluster.syncs[int(replica[1])][0].core
        verdict = self.verdicts.get(origin, {}).get(request)
        if verdict is not None:
            return ["ordered: " + ("accepted" if verdict.accepted else f"rejected, {verdict.reason}")]
        if core.last_captured >= seq and all(publish.transaction.seq != seq for publish in core.pending_publishes()):
            return ["ordered: it changed nothing"]
        counted = self.cluster.oracle(NEW).applied[-1].get(origin, 0)
        return ["log: pending" if counted >= seq else "local: pending"]


def play(text: str) -> str:
    """The file with what its steps print now."""
    story, made = Story(), []
    for line in text.splitlines():
        if line.startswith("    "):
            continue
        made.append(line)
        if line.strip() and not line.startswith("#"):
            made += [f"    {printed}" for printed in story.run(line.strip())]
    return "\n".join(made) + "\n"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_story_ends_as_it_is_told(path: Path) -> None:
    assert play(path.read_text()) == path.read_text()


def test_there_is_a_story_for_each_rule_policy_and_answer() -> None:
    names = {path.stem for path in FILES}
    assert {f"rule_{number:02}" for number in range(1, 11)} <= {name[:7] for name in names}
    assert {f"{kind}_{op}" for kind in ("merge", "delta", "strict") for op in ("insert", "update", "delete")} <= names
    assert {"answer_local", "answer_log", "answer_ordered"} <= names


if __name__ == "__main__":
    for file in FILES if len(sys.argv) == 1 else [Path(name) for name in sys.argv[1:]]:
        file.write_text(play(file.read_text()))
