"""What the gateway answers by asking every replica: /writes/{request} and, for operators, /replicas."""

from __future__ import annotations

import hmac
from concurrent.futures import Future
from typing import Any

from flask import Blueprint, Response, jsonify, request

from services.common.auth import Verifier
from services.common.errors import Problem
from services.gateway.exchange import Answer, Call, Failed
from services.gateway.headers import onward, respond
from services.gateway.replicas import Replica
from services.gateway.rest import clean_path
from services.gateway.runtime import Runtime
from services.gateway.visit import COOKIE

_RANK = {"accepted": 3, "rejected": 3, "pending": 2, "unknown": 1}
_WITHIN_SECONDS = 2.0


def blueprint(runtime: Runtime, verifier: Verifier) -> Blueprint:
    """Routes /writes/{request} and /replicas."""
    blueprint = Blueprint("operations", __name__)

    @blueprint.get("/writes/<identifier>")
    def write(identifier: str) -> Response:  # noqa: ARG001 - the path is taken as it was sent
        asked = [
            runtime.submit(
                replica.ask,
                Call(service, "GET", clean_path(request.environ["PATH_INFO"]), headers=onward(request, service)),
                _WITHIN_SECONDS,
            )
            for service, replicas in runtime.replicas.items()
            for replica in replicas
        ]
        return respond(merged([answer for task in asked if (answer := _outcome(task)) is not None]))

    @blueprint.get("/replicas")
    def replicas() -> Response:
        _require_operator(runtime, verifier)
        asked = {
            service: [(replica, runtime.submit(_status, replica)) for replica in replicas]
            for service, replicas in runtime.replicas.items()
        }
        return jsonify(
            {
                service: [
                    {
                        "url": replica.url,
                        "health": replica.health.value,
                        "breaker": replica.breaker.state,
                        "status": task.result(),
                    }
                    for replica, task in tasks
                ]
                for service, tasks in asked.items()
            }
        )

    return blueprint


def merged(answers: list[Answer]) -> Answer:
    """The one that knows most: accepted or rejected, else pending, else unknown; else what the first one refuses.

    Raises:
        Problem: 503 if nobody answered.
    """

    def knows(answer: Answer) -> int:
        document = answer.json() if answer.ok else None
        return _RANK.get(str(document.get("outcome")), 0) if isinstance(document, dict) else 0

    if not answers:
        raise Problem("unavailable", "No replica answers for now; ask again.")
    # a refusal of the caller (401) comes before a replica's own trouble (5xx)
    return max(answers, key=lambda answer: (knows(answer), -answer.status))


def _outcome(task: Future[Answer]) -> Answer | None:
    try:
        return task.result()
    except Failed:
        return None


def _status(replica: Replica) -> dict[str, Any]:
    try:
        answer = replica.ask(Call(replica.service, "GET", "/status"), _WITHIN_SECONDS)
    except Failed as error:
        return {"state": "unreachable", "reason": type(error).__name__}
    document = answer.json()
    return document if answer.ok and isinstance(document, dict) else {"state": "unknown", "reason": str(answer.status)}


def _require_operator(runtime: Runtime, verifier: Verifier) -> None:
    """Operators send their token, or are signed in as admin (access token in the header, or the page's cookie)."""
    authorization = request.authorization
    token = authorization.token if authorization is not None and authorization.type == "bearer" else None
    if token and runtime.operator_token and hmac.compare_digest(token.encode(), runtime.operator_token.encode()):
        return
    cookie = request.cookies.get(COOKIE)
    caller = verifier.verify(cookie) if cookie and authorization is None else verifier.caller(request)
    if caller.authority != "admin":
        raise Problem("forbidden", "This is for operators: sign in as an admin, or send the operators' token.")
