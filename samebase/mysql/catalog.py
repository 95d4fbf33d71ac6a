"""Which tables can be replicated, and what they look like: the live MySQL schema as a Schema of the core.

A table is refused for what would make replicas differ, or lose a change unseen. Each reason is one line.
"""

# ruff: noqa: S608 - names in SQL are quoted identifiers of the live schema; values are bound

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from pymysql.connections import Connection

from samebase.core.errors import Stop
from samebase.core.types import Delta, Policy, Scalar, Schema, Table
from samebase.mysql.connection import every, one, quoted
from samebase.mysql.values import (
    BYTES,
    CHARSETS,
    INTEGERS,
    REALS,
    REFUSED,
    SUPPORTED,
    TEXTS,
    integer_range,
    selected,
)
from samebase.replicated import Replicated

_KEY_COLLATION = "utf8mb4_0900_bin"
_QUIET_ACTIONS = frozenset({"NO ACTION", "RESTRICT"})
_LABEL = re.compile(r"'((?:[^']|'')*)'")
_IDENTIFIER = re.compile(r"`((?:[^`]|``)*)`")


@dataclass(frozen=True, slots=True)
class Column:
    """A column as information_schema tells of it.

    Attributes:
        type: the bare type, such as `varchar`.
        declared: the whole declaration, such as `varchar(200)`.
        default: text of the default; None for none.
        extra: `auto_increment`, `VIRTUAL GENERATED`, `DEFAULT_GENERATED` ...
    """

    name: str
    type: str
    declared: str
    nullable: bool
    default: str | None
    extra: str
    charset: str | None
    collation: str | None
    length: int | None
    precision: int | None
    scale: int | None
    fsp: int | None

    @property
    def unsigned(self) -> bool:
        return "unsigned" in self.declared


@dataclass(frozen=True, slots=True)
class _Index:
    name: str
    columns: list[str | None] = field(default_factory=list)
    prefix: list[str | None] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Facts:
    """Everything about a table that matters here."""

    kind: str
    engine: str | None
    partitioned: bool
    columns: Mapping[str, Column]
    uniques: Mapping[str, _Index]
    triggers: Sequence[str]
    actions: Sequence[tuple[str, str, str]]
    checks: Sequence[str]

    @property
    def key(self) -> tuple[str, ...]:
        primary = self.uniques.get("PRIMARY")
        return () if primary is None else tuple(column or "" for column in primary.columns)

    @property
    def secondary(self) -> list[_Index]:
        """Unique indexes that say more than the primary key does."""
        return [index for index in self.uniques.values() if set(index.columns) != set(self.key)]


def inspect(connection: Connection[Any], database: str, tables: Mapping[str, Replicated]) -> Schema:
    """The tables as they are now. Raises Stop for the first one that cannot be replicated."""
    schema = {}
    for name, settings in sorted(tables.items()):
        for problem in problems(connection, database, name, settings):
            raise Stop(f"table {name} cannot be replicated: {problem}")
        schema[name] = describe(connection, database, name, settings)
    return schema


def problems(connection: Connection[Any], database: str, name: str, settings: Replicated) -> list[str]:
    """Why the table cannot be replicated, a line for each reason."""
    facts = _facts(connection, database, name)
    if facts is None:
        return ["there is no table of that name (migrate the database first)"]
    if facts.kind != "BASE TABLE":
        return [f"it is a {facts.kind.lower()}"]
    return [*_table_problems(facts), *_policy_problems(facts, settings)]


def describe(connection: Connection[Any], database: str, name: str, settings: Replicated) -> Table:
    """The table as the core sees it. It must be one without problems."""
    facts = _facts(connection, database, name)
    if facts is None:
        raise Stop(f"table {name} cannot be replicated: it was dropped")
    unique = sorted(tuple(column or "" for column in index.columns) for index in facts.secondary)
    deltas = tuple(Delta(column, *_range(facts.columns[column])) for column in settings.delta)
    return Table(
        name=name,
        policy=Policy(kind=settings.kind, key=facts.key, unique=tuple(unique), delta=deltas),
        columns=_defaults(connection, database, name, facts),
    )


def unique_indexes(connection: Connection[Any], database: str, name: str) -> dict[tuple[str, ...], str]:
    """The names of a table's unique indexes by their columns."""
    indexes = _uniques(connection, database, name)
    return {tuple(column or "" for column in index.columns): index.name for index in indexes.values()}


def columns_of(connection: Connection[Any], database: str, name: str) -> dict[str, Column]:
    """The columns of a table, in their order."""
    found = every(
        connection,
        "SELECT column_name, data_type, column_type, is_nullable, column_default, extra, character_set_name, "
        "collation_name, character_octet_length, numeric_precision, numeric_scale, datetime_precision "
        "FROM information_schema.columns WHERE table_schema = %s AND table_name = %s ORDER BY ordinal_position",
        database,
        name,
    )
    columns = {}
    for column, kind, declared, nullable, default, extra, *rest in found:
        columns[column] = Column(
            column, _text(kind), _text(declared), nullable == "YES", _text_or_none(default), extra or "", *rest
        )
    return columns


# -- reading -----------------------------------------------------------------------------------------------------


def _facts(connection: Connection[Any], database: str, name: str) -> _Facts | None:
    place = (database, name)
    found = every(
        connection,
        "SELECT table_type, engine, create_options FROM information_schema.tables "
        "WHERE table_schema = %s AND table_name = %s",
        *place,
    )
    if not found:
        return None
    kind, engine, options = found[0]
    triggers = every(
        connection,
        "SELECT trigger_name FROM information_schema.triggers "
        "WHERE event_object_schema = %s AND event_object_table = %s ORDER BY 1",
        *place,
    )
    actions = every(
        connection,
        "SELECT constraint_name, delete_rule, update_rule FROM information_schema.referential_constraints "
        "WHERE constraint_schema = %s AND table_name = %s ORDER BY 1",
        *place,
    )
    checks = every(
        connection,
        "SELECT c.check_clause FROM information_schema.check_constraints c "
        "JOIN information_schema.table_constraints t USING (constraint_schema, constraint_name) "
        "WHERE t.table_schema = %s AND t.table_name = %s AND t.constraint_type = 'CHECK' ORDER BY c.constraint_name",
        *place,
    )
    return _Facts(
        kind,
        engine,
        "partitioned" in (options or ""),
        columns_of(connection, database, name),
        _uniques(connection, database, name),
        [trigger for (trigger,) in triggers],
        actions,
        [_text(check) for (check,) in checks],
    )


def _uniques(connection: Connection[Any], database: str, name: str) -> dict[str, _Index]:
    indexes: dict[str, _Index] = {}
    for index, column, part in every(
        connection,
        "SELECT index_name, column_name, sub_part FROM information_schema.statistics "
        "WHERE table_schema = %s AND table_name = %s AND non_unique = 0 ORDER BY index_name, seq_in_index",
        database,
        name,
    ):
        facts = indexes.setdefault(index, _Index(index))
        facts.columns.append(column)
        if part is not None:
            facts.prefix.append(column)
    return indexes


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _text_or_none(value: str | bytes | None) -> str | None:
    return None if value is None else _text(value)


# -- judging -----------------------------------------------------------------------------------------------------


def _table_problems(facts: _Facts) -> Iterable[str]:
    if facts.engine != "InnoDB":
        yield f"its engine is {facts.engine}, it must be InnoDB"
    if facts.partitioned:
        yield "it is partitioned: statements on partitions are not in the row log"
    if not facts.key:
        yield "it has no primary key"
    for trigger in facts.triggers:
        yield f"it has a trigger, {trigger}, whose effects would be replicated and repeated"
    for constraint, on_delete, on_update in facts.actions:
        for action in (on_delete, on_update):
            if action not in _QUIET_ACTIONS:
                yield f"its foreign key {constraint} says {action}: the application must do that itself"
                break
    for column in facts.columns.values():
        yield from _column_problems(column)
    for index in facts.uniques.values():
        yield from _index_problems(index, facts)


def _column_problems(column: Column) -> Iterable[str]:
    if "GENERATED" in column.extra.replace("DEFAULT_GENERATED", ""):
        yield f"column {column.name} is generated"
    elif "auto_increment" in column.extra:
        yield f"column {column.name} is AUTO_INCREMENT, which each replica would number alike; use UUIDs"
    elif column.type not in SUPPORTED:
        reason = REFUSED.get(column.type, "its values cannot be told exactly")
        yield f"column {column.name} is {column.declared}: {reason}"
    elif column.type in REALS and "(" in column.declared:
        yield f"column {column.name} is {column.declared}, which rounds again when it is written: leave the digits out"
    elif column.charset is not None and column.charset not in CHARSETS:
        yield f"column {column.name} has the character set {column.charset}, it must be utf8mb4"
    elif column.type == "enum" and "" in _LABEL.findall(column.declared):
        yield f"column {column.name} has an empty ENUM label, which MySQL also shows for a wrong value"


def _index_problems(index: _Index, facts: _Facts) -> Iterable[str]:
    where = "the primary key" if index.name == "PRIMARY" else f"unique index {index.name}"
    for name in index.prefix:
        yield f"{where} takes only a prefix of column {name}"
    for name in index.columns:
        if name is None:
            yield f"{where} is on an expression"
            continue
        column = facts.columns[name]
        if column.type in TEXTS:
            if column.collation != _KEY_COLLATION:
                yield f"column {name} of {where} is compared by {column.collation}, it must be {_KEY_COLLATION}"
        elif column.type not in {*BYTES, *INTEGERS, "decimal"}:
            yield f"column {name} of {where} is {column.declared}: it must be a number, a binary string or a text"


def _policy_problems(facts: _Facts, settings: Replicated) -> Iterable[str]:
    if settings.kind == "merge":
        for index in facts.secondary:
            yield f"it has a unique index {index.name}, which only a strict table may have"
        for clause in facts.checks:
            named = sorted(set(_IDENTIFIER.findall(clause)) & facts.columns.keys())
            if len(named) > 1:
                yield f"a CHECK compares the columns {' and '.join(named)}, which a merge may set apart"
    for name in settings.delta:
        column = facts.columns.get(name)
        if settings.kind == "strict":
            yield "a strict table has no delta columns"
        elif column is None:
            yield f"there is no delta column {name}"
        elif name in facts.key:
            yield f"delta column {name} is part of its key"
        elif column.type not in (*INTEGERS, "decimal") or column.unsigned or column.nullable:
            yield f"delta column {name} must be a signed integer or DECIMAL, NOT NULL"


# -- describing --------------------------------------------------------------------------------------------------


def _range(column: Column) -> tuple[int | Decimal, int | Decimal]:
    if column.type != "decimal":
        return integer_range(column.type, column.unsigned)
    digits, scale = column.precision or 0, column.scale or 0
    high = Decimal("9" * (digits - scale) + "." + "9" * scale) if scale else Decimal("9" * digits)
    return high.copy_negate(), high


def _defaults(connection: Connection[Any], database: str, name: str, facts: _Facts) -> dict[str, Scalar]:
    """The value that each column's DEFAULT clause gives a row, None if there is no clause or no constant in it.
    The server says it, in the form in which it would be read from a row."""
    constant = {
        column.name: selected(f"ANY_VALUE(DEFAULT({quoted(column.name)}))", column.type)
        for column in facts.columns.values()
        if column.default is not None and "DEFAULT_GENERATED" not in column.extra
    }
    defaults: dict[str, Scalar] = dict.fromkeys(facts.columns)
    if constant:
        expressions, table = ", ".join(constant.values()), f"{quoted(database)}.{quoted(name)}"
        # Either there is a row to ask with, or there is none to count.
        found = one(connection, f"SELECT {expressions} FROM {table} LIMIT 1") or one(
            connection, f"SELECT {expressions}, count(*) FROM {table}"
        )
        defaults.update(zip(constant, found, strict=False))
    return defaults
