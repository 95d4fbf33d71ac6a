"""The server's binary log as a stream of events, from a position on.

The library (`mysql-replication`) opens the stream and reads the events that are rare; what every transaction has is
read in events.py. What the library would do wrong for us is set right here:

- it connects again by itself, and may then begin somewhere else: a lost connection is an error here, and whoever reads
  opens a new Stream;
- it waits for ever: here every wait ends, because the server sends a heartbeat when it has nothing else;
- it decodes a table map for each statement, which takes half of its time: one that it knows already is not shown to it;
- it leaves out events that it does not know: here they stop the replica.
"""

from __future__ import annotations

import random
import select
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Any, NamedTuple

import pymysql
from pymysql.connections import MAX_PACKET_LEN, Connection
from pymysql.constants import CR
from pymysql.protocol import MysqlPacket
from pymysqlreplication import BinLogStreamReader
from pymysqlreplication.constants import BINLOG
from pymysqlreplication.event import HeartbeatLogEvent, NotImplementedEvent, RotateEvent
from pymysqlreplication.exceptions import MalformedBinLogEvent, StatusVariableMismatch

from samebase.core.errors import Diverged, Stop, Unavailable
from samebase.mysql import events
from samebase.mysql.alarm import Alarm
from samebase.mysql.connection import Address, settings, translated

HEARTBEAT_SECONDS = 5.0
SILENCE_SECONDS = 20.0
"""A server that says nothing for so long is taken for gone."""

_FILE_BITS = 40
_GTIDS = frozenset({BINLOG.GTID_LOG_EVENT, BINLOG.ANONYMOUS_GTID_LOG_EVENT})
_COM_BINLOG_DUMP = 0x12
_ER_BINLOG_UNREADABLE = 1236
_ERROR = 0xFF
_RECEIVE = 2**18


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

    def __init__(
        self,
        address: Address,
        start: Position,
        like: str,
        schemas: Collection[str],
        tables: Collection[str],
        *,
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        """`like` is the name of any binary log file. Rows of other schemas and tables are left out. `wake`: see
        `alarm`."""
        self.position = start
        self._wake = wake
        self._alarm: Alarm | None = None
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
        """The next event, one of events.py or the library's; waits for it. None for one that says nothing but that the
        server is there. Raises Unavailable, Diverged if the server no longer has the position, Stop for an event that
        is not known."""
        try:
            while True:
                event = self._common()
                if event is not None:
                    return event
                try:
                    return self._rare()
                except _PassedOver:
                    continue
        except (MalformedBinLogEvent, StatusVariableMismatch, NotImplementedError, ValueError, LookupError) as error:
            raise Stop(
                f"the binary log cannot be read after {self.position}: {type(error).__name__}: {error}"
            ) from error

    def _common(self) -> events.Event | None:
        """The next event, None if the library must read it."""
        connection = self._connection
        if connection is None:
            return None
        packet = connection.next_packet()
        read = events.READERS.get(events.kind(packet))
        if read is None:
            connection.put_back()
            return None
        event = read(packet)
        self._stands_at(events.next_offset(packet))
        return event

    def _rare(self) -> Any:
        with translated("reading the binary log"):
            event = self._reader.fetchone()
        if event is None:
            raise Unavailable("the server has ended the binary log stream")
        if isinstance(event, HeartbeatLogEvent):
            return None
        if isinstance(event, RotateEvent):
            # The library keeps its table maps when a file ended in a crash, and ids begin anew.
            self._reader.table_map = {}
            self.position = Position(file_number(event.next_binlog), event.position)
            return event
        offset = 0 if self._connection is None else events.next_offset(self._connection.last_packet)
        self._stands_at(offset or self.position.offset)
        if isinstance(event, NotImplementedEvent):
            raise Stop(
                f"the binary log holds an event of type {event.event_type} before {self.position}, which this version "
                "does not know (compressed transactions and tagged GTIDs must be off)"
            )
        return event

    def _stands_at(self, offset: int) -> None:
        if offset < self.position.offset:
            raise Stop("a binary log file is larger than 4 GiB, beyond which positions are not told")
        self.position = Position(self.position.file, offset)

    @property
    def committed_ms(self) -> int:
        """When the transaction that is being read was committed: milliseconds since 1970."""
        return 0 if self._connection is None else self._connection.committed_us // 1000

    def waiting(self) -> bool:
        """Whether the server has sent more."""
        return self._connection is not None and self._connection.waiting

    def alarm(self) -> None:
        """Call `wake`, from another thread, as soon as there is more to be read."""
        if self._connection is None:
            with suppress(_PassedOver):
                self._rare()
        assert self._connection is not None  # noqa: S101  # it is open now
        if self._alarm is None:
            self._alarm = Alarm(self._connection.socket, self._wake)
        if self._connection.buffered:
            self._wake()
        else:
            self._alarm.set()

    def unset_alarm(self) -> None:
        """Whoever set it is reading now."""
        if self._alarm is not None:
            self._alarm.unset()

    def close(self) -> None:
        if self._alarm is not None:
            self._alarm.close()
        self._reader.close()


class _PassedOver(Exception):
    """The library has nothing to say about an event (another table's), or has just opened the stream: it would go on
    to read the next one, which may not be for it."""


class _StreamConnection(Connection):  # type: ignore[misc]  # the driver has no types
    """Leaves out table maps that the reader has, and does not let it connect again."""

    def __init__(self, **options: Any) -> None:
        self._dumping = False
        self._maps: dict[bytes, bytes] = {}
        self._put_back: bytes | None = None
        self.last_packet = b""
        self._received, self._taken = b"", 0
        self.committed_us = 0
        super().__init__(**options)

    @property
    def socket(self) -> Any:
        return self._sock

    @property
    def buffered(self) -> bool:
        """Whether something was received that was not read yet."""
        return self._taken < len(self._received)

    @property
    def waiting(self) -> bool:
        """Whether something was sent that was not read yet."""
        return self.buffered or bool(select.select([self._sock], [], [], 0)[0])

    def next_packet(self) -> bytes:
        """The next event that is needed, with the packet's status byte."""
        packet, self._put_back = self._put_back, None
        while packet is None:
            packet = self._needed(self._receive())
        self.last_packet = packet
        return packet

    def put_back(self) -> None:
        """The last one is the next one again."""
        self._put_back = self.last_packet

    def _needed(self, packet: bytes) -> bytes | None:
        kind = events.kind(packet)
        if kind == BINLOG.TABLE_MAP_EVENT:
            body = events.body(packet)
            table_id = body[:6]
            if self._maps.get(table_id) == body:
                return None
            self._maps[table_id] = body
        elif kind in _GTIDS:
            # Positions tell us all that we need; but here alone the time is told in more than seconds.
            self.committed_us = events.commit_time(packet)
            return None
        elif kind in (BINLOG.ROTATE_EVENT, BINLOG.FORMAT_DESCRIPTION_EVENT):
            # Table ids begin anew with a server, and a server with a file.
            self._maps.clear()
        return packet

    def _receive(self) -> bytes:
        """A whole packet. Raises what the server says instead of an event."""
        try:
            packet = b""
            while True:
                header = self._read_bytes(4)
                size = int.from_bytes(header[:3], "little")
                packet += self._read_bytes(size)
                if size < MAX_PACKET_LEN:
                    break
            if packet[0] == _ERROR:
                MysqlPacket(packet, self.encoding).raise_for_error()
        except pymysql.OperationalError as error:
            raise _ended(error) from error
        return packet

    # -- what the library calls ----------------------------------------------------------------------------------

    def _write_bytes(self, data: bytes) -> None:
        super()._write_bytes(data)
        if data[4] == _COM_BINLOG_DUMP:
            self._dumping = True
            self._sock.settimeout(self._read_timeout)

    def _read_packet(self, packet_type: type[MysqlPacket] = MysqlPacket) -> MysqlPacket:
        if not self._dumping:
            return super()._read_packet(packet_type)
        packet, self._put_back = self._put_back, None
        if packet is None:
            raise _PassedOver
        return packet_type(packet, self.encoding)

    def _read_bytes(self, count: int) -> bytes:
        if not self._dumping:
            data: bytes = super()._read_bytes(count)
            return data
        end = self._taken + count
        while len(self._received) < end:
            self._received, end, self._taken = self._received[self._taken :] + self._more(), end - self._taken, 0
        taken, self._taken = self._taken, end
        return self._received[taken:end]

    def _more(self) -> bytes:
        reason = "the server has closed it"
        try:
            data: bytes = self._sock.recv(_RECEIVE)
            if data:
                return data
        except OSError as error:
            reason = str(error)
        self._force_close()
        raise pymysql.OperationalError(CR.CR_SERVER_LOST, f"lost connection to MySQL server: {reason}")


def _ended(error: pymysql.OperationalError) -> Exception:
    code = error.args[0]
    if code in (CR.CR_SERVER_LOST, CR.CR_SERVER_GONE_ERROR):
        return Unavailable(f"the binary log stream broke off: {error.args[-1]}")
    if code == _ER_BINLOG_UNREADABLE:
        return Diverged(f"the binary log cannot be read from where this replica stands: {error.args[-1]}")
    return Stop(f"the binary log stream ended: {error.args[-1]}")
