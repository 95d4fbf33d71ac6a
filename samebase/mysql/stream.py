"""The server's binary log as a stream of events, from a position on.

The library (`mysql-replication`) speaks the protocol and reads the events; what it would do wrong for us is set right
here:

- it connects again by itself, and may then begin somewhere else: a lost connection is an error here, and whoever reads
  opens a new Stream;
- it waits for ever: here every wait ends, because the server sends a heartbeat when it has nothing else;
- it decodes a table map for each statement, which takes half of its time: one that it knows already is not shown to it;
- it leaves out events that it does not know: here they stop the replica;
- it reads the status variables of statements, which nobody needs, and fails at some: they are not shown to it.
"""

from __future__ import annotations

import random
import select
from collections.abc import Collection
from typing import Any, NamedTuple

import pymysql
from pymysql.connections import Connection
from pymysql.constants import CR
from pymysql.protocol import MysqlPacket
from pymysqlreplication import BinLogStreamReader
from pymysqlreplication.constants import BINLOG
from pymysqlreplication.event import HeartbeatLogEvent, NotImplementedEvent, RotateEvent
from pymysqlreplication.exceptions import MalformedBinLogEvent, StatusVariableMismatch

from samebase.core.errors import Diverged, Stop, Unavailable
from samebase.mysql.connection import Address, settings, translated

HEARTBEAT_SECONDS = 5.0
SILENCE_SECONDS = 20.0
"""A server that says nothing for so long is taken for gone."""

_FILE_BITS = 40
_HEADER = 20  # the packet's status byte and the event's header
_CHECKSUM = 4
_EVENT_SIZE = slice(10, 14)
_STATUS_LENGTH = slice(31, 33)  # in a query event
_GTIDS = frozenset({BINLOG.GTID_LOG_EVENT, BINLOG.ANONYMOUS_GTID_LOG_EVENT})
_COMMIT_TIME = slice(62, 69)  # microseconds, in a GTID event; the highest bit is a flag
_COMMIT_TIME_MASK = (1 << 55) - 1
_COM_BINLOG_DUMP = 0x12
_ER_BINLOG_UNREADABLE = 1236


class Position(NamedTuple):
    """A place in the binary log: the number in the file's name, and the offset of the next event."""

    file: int
    offset: int

    @property
    def seq(self) -> int:
        """The place as one number."""
        return self.file << _FILE_BITS | self.offset

    @classmethod
    def of_seq(cls, seq: int) -> Position:
        return cls(seq >> _FILE_BITS, seq & (1 << _FILE_BITS) - 1)


def file_number(name: str) -> int:
    """The number at the end of a binary log file's name."""
    return int(name.rpartition(".")[2])


def file_name(like: str, number: int) -> str:
    """The name of the file with this number; `like` is the name of another one."""
    return f"{like.rpartition('.')[0]}.{number:06}"


class Stream:
    """Events of the binary log from `start` on, which must be the beginning of an event."""

    def __init__(self, address: Address, start: Position, like: str, schemas: Collection[str], tables: Collection[str]):
        """`like` is the name of any binary log file. Rows of other schemas and tables are left out."""
        self.position = start
        self._connection: _StreamConnection | None = None
        ours = settings(address) | {"read_timeout": SILENCE_SECONDS, "autocommit": True}
        self._reader = BinLogStreamReader(
            connection_settings=ours,
            ctl_connection_settings={**ours, "cursorclass": pymysql.cursors.DictCursor},
            # Two readers with one id throw each other out.
            server_id=random.randrange(2**31, 2**32),
            resume_stream=True,
            blocking=True,
            log_file=file_name(like, start.file),
            log_pos=start.offset,
            filter_non_implemented_events=False,
            only_schemas=list(schemas),
            only_tables=list(tables),
            slave_heartbeat=HEARTBEAT_SECONDS,
            enable_logging=False,
            pymysql_wrapper=self._connect,
        )

    def _connect(self, **options: Any) -> Connection[Any]:
        # The library opens two: one for the stream, and one to ask about the server.
        if "cursorclass" in options:
            options["database"] = options.pop("db")  # an older name of it
            return pymysql.connect(**options)
        self._connection = _StreamConnection(**options)
        return self._connection

    def next(self) -> Any:
        """The next event, the library's; waits for it. None for one that says nothing but that the server is there.
        Raises Unavailable, Diverged if the server no longer has the position, Stop for an event that is not known."""
        before = self._reader.log_pos
        try:
            with translated("reading the binary log"):
                event = self._reader.fetchone()
        except (MalformedBinLogEvent, StatusVariableMismatch, NotImplementedError, ValueError, KeyError) as error:
            raise Stop(
                f"the binary log cannot be read after {self.position}: {type(error).__name__}: {error}"
            ) from error
        if event is None:
            raise Unavailable("the server has ended the binary log stream")
        if isinstance(event, HeartbeatLogEvent):
            return None
        if isinstance(event, RotateEvent):
            # The library keeps its table maps when a file ended in a crash, and ids begin anew.
            self._reader.table_map = {}
            self.position = Position(file_number(event.next_binlog), event.position)
            return event
        if self._reader.log_pos < before:
            raise Stop("a binary log file is larger than 4 GiB, beyond which positions are not told")
        self.position = Position(self.position.file, self._reader.log_pos)
        if isinstance(event, NotImplementedEvent):
            raise Stop(
                f"the binary log holds an event of type {event.event_type} before {self.position}, which this version "
                "does not know (compressed transactions and tagged GTIDs must be off)"
            )
        return event

    @property
    def committed_ms(self) -> int:
        """When the transaction that is being read was committed: milliseconds since 1970."""
        return 0 if self._connection is None else self._connection.committed_us // 1000

    def waiting(self) -> bool:
        """Whether the server has sent more."""
        connection = self._connection
        return connection is not None and bool(select.select([connection.socket], [], [], 0)[0])

    def close(self) -> None:
        self._reader.close()


class _StreamConnection(Connection):  # type: ignore[misc]  # the driver has no types
    """Leaves out table maps that the reader has, and does not let it connect again."""

    def __init__(self, **options: Any) -> None:
        self._dumping = False
        self._maps: dict[bytes, bytes] = {}
        self.committed_us = 0
        super().__init__(**options)

    @property
    def socket(self) -> Any:
        return self._sock

    def _write_bytes(self, data: bytes) -> None:
        if data[4] == _COM_BINLOG_DUMP:
            self._dumping = True
        super()._write_bytes(data)

    def _read_packet(self, packet_type: type[MysqlPacket] = MysqlPacket) -> MysqlPacket:
        if not self._dumping:
            return super()._read_packet(packet_type)
        while True:
            try:
                packet = super()._read_packet(packet_type)
            except pymysql.OperationalError as error:
                raise _ended(error) from error
            data = packet.get_all_data()
            kind = data[5] if len(data) > _HEADER else 0
            if kind == BINLOG.TABLE_MAP_EVENT:
                body = data[_HEADER:-_CHECKSUM]
                table_id = body[:6]
                if self._maps.get(table_id) == body:
                    continue
                self._maps[table_id] = body
            elif kind in _GTIDS:
                # Positions tell us all that we need; but here alone the time is told in more than seconds.
                self.committed_us = int.from_bytes(data[_COMMIT_TIME], "little") & _COMMIT_TIME_MASK
                continue
            elif kind == BINLOG.QUERY_EVENT:
                return packet_type(_without_status(data), self.encoding)
            elif kind in (BINLOG.ROTATE_EVENT, BINLOG.FORMAT_DESCRIPTION_EVENT):
                # Table ids begin anew with a server, and a server with a file.
                self._maps.clear()
            return packet


def _without_status(data: bytes) -> bytes:
    """A query event without its status variables: they take time, and one that the library does not know stops it."""
    status = int.from_bytes(data[_STATUS_LENGTH], "little")
    size = int.from_bytes(data[_EVENT_SIZE], "little") - status
    return b"".join(
        (
            data[: _EVENT_SIZE.start],
            size.to_bytes(4, "little"),
            data[_EVENT_SIZE.stop : _STATUS_LENGTH.start],
            b"\0\0",
            data[_STATUS_LENGTH.stop + status :],
        )
    )


def _ended(error: pymysql.OperationalError) -> Exception:
    code = error.args[0]
    if code in (CR.CR_SERVER_LOST, CR.CR_SERVER_GONE_ERROR):
        return Unavailable(f"the binary log stream broke off: {error.args[-1]}")
    if code == _ER_BINLOG_UNREADABLE:
        return Diverged(f"the binary log cannot be read from where this replica stands: {error.args[-1]}")
    return Stop(f"the binary log stream ended: {error.args[-1]}")
