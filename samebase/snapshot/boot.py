"""A replica that cannot begin by reading the log takes a peer's snapshot first.

| database                          | log                          | what happens                                  |
|-----------------------------------|------------------------------|-----------------------------------------------|
| new                               | begins at 0, and is short    | it is read from 0                             |
| new                               | begins at 0, and is long     | a peer's snapshot; if none gives one, from 0  |
| new                               | begins later                 | a peer's snapshot; without peers: refused     |
| needs what the log has no longer  |                              | a peer's snapshot, own pending ones on top;   |
|                                   |                              | without peers: refused                        |
| goes on where it was              |                              | nothing                                       |
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from samebase.core.errors import LogLost, SamebaseError, Unavailable
from samebase.logs import get_logger
from samebase.ports import Clock
from samebase.progress import Progress
from samebase.session import Surroundings
from samebase.snapshot import take
from samebase.snapshot.errors import Refused
from samebase.snapshot.peers import Peers

SHORT_LOG = 10_000
"""Entries that are read from the log in no more time than a snapshot takes."""
TELL_SECONDS = 0.5

log_line = get_logger()


@dataclass(frozen=True, slots=True)
class Boot:
    """Wraps what opens a replica's adapters: `connect` gives them when the database is fit to go on from.

    Args:
        peers: None if none are known.
        stop: set when the process has to end.
    """

    open: Callable[[], Surroundings]
    service: str
    peers: Peers | None
    progress: Progress
    clock: Clock
    stop: threading.Event

    def connect(self) -> Surroundings:
        """Raises as `open` does; LogLost if only a person can help; Unavailable if a peer may help later."""
        surroundings = self.open()
        try:
            self._prepare(surroundings)
        except BaseException:
            surroundings.close()
            raise
        return surroundings

    def _prepare(self, surroundings: Surroundings) -> None:
        log, store = surroundings.log, surroundings.store
        store.schema()
        state, bound = store.load(), store.bound()
        if bound is not None and bound != log.identity:
            return  # the session says so
        begin = log.begin()
        fresh = bound is None and state.offset == 0
        if fresh and begin == 0 and log.end(exact=True) <= SHORT_LOG:
            return
        if state.reread >= begin and not fresh:
            return
        if self.peers is None:
            if begin > 0:
                raise LogLost(
                    f"this database needs the log from offset {state.reread} on, it begins at {begin} by now: name "
                    "other replicas in SAMEBASE_PEERS, to take a snapshot from"
                )
            return
        refused = self._fetch(self.peers, surroundings)
        if refused is None:
            store.bind(log.identity)
        elif begin > 0:
            reason = (
                f"the log begins at {begin} by now, this database needs it from {state.reread} on, and no peer gives a "
                f"snapshot ({refused})"
            )
            self.progress.halt("booting", reason)
            raise Unavailable(reason)
        else:
            log_line.warning("no peer gives a snapshot: reading the log from its beginning", peers=refused)

    def _fetch(self, peers: Peers, surroundings: Surroundings) -> str | None:
        """Take a snapshot from the first peer that gives one; else why each does not."""
        refused: list[str] = []
        for url in _best_first(peers, refused):
            self.progress.halt("booting", f"taking a snapshot from {url}")
            began = self.clock.monotonic()
            try:
                with peers.snapshot(url) as reader:
                    take.check(reader.header, self.service, surroundings)
                    take.take(reader, surroundings, self._teller(url))
            except Refused as error:
                log_line.warning("a peer's snapshot was not taken", peer=url, reason=str(error))
                refused.append(f"{url}: {error}" if url not in str(error) else str(error))
                continue
            seconds = self.clock.monotonic() - began
            log_line.info(
                "booted from a peer",
                peer=url,
                offset=reader.header.state.offset,
                rows=reader.counts.rows,
                megabytes=round(reader.counts.bytes / 1e6, 1),
                seconds=round(seconds, 2),
            )
            return None
        return "; ".join(refused) or "SAMEBASE_PEERS names nobody who can be found"

    def _teller(self, url: str) -> take.Tell:
        told = self.clock.monotonic()

        def tell(rows: int) -> None:
            nonlocal told
            if self.stop.is_set():
                raise take.stopping()
            if self.clock.monotonic() - told >= TELL_SECONDS:
                told = self.clock.monotonic()
                self.progress.halt("booting", f"{rows} rows of the snapshot from {url}")

        return tell


def _best_first(peers: Peers, refused: list[str]) -> list[str]:
    """The peers that are ready, those first that are farthest; others, and this replica itself, are not."""
    found = []
    for url in peers.urls():
        try:
            told = peers.status(url)
            if told["state"] == "ready":
                found.append((-int(told["offset"]), url))
            else:
                refused.append(f"{url} is {told['state']}")
        except (SamebaseError, ValueError, KeyError) as error:
            refused.append(str(error))
    return [url for _, url in sorted(found)]
