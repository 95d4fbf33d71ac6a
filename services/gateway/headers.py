"""Which headers go on to a service, and which come back."""

from __future__ import annotations

from flask import Request, Response

from services.common import tokens
from services.gateway.exchange import Answer

_ONWARD = (
    "Accept",
    "Accept-Language",
    "Authorization",
    "Content-Encoding",
    "Content-Type",
    "Idempotency-Key",
    "If-Match",
    "If-Modified-Since",
    "If-None-Match",
    "If-Unmodified-Since",
    "Prefer",
    "User-Agent",
    "tracestate",
)
"""`traceparent` is set from the current trace, when the call is made."""

_OURS = frozenset({"content-length", "date", "server"})
_SESSION_COOKIE = "session"
_SESSION_PATH = "/user/session"


def token_cookie(service: str) -> str:
    """The cookie in which a browser keeps its session token for this service."""
    return f"replica-{service}"


def origin_of(request: Request) -> dict[str, str]:
    """Who asked, for the services."""
    return {"X-Forwarded-For": request.remote_addr or "", "X-Forwarded-Proto": request.scheme}


def onward(request: Request, service: str) -> dict[str, str]:
    """The headers of a REST call for a service. Its session token comes from the header, else from our cookie."""
    headers = {name: request.headers[name] for name in _ONWARD if name in request.headers}
    headers |= origin_of(request)
    token = request.headers.get(tokens.HEADER) or request.cookies.get(token_cookie(service))
    if token:
        headers[tokens.HEADER] = token
    session = request.cookies.get(_SESSION_COOKIE)
    if session and (request.path == _SESSION_PATH or request.path.startswith(_SESSION_PATH + "/")):
        headers["Cookie"] = f"{_SESSION_COOKIE}={session}"
    return headers


def respond(answer: Answer, body: bytes | None = None) -> Response:
    """The answer for the client, with another body if one is given."""
    headers = [(name, value) for name, value in answer.headers if name.lower() not in _OURS]
    response = Response(answer.body if body is None else body, answer.status, headers)
    if answer.header("Content-Type") is None:
        del response.headers["Content-Type"]
    return response


def set_cookie(
    response: Response, request: Request, name: str, value: str, *, max_age: int | None = None, path: str = "/"
) -> None:
    """A cookie that scripts cannot read and other sites cannot send writes with.

    Args:
        max_age: seconds; 0 removes it; None: until the browser ends.
    """
    response.set_cookie(name, value, max_age, path=path, httponly=True, samesite="Lax", secure=request.is_secure)


def keep_token(response: Response, request: Request, service: str, token: str | None) -> None:
    """Put a write's token into the browser's cookie. Reads must not: their answer, overtaken by a write's, would set
    the cookie back."""
    if token and token != request.cookies.get(token_cookie(service)):
        set_cookie(response, request, token_cookie(service), token)
