"""The replicas of one service as this process sees them: their addresses, their health, and whose turn it is.

Rules:

1. A call goes to a replica that is READY (its `/readyz` said so at the last poll): the one with the fewest calls
   under way, in turn among equals. Every call chooses anew, so no client and no kept connection is bound to a replica.
2. If there is none, a replica that is DOWN or UNKNOWN is tried: what we know of it may be old, and a refused
   connection costs nothing.
3. A replica that is UNREADY gets no call: it says so because it does not hold all the data yet.
4. A replica whose breaker is open gets no call.
5. No replica gets a call twice, except the last one that is left after a connection broke; but one address that is all
   that a name stands for may be several replicas (a Kubernetes Service): it is tried again, on a new connection.
"""

from __future__ import annotations

import enum
import itertools
import socket
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from ipaddress import ip_address
from urllib.parse import urlsplit

from services.common.logs import get_logger
from services.gateway.breaker import Breaker
from services.gateway.exchange import Answer, Call, Channel, Failed, NotSent
from services.gateway.metrics import BREAKER, HEALTH

Resolver = Callable[[str, int], Collection[str]]
"""Host name and port to IP addresses; raises OSError when it cannot."""

_BREAKER_STATES = {"closed": 0, "half-open": 1, "open": 2}


class Health(enum.Enum):
    """What the last poll, or a refused connection since, told about a replica."""

    READY = "ready"
    UNREADY = "unready"
    DOWN = "down"
    UNKNOWN = "unknown"


class Replica:
    """One address of a service."""

    def __init__(self, service: str, url: str, breaker: Breaker) -> None:
        self.service = service
        self.url = url
        self.breaker = breaker
        self.health = Health.UNKNOWN
        self.under_way = 0
        self._channel = Channel(url)
        self._log = get_logger(service=service, address=url)

    def exchange(self, call: Call, connect: float, read: float, *, fresh: bool = False) -> Answer:
        """`Channel.exchange`, with the breaker and the health told how it went."""
        heard = False
        try:
            answer = self._channel.exchange(call, connect, read, fresh=fresh)
            heard = True
        except NotSent:
            self.health = Health.DOWN
            raise
        finally:
            if heard:
                self.breaker.succeeded()
            else:
                self.breaker.failed()
            BREAKER.labels(self.service, self.url).set(_BREAKER_STATES[self.breaker.state])
        return answer

    def poll(self, within: float) -> None:
        """Ask whether it is ready. It goes past the breaker: this is how we learn that a replica is back."""
        before = self.health
        try:
            answer = self._channel.exchange(Call(self.service, "GET", "/readyz"), within, within)
        except Failed:
            self.health = Health.DOWN
        else:
            self.health = Health.READY if answer.ok else Health.UNREADY
        if self.health is not before:
            self._log.info("replica", health=self.health.value, before=before.value)
        HEALTH.labels(self.service, self.url).set(self.health is Health.READY)

    def ask(self, call: Call, within: float) -> Answer:
        """An operator's question, past the breaker and without an effect on it. Raises Failed."""
        return self._channel.exchange(call, within, within)

    def close(self) -> None:
        self._channel.close()


class Replicas:
    """All replicas of one service. Safe to use from many threads."""

    def __init__(
        self, service: str, urls: Sequence[str], new_breaker: Callable[[str], Breaker], resolver: Resolver | None = None
    ) -> None:
        """Args:
        urls: base URLs. A host name stands for all the addresses that it resolves to.
        new_breaker: makes the breaker of the address whose URL it is given.
        """
        self.service = service
        self._urls = [url.rstrip("/") for url in urls]
        self._new_breaker = new_breaker
        self._resolver = resolver or resolve
        self._lock = threading.Lock()
        self._replicas: dict[str, Replica] = {}
        self._known: dict[str, list[str]] = {}
        self._turn = itertools.count()

    def __iter__(self) -> Iterator[Replica]:
        with self._lock:
            return iter(list(self._replicas.values()))

    @property
    def any_ready(self) -> bool:
        return any(replica.health is Health.READY for replica in self)

    def refresh(self) -> None:
        """Resolve the names again. Addresses that are gone get no new calls; a name that does not resolve keeps the
        addresses it had."""
        found: dict[str, None] = {}
        for url in self._urls:
            found.update(dict.fromkeys(self._addresses(url)))
        with self._lock:
            gone = [self._replicas.pop(url) for url in list(self._replicas) if url not in found]
            for url in found:
                if url not in self._replicas:
                    self._replicas[url] = Replica(self.service, url, self._new_breaker(url))
        for replica in gone:
            replica.close()

    def poll(self, executor: Executor, within: float) -> list[Future[None]]:
        """Begin to ask all replicas at once whether they are ready."""
        return [executor.submit(replica.poll, within) for replica in self]

    @contextmanager
    def borrow(self, tried: Collection[Replica], again: bool = False) -> Iterator[Replica | None]:
        """The replica whose turn it is, by the rules above; None if there is none. The caller makes one call to it
        within the block.

        Args:
            tried: those that are out of the question for this call.
            again: unless there is no other.
        """
        replica = self._choose(tried) or (self._choose(()) if again or len(self._replicas) == 1 else None)
        try:
            yield replica
        finally:
            if replica is not None:
                with self._lock:
                    replica.under_way -= 1

    def close(self) -> None:
        for replica in self:
            replica.close()

    def _choose(self, tried: Collection[Replica]) -> Replica | None:
        with self._lock:
            candidates = [r for r in self._replicas.values() if r not in tried and r.health is not Health.UNREADY]
            if candidates:
                turn = next(self._turn) % len(candidates)
                candidates = candidates[turn:] + candidates[:turn]
            for replica in sorted(candidates, key=lambda r: (r.health is not Health.READY, r.under_way)):
                if replica.breaker.admit():
                    replica.under_way += 1
                    return replica
        return None

    def _addresses(self, url: str) -> Collection[str]:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or 80
        if _is_one_address(host):
            return [url]
        try:
            found = self._resolver(host, port)
        except OSError:
            found = ()
        if not found:
            return self._known.get(url, ())
        self._known[url] = [f"http://[{ip}]:{port}" if ":" in ip else f"http://{ip}:{port}" for ip in sorted(found)]
        return self._known[url]


def resolve(host: str, port: int) -> Collection[str]:
    """All IP addresses of a host name, by the system's resolver."""
    return {str(info[4][0]) for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}


def _is_one_address(host: str) -> bool:
    """An IP address, or `localhost`, whose IPv4 and IPv6 address are the same process."""
    try:
        ip_address(host)
    except ValueError:
        return host == "localhost"
    return True
