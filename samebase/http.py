"""The sync process's own HTTP: how far it is, and waiting for it. For its own api and for operators, not for the world.

GET /healthz   200: the process is alive
GET /readyz    200 or 503 with the reason: this replica has reached the log's end once, and goes on
GET /status    where it stands, and what may be written: `writes` is all, merge (nothing that needs a verdict) or none
GET /wait      ?request=ID&level=log|ordered&timeout=MS    what became of a transaction
               ?token=ORIGIN:SEQ,...&timeout=MS            whether everything up to there is applied
               both answers have `writes` too
GET /metrics   Prometheus
"""

from __future__ import annotations

import base64
from typing import Any

from flask import Flask, Response, abort, jsonify, request
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from samebase import metrics
from samebase.core.types import Scalar
from samebase.progress import Fate, Level, Progress

LEVELS: tuple[Level, ...] = ("local", "log", "ordered")
LONGEST_WAIT_MS = 60_000


def create_app(name: str, progress: Progress) -> Flask:
    """The application. It reads `progress` and nothing else."""
    app = Flask("samebase")

    @app.get("/healthz")
    def healthz() -> Response:
        return jsonify(alive=True)

    @app.get("/readyz")
    def readyz() -> tuple[Response, int]:
        position = progress.position()
        ready = position.phase == "ready"
        reason = position.reason or (None if ready else position.phase)
        return jsonify(ready=ready, reason=reason), 200 if ready else 503

    @app.get("/status")
    def status() -> Response:
        position = progress.position()
        return jsonify(
            name=name,
            origin=position.origin,
            state=position.phase,
            reason=position.reason,
            writes=position.writes,
            offset=position.offset,
            log_end=position.log_end,
            pending=position.pending,
            rejected=position.rejected,
            lag_entries=position.log_end - position.offset,
            lag_seconds=round(progress.lag_seconds(), 3),
        )

    @app.get("/wait")
    def wait() -> Response:
        timeout = _timeout(request.args.get("timeout", "0"))
        if "request" in request.args:
            level = request.args.get("level", "ordered")
            if level not in LEVELS:
                abort(400, f"level is one of {', '.join(LEVELS)}")
            wanted = LEVELS.index(level)
            fate = progress.fate(
                request.args["request"],
                until=lambda fate: fate.accepted is False or LEVELS.index(fate.level) >= wanted,
                timeout=timeout,
            )
            return jsonify(request=request.args["request"], **_told(fate), writes=progress.position().writes)
        reached, positions = progress.reached(parse_token(request.args.get("token", "")), timeout)
        return jsonify(reached=reached, token=format_token(positions), writes=progress.position().writes)

    @app.get("/metrics")
    def metrics_() -> Response:
        metrics.lag_seconds.set(progress.lag_seconds())
        return Response(generate_latest(), content_type=CONTENT_TYPE_LATEST)

    return app


def parse_token(token: str) -> dict[str, int]:
    """Positions per origin. What is not of the form ORIGIN:SEQ is ignored; of two for one origin the larger counts."""
    positions: dict[str, int] = {}
    for part in token.split(","):
        origin, _, seq = part.strip().rpartition(":")
        if origin and seq.isascii() and seq.isdigit() and len(seq) < 20:
            positions[origin] = max(positions.get(origin, 0), int(seq))
    return positions


def format_token(positions: dict[str, int]) -> str:
    """The inverse of parse_token."""
    return ",".join(f"{origin}:{seq}" for origin, seq in sorted(positions.items()))


def _timeout(text: str) -> float:
    if not (text.isascii() and text.isdigit() and int(text) <= LONGEST_WAIT_MS):
        abort(400, f"timeout is a number of milliseconds up to {LONGEST_WAIT_MS}")
    return int(text) / 1000


def _told(fate: Fate | None) -> dict[str, Any]:
    if fate is None:
        return {"outcome": "unknown", "reached": "local", "token": None, "reason": None, "rows": []}
    outcome = "pending" if fate.accepted is None else "accepted" if fate.accepted else "rejected"
    return {
        "outcome": outcome,
        "reached": fate.level,
        "token": f"{fate.origin}:{fate.seq}" if fate.seq else None,
        "reason": fate.reason,
        "rows": [[table, [_plain(value) for value in key]] for table, key in fate.rows],
    }


def _plain(value: Scalar) -> int | float | str | None:
    """A key's value as JSON has it: for people and logs, not for further processing."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    return value if value is None or isinstance(value, int | float | str) else str(value)
