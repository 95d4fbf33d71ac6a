"""The REST face: paths under /user and /rule go to the services; items get their owners' names on the way back."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote_from_bytes

from flask import Blueprint, Response, request

from services.common import tokens
from services.common.errors import Problem
from services.gateway.exchange import Answer, Call
from services.gateway.headers import keep_token, onward, respond
from services.gateway.runtime import Runtime

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


def blueprint(runtime: Runtime) -> Blueprint:
    """Routes /user, /user/..., /rule, /rule/..."""
    blueprint = Blueprint("rest", __name__)

    def forward(service: str, rest: str = "") -> Response:  # noqa: ARG001 - the path is taken as it was sent
        call = Call(
            service=service,
            # the body of an answer to HEAD is made, measured and left out by the server
            method="GET" if request.method == "HEAD" else request.method,
            path=clean_path(request.environ["PATH_INFO"]),
            query=request.environ.get("QUERY_STRING", ""),
            headers=onward(request, service),
            body=request.get_data(),
        )
        answer = runtime.caller.send(call)
        body = _with_owners(runtime, call, answer) if service == "rule" else None
        response = respond(answer, body)
        if not call.safe:
            keep_token(response, request, service, answer.header(tokens.HEADER))
        return response

    for service in ("user", "rule"):
        for path in (f"/{service}", f"/{service}/<path:rest>"):
            blueprint.add_url_rule(path, service, forward, methods=METHODS, defaults={"service": service})
    return blueprint


def clean_path(path_info: str) -> str:
    """The path as it goes to a service, percent-encoded.

    Args:
        path_info: as WSGI gives it: decoded, each character one byte.

    Raises:
        Problem: 404 for an empty segment (a trailing slash too), `.` and `..`: on its way through libraries and servers
            such a path could come to mean another one, which is not for the public.
    """
    segments = path_info.encode("latin-1").split(b"/")[1:]
    if any(segment in (b"", b".", b"..") for segment in segments):
        raise Problem("not-found", "There is nothing under this path.")
    return "".join("/" + quote_from_bytes(segment, safe="") for segment in segments)


def _with_owners(runtime: Runtime, call: Call, answer: Answer) -> bytes | None:
    """The body of an answer that holds items, with their owners; None if it holds none. The ETag stays: owner, avatar
    and degraded are not in it."""
    document = answer.json() if answer.ok and "json" in (answer.header("Content-Type") or "") else None
    if not isinstance(document, dict):
        return None
    items: Any = document.get("data") if "data" in document else [document]
    if not isinstance(items, list) or not all(isinstance(item, dict) and "owner" in item for item in items):
        return None
    headers = {name: call.headers[name] for name in ("Authorization", "X-Forwarded-For") if name in call.headers}
    token = request.cookies.get("replica-user")
    if token:
        headers[tokens.HEADER] = token
    if not runtime.people.introduce(items, headers):
        document["degraded"] = ["user"]
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
