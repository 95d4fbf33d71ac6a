"""Calls to a service, whichever replica answers: tries, and what may be tried again.

What a failed try means for the next one (R: the call is repeatable, see `Call.repeatable`):

| the try                                    | next                                                            |
|--------------------------------------------|-----------------------------------------------------------------|
| no connection                              | another replica, any call                                       |
| 503 `behind` or `unavailable`              | another replica, any call: the service says it was not executed |
| 503 without a problem document             | R: another replica; else this answer                            |
| connection broken, or silence for too long | R: another replica; else `Unconfirmed`                          |

When no try is left: `Unconfirmed` if one that may have changed something got no answer, else the last 503 if there
was one, else `Away`. A DELETE that is tried again after its connection broke and then finds nothing (404) has done its
work: 204.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from services.common.errors import Problem
from services.common.logs import get_logger
from services.gateway.exchange import Answer, Broken, Call, Failed, NotSent, TimedOut
from services.gateway.metrics import RETRIES, UNANSWERED, UPSTREAM_SECONDS
from services.gateway.replicas import Replica, Replicas

_NOT_EXECUTED = frozenset({"behind", "unavailable"})


class Unanswered(Exception):
    """No answer from the service. `service` is its name."""

    def __init__(self, service: str) -> None:
        super().__init__(f"{type(self).__name__}: {service}")
        self.service = service

    def problem(self) -> Problem:
        """What the client is told."""
        raise NotImplementedError


class Away(Unanswered):
    """No replica of the service answers; nothing was changed."""

    def problem(self) -> Problem:
        return Problem(
            "unavailable",
            f"No replica of the service '{self.service}' answers for now; nothing was changed. Try again.",
        )


class Unconfirmed(Unanswered):
    """The call was sent and no answer came back: whether it was carried out is unknown."""

    def problem(self) -> Problem:
        return Problem(
            "unconfirmed",
            f"The connection to the service '{self.service}' broke before it answered: the change may have been made, "
            "or not. Look before you send it again, or send such calls with an Idempotency-Key.",
        )


@dataclass(frozen=True, slots=True)
class Bounds:
    """Seconds for all tries of a call together, and how many replicas may be asked at most: one that cannot be reached
    was not. `write` leaves room for the waits that a service may take for its token and its acknowledgement."""

    connect: float = 1.0
    read: float = 6.0
    write: float = 15.0
    tries: int = 3


class Caller:
    """Sends calls to services."""

    def __init__(self, services: Mapping[str, Replicas], bounds: Bounds) -> None:
        self._services = services
        self._bounds = bounds
        self._log = get_logger()

    def send(self, call: Call) -> Answer:
        """One replica's answer, by the rules above. Raises Away or Unconfirmed."""
        bounds = self._bounds
        until = time.monotonic() + (call.within or (bounds.read if call.safe else bounds.write))
        tried: list[Replica] = []
        refusal: Answer | None = None
        failure: Failed | None = None
        maybe_done = False
        unreachable = 0  # several at once may be gone: scaled down
        while len(tried) - unreachable < bounds.tries and (left := until - time.monotonic()) > 0:
            # a connection that broke may just have been idle for too long: then the same replica is worth another try
            again = isinstance(failure, Broken) and not isinstance(failure, TimedOut)
            with self._services[call.service].borrow(tried, again) as replica:
                if replica is None:
                    break
                if tried:
                    RETRIES.labels(call.service, _name(failure)).inc()
                fresh = replica in tried
                tried.append(replica)
                try:
                    answer = self._try(replica, call, left, fresh=fresh)
                except Failed as error:
                    failure = error
                    self._log.warning("upstream failed", service=call.service, address=replica.url, reason=_name(error))
                    if isinstance(error, NotSent):
                        unreachable += 1
                        continue
                    maybe_done = maybe_done or not call.safe
                    if call.repeatable:
                        continue
                    break
            if self._may_go_elsewhere(call, answer):
                refusal, failure = answer, None
                continue
            if maybe_done and call.method == "DELETE" and answer.status == 404:
                return Answer(204, tuple(h for h in answer.headers if h[0].lower() == "x-replica-token"))
            return answer
        return self._give_up(call, refusal, maybe_done)

    def _try(self, replica: Replica, call: Call, left: float, *, fresh: bool) -> Answer:
        """A repeatable call gets two thirds of the time that is left, so that another try can follow."""
        read = left * 2 / 3 if call.repeatable else left
        began = time.monotonic()
        outcome = "failed"
        try:
            answer = replica.exchange(call, min(self._bounds.connect, read), read, fresh=fresh)
            outcome = f"{answer.status // 100}xx"
            return answer
        except Failed as error:
            outcome = _name(error)
            raise
        finally:
            UPSTREAM_SECONDS.labels(call.service, outcome).observe(time.monotonic() - began)

    def _may_go_elsewhere(self, call: Call, answer: Answer) -> bool:
        if answer.status != 503:
            return False
        slug = answer.slug
        return slug in _NOT_EXECUTED or (not slug and call.repeatable)

    def _give_up(self, call: Call, refusal: Answer | None, maybe_done: bool) -> Answer:
        if maybe_done:
            UNANSWERED.labels(call.service, "unconfirmed").inc()
            raise Unconfirmed(call.service)
        if refusal is not None:
            return refusal
        UNANSWERED.labels(call.service, "away").inc()
        raise Away(call.service)


def _name(failure: Failed | None) -> str:
    return "unavailable" if failure is None else type(failure).__name__.lower()
