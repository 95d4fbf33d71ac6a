"""From a request's headers to an acknowledged write: levels, tokens, verdicts.

The steps of a write, in this order:

1. the request's token: wait until this replica has it, else 503 `behind`, nothing executed;
2. a write that needs a verdict asks first whether sync can give one, else 503 `unavailable`, nothing executed (so when
   sync is not there, or its log is away); any write is refused so while too much is pending;
3. the local transaction, with its intent row;
4. wait for the level; a rejection is 409, no verdict in time is 503 `unconfirmed` with the way to ask;
5. the answer names what was reached and a token that covers the request's and the write.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from services.common import tokens
from services.common.config import ReplicaSettings
from services.common.database import CommitLost, Database, Work
from services.common.errors import Problem
from services.common.logs import get_logger
from services.common.metrics import WRITES
from services.common.sync import Level, Outcome, Sync, SyncUnavailable
from services.common.web import Headers, absent

T = TypeVar("T")

Kind = Literal["merge", "strict", "certify"]
"""merge: cannot be rejected. strict: changes a strict table. certify: on merge tables, but asks for a verdict."""

_NO_VERDICT = "The write needs a verdict and nobody can give it for now"
REACHED_HEADER = "Replication"
_ACK = re.compile(r'(?:^|[,;])\s*ack\s*=\s*"?(local|log|ordered)"?\s*(?=$|[,;])', re.I)


class ReadHeaders(Headers):
    """What a read may say about replication."""

    x_replica_token: str = absent(
        alias=tokens.HEADER, description="Token of an earlier answer: the answer shall cover it."
    )


class WriteHeaders(ReadHeaders):
    """What a write may say about replication."""

    prefer: str = absent(
        alias="Prefer", description="`ack=local`, `ack=log` (default) or `ack=ordered`; others are ignored."
    )

    @property
    def level(self) -> Level | None:
        match = _ACK.search(self.prefer or "")
        return match[1].lower() if match else None  # type: ignore[return-value]


@dataclass(frozen=True, slots=True)
class Entered:
    """A write that may be executed: the request's token without what this replica does not know, and the level."""

    token: str
    level: Level


@dataclass(frozen=True, slots=True)
class Done(Generic[T]):
    """An acknowledged write.

    Attributes:
        value: what the work returned.
        headers: for the answer: the token, and what was reached.
    """

    value: T
    headers: Mapping[str, str]


class Rejected(Problem):
    """The log says that the transaction did not happen; 409 unless the caller knows better."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__("conflict", "A concurrent change was first, nothing of this one remains. Read and try again.")
        self.outcome = outcome


class Replication:
    """One replica's writes and reads, as its callers see them."""

    def __init__(self, database: Database, sync: Sync, settings: ReplicaSettings, service: str) -> None:
        self.database = database
        self.sync = sync
        self._settings = settings
        self._service = service
        self._log = get_logger()

    def covers(self, headers: ReadHeaders) -> bool:
        """Whether a read here covers the request's token, after a wait if need be."""
        if not tokens.parse(headers.x_replica_token):
            return True
        try:
            answer = self.sync.wait_token(tokens.merge(headers.x_replica_token), self._settings.token_timeout_ms)
        except SyncUnavailable as error:
            self._log.warning("token not checked", reason=str(error))
            return False
        return answer.reached

    def require(self, headers: ReadHeaders) -> str:
        """The request's token as this replica knows it. Raises Problem `behind` if it is not reached in time."""
        if not tokens.parse(headers.x_replica_token):
            return ""
        try:
            answer = self.sync.wait_token(tokens.merge(headers.x_replica_token), self._settings.token_timeout_ms)
        except SyncUnavailable as error:
            raise self._refuse("behind", "Whether this replica has your last write is not known") from error
        if not answer.reached:
            raise self._refuse("behind", "This replica does not have your last write yet")
        return tokens.merge(answer.token)

    def enter(self, headers: WriteHeaders, kind: Kind) -> Entered:
        """Steps 1 and 2. Raises Problem `behind` or `unavailable`; nothing was executed then."""
        token = self.require(headers)
        level: Level = "ordered" if kind != "merge" else headers.level or "log"
        asks = level == "ordered"
        # A token was asked for just now. Who asks nothing goes by the last answer, if that was good.
        if not token and (asks or self.sync.writes == "none"):
            try:
                self.sync.wait_token("", 0)
            except SyncUnavailable as error:
                if asks:
                    raise self._refuse("unavailable", _NO_VERDICT) from error
        if self.sync.writes == "none":
            raise self._refuse("unavailable", "The log has been away for so long that nothing more can be taken")
        if asks and self.sync.writes == "merge":
            raise self._refuse("unavailable", _NO_VERDICT)
        return Entered(token, level)

    def write(self, work: Work[T], headers: WriteHeaders, kind: Kind = "merge") -> Done[T]:
        """All steps. Raises what the work raises, and Problem; Rejected is one."""
        return self.commit(work, self.enter(headers, kind), kind)

    def commit(self, work: Work[T], entered: Entered, kind: Kind) -> Done[T]:
        """Steps 3 to 5."""
        request = str(uuid.uuid4())
        try:
            committed = self.database.write(request, work, certify=kind == "certify")
        except CommitLost as error:
            raise self._unconfirmed(request) from error
        outcome = self._wait(request, entered.level, committed.position)
        if outcome.outcome == "rejected":
            self._told("rejected")
            raise Rejected(outcome)
        if kind != "merge" and not outcome.has("ordered"):
            raise self._unconfirmed(request)
        # A merge write stands whatever happens; its caller learns how far it got.
        told = outcome.reached if outcome.has("log") or entered.level == "local" else "pending"
        self._told(told)
        token = tokens.merge(entered.token, outcome.token or committed.position)
        return Done(committed.value, {tokens.HEADER: token, REACHED_HEADER: told})

    def _wait(self, request: str, level: Level, position: str | None) -> Outcome:
        if level == "local" and position is not None:
            return Outcome("pending", "local", position)
        settings = self._settings
        timeout = {"local": 0, "log": settings.ack_timeout_ms, "ordered": settings.ordered_timeout_ms}[level]
        try:
            return self.sync.wait_request(request, "log" if level == "local" else level, timeout)
        except SyncUnavailable as error:
            self._log.warning("write not acknowledged", request=request, reason=str(error))
            return Outcome("unknown", "local", None)

    def _unconfirmed(self, request: str) -> Problem:
        self._told("unconfirmed")
        return Problem(
            "unconfirmed",
            "The write is under way, but whether it is accepted is not known yet. Ask at the link.",
            request=request,
            link=f"/writes/{request}",
        )

    def _refuse(self, slug: Literal["behind", "unavailable"], why: str) -> Problem:
        self._told(slug)
        return Problem(slug, f"{why}; nothing was changed. Try again, or on another replica.")

    def _told(self, what: str) -> None:
        WRITES.labels(self._service, what).inc()
