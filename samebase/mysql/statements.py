"""The SQL that reads, locks and writes many rows of a table at once.

Two things about MySQL decide its form. A statement must find its rows by an index whatever the optimiser thinks of the
table's size: a scan would lock all of it. And a statement costs much more than a row of it: so rows are written by the
hundred, updates by a join with a list of values, which must drive the join.
"""

# ruff: noqa: S608 - names in SQL are quoted identifiers of the live schema; values are literals made by `literal`

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from samebase.core.types import Key, Put, Row, Scalar, Table
from samebase.mysql.catalog import Column
from samebase.mysql.connection import quoted
from samebase.mysql.values import REALS, literal, real_literal, selected

CHUNK_ROWS = 500
CHUNK_CHARACTERS = 1_000_000
"""A statement takes so many rows and so much text, at most; but one row always."""


class Layout:
    """A table's names as SQL text."""

    def __init__(self, table: Table, columns: Mapping[str, Column], indexes: Mapping[tuple[str, ...], str]) -> None:
        """`indexes`: names of its unique indexes by their columns."""
        self.name = quoted(table.name)
        self.key = table.policy.key
        self.columns = tuple(table.columns)
        self._select = ", ".join(selected(quoted(name), columns[name].type) for name in self.columns)
        self._literals = {name: real_literal if columns[name].type in REALS else literal for name in self.columns}
        self._select_key = _names(self.key)
        self._indexes = {frozenset(names): index for names, index in indexes.items()}

    def select(self, keys: Sequence[Key]) -> Iterator[str]:
        """Lock and read rows by key; gives every column."""
        for chunk in chunks(map(_tuple, keys)):
            yield (
                f"SELECT {self._select} FROM {self.name} FORCE INDEX (PRIMARY) "
                f"WHERE {_within(self.key, chunk)} FOR UPDATE"
            )

    def select_holders(self, columns: tuple[str, ...], values: Sequence[tuple[Scalar, ...]]) -> Iterator[str]:
        """Lock the rows that have these unique values; gives the key columns, then the unique ones."""
        index = quoted(self._indexes[frozenset(columns)])
        aliases = [f"c{position}" for position in range(len(columns))]
        on = " AND ".join(f"t.{quoted(name)} = v.{alias}" for name, alias in zip(columns, aliases, strict=True))
        # Not by a list of values: of a small table the optimiser would read, and lock, the whole index.
        for chunk in chunks(map(_tuple, values)):
            rows = ", ".join(f"ROW{row}" for row in chunk)
            yield (
                f"SELECT {_names(self.key, 't.')}, {_names(columns, 't.')} "
                f"FROM (VALUES {rows}) AS v ({', '.join(aliases)}) "
                f"STRAIGHT_JOIN {self.name} AS t FORCE INDEX ({index}) ON {on} FOR UPDATE OF t"
            )

    def everything(self, lock: bool = False) -> str:
        """Every row, in the order of the keys; `lock`: and keep others from writing."""
        every = f"SELECT {self._select} FROM {self.name} FORCE INDEX (PRIMARY) ORDER BY {self._select_key}"
        return f"{every} FOR SHARE" if lock else every

    def delete(self, keys: Iterable[Key]) -> Iterator[tuple[str, int]]:
        """Statements, and how many rows each must find."""
        for chunk in chunks(map(_tuple, keys)):
            yield (
                f"DELETE /*+ INDEX({self.name} PRIMARY) */ FROM {self.name} WHERE {_within(self.key, chunk)}",
                len(chunk),
            )

    def insert(self, names: tuple[str, ...], rows: Iterable[Sequence[Scalar]]) -> Iterator[tuple[str, int]]:
        """Statements that insert rows, whose values are in the order of `names`, and how many rows each must insert."""
        writers = [self._literals[name] for name in names]
        texts = (f"({', '.join([write(value) for write, value in zip(writers, row, strict=True)])})" for row in rows)
        for chunk in chunks(texts):
            yield f"INSERT INTO {self.name} ({_names(names)}) VALUES {', '.join(chunk)}", len(chunk)

    def update(self, names: tuple[str, ...], puts: Sequence[Put]) -> Iterator[tuple[str, int]]:
        """Statements that set these columns, and how many rows each must find."""
        writers = [(name, self._literals[name]) for name in names]
        tuples = (
            f"({', '.join([*map(literal, put.id[1]), *[write(put.after[name]) for name, write in writers]])})"
            for put in puts
        )
        keys = [(quoted(name), f"k{index}") for index, name in enumerate(self.key)]
        columns = [(quoted(name), f"c{index}") for index, name in enumerate(names)]
        aliases = ", ".join(alias for _, alias in (*keys, *columns))
        on = " AND ".join(f"t.{name} = v.{alias}" for name, alias in keys)
        to = ", ".join(f"t.{name} = v.{alias}" for name, alias in columns)
        for chunk in chunks(tuples):
            rows = ", ".join(f"ROW{row}" for row in chunk)
            yield (
                f"UPDATE (VALUES {rows}) AS v ({aliases}) STRAIGHT_JOIN {self.name} AS t FORCE INDEX (PRIMARY) "
                f"ON {on} SET {to}",
                len(chunk),
            )

    def row(self, values: Sequence[Any]) -> Row:
        """A row that `select` gave."""
        return dict(zip(self.columns, values, strict=True))


def chunks(texts: Iterable[str]) -> Iterator[list[str]]:
    """The texts, in groups that a statement takes."""
    chunk: list[str] = []
    size = 0
    for text in texts:
        if chunk and (len(chunk) == CHUNK_ROWS or size + len(text) > CHUNK_CHARACTERS):
            yield chunk
            chunk, size = [], 0
        chunk.append(text)
        size += len(text)
    if chunk:
        yield chunk


def _names(columns: Iterable[str], prefix: str = "") -> str:
    return ", ".join(prefix + quoted(column) for column in columns)


def _tuple(values: Iterable[Scalar]) -> str:
    return f"({', '.join(map(literal, values))})"


def _within(columns: tuple[str, ...], tuples: Iterable[str]) -> str:
    # (x) is a value and (x, y) a row: it fits both.
    return f"({_names(columns)}) IN ({', '.join(tuples)})"
