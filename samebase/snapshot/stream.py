"""The snapshot format: S(offset) as a stream of frames, which either side holds one of.

    MAGIC
    frame*     kind (1 byte), length of the payload (4 bytes, big endian), payload
      H        one, the first: the header
      J        rejections, any number
      R        rows of one table, any number
      T        one, the last: how many there were, and the SHA-256 of every byte before this frame

Payloads are MessagePack, all but the trailer's compressed with zlib. Rows are lists of values in the order of the
frame's columns; the columns whose numbers are listed hold decimals, as text. Whoever reads a stream must not commit
anything before the trailer was read: until then it may be cut off or damaged.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from hashlib import sha256
from itertools import islice
from typing import Any, cast

import msgspec

from samebase.core.types import Chunk, Reason, Rejection, Scalar, State
from samebase.core.wire import dump_key, load_key
from samebase.snapshot.errors import Refused
from samebase.snapshot.shape import Shape

MAGIC = b"samebase snapshot 1\n"
CONTENT_TYPE = "application/vnd.samebase.snapshot"
LEVEL = 1
"""Of the compression: a higher one costs more time than it saves."""
LARGEST_FRAME = 256 * 1024 * 1024
_REJECTIONS = 500

_FRAME = struct.Struct(">cI")
_encoder = msgspec.msgpack.Encoder()


@dataclass(frozen=True, slots=True)
class Header:
    """What a snapshot is of.

    Attributes:
        service, replica: whose it is.
        log: identity of the log.
        state: without an origin and base rows: offset, applied, held.
        shape: of the tables.
    """

    service: str
    replica: str
    log: str
    state: State
    shape: Shape


@dataclass(slots=True)
class Counts:
    """How much of a stream has gone by."""

    rows: int = 0
    rejected: int = 0
    bytes: int = 0
    tables: dict[str, int] = field(default_factory=dict)

    def add(self, chunk: Chunk) -> None:
        self.rows += len(chunk.rows)
        self.tables[chunk.table] = self.tables.get(chunk.table, 0) + len(chunk.rows)


def write(header: Header, rejected: Iterable[Rejection], chunks: Iterable[Chunk]) -> Iterator[bytes]:
    """The stream, piece by piece."""
    digest, counts = sha256(MAGIC), Counts()

    def frame(kind: bytes, payload: Any) -> bytes:
        packed = zlib.compress(_encoder.encode(payload), LEVEL)
        framed = _FRAME.pack(kind, len(packed)) + packed
        digest.update(framed)
        return framed

    yield MAGIC
    state = header.state
    yield frame(
        b"H",
        {
            "service": header.service,
            "replica": header.replica,
            "log": header.log,
            "offset": state.offset,
            "applied": state.applied,
            "held": state.held,
            "shape": header.shape,
        },
    )
    rejections = iter(rejected)
    while some := list(islice(rejections, _REJECTIONS)):
        counts.rejected += len(some)
        yield frame(b"J", [_dumped(rejection) for rejection in some])
    for chunk in chunks:
        counts.add(chunk)
        yield frame(b"R", _packed(chunk))
    trailer = _encoder.encode(_Trailer(counts.rows, counts.rejected, digest.digest()))
    yield _FRAME.pack(b"T", len(trailer)) + trailer


class Reader:
    """A stream that is being read: first the header, then what follows.

    Args:
        read: gives at most so many bytes, b"" at the end.

    Raises Refused, here and later, for a stream that is not a whole and undamaged one.
    """

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self._digest = sha256()
        self.counts = Counts()
        if self._exactly(len(MAGIC)) != MAGIC:
            raise Refused("this is no snapshot, or one of another version of the format")
        self._digest.update(MAGIC)
        kind, payload = self._frame()
        if kind != b"H":
            raise Refused("the snapshot is damaged: it does not begin with a header")
        self.header = _checked(lambda: _header(_unpacked(payload, _headers)))
        self._kind, self._payload = self._frame()

    def rejected(self) -> Iterator[Sequence[Rejection]]:
        """The rejections, in groups. To be read first."""
        while self._kind == b"J":
            payload = self._payload
            group = _checked(lambda: [_loaded(values) for values in _unpacked(payload, _rejections)])  # noqa: B023 - called now
            self.counts.rejected += len(group)
            yield group
            self._kind, self._payload = self._frame()

    def chunks(self) -> Iterator[Chunk]:
        """The rows. When it ends without an error, the stream was whole: its checksum and its counts agree."""
        while self._kind == b"R":
            payload = self._payload
            chunk = _checked(lambda: _chunk(_unpacked(payload, _rows)))  # noqa: B023 - called now
            self.counts.add(chunk)
            yield chunk
            self._kind, self._payload = self._frame()
        if self._kind != b"T":
            raise Refused(f"the snapshot is damaged: a frame of kind {self._kind!r} at byte {self.counts.bytes}")
        told = _checked(lambda: _trailers.decode(self._payload))
        if told.sha256 != self._digest.digest():
            raise Refused("the snapshot is damaged: its checksum is wrong")
        if (told.rows, told.rejected) != (self.counts.rows, self.counts.rejected):
            raise Refused("the snapshot is damaged: it has not as many rows as it says")
        if self._read(1):
            raise Refused("the snapshot is damaged: there is something behind its end")

    def _frame(self) -> tuple[bytes, bytes]:
        head = self._exactly(_FRAME.size)
        kind, length = _FRAME.unpack(head)
        if length > LARGEST_FRAME:
            raise Refused(f"the snapshot is damaged: a frame of {length} bytes at byte {self.counts.bytes}")
        payload = self._exactly(length)
        if kind != b"T":
            self._digest.update(head)
            self._digest.update(payload)
        return kind, payload

    def _exactly(self, length: int) -> bytes:
        pieces = []
        left = length
        while left:
            piece = self._read(left)
            if not piece:
                raise Refused(f"the snapshot is cut off after {self.counts.bytes} bytes")
            pieces.append(piece)
            left -= len(piece)
            self.counts.bytes += len(piece)
        return b"".join(pieces)


def _unpacked(payload: bytes, decoder: msgspec.msgpack.Decoder[Any]) -> Any:
    unzip = zlib.decompressobj()
    plain = unzip.decompress(payload, LARGEST_FRAME)
    if not unzip.eof or unzip.unused_data:
        raise ValueError("a frame is not what it says")
    return decoder.decode(plain)


def _checked(make: Callable[[], Any]) -> Any:
    try:
        return make()
    except (msgspec.MsgspecError, zlib.error, ValueError, KeyError, TypeError, InvalidOperation) as error:
        raise Refused(f"the snapshot is damaged: {type(error).__name__}") from error


# -- payloads --------------------------------------------------------------------------------------------------------

_headers: msgspec.msgpack.Decoder[dict[str, Any]] = msgspec.msgpack.Decoder(dict[str, Any])
_rejections = msgspec.msgpack.Decoder(list[tuple[int, str, int, str | None, str, list[tuple[str, str]]]])
_rows = msgspec.msgpack.Decoder(tuple[str, list[str], list[int], list[list[Any]]])


class _Trailer(msgspec.Struct):
    rows: int
    rejected: int
    sha256: bytes


_trailers = msgspec.msgpack.Decoder(_Trailer)


def _header(data: Mapping[str, Any]) -> Header:
    state = State("", int(data["offset"]), dict(data["applied"]), dict(data["held"]))
    return Header(str(data["service"]), str(data["replica"]), str(data["log"]), state, dict(data["shape"]))


def _packed(chunk: Chunk) -> Any:
    """As lists; a chunk without decimals, which most are, is taken as it is."""
    decimals = [
        index for index, column in enumerate(zip(*chunk.rows, strict=True)) if Decimal in set(map(type, column))
    ]
    rows: Sequence[Sequence[Scalar]] = chunk.rows
    if decimals:
        rows = [[str(value) if isinstance(value, Decimal) else value for value in row] for row in chunk.rows]
    return (chunk.table, chunk.columns, decimals, rows)


def _chunk(data: tuple[str, list[str], list[int], list[list[Any]]]) -> Chunk:
    table, columns, decimals, rows = data
    for row in rows:
        if len(row) != len(columns):
            raise ValueError("a row has not as many values as there are columns")
        for index in decimals:
            if row[index] is not None:
                row[index] = Decimal(row[index])
    return Chunk(table, tuple(columns), rows)


def _dumped(rejection: Rejection) -> Any:
    # What was lost is kept at the origin only.
    rows = [(table, dump_key(key)) for table, key in rejection.rows]
    return (rejection.offset, rejection.origin, rejection.seq, rejection.request, rejection.reason, rows)


def _loaded(values: tuple[int, str, int, str | None, str, list[tuple[str, str]]]) -> Rejection:
    offset, origin, seq, request, reason, rows = values
    ids = tuple((table, load_key(key)) for table, key in rows)
    return Rejection(origin, seq, request, cast(Reason, reason), ids, offset)
