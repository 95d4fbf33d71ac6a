"""/healthz, /readyz and /metrics."""

from __future__ import annotations

from collections.abc import Callable

from flask import Flask, Response, jsonify

from services.common import metrics
from services.common.config import Settings


def install(app: Flask, settings: Settings, ready: Callable[[], str | None]) -> None:
    """Add the three routes.

    Args:
        ready: None if this process may receive traffic, else the reason why not, for a person.
    """
    drain_file = settings.drain_file

    def healthz() -> Response:
        return jsonify(alive=True)

    def readyz() -> tuple[Response, int]:
        draining = drain_file is not None and drain_file.exists()
        reason = "it is about to be stopped" if draining else ready()
        response = jsonify(ready=reason is None, reason=reason)
        if reason is not None:
            response.headers["Retry-After"] = "1"
        return response, 200 if reason is None else 503

    app.add_url_rule("/healthz", view_func=healthz)
    app.add_url_rule("/readyz", view_func=readyz)
    app.add_url_rule("/metrics", endpoint="metrics", view_func=metrics.expose)
