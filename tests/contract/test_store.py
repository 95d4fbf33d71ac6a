"""What every Store does."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from samebase.core.errors import Diverged, Fenced, Unavailable
from samebase.core.types import Change, Chunk, Concerned, Policy, Put, Rejection, Row, RowId, Scalar, State, Write
from samebase.ports import CHUNK_SIZE
from tests.contract.conftest import SCHEMA, Bench, MemoryBench

A: RowId = ("item", ("a",))
B: RowId = ("item", ("b",))
P: RowId = ("pair", ("x", 7))
PAIR: Row = {"a": "x", "b": 7, "v": "v"}
GONE = Rejection("peer@1", 3, None, "gone", (A, P), 4)
TAKEN = Rejection(
    "peer@1", 5, "r5", "taken", (A,), 6, (Change("item", ("a",), None, {"id": "a"}, Policy("merge", ("id",))),)
)


def item(key: str, **values: Scalar) -> dict[str, Scalar]:
    return {"id": key, "title": "none", "n": 0, "data": None, "ratio": None, **values}


def account(key: str, name: str | None = None, number: int | None = None) -> dict[str, Scalar]:
    return {"id": key, "name": name, "realm": "", "number": number}


def put(id_: RowId, before: Row | None, after: Row) -> Write:
    return Write(0, 1, puts=(Put(id_, before, after),))


def apply(bench: Bench, write: Write) -> None:
    with bench.store.begin(write.was_offset) as tx:
        tx.write(write)


def test_the_schema_names_keys_unique_values_deltas_and_defaults(bench: Bench) -> None:
    assert bench.store.schema() == SCHEMA


def test_a_new_database_begins_at_zero_with_an_origin_that_stays(bench: Bench) -> None:
    state = bench.store.load()
    assert state == State(origin=state.origin)
    assert state.origin.startswith("replica@")
    bench.reopen()
    assert bench.store.load() == state


def test_the_first_log_identity_stays_bound(bench: Bench) -> None:
    assert bench.store.bound() is None
    assert bench.store.bind("one") == "one"
    bench.reopen()
    assert bench.store.bound() == "one"
    assert bench.store.bind("two") == "one"


def test_rows_are_read_by_key_and_holders_by_unique_value(bench: Bench) -> None:
    with bench.transaction() as tx:
        tx.insert("item", item("a", data=b"\0", ratio=1.0))
        tx.insert("pair", PAIR)
        tx.insert("account", account("u", "name", 7))
    by_name = ("account", ("name", "realm"), ("name", ""))
    by_number = ("account", ("number",), (7,))
    nobody = ("account", ("number",), (8,))
    with bench.store.begin(0) as tx:
        found = tx.read(Concerned((A, B, P), (by_name, by_number, nobody)))
        assert found.rows == {A: item("a", data=b"\0", ratio=1.0), B: None, P: PAIR}
        assert found.holders == {by_name: ("u",), by_number: ("u",), nobody: None}
        assert tx.read(Concerned((("account", ("u",)),))).rows == {("account", ("u",)): account("u", "name", 7)}


def test_many_rows_are_read_at_once(bench: Bench) -> None:
    keys = [f"k{number:05}" for number in range(2000)]
    with bench.transaction() as tx:
        for key in keys:
            tx.insert("item", {"id": key})
    with bench.store.begin(0) as tx:
        found = tx.read(Concerned(tuple(("item", (key,)) for key in keys)))
    assert found.rows == {("item", (key,)): item(key) for key in keys}


def test_a_write_inserts_updates_and_deletes(bench: Bench) -> None:
    with bench.transaction() as tx:
        tx.insert("item", item("a"))
        tx.insert("item", item("b"))
        tx.insert("pair", PAIR)
    apply(
        bench,
        Write(
            0,
            1,
            deletes=(B,),
            puts=(
                Put(A, item("a"), {"id": "a", "title": "new", "data": b"\xff"}),
                Put(P, PAIR, {**PAIR, "v": None}),
                Put(("item", ("c",)), None, item("c", n=2**63 - 1)),
                Put(("pair", ("x", 8)), None, {"a": "x", "b": 8}),
            ),
        ),
    )
    assert bench.rows("item") == [item("a", title="new", data=b"\xff"), item("c", n=2**63 - 1)]
    assert bench.rows("pair") == [{**PAIR, "v": None}, {"a": "x", "b": 8, "v": None}]


def test_an_update_leaves_columns_alone_that_do_not_differ(bench: Bench) -> None:
    """The row read may be older in columns that the Write does not name: they are not written."""
    with bench.transaction() as tx:
        tx.insert("item", item("a", title="theirs"))
    apply(bench, put(A, {"id": "a", "n": 0}, {"id": "a", "n": 4}))
    assert bench.rows("item") == [item("a", title="theirs", n=4)]


def test_values_that_are_equal_in_python_but_not_alike_differ(untyped_bench: Bench) -> None:
    bench = untyped_bench
    with bench.transaction() as tx:
        tx.insert("item", item("a", data=1))
    apply(bench, put(A, item("a", data=1), item("a", data=1.0)))
    (row,) = bench.rows("item")
    assert type(row["data"]) is float


def test_rows_can_swap_their_unique_values(bench: Bench) -> None:
    with bench.transaction() as tx:
        tx.insert("account", account("u", "one", 1))
        tx.insert("account", account("v", "two", 2))
    u, v = ("account", ("u",)), ("account", ("v",))
    apply(
        bench,
        Write(
            0,
            1,
            deletes=(u, v),
            puts=(Put(u, None, account("u", "two", 2)), Put(v, None, account("v", "one", 1))),
        ),
    )
    assert bench.rows("account") == [account("u", "two", 2), account("v", "one", 1)]


def test_bookkeeping_is_stored_and_loaded_exactly(bench: Bench) -> None:
    origin = bench.store.load().origin
    row = item("a", data=b"\0\xff", ratio=float("inf"), n=2**63 - 1, title="a\0b")
    apply(
        bench,
        Write(
            0,
            7,
            base_puts=((A, row), (P, None), (B, None)),
            rejected=(GONE, TAKEN),
            applied={"peer@1": 5, origin: 9},
            held={"peer@1": 3, "new@2": 5},
            settled=4,
        ),
    )
    bench.reopen()
    assert bench.store.load() == State(
        origin=origin,
        offset=7,
        applied={"peer@1": 5, origin: 9},
        held={"peer@1": 3, "new@2": 5},
        base={A: row, P: None, B: None},
        settled=4,
    )
    apply(
        bench,
        Write(
            7,
            9,
            base_puts=((A, None),),
            base_deletes=(P, B),
            applied={"peer@1": 6},
            held={"peer@1": None, "new@2": 8},
        ),
    )
    assert bench.store.load() == State(
        origin=origin, offset=9, applied={"peer@1": 6, origin: 9}, held={"new@2": 8}, base={A: None}, settled=4
    )


def test_rejections_are_listed_by_offset_and_counted_without_the_gone_ones(bench: Bench) -> None:
    apply(bench, Write(0, 7, rejected=(GONE, TAKEN)))
    assert list(bench.store.rejected(0, 10)) == [GONE, TAKEN]
    assert list(bench.store.rejected(0, 1)) == [GONE]
    assert list(bench.store.rejected(5, 10)) == [TAKEN]
    assert list(bench.store.rejected(7, 10)) == []
    assert bench.store.count_rejected() == 1


def test_a_transaction_from_another_offset_is_fenced(bench: Bench) -> None:
    apply(bench, Write(0, 3))
    for was_offset in (0, 2, 4):
        with pytest.raises(Fenced), bench.store.begin(was_offset):
            raise AssertionError("entered")
    apply(bench, Write(3, 4))


def test_a_write_that_only_moves_is_one_step(bench: Bench) -> None:
    bench.store.move(Write(0, 2, applied={"o@1": 5}, settled=3))
    bench.store.move(Write(2, 4, applied={"o@1": 7}, settled=1))
    bench.store.move(Write(4, 5))
    bench.store.move(Write(5, 6, applied={"o@1": 8, "p@1": 1}, held={"q@1": 5}))
    bench.store.move(Write(6, 7, applied={"o@1": 9}, held={"q@1": None}))
    for was_offset in (6, 8):
        with pytest.raises(Fenced):
            bench.store.move(Write(was_offset, 9, applied={"o@1": 10}))
    state = bench.store.load()
    assert (state.offset, state.settled, state.applied, state.held) == (7, 3, {"o@1": 9, "p@1": 1}, {})


def test_a_second_store_waits_or_is_fenced(bench: Bench) -> None:
    zombie = bench.second()
    with bench.store.begin(0) as tx:
        with pytest.raises(Unavailable), zombie.begin(0):
            raise AssertionError("entered")
        tx.write(Write(0, 1))
    with pytest.raises(Fenced), zombie.begin(0):
        raise AssertionError("entered")
    zombie.close()


def test_what_was_read_stays_so_until_the_transaction_ends(bench: Bench) -> None:
    with bench.transaction() as tx:
        tx.insert("item", item("a"))
    with bench.store.begin(0) as locked:
        locked.read(Concerned((A, B)))
        with pytest.raises(Exception, match="locked"), bench.transaction() as tx:
            tx.update("item", ("a",), {"n": 1})
        with pytest.raises(Exception, match="locked"), bench.transaction() as tx:
            tx.insert("item", item("b"))
        assert locked.read(Concerned((A, B))).rows == {A: item("a"), B: None}
    with bench.transaction() as tx:
        tx.insert("item", item("b"))


@pytest.mark.parametrize("point", ["begun", "read", "written"])
def test_an_exception_anywhere_leaves_nothing_behind(bench: Bench, point: str) -> None:
    with bench.transaction() as tx:
        tx.insert("item", item("b"))
    state = bench.store.load()
    write = Write(
        0,
        1,
        deletes=(B,),
        puts=(Put(A, None, item("a")),),
        base_puts=((A, None),),
        rejected=(GONE,),
        applied={"p": 1},
        held={"p": 0},
        settled=1,
    )

    def fail() -> None:
        with bench.store.begin(0) as tx:
            if point != "begun":
                tx.read(Concerned((A, B)))
            if point == "written":
                tx.write(write)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert bench.store.load() == state
    assert bench.rows("item") == [item("b")]
    assert bench.store.count_rejected() == len(bench.store.rejected(0, 9)) == 0
    with bench.transaction() as tx:
        tx.insert("item", item("c"))
    assert bench.changes.read(0, 10)[-1].rows[-1].after == item("c")


@pytest.mark.parametrize(
    "write",
    [
        Write(0, 1, deletes=(B,)),
        put(B, item("b"), item("b", n=1)),
        put(A, None, item("a")),
        put(("account", ("v",)), None, account("v", "name")),
        Write(0, 1, puts=(Put(("item", ("new",)), None, item("new")),), deletes=(B,)),
    ],
    ids=["delete nothing", "update nothing", "insert twice", "take a unique value", "half of it"],
)
def test_a_write_that_does_not_fit_the_rows_stops_and_changes_nothing(bench: Bench, write: Write) -> None:
    with bench.transaction() as tx:
        tx.insert("item", item("a"))
        tx.insert("account", account("u", "name"))
    with pytest.raises(Diverged):
        apply(bench, write)
    assert bench.rows("item") == [item("a")]
    assert bench.rows("account") == [account("u", "name")]
    assert bench.store.load().offset == 0


def test_a_snapshot_shows_one_moment_while_a_writer_commits(bench: Bench) -> None:
    with bench.transaction() as tx:
        tx.insert("item", item("a"))
        tx.insert("pair", PAIR)
    apply(bench, Write(0, 7, rejected=(GONE,), applied={"p": 1}, base_puts=((A, None),)))
    state = bench.store.load()
    with bench.store.snapshot() as snapshot:
        assert snapshot.state == state
        assert list(snapshot.rejected) == [GONE]
        first = next(snapshot.chunks)
        with bench.transaction() as tx:
            tx.insert("item", item("b"))
            tx.delete("pair", ("x", 7))
        chunks = [first, *snapshot.chunks]
    assert [(chunk.table, dict(zip(chunk.columns, row, strict=True))) for chunk in chunks for row in chunk.rows] == [
        ("item", item("a")),
        ("pair", PAIR),
    ]
    assert bench.rows("pair") == []


def test_a_large_table_is_streamed_in_chunks_in_the_order_of_its_keys(bench: Bench) -> None:
    with bench.transaction() as tx:
        for number in range(2500):
            tx.insert("item", item(f"k{number:04}"))
        tx.insert("item", item("large", data=bytes(2 * CHUNK_SIZE)))
    with bench.store.snapshot() as snapshot:
        assert not list(snapshot.rejected)
        chunks = list(snapshot.chunks)
    keys = [row[chunk.columns.index("id")] for chunk in chunks for row in chunk.rows]
    assert keys == [*(f"k{number:04}" for number in range(2500)), "large"]
    assert all(len(chunk.rows) <= 2501 for chunk in chunks)


def chunk(*rows: Row) -> Chunk:
    return Chunk("item", tuple(rows[0]), [tuple(row.values()) for row in rows])


def test_rows_are_loaded_in_bulk_and_unseen_by_the_change_log(bench: Bench) -> None:
    rows = [item(f"k{number:04}", data=b"\0\xff") for number in range(1500)]
    with bench.store.begin(0) as tx:
        assert tx.occupied() is None
        tx.load(iter([chunk(*rows), chunk({"id": "short"})]))
        tx.write(Write(0, 7, applied={"peer@1": 5}))
    bench.reopen()
    assert bench.rows("item") == [*rows, item("short")], "a column that a chunk lacks has its default"
    assert bench.store.load().offset == 7
    assert bench.changes.end() == 0
    with bench.transaction() as tx:
        tx.insert("item", item("z local"))
    assert bench.changes.read(0, 10)[0].rows[0].after == item("z local")
    with bench.store.begin(7) as tx:
        assert tx.occupied() == "item"


def test_loading_that_breaks_off_leaves_the_database_as_it_was(bench: Bench) -> None:
    def broken() -> Iterator[Chunk]:
        yield chunk(*(item(f"k{number}") for number in range(1500)))
        raise ConnectionError

    with pytest.raises(ConnectionError), bench.store.begin(0) as tx:
        tx.load(broken())
    assert bench.rows("item") == []
    with pytest.raises(Diverged), bench.store.begin(0) as tx:
        tx.load(iter([chunk(item("a")), chunk(item("a"))]))
    assert bench.rows("item") == []
    with bench.store.begin(0) as tx:
        tx.write(put(A, None, item("a")))
    assert bench.rows("item") == [item("a")]


def test_everything_is_read_under_lock_and_another_log_noted(bench: Bench) -> None:
    rows = [item(f"k{number:04}") for number in range(1500)]
    with bench.transaction() as tx:
        for row in rows:
            tx.insert("item", row)
    with bench.store.begin(0) as tx:
        chunks = [found for found in tx.everything() if found.table == "item"]
        with pytest.raises(Exception), bench.transaction() as application:  # noqa: B017 - each engine has its own
            application.update("item", ("k0007",), {"n": 1})
        tx.write(Write(0, 5))
        tx.rebind("another")
    assert [dict(zip(one.columns, row, strict=True)) for one in chunks for row in one.rows] == rows
    assert bench.store.bound() == "another"


def test_everything_is_cleared_unseen_and_can_be_loaded_anew(bench: Bench) -> None:
    with bench.transaction() as tx:
        tx.insert("item", item("a"))
        tx.insert("pair", PAIR)
    apply(bench, Write(0, 3, base_puts=((A, None),)))
    seen = bench.changes.end()
    with bench.store.begin(3) as tx:
        tx.clear()
        tx.load(iter([chunk(item("a", title="of the log"))]))
        tx.write(Write(3, 9, base_puts=((P, PAIR),)))
    assert bench.rows("item") == [item("a", title="of the log")]
    assert bench.rows("pair") == []
    assert bench.store.load().base == {P: PAIR}
    assert bench.changes.end() == seen


def test_an_application_may_write_other_rows_while_the_store_works() -> None:
    """In the fake, as in MySQL; SQLite has one lock for all."""
    bench = MemoryBench()
    with bench.store.begin(0) as locked:
        locked.read(Concerned((A,)))
        with bench.transaction() as tx:
            tx.insert("item", item("b"))
        locked.write(put(A, None, item("a")))
    assert bench.rows("item") == [item("a"), item("b")]


def test_refusing_others_writes_does_not_keep_us_from_writing(bench: Bench) -> None:
    state = bench.store.load()
    for refuse in (False, True, True):
        bench.store.refuse_writes(refuse)
    with bench.store.begin(state.offset) as transaction:
        transaction.write(Write(state.offset, state.offset + 1, puts=(Put(("item", ("a",)), None, item("a")),)))
    bench.reopen()
    for refuse in (False, False):
        bench.store.refuse_writes(refuse)
    assert [row["id"] for row in bench.rows("item")] == ["a"]
