"""A snapshot arrives value by value, or is refused."""

from __future__ import annotations

import io
from collections.abc import Sequence
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samebase.core.types import Change, Chunk, Policy, Rejection, Scalar, State
from samebase.snapshot.errors import Refused
from samebase.snapshot.stream import Header, Reader, write

HEADER = Header("shop", "a", "log", State("", 7, {"a@1": 5}, {"b@1": 3}), {"t": {"columns": ["a", "b"]}})
GONE = Rejection("a@1", 3, "r", "gone", (("t", ("k", b"\0", Decimal("1.50"))),), 4)
VALUES: st.SearchStrategy[Scalar] = st.one_of(
    st.none(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False),
    st.text(),
    st.binary(),
    st.decimals(allow_nan=False, allow_infinity=False),
)


def stream(chunks: Sequence[Chunk], rejected: Sequence[Rejection] = ()) -> bytes:
    return b"".join(write(HEADER, rejected, chunks))


def read(data: bytes) -> tuple[Header, list[Rejection], list[Chunk]]:
    reader = Reader(io.BytesIO(data).read)
    rejected = [one for group in reader.rejected() for one in group]
    return reader.header, rejected, list(reader.chunks())


def chunk(*rows: Sequence[Scalar]) -> Chunk:
    return Chunk("t", ("a", "b"), [list(row) for row in rows])


@given(st.lists(st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=5), max_size=4))
def test_every_value_arrives_with_its_type(groups: list[list[tuple[Scalar, Scalar]]]) -> None:
    # A column holds one type of numbers, as in a database: decimals, or others.
    groups = [
        [row for row in rows if [isinstance(v, Decimal) for v in row] == [isinstance(v, Decimal) for v in rows[0]]]
        for rows in groups
    ]
    chunks = [chunk(*rows) for rows in groups]
    header, _, arrived = read(stream(chunks))
    assert header == HEADER
    assert [repr(one) for one in arrived] == [repr(one) for one in chunks]


def test_rejections_travel_without_what_was_lost() -> None:
    lost = Rejection("a@1", 5, None, "taken", (), 6, (Change("t", (1,), None, {"a": 1}, Policy("merge", ("a",))),))
    _, rejected, _ = read(stream([chunk((1, 2))], [GONE, lost]))
    assert rejected == [GONE, Rejection("a@1", 5, None, "taken", (), 6)]


def test_every_way_to_cut_it_off_is_noticed() -> None:
    whole = stream([chunk((1, "x"), (2, "y")), chunk((3, None))], [GONE])
    for length in range(len(whole)):
        with pytest.raises(Refused):
            read(whole[:length])


def test_every_changed_byte_is_noticed() -> None:
    whole = stream([chunk((1, "x"), (2, "y")), chunk((3, None))], [GONE])
    for place in range(len(whole)):
        with pytest.raises(Refused):
            read(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])


def test_a_frame_that_is_left_out_or_sent_twice_is_noticed() -> None:
    one, two, *rest = [*write(HEADER, (), [chunk((1, "x")), chunk((2, "y"))])][2:]
    head = [*write(HEADER, (), [])][:2]
    for frames in ([one, *rest], [one, one, *rest], [two, one, *rest]):
        with pytest.raises(Refused, match="checksum"):
            read(b"".join([*head, *frames]))
