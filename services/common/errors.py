"""Every error that a caller can see, and how it is written down (RFC 9457).

A use case raises `Problem(slug, detail)`. The table says status and title of each slug; an exception that is not a
Problem is a defect: the caller learns the trace id and nothing else, the log has the whole chain.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from services.common import tracing
from services.common.logs import get_logger

TYPE_PREFIX = "urn:samebase:problem:"
MEDIA_TYPE = "application/problem+json"

PROBLEMS: dict[str, tuple[int, str]] = {
    "malformed": (400, "The request cannot be read"),
    "unauthorized": (401, "Not signed in"),
    "forbidden": (403, "Not allowed"),
    "not-found": (404, "There is no such thing"),
    "method-not-allowed": (405, "The method does not apply here"),
    "conflict": (409, "Somebody else was first"),
    "name-taken": (409, "The name belongs to another account"),
    "in-progress": (409, "The first request with this Idempotency-Key is still running"),
    "precondition-failed": (412, "The item is not the one that If-Match names"),
    "too-large": (413, "The body is too large"),
    "unsupported-media-type": (415, "The body is not application/json"),
    "invalid": (422, "The request is not valid"),
    "idempotency-mismatch": (422, "The Idempotency-Key was used for another body"),
    "too-many-requests": (429, "Too many attempts"),
    "internal": (500, "Something went wrong here"),
    "unavailable": (503, "Not available for now"),
    "behind": (503, "This replica has not caught up"),
    "unconfirmed": (503, "The outcome is not known yet"),
}
_BY_STATUS = {
    400: "malformed",
    401: "unauthorized",
    403: "forbidden",
    404: "not-found",
    405: "method-not-allowed",
    413: "too-large",
    415: "unsupported-media-type",
    429: "too-many-requests",
    503: "unavailable",
}
_RETRY_AFTER_SECONDS = 1


class Problem(Exception):
    """An answer that is not the one that was asked for.

    Args:
        slug: a key of PROBLEMS; it ends the problem's `type`.
        detail: a sentence for a person: what is wrong, where, what to do next. Never repeats secrets.
        headers: sent with the answer; 401, 429 and 503 get theirs by themselves.
        members: further members of the document.
    """

    def __init__(self, slug: str, detail: str, *, headers: Mapping[str, str] | None = None, **members: Any) -> None:
        super().__init__(f"{slug}: {detail}")
        self.slug = slug
        self.status, self.title = PROBLEMS[slug]
        self.detail = detail
        self.headers = dict(headers or {})
        self.members = members
        if self.status == 401:
            self.headers.setdefault("WWW-Authenticate", "Bearer")
        elif self.status in {429, 503}:
            self.headers.setdefault("Retry-After", str(_RETRY_AFTER_SECONDS))

    def document(self) -> dict[str, Any]:
        """The members of the problem document, the current trace id among them."""
        return {
            "type": TYPE_PREFIX + self.slug,
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            **self.members,
            "traceId": tracing.trace_id(),
        }


def invalid(errors: Sequence[Mapping[str, str]]) -> Problem:
    """422. Each error has `detail` and one of `pointer` (a place in the body, `#/progress`) and `parameter`."""
    first = errors[0]
    where = first.get("pointer") or first.get("parameter", "")
    return Problem("invalid", f"{where}: {first['detail']}", errors=[dict(e) for e in errors])


def problem_response(problem: Problem) -> Response:
    """The REST face of a problem."""
    body = json.dumps(problem.document(), ensure_ascii=False, separators=(",", ":"))
    return Response(body, problem.status, problem.headers, mimetype=MEDIA_TYPE)


def from_http_exception(error: HTTPException) -> Problem:
    """What Flask or Werkzeug refused by themselves, as a Problem."""
    status = error.code or 500
    headers: dict[str, str] = {}
    if isinstance(error, MethodNotAllowed):
        headers["Allow"] = allow(error)
    for name in ("Retry-After", "WWW-Authenticate"):
        if value := dict(error.get_headers()).get(name):
            headers[name] = value
    slug = _BY_STATUS.get(status)
    if slug is None:
        problem = Problem("malformed" if status < 500 else "internal", error.description or "", headers=headers)
        problem.status, problem.title = status, HTTPStatus(status).phrase
        return problem
    return Problem(slug, error.description or PROBLEMS[slug][1], headers=headers)


def allow(error: MethodNotAllowed) -> str:
    """Value of the Allow header for a path that exists."""
    return ", ".join(sorted({*(error.valid_methods or ()), "OPTIONS"}))


def install(app: Flask, render: Callable[[Problem], Response] = problem_response) -> None:
    """Make every error of the application a Problem, written by `render`."""
    log = get_logger()

    def on_problem(problem: Problem) -> Response:
        if problem.status >= 500:
            log.warning("refused", slug=problem.slug, detail=problem.detail, exc_info=problem.__cause__)
        return render(problem)

    def on_http_exception(error: HTTPException) -> Response:
        if error.response is not None:
            return Response(error.response.get_data(), error.response.status_code, error.response.headers)
        return on_problem(from_http_exception(error))

    def on_defect(error: Exception) -> Response:
        log.error("defect", method=request.method, route=str(request.url_rule), exc_info=error)
        return render(Problem("internal", "This is our mistake; the trace id leads to it in the log."))

    app.register_error_handler(Problem, on_problem)
    app.register_error_handler(HTTPException, on_http_exception)
    app.register_error_handler(Exception, on_defect)
