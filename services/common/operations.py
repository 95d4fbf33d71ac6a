"""What operators and callers ask a replica about itself: readiness, /status, /writes/{request}."""

from __future__ import annotations

from typing import Any, Literal

from flask import Flask, Response, jsonify
from flask_openapi3 import APIBlueprint
from pydantic import Field
from sqlalchemy import text

from services.common import health
from services.common.config import Settings
from services.common.errors import Problem
from services.common.replication import Replication
from services.common.sync import SyncUnavailable
from services.common.web import UUID_PATTERN, Answer, Path, problem_responses


class WritePath(Path):
    request: str = Field(pattern=UUID_PATTERN, json_schema_extra={"format": "uuid"})


class WriteOutcome(Answer):
    """What became of a write; `unknown`: this replica does not remember it (any more), ask another one."""

    request: str
    outcome: Literal["accepted", "rejected", "pending", "unknown"]


def install(app: Flask, replication: Replication, settings: Settings, service: str) -> None:
    """/healthz, /readyz, /metrics, /status: for operators, not in the OpenAPI document."""

    def ready() -> str | None:
        try:
            status = replication.sync.status()
        except SyncUnavailable as error:
            return str(error)
        if status.get("state") != "ready":
            return f"sync is {status.get('state')}: {status.get('reason') or 'no reason given'}"
        try:
            with replication.database.read() as session:
                session.execute(text("SELECT 1"))
        except Problem as problem:
            return problem.detail
        return None

    def status() -> Response:
        sync: dict[str, Any]
        try:
            sync = replication.sync.status()
        except SyncUnavailable as error:
            sync = {"state": "unreachable", "reason": str(error)}
        return jsonify(name=settings.name, service=service, sync=sync)

    health.install(app, settings, ready)
    app.add_url_rule("/status", view_func=status)


def writes(replication: Replication) -> APIBlueprint:
    """GET /writes/{request}. Open to everybody who knows the id: it cannot be guessed and tells nothing else."""
    views = APIBlueprint("writes", __name__)

    @views.get(
        "/writes/<uuid:request>",
        operation_id="getWrite",
        responses={200: WriteOutcome, **problem_responses(400, 404, 405, 413, 503)},
    )
    def get_write(path: WritePath) -> dict[str, str]:
        """What became of a write."""
        try:
            outcome = replication.sync.wait_request(path.request, "ordered", 0)
        except SyncUnavailable as error:
            raise Problem("unavailable", "The outcome cannot be asked for now.") from error
        return {"request": path.request, "outcome": outcome.outcome}

    return views
