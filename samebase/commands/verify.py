"""`samebase verify` and `samebase repair`: do all replicas hold the same, and making them."""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer

from samebase.commands.common import bar, fail, replicas
from samebase.snapshot.compare import Comparison, Difference, compare
from samebase.snapshot.errors import Refused
from samebase.snapshot.peers import Peers

URLS = Annotated[list[str] | None, typer.Argument(help="sync processes of all replicas; or SAMEBASE_PEERS")]
SHOWN = 100
"""Differing rows that are named one by one."""
_AT_ONCE = 200
_TRIES = 50
_PAUSE_SECONDS = 0.1


def verify(
    urls: URLS = None, every: Annotated[bool, typer.Option("--all", help="name every differing row")] = False
) -> None:
    """Compare all rows of all replicas at one offset, while they are written to. Exit code 1 if they differ."""
    peers, found = _at_least_two(urls)
    compared = _compare(peers, found)
    for difference in compared.differences[: None if every else SHOWN]:
        sys.stdout.write(f"differs  {difference.table} {difference.key}  {_sides(difference)}\n")
    rows = sum(max(counts.values()) for counts in compared.rows.values())
    if compared.differences:
        fail(f"{len(compared.differences)} of {rows} rows differ at offset {compared.offset}: see samebase repair")
    sys.stdout.write(f"same  {len(found)} replicas, {rows} rows, offset {compared.offset}\n")


def repair(
    record: Annotated[
        Path, typer.Option(help="what was changed is appended here: before and after, a JSON line a row")
    ],
    urls: URLS = None,
    source: Annotated[
        str | None, typer.Option("--from", help="the replica that is right, where more than half do not agree")
    ] = None,
) -> None:
    """Compare all replicas, and make the rows that differ what more than half of the replicas have."""
    peers, found = _at_least_two(urls)
    if source is not None and source.rstrip("/") not in found:
        fail("--from: it is none of the replicas", 2)
    compared = _compare(peers, found)
    if not compared.differences:
        sys.stdout.write(f"same  {len(found)} replicas, offset {compared.offset}: nothing to do\n")
        return
    undecided = [one for one in compared.differences if _right(one, source) is None]
    if undecided:
        fail(
            f"{len(undecided)} rows have no majority (the first: {undecided[0].table} {undecided[0].key}): say which "
            "replica is right, with --from"
        )
    try:
        handle = os.open(record, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    except OSError as error:
        fail(f"the record {record} cannot be written: {error.strerror}")
    changed = 0
    with os.fdopen(handle, "a", encoding="utf-8") as out:
        for wrong, right, keys in _work(compared.differences, source):
            changed += _mend(peers, wrong, right, keys, out)
    sys.stdout.write(f"repaired  {changed} rows; the record is {record}\n")


def _at_least_two(urls: list[str] | None) -> tuple[Peers, list[str]]:
    peers, found = replicas(urls or [])
    if len(found) < 2:
        fail("one replica alone is always the same: name all of them", 2)
    return peers, found


def _compare(peers: Peers, urls: Sequence[str]) -> Comparison:
    with bar() as shown:
        tasks = {url: shown.add_task(url, total=None, told="") for url in urls}
        try:
            return compare(peers, urls, lambda url, rows: shown.update(tasks[url], told=f"{rows} rows"))
        except Refused as error:
            shown.stop()
            fail(str(error))


def _sides(difference: Difference) -> str:
    return "  ".join(f"{url}: {'none' if value is None else value[:8]}" for url, value in difference.hashes.items())


def _right(difference: Difference, source: str | None) -> str | None:
    """The URL of a replica whose row is right."""
    if source is not None:
        return source.rstrip("/")
    value, count = Counter(difference.hashes.values()).most_common(1)[0]
    if 2 * count <= len(difference.hashes):
        return None
    return next(url for url, its in difference.hashes.items() if its == value)


def _work(differences: Sequence[Difference], source: str | None) -> Iterator[tuple[str, str, list[tuple[str, str]]]]:
    """Which replica has to be repaired, from which, and the keys; some at a time."""
    work: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for one in differences:
        right = _right(one, source) or ""
        for url, value in one.hashes.items():
            if value != one.hashes[right]:
                work.setdefault((url, right), []).append((one.table, one.key))
    for (url, right), keys in work.items():
        for start in range(0, len(keys), _AT_ONCE):
            yield url, right, keys[start : start + _AT_ONCE]


def _mend(peers: Peers, wrong: str, right: str, keys: list[tuple[str, str]], record: TextIO) -> int:
    """Rows change meanwhile: then they are read again."""
    left = _TRIES
    while True:
        try:
            rows = _ask(peers, right, "/rows", {"rows": keys})
            changed = _ask(peers, wrong, "/repair", {"at": rows["offset"], "rows": rows["rows"]})["changed"]
        except Refused as error:
            left -= 1
            if left == 0 or "try again" not in str(error):
                fail(f"some rows were not repaired: {error}")
            time.sleep(_PAUSE_SECONDS)
            continue
        after = {(table, key): row for table, key, row in rows["rows"]}
        for table, key, before in changed:
            line = {
                "replica": wrong,
                "from": right,
                "offset": rows["offset"],
                "table": table,
                "key": json.loads(key),
                "before": json.loads(before),
                "after": json.loads(after[table, key]),
            }
            record.write(json.dumps(line) + "\n")
        return len(changed)


def _ask(peers: Peers, url: str, path: str, wanted: Any) -> Any:
    with peers.asked("POST", url, path, json=wanted) as response:
        return response.json()
