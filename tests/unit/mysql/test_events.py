"""The events that every transaction has, from bytes that are put together here as MySQL's documentation says."""

from __future__ import annotations

import struct

import pytest
from pymysqlreplication.constants import BINLOG

from samebase.mysql.events import READERS, Change, Rows, Statement, Xid, body, commit_time, kind, next_offset

NEXT = 4321


def packet(event_type: int, content: bytes, next_event: int = NEXT) -> bytes:
    """A packet as the server sends it: status, header, content, checksum."""
    header = struct.pack("<IBIIIH", 0, event_type, 7, 19 + len(content) + 4, next_event, 0)
    return b"\0" + header + content + b"\x01\x02\x03\x04"


def read(event_type: int, content: bytes) -> object:
    return READERS[event_type](packet(event_type, content))


def query(schema: bytes, text: bytes, status: bytes = b"") -> bytes:
    return struct.pack("<IIBHH", 1, 0, len(schema), 0, len(status)) + status + schema + b"\0" + text


def rows(columns: bytes, bitmaps: bytes, images: bytes, extra: bytes = b"", table_id: int = 99) -> bytes:
    head = table_id.to_bytes(6, "little") + struct.pack("<HH", 1, 2 + len(extra))
    return head + extra + columns + bitmaps + images


def test_a_header_says_what_it_is_and_where_the_next_begins() -> None:
    event = packet(BINLOG.XID_EVENT, bytes(8))
    assert kind(event) == BINLOG.XID_EVENT
    assert next_offset(event) == NEXT
    assert body(event) == bytes(8)
    assert kind(b"\xfe") == 0


def test_the_end_of_a_transaction() -> None:
    assert read(BINLOG.XID_EVENT, bytes(8)) == Xid()


@pytest.mark.parametrize("status", [b"", bytes(range(60))], ids=["plain", "with status variables"])
def test_a_statement_has_a_schema_and_a_text(status: bytes) -> None:
    assert read(BINLOG.QUERY_EVENT, query(b"app", b"BEGIN", status)) == Statement("app", "BEGIN")
    assert read(BINLOG.QUERY_EVENT, query(b"", "DROP TABLE `ä`".encode(), status)) == Statement("", "DROP TABLE `ä`")
    assert read(BINLOG.QUERY_EVENT, query(b"app", b"\xe4", status)) == Statement("app", "\\xe4")


@pytest.mark.parametrize("extra", [b"", b"\x01\x05\x00", b"\x00\x04ndbx"], ids=["plain", "partition", "extension"])
@pytest.mark.parametrize(
    ("event_type", "change", "bitmaps", "present"),
    [
        (BINLOG.WRITE_ROWS_EVENT_V2, Change.INSERT, b"\xff\x01", (0x1FF,)),
        (BINLOG.DELETE_ROWS_EVENT_V2, Change.DELETE, b"\xfe\x01", (0x1FE,)),
        (BINLOG.UPDATE_ROWS_EVENT_V2, Change.UPDATE, b"\xff\x01\x0f\x00", (0x1FF, 0x00F)),
    ],
)
def test_rows(extra: bytes, event_type: int, change: Change, bitmaps: bytes, present: tuple[int, ...]) -> None:
    found = read(event_type, rows(b"\x09", bitmaps, b"images", extra))
    assert isinstance(found, Rows)
    assert (found.change, found.table_id, found.present) == (change, 99, present)
    assert found.data[found.start :] == b"images"


def test_rows_of_a_wide_table() -> None:
    found = read(BINLOG.WRITE_ROWS_EVENT_V2, rows(b"\xfc\x2c\x01", b"\xff" * 38, b"images", table_id=2**40))
    assert isinstance(found, Rows)
    assert (found.table_id, found.present) == (2**40, (2**304 - 1,))
    assert found.data[found.start :] == b"images"


def test_a_transactions_time_is_told_in_microseconds() -> None:
    at = 1_790_000_000_123_456
    for flag in (0, 1 << 55):
        content = bytes(42) + (at | flag).to_bytes(7, "little") + bytes(8)
        assert commit_time(packet(BINLOG.GTID_LOG_EVENT, content)) == at
