"""What pages say in their way, in the words of the REST face, and back. Values in, values out.

Pages send forms: numbers may come as strings, null means unchanged, what is not known is ignored.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from werkzeug.datastructures import MultiDict

from services.common.errors import invalid

MAX_PAGE_SIZE = 200
DEFAULT_PAGE_SIZE = 20
MAX_KEYS = 200
"""So many items a page deletes at once: what its longest list shows."""

STATUSES = ("0", "1", "2", "3")
SORTABLE = ("name", "desc", "status", "progress", "callNo", "createdAt", "updatedAt")
_FIELDS = ("name", "desc", "status", "progress")
_LONGEST = {"name": 200, "desc": 10_000}
_NUMBERS = frozenset({"status", "progress"})
_DONE = 2


@dataclass(frozen=True, slots=True)
class ListQuery:
    """What `GET /api/rule` asks for.

    Attributes:
        rest: query of `GET /rule`, without `current` and `pageSize`.
        impossible: no item can match.
    """

    current: int
    page_size: int
    rest: dict[str, str]
    impossible: bool = False

    def page(self, current: int) -> dict[str, str]:
        """The query for one page."""
        return {"current": str(current), "pageSize": str(self.page_size), **self.rest}

    def last_page(self, total: int) -> int:
        """The last page that has a row; 1 if there is none."""
        return max(1, -(-total // self.page_size))


def list_query(args: MultiDict[str, str]) -> ListQuery:
    """Read the parameters of `GET /api/rule`; what makes no sense counts as not sent, except a status that no item
    has and a text longer than any: nothing matches those."""
    rest = {name: value for name in ("name", "desc") if (value := args.get(name, ""))}
    wanted = _statuses(args)
    if wanted:
        rest["status"] = ",".join(wanted)
    if sorter := _sorter(args.get("sorter", "")):
        rest["sorter"] = sorter
    return ListQuery(
        current=_number(args.get("current"), 1, 10**9, 1),
        page_size=_number(args.get("pageSize"), 1, MAX_PAGE_SIZE, DEFAULT_PAGE_SIZE),
        rest=rest,
        impossible=wanted == [] or any(len(rest.get(name, "")) > most for name, most in _LONGEST.items()),
    )


def item_fields(body: Mapping[str, Any]) -> dict[str, Any]:
    """The body of POST /rule and PATCH /rule/{key}: the fields of an item that the page gives."""
    return {name: _value(name, body[name]) for name in _FIELDS if body.get(name) is not None}


def key_of(body: Mapping[str, Any]) -> str:
    """The key of the item to change. Raises Problem 422 if there is none."""
    key = body.get("key")
    if key is None or isinstance(key, list | dict):
        raise invalid([{"pointer": "#/key", "detail": "name the item by its key"}])
    return str(key)


def keys_of(body: Mapping[str, Any]) -> list[str]:
    """The keys of the items to delete, each once. Raises Problem 422 if there is no `key`, or too many."""
    given = body.get("key")
    if given is None or isinstance(given, dict):
        raise invalid([{"pointer": "#/key", "detail": "name the items by their keys"}])
    keys = list(dict.fromkeys(key for key in (given if isinstance(given, list) else [given]) if isinstance(key, str)))
    if len(keys) > MAX_KEYS:
        raise invalid([{"pointer": "#/key", "detail": f"at most {MAX_KEYS} items at once"}])
    return keys


def empty_list(query: ListQuery, **more: Any) -> dict[str, Any]:
    """The answer of `GET /api/rule` with no row."""
    return {
        "data": [],
        "total": 0,
        "success": True,
        "pageSize": query.page_size,
        "current": query.current,
        **more,
    }


def current_user(person: str, name: str, picture: str, email: str | None) -> dict[str, Any]:
    """What `GET /api/currentUser` answers; what we know nothing of is empty. Nothing here records what somebody has
    read, so nothing is counted as unread."""
    return {
        "userid": person,
        "name": name,
        "avatar": picture,
        "email": email or "",
        "signature": "",
        "title": "",
        "group": "",
        "tags": [],
        "notifyCount": 0,
        "unreadCount": 0,
        "country": "",
        "geographic": {"province": {"label": "", "key": ""}, "city": {"label": "", "key": ""}},
        "address": "",
        "phone": "",
    }


def notices(items: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What happened to these items lately: a new one is a notification, a change an event."""
    return [_notice(item) for item in items]


def _notice(item: Mapping[str, Any]) -> dict[str, Any]:
    added = item.get("createdAt") == item.get("updatedAt")
    what = "was added" if added else "is done" if item.get("status") == _DONE else "was changed"
    return {
        "id": f"{item.get('key')}@{item.get('updatedAt')}",
        "type": "notification" if added else "event",
        "title": f"{item.get('name')} {what}",
        "datetime": item.get("updatedAt"),
        "read": True,
    }


def _statuses(args: MultiDict[str, str]) -> list[str] | None:
    """The statuses asked for by `status` and by `filter`, those of both if both are there; None: not filtered by it."""
    asked = [_known(args.getlist("status")), _known(_filtered(args.get("filter", "")))]
    sets = [statuses for statuses in asked if statuses is not None]
    if not sets:
        return None
    return [status for status in STATUSES if all(status in statuses for statuses in sets)]


def _known(values: Sequence[Any]) -> list[str] | None:
    """Those that are statuses; None if nothing was asked for."""
    parts = [part.strip() for value in values for part in str(value).split(",") if part.strip()]
    return [part for part in parts if part in STATUSES] if parts else None


def _filtered(text: str) -> Sequence[Any]:
    """`status` of a filter object: a list, or one value."""
    value = _object(text).get("status")
    return value if isinstance(value, list) else [] if value is None else [value]


def _sorter(text: str) -> str | None:
    """`updatedAt_descend`, from that or from `{"updatedAt": "descend"}`; None if it asks for no order."""
    candidates: Iterable[tuple[str, Any]]
    candidates = _object(text).items() if text.lstrip().startswith("{") else [_split(text)]
    for field, order in candidates:
        if field in SORTABLE and order in ("ascend", "descend"):
            return f"{field}_{order}"
    return None


def _split(text: str) -> tuple[str, str]:
    field, _, order = text.rpartition("_")
    return field, order


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _number(text: str | None, low: int, high: int, default: int) -> int:
    """A whole number, brought into its range."""
    if text is None or not text.isascii() or not text.removeprefix("-").isdigit():
        return default
    return high if len(text) > 18 and text[0] != "-" else min(high, max(low, int(text[:19])))


def _value(field: str, value: Any) -> Any:
    if field in _NUMBERS and isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
        return int(value)
    return value
