"""Every interleaving of two replicas, three transactions and one crash, on the real core.

An effect is: the application commits its next transaction; sync captures one commit, publishes one record, opens a
batch (locks), passes the barrier, commits the batch; a process crashes at any moment, also between its database commit
and `written`. States that were seen are not visited again. In every state the invariant holds, at every end all
replicas are the same.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest

from samebase.core.admission import Admission
from samebase.core.pending import Pending
from samebase.core.replica import Replica
from tests.support.cluster import NEW, Cluster, Database, Locked, Statement, Sync, canonical
from tests.support.oracle import Oracle

Program = tuple[list[list[Statement]], list[list[Statement]], list[list[Statement]]]
"""What is there at the beginning; the transactions of the first replica and of the second."""

NOTE: Statement = ("insert", "note", {"id": 1, "a": 0})
ACCTS: list[Statement] = [("insert", "acct", {"id": 1, "name": "x"}), ("insert", "acct", {"id": 2, "name": "y"})]
PROGRAMS: dict[str, Program] = {
    "merge: one row, two writers": (
        [[NOTE]],
        [[("update", "note", (1,), {"a": 1})], [("delete", "note", (1,))]],
        [[("update", "note", (1,), {"a": 2, "b": 2})]],
    ),
    "strict: one key, one name": (
        [],
        [[("insert", "acct", {"id": 1, "name": "x"})], [("update", "acct", (1,), {"v": 1})]],
        [[("insert", "acct", {"id": 1, "name": "x", "v": 2})]],
    ),
    "a unique value moves while another takes it": (
        [ACCTS],
        [[("swap", "acct", (1,), (2,), "name")], [("update", "acct", (1,), {"name": "z"})]],
        [[("delete", "acct", (2,)), ("insert", "acct", {"id": 3, "name": "y"})]],
    ),
    "counters": (
        [[("insert", "hits", {"id": 1, "n": 2})]],
        [[("add", "hits", (1,), "n", 1)], [("add", "hits", (1,), "n", 1), ("update", "hits", (1,), {"tag": 1})]],
        [[("add", "hits", (1,), "n", 2)]],
    ),
    "strict and merge in one transaction": (
        [[NOTE, *ACCTS]],
        [
            [("update", "acct", (1,), {"v": 1}), ("update", "note", (1,), {"a": 1})],
            [("update", "note", (1,), {"a": 2})],
        ],
        [[("update", "acct", (1,), {"v": 2}), ("update", "note", (1,), {"b": 2})]],
    ),
}
MUTABLE = {Database, Sync, Replica, Admission, Pending}
SHARED = {"cluster", "schema", "_schema"}


def fork(cluster: Cluster, index: int) -> Cluster:
    """A copy in which something may happen at one replica; what cannot change by that is shared."""
    copy = Cluster([])
    copy.log = list(cluster.log)
    copy.oracles = {key: fork_oracle(oracle) for key, oracle in cluster.oracles.items()}
    copy.databases, copy.syncs = list(cluster.databases), list(cluster.syncs)
    sync: Sync = _fork(cluster.syncs[index][0], {})
    sync.cluster = copy
    copy.databases[index], copy.syncs[index] = sync.database, [sync]
    return copy


def fork_oracle(oracle: Oracle) -> Oracle:
    copy = Oracle(oracle.columns)
    copy.states, copy.applied = list(oracle.states), list(oracle.applied)
    copy.outcomes = dict(oracle.outcomes)
    return copy


def _fork(value: Any, memo: dict[int, Any]) -> Any:
    kind = type(value)
    if kind in MUTABLE:
        if id(value) not in memo:
            copy = memo[id(value)] = object.__new__(kind)
            for name, item in value.__dict__.items():
                copy.__dict__[name] = item if name in SHARED else _fork(item, memo)
        return memo[id(value)]
    if kind is dict:
        return {key: item.copy() if type(item) is list else item for key, item in value.items()}
    return value.copy() if kind in (list, deque, set) else value


def identity(cluster: Cluster, crashes: int) -> tuple[object, ...]:
    """Equal for states that have the same future."""
    about: list[object] = [crashes, tuple((made.origin, made.seq) for made in cluster.log)]  # type: ignore[union-attr]
    for database, (sync,) in zip(cluster.databases, cluster.syncs, strict=True):
        about.append(
            (
                tuple(repr(made.changes) for made in database.history[1:]),
                len(database.commits),
                database.state.offset,
                database.state.settled,
                len(database.state.base),
                sync.core.offset,
                sync.core.last_captured,
                sync.core.pending,
                sync.core._fresh,
                sync.cursor,
                tuple((record.content.seq, record.again) for record in sync.outbox),  # type: ignore[union-attr]
                None if sync.batch is None else len(sync.batch),
                database.owner is not None,
                sync.stable,
                None if sync.rows is None else (len(sync.rows.rows), len(sync.rows.holders)),
            )
        )
    return tuple(about)


def effects(program: Program, cluster: Cluster, crashes: int) -> list[tuple[str, int]]:
    """What can happen next."""
    found = []
    for index, (database, (sync,)) in enumerate(zip(cluster.databases, cluster.syncs, strict=True)):
        done = len(database.commits) - (len(program[0]) if index == 0 else 0)
        if done < len(program[1 + index]):
            found.append(("write", index))
        if database.owner is None:
            if database.commits and database.commits[-1].seq > sync.core.last_captured:
                found.append(("capture", index))
            if sync.outbox:
                found.append(("publish", index))
            if sync.cursor < len(cluster.log):
                found.append(("open", index))
        elif not sync.stable:
            found.append(("barrier", index))
        else:
            found.append(("finish", index))
            if crashes:
                found.append(("finish and crash", index))
        if crashes:
            found.append(("crash", index))
    return found


def perform(program: Program, cluster: Cluster, effect: str, index: int) -> bool:
    """Carry an effect out; False if it has to wait."""
    database, sync = cluster.databases[index], cluster.syncs[index][0]
    if effect == "write":
        done = len(database.commits) - (len(program[0]) if index == 0 else 0)
        try:
            database.commit(program[1 + index][done], request="q")
        except Locked:
            return False
    elif effect == "capture":
        sync.capture(1)
    elif effect == "publish":
        sync.send()
    elif effect == "open":
        sync.open(9)
    elif effect == "barrier":
        sync.barrier()
    elif effect == "crash":
        sync.start()
    else:
        sync.finish(crash=effect != "finish")
    cluster.check(database)
    return True


def explore(program: Program) -> tuple[int, int]:
    """Visit everything; returns how many states there are, and how many of them are ends."""
    cluster = Cluster([NEW, NEW])
    for statements in program[0]:
        cluster.databases[0].commit(statements, request="start")
    for sync in (cluster.syncs[0][0], cluster.syncs[1][0]):
        sync.capture()
        while sync.outbox:
            sync.send()
        while sync.deliver(9):
            pass
    stack = [(cluster, 1)]
    seen = {identity(cluster, 1)}
    ends = 0
    while stack:
        cluster, crashes = stack.pop()
        moved = False
        for effect, index in effects(program, cluster, crashes):
            after = fork(cluster, index)
            if not perform(program, after, effect, index):
                continue
            left = crashes - ("crash" in effect)
            moved = moved or left == crashes
            key = identity(after, left)
            if key not in seen:
                seen.add(key)
                stack.append((after, left))
        if not moved:
            ends += 1
            first, second = cluster.databases
            assert canonical(first) == canonical(second)
            assert all(syncs[0].core.pending == 0 for syncs in cluster.syncs)
            assert first.state.offset == second.state.offset == len(cluster.log)
    return len(seen), ends


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_interleaving_keeps_the_invariant_and_converges(name: str, record_property: Any) -> None:
    states, ends = explore(PROGRAMS[name])
    print(f"\n{name}: {states} states, {ends} ends")
    record_property("states", states)
    assert states > 1000
    assert ends > 1
