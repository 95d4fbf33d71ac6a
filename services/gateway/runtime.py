"""What a worker process of the gateway holds: the replicas, the caller, threads for calls that run side by side.

Nothing is started or connected when it is built, which may happen before gunicorn forks: `start` does that, in the
process that serves requests, at its first request.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import ParamSpec, TypeVar

from services.common.logs import get_logger
from services.gateway.breaker import Breaker
from services.gateway.caller import Bounds, Caller
from services.gateway.config import GatewaySettings
from services.gateway.people import People
from services.gateway.replicas import Replicas, Resolver

SERVICES = ("user", "rule")

P = ParamSpec("P")
R = TypeVar("R")


class Runtime:
    """One per application."""

    def __init__(self, settings: GatewaySettings, resolver: Resolver | None = None) -> None:
        self.settings = settings
        self.operator_token = settings.operator_token()
        urls = {"user": settings.user_urls, "rule": settings.rule_urls}
        self.replicas = {name: Replicas(name, urls[name], self._new_breaker, resolver) for name in SERVICES}
        self.caller = Caller(
            self.replicas,
            Bounds(
                connect=settings.connect_timeout_ms / 1000,
                read=settings.read_timeout_ms / 1000,
                write=settings.write_timeout_ms / 1000,
            ),
        )
        self.people = People(self.caller, settings.user_timeout_ms / 1000)
        self._lock = threading.Lock()
        self._process: int | None = None
        self._stopping = threading.Event()
        self._been_ready: set[str] = set()

    def start(self) -> None:
        """Start the polls and wait for the first one, once per process; further calls do nothing."""
        if self._process == os.getpid():
            return
        with self._lock:
            if self._process == os.getpid():
                return
            self._stopping = threading.Event()
            self._executor = ThreadPoolExecutor(32, "gateway-call")
            self._polls = ThreadPoolExecutor(16, "gateway-poll")
            self.poll()
            threading.Thread(target=self._keep_polling, name="gateway-poller", daemon=True).start()
            self._process = os.getpid()

    def submit(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Run it beside the current request, in the request's trace."""
        context = copy_context()
        return self._executor.submit(lambda: context.run(work, *args, **kwargs))

    def poll(self) -> None:
        """Resolve the names and ask every replica whether it is ready; takes as long as the slowest, at most the poll
        timeout."""
        within = min(1.0, self.settings.connect_timeout_ms / 1000)
        for replicas in self.replicas.values():
            replicas.refresh()
        asked = [task for replicas in self.replicas.values() for task in replicas.poll(self._polls, within)]
        for task in asked:
            task.result()
        self._been_ready |= {name for name, replicas in self.replicas.items() if replicas.any_ready}

    def not_ready(self) -> str | None:
        """Why this process should get no traffic yet; None if it may.

        It may once every service has had a ready replica. From then on it stays ready: when a service is away, what
        the others can do goes on, and a clear 503 from here is better than no gateway at all.
        """
        self.start()
        missing = [name for name in SERVICES if name not in self._been_ready]
        return f"no ready replica so far of: {', '.join(missing)}" if missing else None

    def close(self) -> None:
        """Stop the threads and give up connections."""
        self._stopping.set()
        if self._process is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)
            self._polls.shutdown(wait=False, cancel_futures=True)
        for replicas in self.replicas.values():
            replicas.close()

    def _keep_polling(self) -> None:
        log = get_logger()
        stopping = self._stopping
        while not stopping.wait(self.settings.poll_ms / 1000):
            try:
                self.poll()
            except Exception:
                if not stopping.is_set():
                    log.exception("poll failed")

    def _new_breaker(self, url: str) -> Breaker:
        return Breaker(url, self.settings.breaker_failures, self.settings.breaker_reset_ms / 1000)
