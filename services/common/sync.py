"""What a replica's api asks its sync process: where a transaction stands, whether a token is reached, how it is."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import requests
from requests.adapters import HTTPAdapter

Level = Literal["local", "log", "ordered"]
LEVELS: tuple[Level, ...] = ("local", "log", "ordered")
Writes = Literal["all", "merge", "none"]
"""What may be written now. merge: nothing that needs a verdict, for nobody gives one; none: too much is pending."""

_CONNECT_SECONDS = 0.5
_GRACE_SECONDS = 1.0
"""How much longer than the agreed timeout we wait for an answer to arrive."""
_PAUSE_SECONDS = 0.05


class SyncUnavailable(Exception):
    """The sync process did not answer, or not with something that can be understood."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Where a transaction stands.

    Attributes:
        outcome: `unknown`: not among what the sync process remembers.
        reached: the highest level so far.
        token: position to wait for on other replicas, None if not known.
        reason: why it was rejected.
        rows: what the rejection is about: (table, key).
    """

    outcome: Literal["accepted", "rejected", "pending", "unknown"]
    reached: Level = "local"
    token: str | None = None
    reason: str | None = None
    rows: tuple[tuple[str, tuple[Any, ...]], ...] = ()

    def has(self, level: Level) -> bool:
        return LEVELS.index(self.reached) >= LEVELS.index(level)


class Reached(NamedTuple):
    """Whether a token is reached, the token without what this replica does not know, and what may be written."""

    reached: bool
    token: str
    writes: Writes = "all"


class Sync(Protocol):
    """All methods raise SyncUnavailable. Timeouts are milliseconds; 0 just asks.

    Attributes:
        writes: what may be written, as the last answer of /wait said.
    """

    writes: Writes

    def wait_request(self, request: str, level: Level, timeout_ms: int) -> Outcome:
        """Answers as soon as the level is reached or the transaction is rejected, else at the timeout."""
        ...

    def wait_token(self, token: str, timeout_ms: int) -> Reached:
        """Answers as soon as the token is reached, else at the timeout."""
        ...

    def status(self) -> dict[str, Any]:
        """`state`, `reason`, `writes`, `origin`, `offset`, ...; see /status of the sync process."""
        ...


class SyncClient:
    """Sync over HTTP with kept-alive connections. While nobody listens it tries again until the timeout has passed."""

    def __init__(self, url: str, connections: int = 32) -> None:
        self.writes: Writes = "all"
        self._url = url.rstrip("/")
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.mount(self._url, HTTPAdapter(pool_connections=1, pool_maxsize=connections))

    def wait_request(self, request: str, level: Level, timeout_ms: int) -> Outcome:
        answer = self._wait(timeout_ms, request=request, level=level)
        try:
            return Outcome(
                outcome=answer["outcome"],
                reached=answer["reached"],
                token=answer["token"],
                reason=answer["reason"],
                rows=tuple((table, tuple(key)) for table, key in answer["rows"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise SyncUnavailable(f"/wait answered something else: {error!r}") from error

    def wait_token(self, token: str, timeout_ms: int) -> Reached:
        answer = self._wait(timeout_ms, token=token)
        try:
            return Reached(bool(answer["reached"]), str(answer["token"]), self.writes)
        except KeyError as error:
            raise SyncUnavailable(f"/wait answered something else: {error!r}") from error

    def status(self) -> dict[str, Any]:
        return self._get("/status", 0)

    def _wait(self, timeout_ms: int, **parameters: str) -> dict[str, Any]:
        answer = self._get("/wait", timeout_ms, **parameters)
        self.writes = answer.get("writes", "all")
        return answer

    def _get(self, path: str, timeout_ms: int, **parameters: str) -> dict[str, Any]:
        deadline = time.monotonic() + timeout_ms / 1000
        while True:
            left = max(0.0, deadline - time.monotonic())
            if path == "/wait":
                parameters["timeout"] = str(round(left * 1000))
            try:
                response = self._session.get(
                    self._url + path, params=parameters, timeout=(_CONNECT_SECONDS, left + _GRACE_SECONDS)
                )
                response.raise_for_status()
                answer: dict[str, Any] = response.json()
                return answer
            except (requests.ConnectionError, requests.HTTPError) as error:
                if time.monotonic() + _PAUSE_SECONDS >= deadline:
                    raise SyncUnavailable(f"sync does not answer {path}: {type(error).__name__}") from error
                time.sleep(_PAUSE_SECONDS)
            except (requests.RequestException, ValueError) as error:
                raise SyncUnavailable(f"sync does not answer {path}: {type(error).__name__}") from error
