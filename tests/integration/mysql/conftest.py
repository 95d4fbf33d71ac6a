"""Servers for the tests of the MySQL adapters."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.mysql import MySqlBench, Server, durable_mysql_server, mysql_server, other_mysql_server

__all__ = ["durable_mysql_server", "mysql_server", "other_mysql_server"]


@pytest.fixture
def bench(mysql_server: Server) -> Iterator[MySqlBench]:
    """A replica with the tables of the contract suites."""
    bench = MySqlBench(mysql_server)
    yield bench
    bench.close()
