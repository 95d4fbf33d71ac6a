"""One canonical form per column type, for the three legs that a value stands on: decoded from the binary log, read by
SELECT, and written by us. They are compared with each other, so they must be alike to the last bit.

| MySQL type                                | canonical form                                                        |
|-------------------------------------------|-----------------------------------------------------------------------|
| integers, YEAR, BIT                       | int                                                                   |
| DECIMAL                                   | Decimal with the column's scale                                       |
| FLOAT, DOUBLE                             | float, exactly the stored number; minus zero is the text "-0", because|
|                                           | Python's -0.0 equals 0.0                                              |
| CHAR, VARCHAR, TEXT                       | str; CHAR without trailing spaces, as MySQL gives it                  |
| ENUM, SET                                 | str, as SELECT prints it                                              |
| BINARY, VARBINARY, BLOB                   | bytes; BINARY padded with zero bytes to its length                    |
| DATE, DATETIME, TIMESTAMP (UTC), TIME     | str, as SELECT prints it                                              |

Every other type is refused by preflight: `REFUSED` says why.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from math import copysign
from typing import Any

from pymysql.constants import FIELD_TYPE
from pymysql.converters import escape_string

from samebase.core.types import Scalar

MINUS_ZERO = "-0"

INTEGERS = {"tinyint": 8, "smallint": 16, "mediumint": 24, "int": 32, "bigint": 64}
"""Integer types and their bits."""
TEXTS = frozenset({"char", "varchar", "tinytext", "text", "mediumtext", "longtext"})
BYTES = frozenset({"binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob"})
REALS = frozenset({"float", "double"})
TIMES = frozenset({"date", "datetime", "timestamp", "time"})
SUPPORTED = frozenset({*INTEGERS, *TEXTS, *BYTES, *TIMES, "year", "bit", *REALS, "decimal", "enum", "set"})

CHARSETS = frozenset({"utf8mb4", "utf8mb3", "ascii"})
"""Character sets whose stored bytes are UTF-8."""

REFUSED: Mapping[str, str] = {
    "json": "JSON keeps types (DECIMAL, DATE, binary) that its text does not tell; use a TEXT column",
    "vector": "its values cannot be compared exactly yet; use VARBINARY",
}


_READ_AS = {
    "float": "DOUBLE",  # a FLOAT is printed with six digits
    "bit": "UNSIGNED",  # bits are bytes in a result
}


def integer_range(data_type: str, unsigned: bool) -> tuple[int, int]:
    """Smallest and largest value of an integer type."""
    bits = INTEGERS[data_type]
    return (0, 2**bits - 1) if unsigned else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def real(value: float) -> Scalar:
    """The canonical form of a FLOAT's or DOUBLE's number."""
    return value if value or copysign(1.0, value) > 0 else MINUS_ZERO


def _real(text: str) -> Scalar:
    return real(float(text))


CONVERTERS: dict[Any, Callable[[Any], Any]] = {
    FIELD_TYPE.TINY: int,
    FIELD_TYPE.SHORT: int,
    FIELD_TYPE.INT24: int,
    FIELD_TYPE.LONG: int,
    FIELD_TYPE.LONGLONG: int,
    FIELD_TYPE.YEAR: int,
    FIELD_TYPE.FLOAT: _real,
    FIELD_TYPE.DOUBLE: _real,
    FIELD_TYPE.DECIMAL: Decimal,
    FIELD_TYPE.NEWDECIMAL: Decimal,
}
"""How the driver reads a result's values; types that are not here stay text (or bytes, if binary)."""


def selected(quoted_column: str, data_type: str) -> str:
    """The expression that reads a column."""
    return f"CAST({quoted_column} AS {_READ_AS[data_type]})" if data_type in _READ_AS else quoted_column


def real_literal(value: Scalar) -> str:
    """A value of a FLOAT or DOUBLE column as SQL text. As a text among numbers, minus zero would make all of them
    texts, which are shorter."""
    return "-0e0" if value == MINUS_ZERO else literal(value)


def literal(value: Scalar) -> str:
    """A value as SQL text, for a session with the mode that `connect` sets."""
    return _LITERALS[type(value)](value)


def _text_literal(value: Any) -> str:
    return f"'{escape_string(value)}'"


def _float_literal(value: Any) -> str:
    # Without an exponent it would be a DECIMAL.
    text = repr(value)
    return text if "e" in text else text + "e0"


_LITERALS: dict[type, Callable[[Any], str]] = {
    type(None): lambda _: "NULL",
    str: _text_literal,
    bytes: lambda value: f"x'{value.hex()}'",
    int: str,
    bool: lambda value: str(int(value)),
    float: _float_literal,
    # With an exponent it would be a DOUBLE.
    Decimal: lambda value: format(value, "f"),
}
