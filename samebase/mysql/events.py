"""The events that every transaction has, read from their bytes. All others are left to the library: making its objects
for these four took two thirds of the time that capturing takes.

Layouts: MySQL's libs/mysql/binlog/event (Log_event_header, Query_event, Rows_event, Gtid_event, Xid_event). All begin
with the packet's status byte and a header of 19 bytes, and end with a checksum of four.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple, TypeAlias

from pymysqlreplication.constants import BINLOG

_KIND = 5
_NEXT = slice(14, 18)  # where the next event begins
_BODY = 20
_CHECKSUM = 4


class Change(Enum):
    """What happened to the rows of a Rows event."""

    INSERT = BINLOG.WRITE_ROWS_EVENT_V2
    UPDATE = BINLOG.UPDATE_ROWS_EVENT_V2
    DELETE = BINLOG.DELETE_ROWS_EVENT_V2


class Rows(NamedTuple):
    """Rows of one table, changed by one statement.

    Attributes:
        present: which columns the row images have, as bits: of the image before the change or after it, or of both.
        data: the images from `start` on.
    """

    change: Change
    table_id: int
    present: tuple[int, ...]
    data: bytes
    start: int


class Statement(NamedTuple):
    """A statement, among them BEGIN and COMMIT. `schema` is the one that was in use."""

    schema: str
    text: str


class Xid(NamedTuple):
    """The end of a transaction that was committed."""


Event: TypeAlias = Rows | Statement | Xid

_XID = Xid()
_COMMIT_TIME = slice(62, 69)  # microseconds; the highest bit is a flag
_COMMIT_TIME_MASK = (1 << 55) - 1


def kind(packet: bytes) -> int:
    """The type of the event in a packet; 0 for what is too short to be one."""
    return packet[_KIND] if len(packet) >= _BODY else 0


def next_offset(packet: bytes) -> int:
    """Where in its file the next event begins; 0 for an event that stands in no file."""
    return int.from_bytes(packet[_NEXT], "little")


def body(packet: bytes) -> bytes:
    """An event without its header and checksum."""
    return packet[_BODY:-_CHECKSUM]


def commit_time(packet: bytes) -> int:
    """When the transaction was committed that a GTID event (anonymous ones too) begins: microseconds since 1970."""
    return int.from_bytes(packet[_COMMIT_TIME], "little") & _COMMIT_TIME_MASK


def xid(_: bytes) -> Event:
    return _XID


def statement(packet: bytes) -> Event:
    """A query event. Its status variables (time zone, character sets ...) are passed over."""
    start = 33 + int.from_bytes(packet[31:33], "little")
    end = start + packet[28]
    schema, text = packet[start:end], packet[end + 1 : -_CHECKSUM]
    return Statement(schema.decode("utf-8", "backslashreplace"), text.decode("utf-8", "backslashreplace"))


def rows(packet: bytes) -> Event:
    """A rows event, version 2."""
    change = Change(packet[_KIND])
    # The header's own size is told, and what an extension adds to it.
    columns, position = _packed_integer(packet, 28 + int.from_bytes(packet[28:30], "little"))
    size = (columns + 7) // 8
    present = []
    for _ in range(2 if change is Change.UPDATE else 1):
        present.append(int.from_bytes(packet[position : position + size], "little"))
        position += size
    return Rows(change, int.from_bytes(packet[20:26], "little"), tuple(present), packet[:-_CHECKSUM], position)


def _packed_integer(data: bytes, position: int) -> tuple[int, int]:
    """A length-encoded integer, and the position behind it."""
    first = data[position]
    size = {252: 2, 253: 3, 254: 8}.get(first)
    if size is None:
        return first, position + 1
    end = position + 1 + size
    return int.from_bytes(data[position + 1 : end], "little"), end


READERS = {
    BINLOG.XID_EVENT: xid,
    BINLOG.QUERY_EVENT: statement,
    BINLOG.WRITE_ROWS_EVENT_V2: rows,
    BINLOG.UPDATE_ROWS_EVENT_V2: rows,
    BINLOG.DELETE_ROWS_EVENT_V2: rows,
}
"""By type, how an event is read."""
