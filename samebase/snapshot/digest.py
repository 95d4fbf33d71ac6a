"""Checksums of S(offset), to find out whether two replicas hold the same, and where not.

A row's hash is of its values in the order of its columns' names, in MessagePack, so that any two that differ in value
or type differ here. A row belongs to one of BUCKETS buckets of its table, by its key; a bucket's checksum is the sum of
its rows' hashes, so that the order in which rows are read does not matter.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from hashlib import blake2b
from operator import itemgetter
from typing import Any
from zlib import crc32

import msgspec

from samebase.core.types import Chunk
from samebase.core.wire import dump_key
from samebase.snapshot.shape import Shape

BUCKETS = 4096
_MODULUS = 1 << 128


def _tagged(value: Any) -> Any:
    return msgspec.msgpack.Ext(1, str(value).encode()) if isinstance(value, Decimal) else value


_encode = msgspec.msgpack.Encoder().encode


def _hashes(chunk: Chunk, shape: Shape) -> Iterator[tuple[int, bytes, Sequence[Any]]]:
    """Per row its bucket, its hash, and its key."""
    names = shape[chunk.table]["columns"]
    order = [chunk.columns.index(name) for name in names]
    rows: Iterable[Sequence[Any]] = chunk.rows
    if any(Decimal in set(map(type, column)) for column in zip(*chunk.rows, strict=True)):
        rows = [[_tagged(value) for value in row] for row in rows]
    pick = itemgetter(*order) if len(order) > 1 else None
    keys = [chunk.columns.index(name) for name in shape[chunk.table]["key"]]
    for row in rows:
        key = [row[place] for place in keys]
        values = pick(row) if pick else (row[order[0]],)
        yield crc32(_encode(key)) % BUCKETS, blake2b(_encode(values), digest_size=16).digest(), key


def digest(chunks: Iterable[Chunk], shape: Shape) -> Iterator[bytes]:
    """One JSON object: per table how many rows it has, and the checksums of its buckets that are not empty. Before it
    an empty line for the beginning and for each chunk: a sign of life."""
    yield b"\n"
    sums: dict[str, dict[int, int]] = {table: {} for table in shape}
    rows = dict.fromkeys(shape, 0)
    for chunk in chunks:
        yield b"\n"
        table = sums[chunk.table]
        rows[chunk.table] += len(chunk.rows)
        for bucket, value, _ in _hashes(chunk, shape):
            table[bucket] = (table.get(bucket, 0) + int.from_bytes(value)) % _MODULUS
    yield json.dumps(
        {
            table: {"rows": rows[table], "buckets": {bucket: f"{value:032x}" for bucket, value in found.items()}}
            for table, found in sums.items()
        }
    ).encode()


def listing(chunks: Iterable[Chunk], shape: Shape, buckets: Mapping[str, Sequence[int]]) -> Iterator[bytes]:
    """A line of JSON per row of these buckets: table, key as text, hash; and empty ones, as `digest` has them."""
    yield b"\n"
    wanted = {table: frozenset(numbers) for table, numbers in buckets.items()}
    for chunk in chunks:
        yield b"\n"
        of_table = wanted.get(chunk.table)
        if not of_table:
            continue
        places = [chunk.columns.index(name) for name in shape[chunk.table]["key"]]
        for row, (bucket, value, _) in zip(chunk.rows, _hashes(chunk, shape), strict=True):
            if bucket in of_table:
                key = dump_key(tuple(row[place] for place in places))
                yield json.dumps([chunk.table, key, value.hex()]).encode() + b"\n"
