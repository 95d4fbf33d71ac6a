"""Stand-ins for the replicas behind the gateway: small HTTP servers that answer as told, or misbehave on purpose."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass(frozen=True)
class Seen:
    """A request as it arrived."""

    method: str
    target: str
    headers: Message
    body: bytes
    connection: int

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.target).query, keep_blank_values=True)

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Reply:
    """What to answer."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    cookies: tuple[str, ...] = ()


@dataclass(frozen=True)
class Misbehave:
    """What to do instead of answering: `break` (close without a byte), `cut` (stop in the middle of the body), `hang`
    (say nothing until the upstream is stopped)."""

    how: str


Script = Callable[[Seen], Reply | Misbehave]


def problem(status: int, slug: str, **more: Any) -> Reply:
    """A problem document, as the services send them."""
    document = {"type": f"https://example.org/problems/{slug}", "title": slug, "status": status, "detail": slug, **more}
    headers = {"Content-Type": "application/problem+json"}
    return Reply(status, document, headers | ({"Retry-After": "1"} if status in (429, 503) else {}))


class Upstream:
    """One replica. `script` says what it answers to everything but `/readyz`, `ready` what it answers to that."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.ready = True
        self.seen: list[Seen] = []
        self._stopping = threading.Event()
        self._server = self._listen(0)
        self.port: int = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._serve()

    @property
    def calls(self) -> list[str]:
        """Method and path of every request so far, polls left out."""
        return [f"{seen.method} {seen.path}" for seen in self.seen]

    def refuse(self) -> None:
        """Stop listening: connections are refused from now on, open ones are closed."""
        self._stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._server.drop_connections()

    def come_back(self) -> None:
        """Listen again, on the same port."""
        self._stopping.clear()
        self._server = self._listen(self.port)
        self._serve()

    def stop(self) -> None:
        if not self._stopping.is_set():
            self.refuse()

    def _serve(self) -> None:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def _listen(self, port: int) -> _Server:
        upstream = self

        class Handler(_Handler):
            def answer(self, seen: Seen) -> Reply | Misbehave:
                if seen.path == "/readyz":
                    return Reply(200 if upstream.ready else 503, {"ready": upstream.ready})
                upstream.seen.append(seen)
                return upstream.script(seen)

            def hang(self) -> None:
                upstream._stopping.wait(30)

        return _Server(("127.0.0.1", port), Handler)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, *args: Any) -> None:
        self._connections: set[socket.socket] = set()
        super().__init__(*args)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def drop_connections(self) -> None:
        for connection in list(self._connections):
            _abort(connection)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that breaks is what these servers are for."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def answer(self, seen: Seen) -> Reply | Misbehave:
        raise NotImplementedError

    def hang(self) -> None:
        raise NotImplementedError

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        reply = self.answer(Seen(self.command, self.path, self.headers, body, self.client_address[1]))
        if isinstance(reply, Misbehave):
            self._misbehave(reply.how)
            return
        content = b"" if reply.body is None else json.dumps(reply.body).encode()
        self._head(reply, len(content))
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = handle_any

    def _head(self, reply: Reply, length: int) -> None:
        self.send_response(reply.status)
        headers = {"Content-Type": "application/json", **reply.headers}
        for name, value in headers.items():
            self.send_header(name, value)
        for cookie in reply.cookies:
            self.send_header("Set-Cookie", cookie)
        if reply.status not in (204, 304):
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def _misbehave(self, how: str) -> None:
        if how == "hang":
            self.hang()
        elif how == "cut":
            self._head(Reply(200), 1000)
            self.wfile.write(b'{"data": [')
            self.wfile.flush()
        self.close_connection = True
        _abort(self.connection)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


def _abort(connection: socket.socket) -> None:
    """Close with a reset where possible, so that the other side notices at once."""
    try:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # closed already


@contextmanager
def upstreams(*scripts: Script) -> Iterator[list[Upstream]]:
    """Running upstreams, one per script, stopped at the end."""
    running = [Upstream(script) for script in scripts]
    try:
        yield running
    finally:
        for upstream in running:
            upstream.stop()


def free_url() -> str:
    """A base URL at which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"
