"""What the runner tells those who wait: how far this replica is, and what became of a transaction.

Written by the runner's thread, read by the HTTP threads. Every method takes the lock for a moment; waiting is done on
one condition. A *round* is one pass of the runner over the local change log and the log; a waiter who must know what
was committed before it asked waits for a round that began after that.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from samebase.core.types import Key, Reason, Transaction, Verdict
from samebase.ports import Clock

Phase = Literal["starting", "booting", "catching-up", "ready", "paused", "stopped"]
Level = Literal["local", "log", "ordered"]
Writes = Literal["all", "merge", "none"]
"""What may be written now. merge: nothing that needs a verdict, for nobody gives one; none: too much is pending."""
REMEMBERED = 100_000
"""Requests whose fate is remembered, the latest ones."""


@dataclass(frozen=True, slots=True)
class Fate:
    """Where a transaction stands.

    Attributes:
        level: the highest acknowledgement level that it has reached.
        accepted: None until it has come back in the log.
    """

    origin: str
    seq: int
    level: Level = "local"
    accepted: bool | None = None
    reason: Reason | None = None
    rows: tuple[tuple[str, Key], ...] = ()


@dataclass(frozen=True, slots=True)
class Position:
    """How far a replica is: one consistent copy. `lag_seconds`: since when it has not been at the log's end."""

    phase: Phase = "starting"
    reason: str | None = None
    origin: str = ""
    offset: int = 0
    log_end: int = 0
    pending: int = 0
    rejected: int = 0
    last_published: int = 0
    applied: Mapping[str, int] = field(default_factory=dict)
    writes: Writes = "merge"


class Progress:
    """The meeting point of the runner and the waiters."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._wake = threading.Event()
        self._position = Position()
        self._behind_since: float | None = clock.monotonic()
        self._fates: OrderedDict[str, Fate] = OrderedDict()
        self._exact_end = False
        self._round_begun = 0
        self._round_done = 0

    # -- the runner's side ---------------------------------------------------------------------------------------

    def begin_round(self) -> bool:
        """A round begins: what is committed by now will be known when it ends. Returns whether somebody must know
        exactly where the log ends, others' latest entries included."""
        self._wake.clear()
        with self._changed:
            self._round_begun += 1
            exact, self._exact_end = self._exact_end, False
            return exact

    def end_round(self, position: Position) -> None:
        """The round is over; this is where the replica stands."""
        with self._changed:
            self._round_done = self._round_begun
            self._set(position)

    def stand(self, position: Position) -> None:
        """This is where the replica stands, though the round is not over: not all that is committed is known."""
        with self._changed:
            self._set(position)

    def halt(self, phase: Phase, reason: str) -> None:
        """The runner cannot go on for now (paused), or not without a person (stopped)."""
        with self._changed:
            self._set(replace(self._position, phase=phase, reason=reason, writes=self._without_verdicts()))

    def trouble(self, reason: str) -> None:
        """Sessions end again and again: database or log do not answer. A replica that was ready stays ready (reads go
        on, and so do writes that need no verdict), and says what is the matter; one that was not waits."""
        with self._changed:
            ready = self._position.phase == "ready"
            phase: Phase = "ready" if ready else "paused"
            self._set(replace(self._position, phase=phase, reason=reason, writes=self._without_verdicts()))
            if self._behind_since is None:
                self._behind_since = self._clock.monotonic()

    def idle(self, seconds: float) -> None:
        """Let the runner rest until somebody waits for something, at most so long."""
        self._wake.wait(seconds)

    def committed(self, origin: str, seq: int, request: str | None) -> None:
        """A local commit that nothing has to be published of: it is accepted as it is."""
        if request is not None:
            with self._changed:
                self._remember(request, Fate(origin, seq, "ordered", accepted=True))

    def captured(self, transaction: Transaction) -> None:
        """A local commit was captured and is going to be published."""
        request = transaction.request
        if request is not None:
            with self._changed:
                known = self._fates.get(request)
                if known is None or known.accepted is None:
                    self._remember(request, Fate(transaction.origin, transaction.seq))

    def logged(self, transactions: Iterable[Transaction]) -> None:
        """The log has these own transactions, and all earlier ones of this origin."""
        with self._changed:
            for transaction in transactions:
                fate = self._fates.get(transaction.request or "")
                if fate is not None and fate.level == "local":
                    self._remember(transaction.request or "", replace(fate, level="log"))
            self._changed.notify_all()

    def decided(self, verdicts: Iterable[Verdict]) -> None:
        """Log entries were decided, and the database shows the outcome."""
        with self._changed:
            for verdict in verdicts:
                if verdict.request is not None:
                    fate = Fate(verdict.origin, verdict.seq, "ordered", verdict.accepted, verdict.reason, verdict.rows)
                    self._remember(verdict.request, fate)

    def wake(self) -> None:
        """There is something new for the runner. From any thread, also while the lock is held."""
        self._wake.set()

    # -- the waiters' side ---------------------------------------------------------------------------------------

    def position(self) -> Position:
        with self._changed:
            return self._position

    def lag_seconds(self) -> float:
        """For how long this replica has not been at the log's end; 0 when it is there."""
        with self._changed:
            return 0.0 if self._behind_since is None else self._clock.monotonic() - self._behind_since

    def fate(self, request: str, until: Callable[[Fate], bool], timeout: float) -> Fate | None:
        """What became of a request's transaction, as soon as `until` holds, or after `timeout` seconds as it is then.
        None: nothing is known of it, though all that this database had committed when you asked was looked at (unless
        the runner is halted)."""
        deadline = self._clock.monotonic() + timeout
        with self._changed:
            fate = self._fates.get(request)
            if fate is None:
                # Whoever only asks gets this much patience: a round takes a few milliseconds.
                self._wait_round(max(deadline, self._clock.monotonic() + 0.25), lambda: request in self._fates)
            else:
                self._wake.set()
            self._wait(deadline, lambda: request in self._fates and until(self._fates[request]))
            return self._fates.get(request)

    def reached(self, wanted: Mapping[str, int], timeout: float) -> tuple[bool, dict[str, int]]:
        """Wait until this replica shows all transactions up to these positions (origin to seq), at most `timeout`
        seconds. Returns whether it does, and the positions without those of origins that nothing in the log is from.

        An origin that is not known yet may be a new one: it is ignored only once the log has been applied up to where
        it ended when we were asked.
        """
        deadline = self._clock.monotonic() + timeout
        with self._changed:
            own = self._position.origin
            if wanted.get(own, 0) > self._position.last_published:
                self._wait_round(deadline, lambda: wanted[own] <= self._position.last_published)
            if self._missing(wanted):
                if not all(self._knows(origin) for origin in wanted):
                    self._exact_end = True
                self._wait_round(deadline, lambda: not self._missing(wanted))
                end = self._position.log_end
                self._wait(deadline, lambda: self._position.offset >= end or not self._missing(wanted))
                at_end = self._position.offset >= end and self._round_done > 0
                known = {origin: seq for origin, seq in wanted.items() if self._knows(origin) or not at_end}
                self._wait(deadline, lambda: not self._missing(known))
            else:
                known = dict(wanted)
            reached = not self._missing(known)
            # A position beyond what was published (a commit that changed nothing) can never be reached elsewhere.
            translated = {
                origin: min(seq, self._position.last_published) if origin == own else seq
                for origin, seq in known.items()
            }
            return reached, translated

    # -- inside, with the lock held ------------------------------------------------------------------------------

    def _without_verdicts(self) -> Writes:
        return "none" if self._position.writes == "none" else "merge"

    def _set(self, position: Position) -> None:
        self._position = position
        if position.phase == "ready" and position.offset >= position.log_end:
            self._behind_since = None
        elif self._behind_since is None:
            self._behind_since = self._clock.monotonic()
        self._changed.notify_all()

    def _remember(self, request: str, fate: Fate) -> None:
        self._fates[request] = fate
        self._fates.move_to_end(request)
        while len(self._fates) > REMEMBERED:
            self._fates.popitem(last=False)
        self._changed.notify_all()

    def _knows(self, origin: str) -> bool:
        return origin == self._position.origin or origin in self._position.applied

    def _missing(self, positions: Mapping[str, int]) -> bool:
        own = self._position.origin
        return any(origin != own and self._position.applied.get(origin, -1) < seq for origin, seq in positions.items())

    def _wait(self, deadline: float, condition: Callable[[], bool]) -> bool:
        while not condition():
            left = deadline - self._clock.monotonic()
            if left <= 0:
                return False
            self._changed.wait(left)
        return True

    def _wait_round(self, deadline: float, or_else: Callable[[], bool]) -> None:
        """Wait for the end of a round that begins after now."""
        round_after = self._round_begun + 1
        self._wake.set()
        self._wait(deadline, lambda: self._round_done >= round_after or or_else())
