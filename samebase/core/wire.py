"""The wire format: a transaction as readable JSON, cut into parts where it is larger than a record may be.

A record's value:

    {"source": {"name": origin, "seq": 7, "prev": 5, "ts_ms": ...},
     "transaction": {"certified": false, "certify_all": false, "request": ..., "traceparent": ...,
                     "start": 0, "total": 1},
     "tables": {"item": {"policy": "merge", "key": ["id"], "unique": [], "delta": {"call_no": [-9, 9]}}},
     "changes": [{"op": "u", "table": "item", "before": {...}, "after": {...}}]}

`op`, `before`, `after`, `source` and `ts_ms` are Debezium's words for a change (c: create, u: update, d: delete).
JSON has no bytes, decimals and infinities: they are {"$bytes": base64}, {"$decimal": text} and {"$float": text}.
Invariant: decode(encode(t)) == t, value by value and type by type.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from math import isfinite, isinf
from typing import Any

from samebase.core.errors import Misuse, TooLarge, Unreadable
from samebase.core.types import (
    Change,
    Delta,
    Entry,
    Key,
    Part,
    Policy,
    Record,
    Row,
    Scalar,
    Transaction,
)

CONTENT_TYPE = "application/json"
EVENT_TYPE = "samebase.transaction"
ENVELOPE_ROOM = 4096
"""Bytes of a record that are left to its header and its table descriptions."""


def encode(transaction: Transaction, limit: int = 900_000) -> list[Record]:
    """The records of a transaction, in the order in which they must be appended: one, or several parts if it does
    not fit into `limit` bytes. Raises TooLarge if a single change does not."""
    envelope = _envelope(transaction)
    tables = {change.table: change.policy for change in transaction.changes}
    described = _dumps({name: _policy_to_json(policy) for name, policy in tables.items()})
    room = limit - ENVELOPE_ROOM - len(described)
    slices: list[list[str]] = [[]]
    size = 0
    for change in transaction.changes:
        text = _dumps(_change_to_json(change))
        if len(text) > room:
            raise TooLarge(
                f"transaction {transaction.seq} of {transaction.origin}: the row {change.table} {change.key!r} takes "
                f"{len(text)} bytes in the log, a record holds {limit}"
            )
        if slices[-1] and size + len(text) > room:
            slices.append([])
            size = 0
        slices[-1].append(text)
        size += len(text) + 1
    headers = {
        "ce_specversion": "1.0",
        "ce_type": EVENT_TYPE,
        "ce_source": transaction.origin,
        "ce_id": f"{transaction.origin}:{transaction.seq}",
        "content-type": CONTENT_TYPE,
    }
    if transaction.traceparent:
        headers["ce_traceparent"] = transaction.traceparent
    records = []
    start = 0
    for texts in slices:
        envelope["transaction"] |= {"start": start, "total": len(transaction.changes)}
        value = f'{_dumps(envelope)[:-1]},"tables":{described},"changes":[{",".join(texts)}]}}'
        if len(value) > limit:
            raise TooLarge(
                f"transaction {transaction.seq} of {transaction.origin}: what its record says beside the rows does not "
                f"fit into {limit} bytes"
            )
        records.append(Record(value.encode("ascii"), headers))
        start += len(texts)
    return records


def decode(value: bytes, offset: int) -> Entry:
    """The entry that stands at `offset`. Raises Unreadable for anything that `encode` cannot have made."""
    try:
        data = _DECODER.decode(value.decode())
        if b"\\ud" in value or b"\\uD" in value:
            _dumps_unescaped(data).encode()  # A lone surrogate is no text, and no database takes it.
        source, about = data["source"], data["transaction"]
        policies = {_text(name): _policy(_dumps(spec)) for name, spec in data["tables"].items()}
        changes = tuple(_change_from_json(change, policies) for change in data["changes"])
        header = Transaction(
            origin=_text(source["name"]),
            seq=_count(source["seq"]),
            prev=_count(source["prev"]),
            certified=_flag(about["certified"]),
            changes=changes,
            certify_all=_flag(about["certify_all"]),
            request=_text_or_none(about["request"]),
            traceparent=_text_or_none(about["traceparent"]),
            ts_ms=_count(source["ts_ms"]),
        )
        start, total = _count(about["start"]), _count(about["total"])
        if not header.origin or not header.prev < header.seq or start + len(changes) > total or not changes:
            raise ValueError("positions make no sense")
        if not header.certified and (header.certify_all or any(change.policy.strict for change in changes)):
            raise ValueError("it must be certified")
        if len({change.id for change in changes}) != len(changes):
            raise ValueError("one key has two changes")
    except (ValueError, KeyError, TypeError, AttributeError, InvalidOperation, RecursionError) as error:
        raise Unreadable(offset, f"{type(error).__name__}: {error}") from error
    if len(changes) == total:
        return Entry(offset, header)
    return Entry(offset, Part(header, start, total))


def dump_row(row: Row | None) -> str:
    """A row as JSON text, exactly."""
    return _dumps(None if row is None else _row_to_json(row))


def load_row(text: str) -> Row | None:
    """The inverse of dump_row."""
    data = json.loads(text)
    return None if data is None else _row_from_json(data)


def dump_key(key: Key) -> str:
    """A key as JSON text, exactly."""
    return _dumps([_to_json(value) for value in key])


def load_key(text: str) -> Key:
    """The inverse of dump_key."""
    return tuple(_from_json(value) for value in json.loads(text))


def dump_changes(changes: Iterable[Change]) -> str:
    """Changes with their policies as JSON text, exactly."""
    return _dumps([{**_change_to_json(change), "policy": _policy_to_json(change.policy)} for change in changes])


def load_changes(text: str) -> tuple[Change, ...]:
    """The inverse of dump_changes."""
    return tuple(
        _change_from_json(data, {data["table"]: _policy(json.dumps(data["policy"]))}) for data in json.loads(text)
    )


def parts(transaction: Transaction, sizes: Iterable[int]) -> Iterator[Part]:
    """The transaction cut into slices of these sizes; what the sizes do not cover is left out. For tests and tools."""
    start = 0
    for size in sizes:
        header = Transaction(
            transaction.origin,
            transaction.seq,
            transaction.prev,
            transaction.certified,
            transaction.changes[start : start + size],
            transaction.certify_all,
            transaction.request,
            transaction.traceparent,
            transaction.ts_ms,
        )
        yield Part(header, start, len(transaction.changes))
        start += size


def _envelope(transaction: Transaction) -> dict[str, Any]:
    return {
        "source": {
            "name": transaction.origin,
            "seq": transaction.seq,
            "prev": transaction.prev,
            "ts_ms": transaction.ts_ms,
        },
        "transaction": {
            "certified": transaction.certified,
            "certify_all": transaction.certify_all,
            "request": transaction.request,
            "traceparent": transaction.traceparent,
        },
    }


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


# Made once: json.dumps and json.loads make one for each call that says anything special.
_dumps = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode
_dumps_unescaped = json.JSONEncoder(ensure_ascii=False).encode
_DECODER = json.JSONDecoder(parse_constant=_no_constant)


def _to_json(value: Scalar) -> Any:
    if value is None:
        return None
    if isinstance(value, bytes):
        return {"$bytes": base64.b64encode(value).decode("ascii")}
    if isinstance(value, Decimal) and value.is_finite():
        return {"$decimal": str(value)}
    if isinstance(value, float) and isinf(value):
        return {"$float": repr(value)}
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int | str) or (isinstance(value, float) and isfinite(value)):
        return value
    raise Misuse(f"{value!r} is not a column's value")


def _from_json(data: Any) -> Scalar:
    if data is None or type(data) in (str, int) or (type(data) is float and isfinite(data)):
        return data  # type: ignore[no-any-return]
    if isinstance(data, dict) and len(data) == 1:
        ((tag, text),) = data.items()
        if tag == "$bytes":
            try:
                return base64.b64decode(text, validate=True)
            except binascii.Error as error:
                raise ValueError(str(error)) from error
        if tag == "$decimal":
            decimal = Decimal(_text(text))
            if decimal.is_finite():
                return decimal
        if tag == "$float" and text in ("inf", "-inf"):
            return float(text)
    raise ValueError(f"not a column's value: {str(data)[:100]}")


def _row_to_json(row: Row) -> dict[str, Any]:
    return {name: value if type(value) in (str, int) else _to_json(value) for name, value in row.items()}


def _row_from_json(data: Any) -> Row:
    return {name: value if type(value) in (str, int) else _from_json(value) for name, value in data.items()}


def _change_to_json(change: Change) -> dict[str, Any]:
    op = "c" if change.before is None else "d" if change.after is None else "u"
    return {
        "op": op,
        "table": change.table,
        "before": None if change.before is None else _row_to_json(change.before),
        "after": None if change.after is None else _row_to_json(change.after),
    }


def _change_from_json(data: Any, policies: Mapping[str, Policy]) -> Change:
    before = None if data["before"] is None else _row_from_json(data["before"])
    after = None if data["after"] is None else _row_from_json(data["after"])
    policy = policies[data["table"]]
    if before is not None and after is not None and before.keys() != after.keys():
        raise ValueError("before and after do not have the same columns")
    for row in (before, after):
        if row is not None:
            _check_row(row, policy)
    row = after if before is None else before
    if row is None:
        raise ValueError("a change needs a row")
    key = tuple([row[column] for column in policy.key])
    if before is not None and after is not None and key != tuple([after[column] for column in policy.key]):
        raise ValueError("a change needs one key")
    if data["op"] != ("c" if before is None else "d" if after is None else "u"):
        raise ValueError(f"op {data['op']!r} does not fit its rows")
    return Change(data["table"], key, before, after, policy)


def _check_row(row: Row, policy: Policy) -> None:
    """What the policy says of columns is so. Raises KeyError or ValueError."""
    for columns in policy.unique:
        for column in columns:
            row[column]
    for delta in policy.delta:
        _number(row[delta.column])


def _policy_to_json(policy: Policy) -> dict[str, Any]:
    return {
        "policy": policy.kind,
        "key": policy.key,
        "unique": policy.unique,
        "delta": {delta.column: [_to_json(delta.low), _to_json(delta.high)] for delta in policy.delta},
    }


@lru_cache(maxsize=1024)
def _policy(text: str) -> Policy:
    data = json.loads(text)
    if data["policy"] not in ("merge", "strict"):
        raise ValueError(f"unknown policy {data['policy']!r}")
    if data["unique"] and data["policy"] != "strict":
        raise ValueError("a table with a unique index must be strict")
    return Policy(
        kind=data["policy"],
        key=_names(data["key"]),
        unique=tuple(_names(columns) for columns in data["unique"]),
        delta=tuple(
            Delta(_text(column), _number(_from_json(low)), _number(_from_json(high)))
            for column, (low, high) in data["delta"].items()
        ),
    )


def _names(data: Any) -> tuple[str, ...]:
    if not isinstance(data, list) or not data:
        raise ValueError("a list of column names is expected")
    return tuple(_text(name) for name in data)


def _number(value: Scalar) -> int | Decimal:
    if isinstance(value, int | Decimal):
        return value
    raise ValueError("a delta column holds whole numbers or decimals, and so does its range")


def _text(data: Any) -> str:
    if isinstance(data, str):
        return data
    raise ValueError(f"text is expected, not {str(data)[:100]}")


def _text_or_none(data: Any) -> str | None:
    return None if data is None else _text(data)


def _count(data: Any) -> int:
    if type(data) is int and data >= 0:
        return data
    raise ValueError(f"a count is expected, not {str(data)[:100]}")


def _flag(data: Any) -> bool:
    if isinstance(data, bool):
        return data
    raise ValueError(f"true or false is expected, not {str(data)[:100]}")
