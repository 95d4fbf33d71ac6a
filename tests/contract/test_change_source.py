"""What every ChangeSource does."""

from __future__ import annotations

import math

import pytest

from samebase.core.errors import Diverged
from samebase.core.types import Concerned, Put, RowChange, Scalar, Write
from tests.contract.conftest import Bench


def item(key: str, **values: Scalar) -> dict[str, Scalar]:
    return {"id": key, "title": "none", "n": 0, "data": None, "ratio": None, **values}


def test_nothing_committed_is_nothing_read_and_ends_at_zero(bench: Bench) -> None:
    assert list(bench.changes.read(0, 10)) == []
    assert bench.changes.end() == 0


def test_a_transaction_is_read_whole_in_order_with_its_intent(bench: Bench) -> None:
    with bench.transaction("r1", certify=True, traceparent="00-aa-bb-01") as tx:
        tx.insert("item", {"id": "a", "title": "one"})
        tx.insert("pair", {"a": "x", "b": 7, "v": "v"})
        tx.update("item", ("a",), {"n": 1})
        tx.delete("pair", ("x", 7))
    (commit,) = bench.changes.read(0, 10)
    pair = {"a": "x", "b": 7, "v": "v"}
    assert commit.rows == (
        RowChange("item", None, item("a", title="one")),
        RowChange("pair", None, pair),
        RowChange("item", item("a", title="one"), item("a", title="one", n=1)),
        RowChange("pair", pair, None),
    )
    assert (commit.request, commit.certify, commit.traceparent) == ("r1", True, "00-aa-bb-01")
    assert commit.seq == bench.changes.end() > 0
    assert commit.ts_ms > 1_600_000_000_000


def test_transactions_come_in_commit_order_from_any_position_and_limit(bench: Bench) -> None:
    for number in range(6):
        with bench.transaction(f"r{number}") as tx:
            tx.insert("item", {"id": f"a{number}"})
            tx.insert("item", {"id": f"b{number}"})
    everything = list(bench.changes.read(0, 100))
    assert [commit.request for commit in everything] == [f"r{number}" for number in range(6)]
    assert [commit.seq for commit in everything] == sorted({commit.seq for commit in everything})
    assert everything[-1].seq == bench.changes.end()
    for start in range(6):
        after = everything[start - 1].seq if start else 0
        for limit in (1, 2, 100):
            assert list(bench.changes.read(after, limit)) == everything[start : start + limit]


def test_a_position_within_a_transaction_gives_the_whole_transaction(bench: Bench) -> None:
    for name in "ab":
        with bench.transaction(name) as tx:
            for number in range(3):
                tx.insert("item", {"id": f"{name}{number}"})
    everything = list(bench.changes.read(0, 100))
    first, last = (commit.seq for commit in everything)
    for after in {*range(3), *range(first - 2, first + 3), *range(last - 2, last + 1)}:
        assert list(bench.changes.read(after, 100)) == [commit for commit in everything if commit.seq > after]


def test_reads_are_the_same_after_a_restart(bench: Bench) -> None:
    for number in range(3):
        with bench.transaction() as tx:
            tx.insert("item", {"id": f"a{number}"})
        bench.changes.end()
    before = list(bench.changes.read(0, 100))
    bench.reopen()
    assert list(bench.changes.read(0, 100)) == before
    assert len(before) == 3


def test_a_rolled_back_transaction_is_not_read(bench: Bench) -> None:
    def fail() -> None:
        with bench.transaction("r1") as tx:
            tx.insert("item", {"id": "a"})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert bench.changes.end() == 0
    with bench.transaction() as tx:
        tx.insert("item", {"id": "b"})
    (commit,) = bench.changes.read(0, 10)
    assert commit.rows == (RowChange("item", None, item("b")),)
    assert commit.request is None


def test_a_request_that_changed_nothing_is_reported(bench: Bench) -> None:
    with bench.transaction("r1"):
        pass
    (commit,) = bench.changes.read(0, 10)
    assert (commit.request, commit.rows) == ("r1", ())
    assert commit.seq == bench.changes.end()


def test_a_changed_key_is_one_change_with_both_rows(bench: Bench) -> None:
    with bench.transaction("r1") as tx:
        tx.insert("item", {"id": "a"})
    after = bench.changes.end()
    with bench.transaction("r2") as tx:
        tx.update("item", ("a",), {"id": "b"})
    (commit,) = bench.changes.read(after, 10)
    assert commit.rows == (RowChange("item", item("a"), item("b")),)


VALUES: list[Scalar] = [
    "",
    "text",
    "a\0b",
    "\U0001f600 e\u0301",
    " trailing ",
    "1",
    0,
    -(2**63),
    2**63 - 1,
    1.5,
    0.1,
    1e308,
    math.inf,
    -math.inf,
    5e-324,
    b"",
    b"\x00\xff",
    b"text",
    None,
]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_every_value_is_read_as_it_was_written(untyped_bench: Bench, value: Scalar) -> None:
    bench = untyped_bench
    with bench.transaction("r1") as tx:
        # A BLOB column has no affinity: it keeps text and numbers as they are, too.
        tx.insert("item", {"id": "a", "data": value})
        tx.update("item", ("a",), {"n": 1})
    first, second = bench.changes.read(0, 10)[0].rows
    for row in (first.after, second.before, second.after):
        assert row is not None
        assert (type(row["data"]), row["data"]) == (type(value), value)


def test_what_the_store_applies_is_never_read(bench: Bench) -> None:
    row = item("remote")
    with bench.store.begin(0) as tx:
        tx.read(Concerned(rows=(("item", ("remote",)),)))
        tx.write(Write(0, 1, puts=(Put(("item", ("remote",)), None, row),)))
    with bench.store.begin(1) as tx:
        tx.write(Write(1, 2, puts=(Put(("item", ("remote",)), row, {**row, "n": 5}),)))
    with bench.store.begin(2) as tx:
        tx.write(Write(2, 3, deletes=(("item", ("remote",)),)))
    assert bench.changes.end() == 0
    with bench.transaction() as tx:
        tx.insert("item", {"id": "local"})
    (commit,) = bench.changes.read(0, 10)
    assert commit.rows == (RowChange("item", None, item("local")),)


def test_commits_before_the_store_locked_a_row_are_read_within_its_transaction(bench: Bench) -> None:
    with bench.transaction("r1") as tx:
        tx.insert("item", {"id": "a"})
    with bench.store.begin(0) as tx:
        assert tx.read(Concerned(rows=(("item", ("a",)),))).rows[("item", ("a",))] == item("a")
        end = bench.changes.end()
        (commit,) = bench.changes.read(0, 10)
        assert commit.seq == end
        assert commit.request == "r1"


def test_forgotten_commits_are_gone_and_positions_go_on(bench: Bench) -> None:
    for number in range(4):
        with bench.transaction(f"r{number}") as tx:
            tx.insert("item", {"id": f"a{number}"})
    everything = list(bench.changes.read(0, 100))
    bench.changes.forget(everything[1].seq)
    bench.reopen()
    assert list(bench.changes.read(everything[1].seq, 100)) == everything[2:]
    with pytest.raises(Diverged):
        bench.changes.read(everything[0].seq, 100)
    bench.changes.forget(everything[3].seq)
    bench.changes.forget(everything[0].seq)
    assert bench.changes.end() == everything[3].seq
    assert list(bench.changes.read(everything[3].seq, 100)) == []
    with bench.transaction("r9") as tx:
        tx.insert("item", {"id": "z"})
    (commit,) = bench.changes.read(everything[3].seq, 100)
    assert commit.seq > everything[3].seq


def test_forgetting_a_position_within_a_transaction_keeps_the_whole_transaction(bench: Bench) -> None:
    for name in "ab":
        with bench.transaction(name) as tx:
            for number in range(3):
                tx.insert("item", {"id": f"{name}{number}"})
    first, second = bench.changes.read(0, 100)
    bench.changes.forget(second.seq - 1)
    assert list(bench.changes.read(first.seq, 100)) == [second]


def test_the_size_grows_with_what_is_committed_and_counts_from_a_position(bench: Bench) -> None:
    with bench.transaction() as tx:
        tx.insert("item", {"id": "first"})
    first = bench.changes.end()
    assert bench.changes.size(first) < 1_000
    with bench.transaction() as tx:
        for number in range(100):
            tx.insert("item", {"id": str(number), "title": "x" * 200})
    assert 20_000 < bench.changes.size(first) < 1_000_000
    assert bench.changes.size(bench.changes.end()) < 1_000
