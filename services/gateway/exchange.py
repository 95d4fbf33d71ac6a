"""One HTTP exchange with one upstream address: what goes in, what comes out, and how it can fail.

Failures, by what the caller must do:

    Failed
    ├── NotSent      no connection: the upstream has not seen the call, it may go elsewhere whatever it is
    └── Broken       the call was sent, and no whole answer came: it may have been carried out, or not
        └── TimedOut the upstream kept silent for too long
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import requests
import urllib3.exceptions
from requests.adapters import HTTPAdapter

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_REPEATABLE = SAFE | {"PUT", "DELETE"}

KEEP_SECONDS = 5.0

_HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "trailers"}
    | {"transfer-encoding", "upgrade", "proxy-connection"}
)


class Failed(Exception):
    """No answer from this address."""


class NotSent(Failed):
    """The connection could not be made."""


class Broken(Failed):
    """The connection broke after the call had been sent."""


class TimedOut(Broken):
    """No whole answer within the time allowed."""


@dataclass(frozen=True, slots=True)
class Call:
    """A request for a service.

    Attributes:
        service: `user` or `rule`.
        path: percent-encoded, begins with a slash.
        query: percent-encoded, without the question mark.
        within: seconds for everything, all tries together; None: the gateway's usual bounds.
        idempotent: may be carried out twice although its method does not say so.
    """

    service: str
    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    within: float | None = None
    idempotent: bool = False

    @property
    def safe(self) -> bool:
        """It changes nothing."""
        return self.method in SAFE

    @property
    def repeatable(self) -> bool:
        """Carrying it out twice has the effect of carrying it out once."""
        return (
            self.idempotent
            or self.method in _REPEATABLE
            or (self.method == "POST" and any(name.lower() == "idempotency-key" for name in self.headers))
        )


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer. `headers` are the end-to-end ones; a name may occur more than once."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""

    def header(self, name: str) -> str | None:
        """The first header of that name."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    def json(self) -> Any:
        """The body, parsed; None if it is no JSON."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    @property
    def slug(self) -> str:
        """Last segment of the problem's type, "" if this is no problem document."""
        if "json" not in (self.header("Content-Type") or ""):
            return ""
        document = self.json()
        kind = document.get("type") if isinstance(document, dict) else None
        return kind.rsplit("/", 1)[-1].rsplit(":", 1)[-1].rsplit("#", 1)[-1] if isinstance(kind, str) else ""


def end_to_end(headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The headers without those that concern one connection only: the fixed ones, and what `Connection` names."""
    named = {
        token.strip().lower() for key, value in headers if key.lower() == "connection" for token in value.split(",")
    }
    return [(key, value) for key, value in headers if key.lower() not in _HOP_BY_HOP | named]


class Channel:
    """Connections to one address.

    A call that must not be sent twice gets a new connection: an idle one, which the server may be closing at this very
    moment, would leave its outcome unknown for no good reason.

    Several servers may take turns behind one address (a Kubernetes Service), one for each connection. So connections
    are kept for a short while only, or new servers would never get their share; and none is kept when a call fails.
    """

    def __init__(self, base_url: str, connections: int = 128, keep_seconds: float = KEEP_SECONDS) -> None:
        """Args:
        base_url: `http://host:port`.
        connections: how many idle ones are kept.
        keep_seconds: for how long a connection is used again.
        """
        self.base_url = base_url.rstrip("/")
        self._connections, self._keep_seconds = connections, keep_seconds
        self._lock = threading.Lock()
        self._kept, self._since = _session(connections), time.monotonic()

    def exchange(self, call: Call, connect: float, read: float, *, fresh: bool = False) -> Answer:
        """Send the call and read the whole answer.

        Args:
            connect: seconds until the connection stands.
            read: seconds from then on until the answer is there.
            fresh: not on a kept connection.

        Raises:
            Failed: in one of its forms.
        """
        if fresh or not call.repeatable:
            with _session(1) as session:
                return self._exchange(session, call, {**call.headers, "Connection": "close"}, connect, read)
        try:
            return self._exchange(self._current(), call, call.headers, connect, read)
        except Failed:
            self._renew()
            raise

    def close(self) -> None:
        """Give up the idle connections."""
        self._kept.close()

    def _current(self) -> requests.Session:
        if time.monotonic() - self._since > self._keep_seconds:
            self._renew()
        return self._kept

    def _renew(self) -> None:
        """Calls under way go on; their connections are closed after them."""
        with self._lock:
            old, self._kept, self._since = self._kept, _session(self._connections), time.monotonic()
        old.close()

    def _exchange(
        self, session: requests.Session, call: Call, headers: Mapping[str, str], connect: float, read: float
    ) -> Answer:
        until = time.monotonic() + connect + read
        try:
            response = session.request(
                call.method,
                self.base_url + call.path + (f"?{call.query}" if call.query else ""),
                headers=headers,
                data=call.body or None,
                timeout=(connect, read),
                stream=True,
                allow_redirects=False,
            )
        except requests.ConnectTimeout as error:
            raise NotSent(str(error)) from error
        except requests.Timeout as error:
            raise TimedOut(str(error)) from error
        except requests.ConnectionError as error:
            raise (NotSent if _never_connected(error) else Broken)(str(error)) from error
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            raise Broken(str(error)) from error
        try:
            body = _read(response, until)
        finally:
            response.close()
        return Answer(response.status_code, tuple(end_to_end(list(response.raw.headers.items()))), body)


def _session(connections: int) -> requests.Session:
    session = requests.Session()
    session.headers.clear()
    session.trust_env = False  # no proxies or passwords from the environment
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))  # one caller's cookies are not another's
    session.mount("http://", HTTPAdapter(pool_connections=1, pool_maxsize=connections, max_retries=0))
    return session


def _never_connected(error: requests.ConnectionError) -> bool:
    cause = error.args[0] if error.args else None
    reason = getattr(cause, "reason", cause)
    return isinstance(reason, urllib3.exceptions.NewConnectionError | urllib3.exceptions.ConnectTimeoutError)


def _read(response: requests.Response, until: float) -> bytes:
    """The body as it was sent, content encoding included."""
    chunks = []
    try:
        for chunk in response.raw.stream(65536, decode_content=False):
            chunks.append(chunk)
            if time.monotonic() > until:
                raise TimedOut("the answer came too slowly")
    except urllib3.exceptions.ReadTimeoutError as error:
        raise TimedOut(str(error)) from error
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise Broken(str(error)) from error
    return b"".join(chunks)
