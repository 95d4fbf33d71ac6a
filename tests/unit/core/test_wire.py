"""The wire format: what is written comes back value by value and type by type; anything else is refused by offset."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samebase.core.admission import Admission
from samebase.core.errors import Misuse, TooLarge, Unreadable
from samebase.core.types import Change, Delta, Entry, Part, Policy, Row, Scalar, State, Table, Transaction
from samebase.core.wire import (
    decode,
    dump_changes,
    dump_key,
    dump_row,
    encode,
    load_changes,
    load_key,
    load_row,
    parts,
)

POLICY = Policy("merge", ("id",), delta=(Delta("n", -9, 9), Delta("d", Decimal("-9.99"), Decimal("9.99"))))
STRICT = Policy("strict", ("id",), unique=(("name",), ("a", "b")))

scalars: st.SearchStrategy[Scalar] = st.one_of(
    st.none(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(st.characters(exclude_categories=("Cs",))),
    st.binary(),
    st.decimals(allow_nan=False, allow_infinity=False),
)
keys = st.one_of(st.integers(), st.text(), st.binary(), st.decimals(allow_nan=False, allow_infinity=False))
names = st.text(min_size=1)


@st.composite
def transactions(draw: st.DrawFn) -> Transaction:
    changes = []
    for key in draw(st.lists(keys, min_size=1, max_size=4, unique=True)):
        columns = draw(st.lists(names.filter(lambda name: name not in ("id", "n", "d")), max_size=4, unique=True))
        counters = {"n": st.integers(-9, 9), "d": st.decimals(-9, 9, places=2)}

        def row(key: Scalar = key, columns: list[str] = columns, counters: Any = counters) -> Row:
            values = {name: draw(counter) for name, counter in counters.items()}
            return {"id": key, **values, **{column: draw(scalars) for column in columns}}

        before, after = draw(st.sampled_from([(None, row()), (row(), row()), (row(), None)]))
        changes.append(Change(draw(st.sampled_from(["t", "täble"])), (key,), before, after, POLICY))
    certify = draw(st.booleans())
    prev = draw(st.integers(0, 2**70))
    return Transaction(
        draw(names),
        prev + draw(st.integers(1, 9)),
        prev,
        certify,
        tuple(changes),
        certify,
        draw(st.none() | st.text(st.characters(exclude_categories=("Cs",)))),
        draw(st.none() | st.just("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")),
        draw(st.integers(0, 2**50)),
    )


def exact(value: object) -> str:
    """Two values with the same text are the same in value and type (-0.0, 1 and 1.0, 1.0 and 1.00 differ)."""
    return repr(value)


@settings(max_examples=300)
@given(transactions())
def test_a_transaction_comes_back_value_by_value_and_type_by_type(transaction: Transaction) -> None:
    (record,) = encode(transaction)
    entry = decode(record.value, 5)
    assert exact(entry) == exact(Entry(5, transaction))
    assert record.value.isascii()


@given(transactions())
def test_rows_keys_and_changes_come_back_exactly(transaction: Transaction) -> None:
    assert exact(load_changes(dump_changes(transaction.changes))) == exact(transaction.changes)
    for change in transaction.changes:
        assert exact(load_row(dump_row(change.after))) == exact(change.after)
        assert exact(load_key(dump_key(change.key))) == exact(change.key)


def test_a_boolean_is_the_integer_that_it_stands_for() -> None:
    assert exact(load_row(dump_row({"id": True, "a": False}))) == exact({"id": 1, "a": 0})


def test_headers_say_what_other_consumers_need() -> None:
    (record,) = encode(replace(valid(), traceparent="00-1-2-01"))
    assert record.headers == {
        "ce_specversion": "1.0",
        "ce_type": "samebase.transaction",
        "ce_source": "a@1",
        "ce_id": "a@1:7",
        "ce_traceparent": "00-1-2-01",
        "content-type": "application/json",
    }


def valid() -> Transaction:
    before = {"id": 1, "n": 1, "d": Decimal("1.00"), "t": "x"}
    change = Change("t", (1,), before, {**before, "n": 2}, POLICY)
    name = {"id": 1, "name": "x", "a": 1, "b": None}
    return Transaction("a@1", 7, 5, True, (change, Change("s", (1,), None, name, STRICT)), ts_ms=3)


BROKEN: dict[str, Callable[[Any], Any]] = {
    "not an object": lambda data: [data],
    "no source": lambda data: data.pop("source"),
    "source is text": lambda data: data.update(source="a"),
    "no changes": lambda data: data.update(changes=[]),
    "changes are an object": lambda data: data.update(changes={"a": 1}),
    "origin is a number": lambda data: data["source"].update(name=1),
    "origin is empty": lambda data: data["source"].update(name=""),
    "seq is text": lambda data: data["source"].update(seq="7"),
    "seq is a flag": lambda data: data["source"].update(seq=True),
    "seq is broken": lambda data: data["source"].update(seq=7.5),
    "seq is negative": lambda data: data["source"].update(seq=-7),
    "prev is not before seq": lambda data: data["source"].update(prev=7),
    "prev is missing": lambda data: data["source"].pop("prev"),
    "ts_ms is text": lambda data: data["source"].update(ts_ms="now"),
    "certified is a number": lambda data: data["transaction"].update(certified=1),
    "certify_all is missing": lambda data: data["transaction"].pop("certify_all"),
    "strict but not certified": lambda data: data["transaction"].update(certified=False),
    "all certified but not certified": lambda data: (
        data["transaction"].update(certified=False, certify_all=True, total=1),
        data["changes"].pop(),
    ),
    "request is a number": lambda data: data["transaction"].update(request=5),
    "traceparent is a list": lambda data: data["transaction"].update(traceparent=[]),
    "more changes than the total": lambda data: data["transaction"].update(total=1),
    "start beyond the total": lambda data: data["transaction"].update(start=1),
    "a table that is not described": lambda data: data["tables"].pop("t"),
    "tables are a list": lambda data: data.update(tables=[]),
    "unknown policy": lambda data: data["tables"]["t"].update(policy="lww"),
    "no key": lambda data: data["tables"]["t"].update(key=[]),
    "key is text": lambda data: data["tables"]["t"].update(key="id"),
    "merge with a unique index": lambda data: data["tables"]["t"].update(unique=[["t"]]),
    "a unique index of no columns": lambda data: data["tables"]["s"].update(unique=[[]]),
    "a unique index on a column that rows lack": lambda data: data["tables"]["s"].update(unique=[["zzz"]]),
    "a counter that rows lack": lambda data: data["tables"]["t"].update(delta={"zzz": [0, 1]}),
    "a counter without a range": lambda data: data["tables"]["t"].update(delta={"n": [0]}),
    "a counter with a text range": lambda data: data["tables"]["t"].update(delta={"n": ["0", "1"]}),
    "a counter that is text": lambda data: data["changes"][0]["after"].update(n="1"),
    "a counter that is null": lambda data: data["changes"][0]["after"].update(n=None),
    "a counter that is a float": lambda data: data["changes"][0]["after"].update(n=1.5),
    "unknown op": lambda data: data["changes"][0].update(op="r"),
    "op does not fit": lambda data: data["changes"][0].update(op="c"),
    "no rows": lambda data: data["changes"][0].update(before=None, after=None),
    "two keys": lambda data: data["changes"][0]["after"].update(id=2),
    "no key in a row": lambda data: data["changes"][0]["after"].pop("id"),
    "before and after have other columns": lambda data: data["changes"][0]["after"].pop("t"),
    "one key twice": lambda data: data["changes"].__setitem__(1, data["changes"][0]),
    "a row is a list": lambda data: data["changes"][0].update(after=[1]),
    "a value is a list": lambda data: data["changes"][0]["after"].update(t=[1]),
    "a value is a flag": lambda data: data["changes"][0]["after"].update(t=True),
    "a value has an unknown tag": lambda data: data["changes"][0]["after"].update(t={"$date": "x"}),
    "a value has two tags": lambda data: data["changes"][0]["after"].update(t={"$float": "1", "$bytes": ""}),
    "bytes are not base64": lambda data: data["changes"][0]["after"].update(t={"$bytes": "?"}),
    "bytes are a number": lambda data: data["changes"][0]["after"].update(t={"$bytes": 1}),
    "a decimal is not a number": lambda data: data["changes"][0]["after"].update(t={"$decimal": "x"}),
    "a decimal is NaN": lambda data: data["changes"][0]["after"].update(t={"$decimal": "NaN"}),
    "a decimal is infinite": lambda data: data["changes"][0]["after"].update(t={"$decimal": "-Infinity"}),
    "a float is text": lambda data: data["changes"][0]["after"].update(t={"$float": "x"}),
    "a float is NaN": lambda data: data["changes"][0]["after"].update(t={"$float": "nan"}),
    "a lone surrogate": lambda data: data["changes"][0]["after"].update(t="\ud800"),
    "a lone surrogate in a column's name": lambda data: data["changes"][1]["after"].update({"\ud800": 1}),
}


def test_the_record_that_is_broken_below_is_whole_before() -> None:
    assert decode(encode(valid())[0].value, 1) == Entry(1, valid())


@pytest.mark.parametrize("name", BROKEN)
def test_a_malformed_record_is_unreadable_and_named_by_its_offset(name: str) -> None:
    data = json.loads(encode(valid())[0].value)
    replaced = BROKEN[name](data)
    if name == "not an object":
        data = replaced
    with pytest.raises(Unreadable, match=r"^log entry 41 cannot be read: ") as caught:
        decode(json.dumps(data).encode(), 41)
    assert caught.value.offset == 41


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\xff\xfe",
        b"null",
        b"7",
        b"{",
        b"[" * 100_000,
        encode(valid())[0].value[:-1],
        encode(valid())[0].value + b"{}",
        encode(valid())[0].value.replace(b'"seq":7', b'"seq":' + b"7" * 5000),
        encode(valid())[0].value.replace(b'"x"', b"NaN"),
        encode(valid())[0].value.replace(b'"x"', b"Infinity"),
        encode(valid())[0].value.replace(b'"x"', b"1e999"),
    ],
)
def test_bytes_that_are_no_record_are_unreadable(value: bytes) -> None:
    with pytest.raises(Unreadable, match="log entry 3 "):
        decode(value, 3)


@settings(max_examples=200)
@given(st.binary() | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps).map(str.encode))
def test_garbage_never_raises_anything_else(value: bytes) -> None:
    with pytest.raises(Unreadable):
        decode(value, 0)


def large(rows: int, size: int) -> Transaction:
    policy = Policy("merge", ("id",))
    changes = tuple(Change("t", (n,), None, {"id": n, "text": "x" * size}, policy) for n in range(rows))
    return Transaction("a", 1, 0, False, changes)


@pytest.mark.parametrize("rows", [1, 2, 3, 10, 50])
def test_a_transaction_that_does_not_fit_is_cut_into_parts_that_do_and_join_again(rows: int) -> None:
    transaction, limit = large(rows, 900), 6000
    records = encode(transaction, limit)
    assert all(len(record.value) <= limit for record in records)
    assert (len(records) > 1) == (rows > 1)
    entries = [decode(record.value, offset) for offset, record in enumerate(records)]
    assert all(isinstance(entry.content, Part) for entry in entries) == (len(records) > 1)
    table = Table("t", Policy("merge", ("id",)), {"id": None, "text": None})
    batch = Admission(State("me"), {"t": table}).admit(tuple(entries))
    assert batch.counted == [(len(records) - 1, transaction)]


@given(st.integers(1, 12), st.lists(st.integers(1, 12), max_size=12))
def test_parts_of_any_size_join_if_they_are_complete(rows: int, sizes: list[int]) -> None:
    transaction = large(rows, 1)
    cut = [part for part in parts(transaction, sizes) if part.header.changes]
    entries = tuple(Entry(offset, part) for offset, part in enumerate(cut))
    table = Table("t", Policy("merge", ("id",)), {"id": None, "text": None})
    batch = Admission(State("me"), {"t": table}).admit(entries)
    complete = sum(sizes) >= rows
    assert [found for _, found in batch.counted] == ([transaction] if complete else [])
    assert bool(batch.held.get("a")) == (bool(sizes) and not complete)


def test_a_row_that_no_record_can_hold_is_too_large() -> None:
    with pytest.raises(TooLarge, match=r"the row t \(0,\) takes"):
        encode(large(1, 10_000), 10_000)


def test_a_header_that_no_record_can_hold_is_too_large() -> None:
    with pytest.raises(TooLarge, match="transaction 1 of a"):
        encode(replace(large(1, 10), request="x" * 10_000), 10_000)


@pytest.mark.parametrize("value", [float("nan"), Decimal("NaN"), Decimal("Infinity"), [1]])
def test_a_value_that_nobody_could_read_again_is_never_published(value: Any) -> None:
    policy = Policy("merge", ("id",))
    with pytest.raises(Misuse, match="not a column's value"):
        encode(Transaction("a", 1, 0, False, (Change("t", (1,), None, {"id": 1, "v": value}, policy),)))
