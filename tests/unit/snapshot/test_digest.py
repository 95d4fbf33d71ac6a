"""Checksums differ exactly where rows do."""

from __future__ import annotations

import json
import random
from decimal import Decimal

import pytest

from samebase.core.types import Chunk, Scalar
from samebase.snapshot.digest import digest, listing

SHAPE = {"t": {"columns": ["a", "b", "id"], "key": ["id"]}}


def digest_of(*rows: tuple[Scalar, ...], columns: tuple[str, ...] = ("id", "a", "b")) -> dict[str, dict[str, object]]:
    found: dict[str, dict[str, object]] = json.loads(b"".join(digest([Chunk("t", columns, rows)], SHAPE)))
    return found


def test_the_order_of_rows_and_columns_does_not_matter() -> None:
    rows = [(number, f"a{number}", None) for number in range(300)]
    mixed = rows.copy()
    random.Random(1).shuffle(mixed)
    turned = [(b, id, a) for id, a, b in mixed]
    assert digest_of(*rows) == digest_of(*mixed) == digest_of(*turned, columns=("b", "id", "a"))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 1.0),
        (1, "1"),
        ("1", b"1"),
        (None, ""),
        (Decimal("1.0"), Decimal("1.00")),
        (Decimal("1"), "1"),
        (Decimal("1"), 1),
        (0, None),
    ],
)
def test_values_that_differ_in_value_or_type_differ(one: Scalar, other: Scalar) -> None:
    assert digest_of(("k", one, None)) != digest_of(("k", other, None))


def test_values_in_each_others_place_differ() -> None:
    assert digest_of(("k", 1, 2)) != digest_of(("k", 2, 1))


def test_a_row_that_is_there_twice_does_not_cancel_itself() -> None:
    assert digest_of() != digest_of(("k", 1, 2), ("k", 1, 2))


def test_a_listing_has_the_rows_of_the_buckets_that_are_asked_for() -> None:
    rows = [(number, "a", "b") for number in range(2000)]
    buckets = list(map(int, digest_of(*rows)["t"]["buckets"]))  # type: ignore[call-overload]
    chunks = [Chunk("t", ("id", "a", "b"), rows)]
    every = [line for line in b"".join(listing(chunks, SHAPE, {"t": buckets})).splitlines() if line]
    some = [line for line in b"".join(listing(chunks, SHAPE, {"t": buckets[:5]})).splitlines() if line]
    assert len(every) == 2000
    assert 0 < len(some) < 100
    assert set(some) < set(every)
