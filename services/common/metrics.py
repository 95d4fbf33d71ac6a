"""Prometheus metrics of a service, also when several worker processes share a port."""

from __future__ import annotations

import os
import time

from flask import Flask, Response, g, request
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from services.common.logs import get_logger

REQUESTS = Histogram(
    "http_request_duration_seconds",
    "Time to answer, by route template",
    ["service", "method", "route", "status"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
WRITES = Counter(
    "replicated_writes_total",
    "Writes by what their caller was told: local, log, ordered, pending, rejected, behind, unavailable, unconfirmed",
    ["service", "told"],
)
RETRIES = Counter("transaction_retries_total", "Local transactions run again: busy or deadlocked", ["service"])

_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}


def install(app: Flask, service: str) -> None:
    """Measure and log every request: one line and one observation each."""
    log = get_logger()

    @app.before_request
    def start() -> None:
        g.started = time.perf_counter()

    @app.after_request
    def finish(response: Response) -> Response:
        seconds = time.perf_counter() - g.get("started", time.perf_counter())
        # A request that matches nothing must not make a new time series, whatever its path and method.
        route = request.url_rule.rule if request.url_rule else "(none)"
        method = request.method if request.method in _METHODS else "(other)"
        REQUESTS.labels(service, method, route, response.status_code).observe(seconds)
        if route not in {"/healthz", "/readyz", "/metrics"}:
            log.info("request", method=method, route=route, status=response.status_code, ms=round(seconds * 1000, 2))
        return response


def expose() -> Response:
    """The metrics of this process, or of all that share PROMETHEUS_MULTIPROC_DIR."""
    registry = REGISTRY
    if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        registry = CollectorRegistry()
        MultiProcessCollector(registry)
    return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)
