"""Idempotency-Key: a repeated POST gets the first one's result, per caller and path, for 24 hours, on every replica.

The record is a row of a strict table, written in the transaction of the request that it is about: both are accepted or
neither, so of two concurrent first requests, wherever they arrive, one wins, and the other finds the winner's record.
A POST with a key therefore always waits for its verdict.

The body is kept as a keyed digest: a plain hash of a body with a password in it could be guessed from.
"""

from __future__ import annotations

import hmac
import json
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import SmallInteger, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Mapped, Session, mapped_column

from services.common import columns, tokens
from services.common.database import REQUEST, Work
from services.common.errors import Problem
from services.common.logs import get_logger
from services.common.replication import REACHED_HEADER, Entered, Kind, Rejected, Replication, WriteHeaders
from services.common.sync import SyncUnavailable
from services.common.web import absent

LIFETIME = timedelta(hours=24)
ANONYMOUS = "anonymous"
_PURGE_SECONDS = 3600
_PURGE_ROWS = 200


class PostHeaders(WriteHeaders):
    """What a POST may say besides."""

    idempotency_key: str = absent(
        alias="Idempotency-Key",
        min_length=1,
        max_length=200,
        pattern=r"^[\x21-\x7e]+$",
        description="Repeated with the same body within 24 hours, the request gets the first one's result.",
    )


class RecordColumns:
    """Columns of a service's `idempotency` table; its model derives from this and from the service's base."""

    caller: Mapped[str] = mapped_column(columns.text(36), primary_key=True)
    path: Mapped[str] = mapped_column(columns.text(64), primary_key=True)
    key: Mapped[str] = mapped_column("idempotency_key", columns.text(200), primary_key=True)
    digest: Mapped[str] = mapped_column(columns.text(64))
    request: Mapped[str] = mapped_column(columns.text(36))
    status: Mapped[int] = mapped_column(SmallInteger)
    headers: Mapped[str] = mapped_column(columns.long_text())
    body: Mapped[str] = mapped_column(columns.long_text())
    created_at: Mapped[datetime] = mapped_column(columns.UtcDateTime, index=True)


@dataclass(frozen=True, slots=True)
class Result:
    """What a POST answers, before replication adds its headers."""

    status: int
    document: Any
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Post:
    """A POST request, as far as this module is concerned."""

    caller: str
    path: str
    body: Mapping[str, Any]
    headers: PostHeaders


class _Recorded(Exception):
    """The transaction met a record of the same request."""


class Posts:
    """Executes POST requests at most once per key.

    Args:
        model: the service's record table.
        secret: the same on every replica of the service.
    """

    def __init__(self, replication: Replication, model: type[RecordColumns], secret: bytes) -> None:
        self._replication = replication
        self._model = model
        self._secret = secret
        self._purge_at = time.monotonic() + random.uniform(0.5, 1.5) * _PURGE_SECONDS
        self._log = get_logger()

    def execute(
        self, post: Post, prepare: Callable[[], Work[Result]], *, kind: Kind, taken: Problem
    ) -> tuple[Result, Mapping[str, str]]:
        """Answer the request: with the recorded result, or by executing it.

        Args:
            prepare: does what is slow and needs no transaction; returns the work.
            kind: of the work, without a record.
            taken: raised if a unique value turns out to be somebody else's, here or in the log.

        Returns: the result and the headers that replication adds.
        """
        key = post.headers.idempotency_key
        if key is None:
            entered = self._replication.enter(post.headers, kind)
            try:
                done = self._replication.commit(prepare(), entered, kind)
            except (IntegrityError, Rejected) as error:
                raise taken from error
            return done.value, done.headers

        entered = self._replication.enter(post.headers, "strict")
        if answer := self._replay(post, key, entered):
            return answer
        work = self._recording(post, key, prepare())
        try:
            done = self._replication.commit(work, entered, "strict")
        except (_Recorded, IntegrityError, Rejected) as error:
            if answer := self._replay(post, key, entered):
                return answer
            raise taken from error
        self._purge_sometimes()
        return done.value, done.headers

    def _recording(self, post: Post, key: str, work: Work[Result]) -> Work[Result]:
        def both(session: Session) -> Result:
            old = session.get(self._model, (post.caller, post.path, key))
            if old is not None:
                if _fresh(old):
                    raise _Recorded
                session.delete(old)
                session.flush()
            result = work(session)
            session.add(
                self._model(
                    caller=post.caller,
                    path=post.path,
                    key=key,
                    digest=self._digest(post.body),
                    request=session.info[REQUEST],
                    status=result.status,
                    headers=json.dumps(dict(result.headers)),
                    body=json.dumps(result.document, ensure_ascii=False),
                    created_at=columns.now(),
                )
            )
            return result

        return both

    def _replay(self, post: Post, key: str, entered: Entered) -> tuple[Result, Mapping[str, str]] | None:
        with self._replication.database.read() as session:
            record = session.get(self._model, (post.caller, post.path, key))
        if record is None or not _fresh(record):
            return None
        if not hmac.compare_digest(record.digest, self._digest(post.body)):
            raise Problem("idempotency-mismatch", "Use another Idempotency-Key for another body.")
        try:
            first = self._replication.sync.wait_request(record.request, "ordered", 0)
        except SyncUnavailable as error:
            raise Problem("unavailable", "Whether the first request was accepted is not known for now.") from error
        if first.outcome in {"pending", "rejected"}:
            raise Problem("in-progress", "Try again in a moment.", headers={"Retry-After": "1"}, request=record.request)
        token = tokens.merge(entered.token, first.token)
        result = Result(record.status, json.loads(record.body), json.loads(record.headers))
        return result, {tokens.HEADER: token, REACHED_HEADER: "ordered"}

    def _digest(self, body: Mapping[str, Any]) -> str:
        canonical = json.dumps(dict(body), sort_keys=True, separators=(",", ":"))
        return hmac.digest(self._secret, canonical.encode("ascii"), "sha256").hex()

    def _purge_sometimes(self) -> None:
        """Forget old records, about once an hour and process, in a transaction of its own: another replica may be
        doing the same, and then one of the two is rejected."""
        if time.monotonic() < self._purge_at:
            return
        self._purge_at = time.monotonic() + random.uniform(0.5, 1.5) * _PURGE_SECONDS
        model = self._model

        def purge(session: Session) -> None:
            old = select(model).where(model.created_at < columns.now() - LIFETIME).limit(_PURGE_ROWS)
            for record in session.scalars(old):
                session.delete(record)

        try:
            self._replication.write(purge, WriteHeaders(), "strict")
        except Problem as problem:
            self._log.info("old idempotency records stay for now", slug=problem.slug)


def _fresh(record: RecordColumns) -> bool:
    return columns.now() - record.created_at < LIFETIME
