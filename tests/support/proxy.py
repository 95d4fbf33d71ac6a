"""A network between two programs that a test can cut, silence and slow down."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress


class Proxy:
    """Forwards TCP connections from a port of this machine to another. `target` is asked for each connection."""

    def __init__(self, port: int, target: tuple[str, int] | Callable[[], tuple[str, int]]) -> None:
        self._target = target if callable(target) else lambda: target
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._cut = False
        self._flowing = threading.Event()
        self._flowing.set()
        self._closing = threading.Event()
        self._delay = 0.0
        self._server = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def port(self) -> int:
        port: int = self._server.getsockname()[1]
        return port

    def close(self) -> None:
        self._closing.set()
        self._flowing.set()
        self._server.shutdown(socket.SHUT_RDWR)  # ends a waiting accept, which would keep the port
        self._server.close()
        self._drop_all()

    @contextmanager
    def cut(self) -> Iterator[None]:
        """Connections break, new ones are closed at once."""
        self._cut = True
        self._drop_all()
        try:
            yield
        finally:
            self._cut = False

    @contextmanager
    def silent(self) -> Iterator[None]:
        """Nothing arrives any more, and nobody is told: a cable that is out, a firewall that swallows."""
        self._flowing.clear()
        try:
            yield
        finally:
            self._flowing.set()

    @contextmanager
    def slow(self, seconds: float) -> Iterator[None]:
        """Every piece of data takes that long, in each direction."""
        self._delay = seconds
        try:
            yield
        finally:
            self._delay = 0.0

    def drop(self) -> None:
        """Break the connections that there are, once."""
        self._drop_all()

    def _drop_all(self) -> None:
        with self._lock:
            for end in self._open:
                # Wakes the thread that reads it; that one closes it.
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                near, _ = self._server.accept()
            except OSError:
                return  # closed
            try:
                if self._cut:
                    raise ConnectionRefusedError
                far = socket.create_connection(self._target(), 5)
            except OSError:
                near.close()
                continue
            far.settimeout(None)
            with self._lock:
                self._open |= {near, far}
            done = threading.Barrier(2)
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._pump, args=(source, sink, done), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, done: threading.Barrier) -> None:
        try:
            while data := source.recv(65536):
                self._closing.wait(self._delay)
                self._flowing.wait()
                sink.sendall(data)
        except OSError:
            pass  # broken on either side: the other is told below
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        # Closed when both directions have ended, so that no other connection gets the descriptor before.
        done.wait()
        with self._lock:
            self._open.discard(source)
        source.close()
