"""Column types whose values come back exactly as they were written, on every replica and on either database."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import DateTime, Dialect, String, Text, TypeDecorator
from sqlalchemy.dialects import mysql
from sqlalchemy.types import TypeEngine

_BINARY = "utf8mb4_0900_bin"
"""Compares by code point and does not ignore trailing spaces; what keys and unique columns need."""


def text(length: int) -> TypeEngine[str]:
    """Up to `length` characters, compared exactly."""
    return String(length).with_variant(mysql.VARCHAR(length, charset="utf8mb4", collation=_BINARY), "mysql")


def long_text() -> TypeEngine[str]:
    """Up to 16 MiB."""
    return Text().with_variant(mysql.MEDIUMTEXT(charset="utf8mb4", collation=_BINARY), "mysql")


class UtcDateTime(TypeDecorator[datetime]):
    """An aware datetime in UTC with microseconds: in SQLite text with always six digits, in MySQL DATETIME(6)."""

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "mysql":
            return dialect.type_descriptor(mysql.DATETIME(fsp=6))
        return dialect.type_descriptor(DateTime())

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        return None if value is None else value.replace(tzinfo=UTC)


def now() -> datetime:
    return datetime.now(UTC)


def rfc3339(moment: datetime) -> str:
    """UTC, always six fraction digits: 2026-11-22T08:00:00.000000Z."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
