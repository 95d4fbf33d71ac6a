"""Strong validators, and what If-Match and If-None-Match say about them (RFC 9110, 13.1)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from hashlib import sha256

_TAG = re.compile(r'(W/)?"([\x21\x23-\x7e\x80-\xff]*)"')


def etag(columns: Mapping[str, str | int | None]) -> str:
    """The same for the same column values, on every replica."""
    canonical = json.dumps(dict(columns), sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return f'"{sha256(canonical.encode("ascii")).hexdigest()[:32]}"'


def if_match(header: str, current: str) -> bool:
    """Whether the precondition holds for an item that exists. Weak tags never match; neither does nonsense."""
    return header.strip() == "*" or any(not weak and tag == current for weak, tag in _tags(header))


def if_none_match(header: str | None, current: str) -> bool:
    """Whether the caller has the current version already. Weak comparison, as for every GET."""
    return header is not None and (header.strip() == "*" or any(tag == current for _, tag in _tags(header)))


def _tags(header: str) -> list[tuple[bool, str]]:
    return [(bool(match[1]), f'"{match[2]}"') for match in _TAG.finditer(header)]
