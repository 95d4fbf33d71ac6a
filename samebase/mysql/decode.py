"""Row images of the binary log, decoded into canonical values (values.py).

The library reads events and table maps; the rows we read ourselves, because its values are not exact (negative TIME,
zero dates, BINARY) and because this is where the time goes. Layouts: MySQL's "Rows_event" and the `pack` methods of its
field types (mysys/decimal.cc, mysys/my_time.cc).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any, TypeAlias

from pymysqlreplication.constants import FIELD_TYPE

from samebase.core.errors import Stop
from samebase.core.types import Row, Scalar
from samebase.mysql.values import real

Reader: TypeAlias = Callable[[bytes, int], tuple[Scalar, int]]
"""From the bytes and a position to the value there and the position behind it."""

_EPOCH = datetime(1970, 1, 1)
_DIGIT_BYTES = (0, 1, 1, 2, 2, 3, 3, 4, 4, 4)
"""Bytes that so many decimal digits take."""


class TableMap:
    """How the rows of one table look, from one table map event on."""

    def __init__(self, schema: str, table: str, columns: Sequence[Any]) -> None:
        """`columns` are the library's. Raises Stop for a column that cannot be decoded exactly."""
        self.schema, self.table = schema, table
        if any(column.name is None for column in columns):
            raise Stop(
                f"the binary log does not name the columns of {schema}.{table}: binlog_row_metadata was not FULL when "
                "a transaction was written"
            )
        self.names = frozenset(column.name for column in columns)
        self._columns = tuple(
            (column.name, index >> 3, 1 << (index & 7), _reader(schema, table, column))
            for index, column in enumerate(columns)
        )
        self.null_bytes = (len(columns) + 7) // 8
        self.all_present = (1 << len(columns)) - 1

    def row(self, data: bytes, position: int) -> tuple[Row, int]:
        """The row image at the position, and the position behind it."""
        nulls, position = position, position + self.null_bytes
        row: dict[str, Scalar] = {}
        for name, byte, bit, reader in self._columns:
            if data[nulls + byte] & bit:
                row[name] = None
            else:
                row[name], position = reader(data, position)
        return row, position


def _reader(schema: str, table: str, column: Any) -> Reader:
    make = _READERS.get(column.type)
    if make is None:
        raise Stop(f"column {column.name} of {schema}.{table} has a type that the binary log reader does not know")
    return make(column)


def _number(layout: str) -> Reader:
    packed = struct.Struct(layout)
    unpack, size = packed.unpack_from, packed.size

    def read(data: bytes, position: int) -> tuple[Scalar, int]:
        return unpack(data, position)[0], position + size

    return read


def _integer(layout: str) -> Callable[[Any], Reader]:
    signed, unsigned = _number("<" + layout), _number("<" + layout.upper())
    return lambda column: unsigned if column.unsigned else signed


def _int24(column: Any) -> Reader:
    signed = not column.unsigned

    def read(data: bytes, position: int) -> tuple[Scalar, int]:
        return int.from_bytes(data[position : position + 3], "little", signed=signed), position + 3

    return read


def _real(layout: str) -> Callable[[Any], Reader]:
    packed = struct.Struct(layout)

    def read(data: bytes, position: int) -> tuple[Scalar, int]:
        return real(packed.unpack_from(data, position)[0]), position + packed.size

    return lambda _column: read


def _year(_column: Any) -> Reader:
    def read(data: bytes, position: int) -> tuple[Scalar, int]:
        stored = data[position]
        return stored + 1900 if stored else 0, position + 1

    return read


def _bit(column: Any) -> Reader:
    size = column.bytes

    def read(data: bytes, position: int) -> tuple[Scalar, int]:
        return int.from_bytes(data[position : position + size], "big"), position + size

    return read


def _string(length_size: int, binary: bool, pad_to: int = 0) -> Reader:
    def read(data: bytes, position: int) -> tuple[Scalar, int]:
        start = position + length_size
        end = start + int.from_bytes(data[position:start], "little")
        return data[start:end].ljust(pad_to, b"\0"), end

    def read_text(data: bytes, position: int) -> tuple[Scalar, int]:
        start = position + length_size
        end = start + int.from_bytes(data[position:start], "little")
        return data[start:end].decode(), end

    def read_short_text(data: bytes, position: int) -> tuple[Scalar, int]:
        start = position + 1
        end = start + data[position]
        return data[start:end].decode(), end

    return read if binary else read_short_text if length_size == 1 else read_text


def _variable(column: Any) -> Reader:
    return _string(2 if column.max_length > 255 else 1, column.collation_name == "binary")


def _fixed(column: Any) -> Reader:
    # The log leaves out the padding of CHAR and BINARY.
    return _string(2 if column.max_length > 255 else 1, column.collation_name == "binary", column.max_length)


def _blob(column: Any) -> Reader:
    return _string(column.length_size, column.collation_name == "binary")


def _enum(column: Any) -> Reader:
    labels, size = column.enum_values, column.size

    def read(data: bytes, position: int) -> tuple[Scalar, int]:
        end = position + size
        return labels[int.from_bytes(data[position:end], "little")], end

    return read


def _set(column: Any) -> Reader:
    labels, size = column.set_values, column.size

    def read(data: bytes, position: int) -> tuple[Scalar, int]:
        end = position + size
        members = int.from_bytes(data[position:end], "little")
        return ",".join(label for index, label in enumerate(labels) if members >> index & 1), end

    return read


def _decimal(column: Any) -> Reader:
    precision, scale = column.precision, column.decimals
    whole = precision - scale
    # Groups of nine digits take four bytes; what is left over stands first before the point and last behind it.
    groups = [whole % 9] * (whole % 9 > 0) + [9] * (whole // 9) + [9] * (scale // 9) + [scale % 9] * (scale % 9 > 0)
    size = sum(_DIGIT_BYTES[digits] for digits in groups)
    flip = (1 << 8 * size) - 1
    top = 1 << (8 * size - 1)

    def read(data: bytes, position: int) -> tuple[Scalar, int]:
        stored = int.from_bytes(data[position : position + size], "big")
        negative = not stored & top
        raw = ((stored ^ top) ^ flip if negative else stored ^ top).to_bytes(size, "big")
        digits, at = "", 0
        for count in groups:
            end = at + _DIGIT_BYTES[count]
            digits += str(int.from_bytes(raw[at:end], "big")).zfill(count)
            at = end
        number = Decimal(f"{'-' if negative else ''}{digits[:whole] or '0'}.{digits[whole:]}")
        return number, position + size

    return read


def _fraction(value: int, fsp: int) -> str:
    """The printed fraction of a second from its stored number, which has an even number of digits."""
    return f".{value:0{fsp + fsp % 2}}"[: fsp + 1] if fsp else ""


@lru_cache(maxsize=4096)
def _second(stored: int) -> str:
    """The printed second of a DATETIME. Rows that are written together share it."""
    year, month = divmod(stored >> 22, 13)
    return f"{year:04}-{month:02}-{stored >> 17 & 31:02} {stored >> 12 & 31:02}:{stored >> 6 & 63:02}:{stored & 63:02}"


def _date(_column: Any) -> Reader:
    def read(data: bytes, position: int) -> tuple[Scalar, int]:
        stored = int.from_bytes(data[position : position + 3], "little")
        return f"{stored >> 9:04}-{stored >> 5 & 15:02}-{stored & 31:02}", position + 3

    return read


def _datetime(column: Any) -> Reader:
    fsp, extra = column.fsp, (column.fsp + 1) // 2

    def read(data: bytes, position: int) -> tuple[Scalar, int]:
        middle, end = position + 5, position + 5 + extra
        text = _second(int.from_bytes(data[position:middle], "big") - 0x8000000000)
        return text + _fraction(int.from_bytes(data[middle:end], "big"), fsp), end

    return read


def _timestamp(column: Any) -> Reader:
    fsp, extra = column.fsp, (column.fsp + 1) // 2

    def read(data: bytes, position: int) -> tuple[Scalar, int]:
        middle, end = position + 4, position + 4 + extra
        seconds = int.from_bytes(data[position:middle], "big")
        fraction = int.from_bytes(data[middle:end], "big")
        text = (_EPOCH + timedelta(seconds=seconds)).isoformat(" ") if seconds or fraction else "0000-00-00 00:00:00"
        return text + _fraction(fraction, fsp), end

    return read


def _time(column: Any) -> Reader:
    fsp, extra = column.fsp, (column.fsp + 1) // 2
    size, shift = 3 + extra, 8 * extra
    zero = 0x800000 << shift
    mask = (1 << shift) - 1

    def read(data: bytes, position: int) -> tuple[Scalar, int]:
        stored = int.from_bytes(data[position : position + size], "big") - zero
        sign = "-" if stored < 0 else ""
        whole, fraction = abs(stored) >> shift, abs(stored) & mask
        text = f"{sign}{whole >> 12 & 1023:02}:{whole >> 6 & 63:02}:{whole & 63:02}"
        return text + _fraction(fraction, fsp), position + size

    return read


_READERS: dict[int, Callable[[Any], Reader]] = {
    FIELD_TYPE.TINY: _integer("b"),
    FIELD_TYPE.SHORT: _integer("h"),
    FIELD_TYPE.INT24: _int24,
    FIELD_TYPE.LONG: _integer("i"),
    FIELD_TYPE.LONGLONG: _integer("q"),
    FIELD_TYPE.FLOAT: _real("<f"),
    FIELD_TYPE.DOUBLE: _real("<d"),
    FIELD_TYPE.NEWDECIMAL: _decimal,
    FIELD_TYPE.YEAR: _year,
    FIELD_TYPE.BIT: _bit,
    FIELD_TYPE.VARCHAR: _variable,
    FIELD_TYPE.STRING: _fixed,
    FIELD_TYPE.BLOB: _blob,
    FIELD_TYPE.ENUM: _enum,
    FIELD_TYPE.SET: _set,
    FIELD_TYPE.DATE: _date,
    FIELD_TYPE.DATETIME2: _datetime,
    FIELD_TYPE.TIMESTAMP2: _timestamp,
    FIELD_TYPE.TIME2: _time,
}
