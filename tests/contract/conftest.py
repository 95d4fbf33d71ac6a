"""One bench per implementation of the ports: every test of a contract suite runs on each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from samebase.core.types import Delta, Policy, Row, Table
from samebase.memory.changes import MemoryChanges
from samebase.memory.database import MemoryDatabase, MemoryTransaction
from samebase.memory.store import MemoryStore
from tests.support.mysql import MySqlBench, mysql_server
from tests.support.sqlite import SqliteBench

__all__ = ["Bench", "mysql_server"]

SCHEMA = {
    "item": Table(
        "item",
        Policy("merge", ("id",), (), (Delta("n", -(2**63), 2**63 - 1),)),
        {"id": None, "title": "none", "n": 0, "data": None, "ratio": None},
    ),
    "pair": Table("pair", Policy("merge", ("a", "b")), {"a": None, "b": None, "v": None}),
    "account": Table(
        "account",
        Policy("strict", ("id",), (("name", "realm"), ("number",))),
        {"id": None, "name": None, "realm": "", "number": None},
    ),
}


class MemoryBench:
    """A replica's fake adapters, and its application."""

    def __init__(self) -> None:
        self.database = MemoryDatabase(SCHEMA, "replica")
        self.reopen()

    def reopen(self) -> None:
        self.changes = MemoryChanges(self.database)
        self.store = MemoryStore(self.database)

    def second(self) -> MemoryStore:
        return MemoryStore(self.database)

    def transaction(
        self, request: str | None = None, *, certify: bool = False, traceparent: str | None = None
    ) -> AbstractContextManager[MemoryTransaction]:
        return self.database.transaction(request, certify=certify, traceparent=traceparent)

    def rows(self, table: str) -> list[Row]:
        return [dict(row) for _, row in sorted(self.database.rows[table].items())]


Bench = MemoryBench | SqliteBench | MySqlBench


@pytest.fixture(params=["memory", "sqlite", pytest.param("mysql", marks=pytest.mark.docker)])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    bench: Bench
    if request.param == "mysql":
        bench = MySqlBench(request.getfixturevalue("mysql_server"))
        yield bench
        bench.changes.close()
    else:
        bench = MemoryBench() if request.param == "memory" else SqliteBench(tmp_path / "replica.db")
        yield bench
    bench.store.close()


@pytest.fixture(params=["memory", "sqlite"])
def untyped_bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    """Where a column keeps values of any type. MySQL's have one type each: the type matrix is their test."""
    bench = MemoryBench() if request.param == "memory" else SqliteBench(tmp_path / "replica.db")
    yield bench
    bench.store.close()


@pytest.fixture
def sqlite_bench(tmp_path: Path) -> Iterator[SqliteBench]:
    bench = SqliteBench(tmp_path / "replica.db")
    yield bench
    bench.store.close()
