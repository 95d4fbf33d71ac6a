"""Comparing replicas at one common offset, while they are written to, and finding the rows that differ.

Nobody stops anything: an offset is chosen that the log will have reached in a moment, and every replica opens its view
when it gets there. A replica that was faster refuses, and another offset is tried.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import requests
import urllib3

from samebase.ports import CHUNK_ROWS
from samebase.snapshot.errors import Refused
from samebase.snapshot.http import OFFSET, SHAPE
from samebase.snapshot.peers import Peers

TRIES = 12
LOOK_SECONDS = 0.2
"""Between two looks at the log's end, which tell how fast it grows."""
ARRIVE_MS = 20_000
"""How long a replica may take to get to the common offset."""
PIECE = 1 << 16

Tell = Callable[[str, int], None]
"""Told a replica's URL, and about how many of its rows were read by now."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A row that is not the same everywhere: per replica its hash, None where there is none."""

    table: str
    key: str
    hashes: Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class Comparison:
    """What was found. `rows`: per table and replica."""

    offset: int
    rows: Mapping[str, Mapping[str, int]]
    differences: Sequence[Difference] = field(default=())


def compare(peers: Peers, urls: Sequence[str], tell: Tell) -> Comparison:
    """Compare these replicas. Raises Refused if one does not answer, or has other tables."""
    offset, bodies = _at_one_offset(peers, urls, "/digest", None, tell)
    digests = {url: json.loads(body) for url, body in bodies.items()}
    tables = digests[urls[0]].keys()
    rows = {table: {url: digests[url][table]["rows"] for url in urls} for table in tables}
    buckets = {table: _differing({url: digests[url][table]["buckets"] for url in urls}) for table in tables}
    wanted = {table: numbers for table, numbers in buckets.items() if numbers}
    if not wanted:
        return Comparison(offset, rows)
    offset, bodies = _at_one_offset(peers, urls, "/listing", {"buckets": wanted}, tell)
    return Comparison(offset, rows, _differences(bodies))


def _differing(buckets: Mapping[str, Mapping[str, str]]) -> list[int]:
    every = {number for found in buckets.values() for number in found}
    return sorted(int(number) for number in every if len({found.get(number) for found in buckets.values()}) > 1)


def _differences(bodies: Mapping[str, bytes]) -> list[Difference]:
    found: dict[tuple[str, str], dict[str, str | None]] = {}
    for url, body in bodies.items():
        for line in filter(None, body.splitlines()):
            table, key, value = json.loads(line)
            found.setdefault((table, key), dict.fromkeys(bodies))[url] = value
    return [
        Difference(table, key, hashes)
        for (table, key), hashes in sorted(found.items())
        if len(set(hashes.values())) > 1
    ]


def _at_one_offset(
    peers: Peers, urls: Sequence[str], path: str, wanted: Any, tell: Tell
) -> tuple[int, dict[str, bytes]]:
    """What each replica answers at one offset, and the offset. `wanted` is posted, if it is not None."""
    refused: list[Refused] = []
    with ThreadPoolExecutor(len(urls)) as pool:
        for attempt in range(TRIES):
            at = {"at": _offset_in(peers, urls, 1.0 + attempt), "timeout": ARRIVE_MS}
            how = {"params": at} if wanted is None else {"json": wanted | at}
            method = "GET" if wanted is None else "POST"
            with ExitStack() as stack:
                asked = [peers.asked(method, url, path, stream=True, **how) for url in urls]
                # Every view is open once the headers are there.
                entered = list(pool.map(_entered, asked))
                answers = [answer for answer in entered if not isinstance(answer, Refused)]
                for one, answer in zip(asked, entered, strict=True):
                    if not isinstance(answer, Refused):
                        stack.push(one)
                if len(answers) < len(urls):
                    refused = [answer for answer in entered if isinstance(answer, Refused)]
                    continue
                _check(urls, answers)
                bodies = pool.map(partial(_body, tell), urls, answers)
                return at["at"], dict(zip(urls, bodies, strict=True))
    raise Refused(f"the replicas do not come to one offset: {refused[0]}")


def _entered(asked: AbstractContextManager[requests.Response]) -> requests.Response | Refused:
    try:
        return asked.__enter__()
    except Refused as error:
        return error


def _offset_in(peers: Peers, urls: Sequence[str], seconds: float) -> int:
    """Where the log will be in so many seconds, if it goes on as it does: where it ends, if nothing is written."""

    def end() -> int:
        return max(int(peers.status(url)["log_end"]) for url in urls)

    first = end()
    time.sleep(LOOK_SECONDS)
    last = end()
    return last + int((last - first) / LOOK_SECONDS * seconds)


def _check(urls: Sequence[str], answers: Sequence[requests.Response]) -> None:
    shapes = {answer.headers[SHAPE] for answer in answers}
    if len(shapes) > 1:
        raise Refused("the replicas have different tables: migrate all of them first")
    offsets = {url: answer.headers[OFFSET] for url, answer in zip(urls, answers, strict=True)}
    if len(set(offsets.values())) > 1:
        raise Refused(f"the replicas stand at different offsets: {offsets}")


def _body(tell: Tell, url: str, answer: requests.Response) -> bytes:
    pieces = []
    chunks = 0
    try:
        for piece in answer.iter_content(PIECE):
            pieces.append(piece)
            chunks += piece.count(b"\n")
            tell(url, chunks * CHUNK_ROWS)
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        raise Refused(f"{url}: its answer broke off") from error
    return b"".join(pieces)
