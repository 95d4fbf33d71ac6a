"""Looking after the topic: is it still the one that it was, where does it begin and end, does anybody answer?

The questions go over connections of their own: on the reading consumer's they would stand behind a fetch that waits for
records (up to half a second).
"""

from __future__ import annotations

import time
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from confluent_kafka import TopicCollection

from samebase.core.errors import LogLost, Stop, Unavailable
from samebase.kafka.ends import Ends, Range
from samebase.kafka.topic import GONE_SECONDS, Missing, TopicAdmin, topic_identity

SILENCE_SECONDS = 3.0
"""A question that has waited so long for its answer means that nobody answers."""


@dataclass(frozen=True, slots=True)
class _Question:
    asked_at: float
    description: Future[Any]
    range: Future[Range]

    def answered(self) -> bool:
        return self.description.done() and self.range.done()


class Watch:
    """Asks for the topic's identity and its end every `freshness` seconds, without waiting for the answer.

    Attributes:
        identity: the topic's id at the start.
        end: the end of the log, as of the last answer.
    """

    def __init__(self, admin: TopicAdmin, patience: float, freshness: float) -> None:
        self._admin, self._patience, self._freshness = admin, patience, freshness
        self.identity = admin.identity()
        self.end = 0
        self._question: _Question | None = None
        self._silent_since: float | None = None  # the first question without an answer
        self._gone_since: float | None = None
        self._verdict: Stop | None = None  # it stays
        self._answered_at = float("-inf")
        self._ends = Ends(admin.address, admin.trouble, patience)
        try:
            self.ask()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Waits for nobody."""
        self._ends.close()

    def look(self) -> None:
        """Take note of an answer that has come, ask again if it is time. Takes microseconds, unless `freshness` is 0.

        Raises LogLost if the topic is gone or another one, Stop if it has more partitions now or we are not let in,
        Unavailable if nobody has answered for SILENCE_SECONDS (`patience`, if that is shorter).
        """
        if self._verdict is not None:
            raise self._verdict
        if self._freshness <= 0:
            self.ask()
            return
        now = time.monotonic()
        if self._question is not None and self._question.answered():
            self._take_note()
        if self._question is None and now - self._answered_at >= self._freshness:
            self._put(now)
        if self._silent_since is not None and now - self._silent_since > min(self._patience, SILENCE_SECONDS):
            raise Unavailable(f"{self._admin.address.bootstrap} has not answered for {now - self._silent_since:.0f} s")

    def ask(self) -> None:
        """Ask now, and wait for the answer. Raises as `look` does."""
        self._put(time.monotonic())
        self._take_note(wait=True)

    def begin(self) -> int:
        """The beginning of the log, asked now."""
        return self._ends.ask().result().begin

    def _put(self, now: float) -> None:
        admin = self._admin
        topics = TopicCollection([admin.address.topic])
        description = admin.client.describe_topics(topics, request_timeout=self._patience)[admin.address.topic]
        self._question = _Question(now, description, self._ends.ask())
        if self._silent_since is None:
            self._silent_since = now

    def _take_note(self, *, wait: bool = False) -> None:
        question, self._question = self._question, None
        assert question is not None  # noqa: S101  # both callers have just looked
        try:
            self._note_identity(question)
            self.end = question.range.result().end
        except Stop as verdict:
            self._verdict = verdict
            raise
        except Unavailable:
            # Not yet: `look` says so once it has lasted.
            if wait:
                raise
            return
        self._answered_at = time.monotonic()
        self._silent_since = self._gone_since = None

    def _note_identity(self, question: _Question) -> None:
        topic = self._admin.address.topic
        try:
            description = self._admin.result(question.description, f"asking for the topic {topic}")
        except Missing as missing:
            if self._gone_since is None:
                self._gone_since = question.asked_at
            if question.asked_at - self._gone_since >= GONE_SECONDS:
                raise LogLost(f"the topic {topic} was deleted while it was in use") from missing
            raise Unavailable(f"the topic {topic} is not there") from missing
        identity = topic_identity(self._admin.address, description)
        if identity != self.identity:
            raise LogLost(f"the topic {topic} was deleted and made again: it was {self.identity}, now it is {identity}")
