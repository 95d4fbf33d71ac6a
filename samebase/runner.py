"""The sync process's loop: one thread, one *session* after another.

A session (session.py) works until something unexpected happens; then its core is thrown away and the next one begins.
What must be done about an error is said by its class (core/errors.py):

- Restart begins a new session at once, and a little later each time it fails again. A replica that was ready stays so:
  its database is as good as it was.
- Pause waits for a migration.
- Stop and everything unforeseen halts the replica, unready, with the reason, until a person restarts the process.

Before the first session, what is wrong is most often a setting: then the process ends, and says which. It waits for
servers that do not answer yet, and for a host's name that means nothing so long as `Pace.start_seconds` says.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack
from math import inf

from samebase import metrics
from samebase.core.errors import Pause, Restart, Stop, UnknownHost, Unusable
from samebase.desk import Desk
from samebase.logs import get_logger
from samebase.ports import Clock
from samebase.progress import Progress
from samebase.session import Pace, Session, Surroundings

PAUSE_SECONDS = 1.0
LONGEST_BACKOFF_SECONDS = 5.0

log_line = get_logger()


class Runner:
    """Runs sessions until it is told to stop.

    Args:
        connect: opens the adapters; raises Unavailable, Stop or Pause as they do.
        progress: where everybody else sees how far this replica is.
        desk: where others ask for something between two batches.
    """

    def __init__(
        self,
        connect: Callable[[], Surroundings],
        clock: Clock,
        progress: Progress,
        pace: Pace,
        desk: Desk | None = None,
    ) -> None:
        self._connect = connect
        self._clock = clock
        self._progress = progress
        self._pace = pace
        self._desk = desk
        self._begun = False
        self._failures = 0
        self._told: str | None = None

    def run(self, stop: threading.Event) -> bool:
        """Work until `stop` is set. Returns whether all was well to the end (False: halted by an error).

        Raises Unusable for a setting that cannot be used, UnknownHost for one that names a host which does not come to
        be: only before the first session.
        """
        began = self._clock.monotonic()
        wait = 0.0
        while not stop.is_set() and wait < inf:
            with ExitStack() as adapters:  # closed when the reason has been told: closing may take a moment
                try:
                    wait = self._session(adapters, stop)
                except UnknownHost as error:
                    if not self._begun and self._clock.monotonic() - began >= self._pace.start_seconds:
                        raise
                    wait = self._again(error)
            stop.wait(None if wait == inf else wait)
        return wait < inf

    def _session(self, adapters: ExitStack, stop: threading.Event) -> float:
        """One session, to its end. Returns how many seconds to wait before the next one."""
        try:
            surroundings = self._connect()
            adapters.callback(surroundings.close)
            session = Session(surroundings, self._clock, self._progress, self._pace, self._desk)
            self._begun = True
            try:
                session.run(stop)
            finally:
                if session.applied_any:
                    self._failures, self._told = 0, None
        except UnknownHost:
            raise
        except Restart as error:
            return self._again(error)
        except Pause as error:
            self._tell("paused", str(error))
            self._progress.halt("paused", str(error))
            return PAUSE_SECONDS
        except Unusable as error:
            if not self._begun:
                raise
            return self._stopped(error)
        except Stop as error:
            return self._stopped(error)
        except Exception as error:  # the last handler: it is told, and halts the replica
            log_line.exception("stopped by a defect")
            self._progress.halt("stopped", f"unexpected {type(error).__name__}: {error}")
            return inf
        return 0.0

    def _again(self, error: Restart) -> float:
        self._failures += 1
        metrics.restarts.labels(type(error).__name__).inc()
        self._tell("session ended, beginning again", str(error))
        if self._failures > 3:
            self._progress.trouble(str(error))
        return min(self._pace.backoff_seconds * 2.0 ** (self._failures - 1), LONGEST_BACKOFF_SECONDS)

    def _stopped(self, error: Stop) -> float:
        log_line.error("stopped: a person must look", reason=str(error))
        self._progress.halt("stopped", str(error))
        return inf

    def _tell(self, event: str, reason: str) -> None:
        """A line, if it is news."""
        if reason != self._told:
            self._told = reason
            log_line.warning(event, reason=reason, failures=self._failures)
