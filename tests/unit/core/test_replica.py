"""The core's answers, one situation a test: what random schedules reach too rarely."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal, localcontext

import pytest

from samebase.core.errors import Diverged, Misuse, SchemaBehind
from samebase.core.policy import fold
from samebase.core.replica import Replica
from samebase.core.snapshot import log_state
from samebase.core.types import (
    PARTS_SPAN,
    Change,
    Chunk,
    Commit,
    Concerned,
    Delta,
    Entry,
    Policy,
    Row,
    RowChange,
    RowId,
    Rows,
    State,
    Table,
    Transaction,
)
from samebase.core.wire import parts

NOTE = Table("note", Policy("merge", ("id",)), {"id": None, "a": None, "b": None})
WIDE = Table("note", Policy("merge", ("id",)), {"id": None, "a": None, "b": None, "c": 7})
ACCT = Table("acct", Policy("strict", ("id",), unique=(("name",),)), {"id": None, "name": None})
SCHEMA = {"note": NOTE, "acct": ACCT}


def note(id: int, **columns: int | None) -> Row:
    return {"id": id, "a": None, "b": None, **columns}


def change(before: Row | None, after: Row | None, table: Table = NOTE) -> Change:
    row = before if after is None else after
    assert row is not None
    return Change(table.name, tuple(row[column] for column in table.policy.key), before, after, table.policy)


def transaction(origin: str, seq: int, prev: int, *changes: Change) -> Transaction:
    return Transaction(origin, seq, prev, any(made.policy.strict for made in changes), changes)


class Base:
    """A database of rows only: reads what is concerned, takes what is written."""

    def __init__(self, **state: object) -> None:
        self.rows: dict[RowId, Row] = {}
        self.state = State("me", **state)  # type: ignore[arg-type]

    def read(self, concerned: Concerned) -> Rows:
        return Rows({id: self.rows.get(id) for id in concerned.rows}, dict.fromkeys(concerned.uniques))

    def deliver(self, replica: Replica, *entries: Entry) -> None:
        write = replica.step(entries, self.read)
        for id in write.deletes:
            del self.rows[id]
        self.rows.update((put.id, put.after) for put in write.puts)
        replica.written(write)


def test_a_snapshot_taken_before_unfinished_parts_are_read_again_still_names_them() -> None:
    """Else a replica that boots from it ignores the last part, and every other replica counts it."""
    replica = Replica(State("me", offset=5, held={"a": 2, "b": 4}), SCHEMA)
    assert replica.snapshot_state().held == {"a": 2, "b": 4}
    first = next(parts(transaction("a", 1, 0, change(None, note(1)), change(None, note(2))), [1]))
    Base().deliver(replica, Entry(2, first))
    assert replica.snapshot_state().held == {"a": 2, "b": 4}
    second = transaction("b", 1, 0, change(None, note(1)))
    Base().deliver(replica, Entry(5, second))
    assert replica.snapshot_state().held == {"a": 2}, "b's transaction arrived whole: nothing of it is held any more"


def test_a_counted_transaction_ends_what_is_held_of_its_origin_although_it_was_not_read_again() -> None:
    replica = Replica(State("me", offset=5, held={"a": 2}), SCHEMA)
    base = Base()
    write = replica.step((Entry(5, transaction("a", 1, 0, change(None, note(1)))),), base.read)
    assert write.held == {"a": None}


@pytest.mark.parametrize(("distance", "counts"), [(PARTS_SPAN, True), (PARTS_SPAN + 1, False)])
@pytest.mark.parametrize("restarted", [False, True])
def test_a_part_counts_only_within_a_span_of_the_one_that_began_it(
    distance: int, counts: bool, restarted: bool
) -> None:
    """Else an origin that died in the middle of a transaction would make everybody read from there for ever."""
    whole = transaction("a", 1, 0, change(None, note(1)), change(None, note(2)))
    first, second = parts(whole, [1, 1])
    if restarted:
        replica = Replica(State("me", offset=2 + distance, held={"a": 2}), SCHEMA)
        assert State("me", offset=2 + distance, held={"a": 2}).reread == (2 if counts else 2 + distance)
        base = Base()
        if counts:
            base.deliver(replica, Entry(2, first))
    else:
        replica, base = Replica(State("me"), SCHEMA), Base()
        base.deliver(replica, Entry(2, first))
    write = replica.step((Entry(2 + distance, second),), base.read)
    assert [verdict.accepted for verdict in write.verdicts] == ([True] if counts else [])
    assert write.held == {"a": None}, "either way nothing is held any more"


def test_parts_that_nobody_continues_are_dropped_after_the_span() -> None:
    replica, base = Replica(State("me"), SCHEMA), Base()
    base.deliver(
        replica, Entry(2, next(parts(transaction("a", 1, 0, change(None, note(1)), change(None, note(2))), [1])))
    )
    other = transaction("b", 1, 0, change(None, note(3)))
    assert replica.step((Entry(1 + PARTS_SPAN, other),), base.read).held == {}
    assert replica.step((Entry(2 + PARTS_SPAN, other),), base.read).held == {"a": None}


def test_an_own_part_that_comes_too_late_is_a_gap() -> None:
    replica, base = Replica(State("me"), SCHEMA), Base()
    rows = tuple(RowChange("note", None, note(id)) for id in (1, 2))
    base.rows.update({("note", (id,)): note(id) for id in (1, 2)})
    published = replica.captured(Commit(1, rows))
    assert published is not None
    first, second = parts(published.transaction, [1, 1])
    base.deliver(replica, Entry(2, first))
    assert replica.step((Entry(3 + PARTS_SPAN, second),), base.read).gap == 3 + PARTS_SPAN


def test_counters_add_exactly_whatever_the_context_of_decimals_is() -> None:
    """A verdict and a row depend on the log alone; the default context rounds to 28 digits."""
    policy = Policy("merge", ("id",), delta=(Delta("n", Decimal("-1E+60"), Decimal("1E+60")),))
    small, large = Decimal("0.000000000000000000000000000001"), Decimal("12345678901234567890123456789012345")
    update = Change("t", (1,), {"id": 1, "n": Decimal(0)}, {"id": 1, "n": small}, policy)
    with localcontext() as context:
        context.prec = 3
        row = fold(update, {"id": 1, "n": large}, {})
    assert row == {"id": 1, "n": Decimal("12345678901234567890123456789012345.000000000000000000000000000001")}


def test_a_snapshot_in_progress_is_not_disturbed_by_commits_that_are_captured_meanwhile() -> None:
    replica = Replica(State("me"), SCHEMA)
    chunks = [Chunk("note", tuple(note(key)), [tuple(note(key).values())]) for key in (1, 2)]
    replica.captured(Commit(1, (RowChange("note", note(1), note(1, a=9)), RowChange("note", note(2), None))))
    stream = log_state(iter(chunks), replica.bases(), SCHEMA)
    first = next(stream)
    replica.captured(Commit(2, (RowChange("note", note(1, a=9), None),)))
    assert [first, *stream] == chunks


def test_a_write_is_void_once_a_commit_is_captured_after_the_decision() -> None:
    """The commit may be on a key whose base row the decision moved."""
    replica = Replica(State("me"), SCHEMA)
    write = replica.step((Entry(0, transaction("a", 1, 0, change(None, note(1)))),), Base().read)
    replica.captured(Commit(1, (RowChange("note", None, note(2)),)))
    with pytest.raises(Misuse, match="not the Write"):
        replica.written(write)


def test_an_own_echo_from_before_a_migration_means_what_the_log_says() -> None:
    """It names fewer columns than the same commit read again: an insert over a row then leaves the new column alone."""
    published = transaction("me", 1, 0, change(None, note(1, a=1)))
    base = Base()
    base.rows["note", (1,)] = note(1, a=1, c=7)
    replica = Replica(base.state, {"note": WIDE})
    replica.captured(Commit(1, (RowChange("note", None, note(1, a=1)),)))
    foreign = transaction("a", 1, 0, change(None, note(1, a=2, c=5), WIDE))
    base.deliver(replica, Entry(0, foreign))
    assert base.rows["note", (1,)] == note(1, a=1, c=7)
    base.deliver(replica, Entry(1, published))
    assert base.rows["note", (1,)] == note(1, a=1, c=5)


def test_the_same_list_with_more_entries_in_it_is_another_batch() -> None:
    replica = Replica(State("me"), SCHEMA)
    entries = [Entry(0, transaction("a", 1, 0, change(None, note(1))))]
    assert len(replica.concerned(entries).rows) == 1
    entries.append(Entry(1, transaction("a", 2, 1, change(None, note(2)))))
    assert len(replica.concerned(entries).rows) == 2


def test_rows_that_are_not_what_the_log_makes_of_them_stop_the_replica() -> None:
    replica = Replica(State("me"), SCHEMA)
    replica.captured(Commit(1, (RowChange("note", None, note(1, a=1)),)))
    base = Base()
    base.rows["note", (1,)] = note(1, a=2)
    with pytest.raises(Diverged, match="columns \\['a'\\]"):
        base.deliver(replica, Entry(0, transaction("a", 1, 0, change(None, note(1)))))


def test_a_base_row_of_a_table_that_is_not_replicated_any_more_stops_the_replica() -> None:
    with pytest.raises(Diverged, match="base rows are stored for table dropped"):
        Replica(State("me", base={("dropped", (1,)): None}), SCHEMA)


def test_a_base_row_without_its_pending_transaction_stops_the_replica() -> None:
    replica = Replica(State("me", base={("note", (1,)): note(1)}), SCHEMA)
    with pytest.raises(Diverged, match="cut off, or this database was restored"):
        replica.step((Entry(0, transaction("a", 1, 0, change(None, note(2)))),), Base().read)


@pytest.mark.parametrize(
    "entry",
    [
        transaction("me", 3, 0, change(None, note(1, a=1))),
        transaction("me", 1, 0, change(None, note(1, a=2))),
        transaction("me", 1, 0, change(None, note(2, a=1))),
        transaction("me", 1, 0, change(None, note(1, a=1)), change(None, note(2, a=1))),
        replace(transaction("me", 1, 0, change(None, note(1, a=1))), certified=True, certify_all=True),
    ],
)
def test_an_own_entry_that_is_not_the_oldest_pending_transaction_stops_the_replica(entry: Transaction) -> None:
    replica = Replica(State("me"), SCHEMA)
    replica.captured(Commit(1, (RowChange("note", None, note(1, a=1)),)))
    with pytest.raises(Diverged, match="rolled back, restored from a copy, or cloned"):
        Base().deliver(replica, Entry(0, entry))


def test_an_own_entry_that_was_not_captured_yet_says_so() -> None:
    replica = Replica(State("me"), SCHEMA)
    entries = (Entry(0, transaction("me", 1, 0, change(None, note(1, a=1)))),)
    assert replica.concerned(entries).capture_first
    replica.captured(Commit(1, (RowChange("note", None, note(1, a=1)),)))
    assert replica.concerned(entries) == Concerned()


@pytest.mark.parametrize(
    ("table", "why"),
    [
        (Table("other", NOTE.policy, NOTE.columns), "no replicated table other"),
        (WIDE, "has no column c"),
        (Table("note", Policy("merge", ("a",)), NOTE.columns), "the key of table note"),
        (Table("note", Policy("strict", ("id",), unique=(("a",),)), NOTE.columns), "unique indexes of table note"),
    ],
)
def test_an_entry_for_another_schema_pauses_and_names_its_offset(table: Table, why: str) -> None:
    replica = Replica(State("me"), SCHEMA)
    entry = Entry(0, transaction("a", 1, 0, change(None, {**table.columns, "id": 1, "a": 1}, table)))
    with pytest.raises(SchemaBehind, match=why) as caught:
        replica.concerned((entry,))
    assert caught.value.offset == 0


def test_captured_takes_each_commit_once_and_in_order() -> None:
    replica = Replica(State("me"), SCHEMA)
    commit = Commit(2, (RowChange("note", None, note(1)),))
    assert replica.captured(commit) is not None
    with pytest.raises(Misuse, match="captured already"):
        replica.captured(commit)


def test_captured_refuses_changes_that_do_not_follow_each_other() -> None:
    replica = Replica(State("me"), SCHEMA)
    with pytest.raises(Misuse, match="do not follow"):
        replica.captured(Commit(1, (RowChange("note", None, note(1)), RowChange("note", note(1, a=1), None))))
    with pytest.raises(Misuse, match="not replicated"):
        Replica(State("me"), SCHEMA).captured(Commit(1, (RowChange("other", None, note(1)),)))


def test_delivered_refuses_to_decide_on_less_than_what_is_concerned() -> None:
    replica = Replica(State("me"), SCHEMA)
    with pytest.raises(Misuse, match="not everything"):
        replica.delivered((Entry(0, transaction("a", 1, 0, change(None, note(1)))),), Rows())


def test_a_later_decision_voids_an_earlier_one() -> None:
    replica = Replica(State("me"), SCHEMA)
    entries = (Entry(0, transaction("a", 1, 0, change(None, note(1)))),)
    first, second = replica.step(entries, Base().read), replica.step(entries, Base().read)
    with pytest.raises(Misuse, match="not the Write"):
        replica.written(first)
    replica.written(second)
    assert replica.offset == 1
    assert replica.origins() == {"a": 1}


@pytest.mark.parametrize("kind", ["merge", "strict"])
def test_the_verdict_is_by_the_policy_that_the_entry_carries_not_by_the_local_one(kind: str) -> None:
    """So that replicas agree while a deployment that changes a policy is under way."""
    local = replace(NOTE, policy=Policy(kind, ("id",)))  # type: ignore[arg-type]
    base = Base()
    base.rows["note", (1,)] = note(1, a=0)
    replica = Replica(base.state, {"note": local})
    merge = change(note(1, a=5), note(1, a=6))
    strict = replace(merge, policy=Policy("strict", ("id",)))
    entries = (
        Entry(0, Transaction("a", 1, 0, False, (merge,))),
        Entry(1, Transaction("a", 2, 1, True, (strict,))),
    )
    write = replica.step(entries, base.read)
    assert [verdict.reason for verdict in write.verdicts] == [None, "changed"]
    assert [put.after for put in write.puts] == [note(1, a=6)]
