"""Tells when the server has sent something, to whoever is not reading just then."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Callable


class Alarm:
    """Watches a connection from `set` until it goes off: then `wake` is called, once, from a thread of its own. Nothing
    is read from the connection."""

    def __init__(self, watched: socket.socket, wake: Callable[[], None]) -> None:
        self._watched, self._wake = watched, wake
        self._armed = threading.Event()
        self._closing = False
        self._ours, self._theirs = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name="binary-log-alarm", daemon=True)
        self._thread.start()

    def set(self) -> None:
        """It goes off when something is there to be read, at once if there is already. Set twice is set."""
        self._armed.set()

    def unset(self) -> None:
        """Whoever set it is reading now."""
        self._armed.clear()

    def close(self) -> None:
        """To be called before the connection is closed."""
        self._closing = True
        self._armed.set()
        self._ours.send(b"x")
        self._thread.join()
        self._ours.close()
        self._theirs.close()

    def _run(self) -> None:
        while True:
            self._armed.wait()
            try:
                select.select([self._watched, self._theirs], [], [])
            except (OSError, ValueError):
                # The connection was lost: whoever reads from it is told.
                self._closing = True
                self._wake()
            if self._closing:
                return
            if self._armed.is_set():
                self._armed.clear()
                self._wake()
