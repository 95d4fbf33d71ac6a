"""The sync process's loop: one thread, one *session* after another.

A session (session.py) works until something unexpected happens; then its core is thrown away and the next one begins.
What must be done about an error is said by its class (core/errors.py):

- Restart begins a new session at once, and a little later each time it fails again. A replica that was ready stays so:
  its database is as good as it was.
- Pause waits for a migration.
- Stop and everything unforeseen halts the replica, unready, with the reason, until a person restarts the process.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from samebase import metrics
from samebase.core.errors import Pause, Restart, Stop
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

    def run(self, stop: threading.Event) -> bool:
        """Work until `stop` is set. Returns whether all was well to the end (False: halted by an error)."""
        failures = 0
        while not stop.is_set():
            session: Session | None = None
            try:
                surroundings = self._connect()
                try:
                    session = Session(surroundings, self._clock, self._progress, self._pace, self._desk)
                    session.run(stop)
                finally:
                    surroundings.close()
            except Restart as error:
                failures = 1 if session is not None and session.applied_any else failures + 1
                wait = min(self._pace.backoff_seconds * 2 ** (failures - 1), LONGEST_BACKOFF_SECONDS)
                metrics.restarts.labels(type(error).__name__).inc()
                log_line.warning(
                    "session ended, beginning again", error=str(error), failures=failures, wait_seconds=wait
                )
                if failures > 3:
                    self._progress.trouble(str(error))
                stop.wait(wait)
            except Pause as error:
                log_line.warning("paused", reason=str(error))
                self._progress.halt("paused", str(error))
                stop.wait(PAUSE_SECONDS)
            except Stop as error:
                log_line.exception("stopped: a person must look", reason=str(error))
                return self._stopped(str(error), stop)
            except Exception as error:  # the last handler: it is told, and halts the replica
                log_line.exception("stopped by a defect")
                return self._stopped(f"unexpected {type(error).__name__}: {error}", stop)
        return True

    def _stopped(self, reason: str, stop: threading.Event) -> bool:
        self._progress.halt("stopped", reason)
        stop.wait()
        return False
