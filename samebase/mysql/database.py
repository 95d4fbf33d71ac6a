"""What the adapters of one replica share: where its database is, and what its tables look like now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pymysql.connections import Connection

from samebase.core.types import Schema, Table
from samebase.mysql.catalog import columns_of, inspect, unique_indexes
from samebase.mysql.connection import Address, connect, translated
from samebase.mysql.install import install
from samebase.mysql.statements import Layout
from samebase.replicated import Replicated


class Database:
    """A replica's database. The ChangeSource and the Store of a replica share one: what the binary log tells of
    migrations makes the store look at the tables again."""

    def __init__(
        self,
        address: Address,
        tables: Mapping[str, Replicated],
        name: str,
        lock_wait_seconds: int = 5,
        *,
        adopting: bool = False,
    ) -> None:
        """`tables` are the ones to replicate; `name` begins the origin of a database that has none yet.
        `lock_wait_seconds`: how long to wait for a row that the application has locked. `adopting`: a database that was
        not replicated before may have rows (it is bound to ADOPTING then). Nothing connects yet."""
        self.address = address
        self.tables = tables
        self.name = name
        self.lock_wait_seconds = lock_wait_seconds
        self._adopting = adopting
        self._schema: Schema | None = None
        self.layouts: Mapping[str, Layout] = {}
        """How to read and write each table of `schema()`."""
        self._stale = False

    def schema(self) -> Schema:
        """The replicated tables as they are now; the same object until they change. A database without the schema
        `samebase` gets it. Raises Stop if a table cannot be replicated."""
        if self._schema is None or self._stale:
            with translated("inspecting the schema"):
                connection = connect(self.address)
                try:
                    self._stale = False
                    schema = inspect(connection, self.address.database, self.tables)
                    install(connection, schema, self.name, adopting=self._adopting)
                    self.layouts = {name: self._layout(connection, table) for name, table in schema.items()}
                finally:
                    connection.close()
            if schema != self._schema:
                self._schema = schema
        return self._schema

    def _layout(self, connection: Connection[Any], table: Table) -> Layout:
        place = (self.address.database, table.name)
        return Layout(table, columns_of(connection, *place), unique_indexes(connection, *place))

    def migrated(self) -> None:
        """The binary log tells of a statement that may have changed a table."""
        self._stale = True
