"""HTTP face of the user service."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from flask import Response, g, request
from flask_limiter import Limiter, RateLimitExceeded
from flask_openapi3 import APIBlueprint, Tag

from services.common import tokens
from services.common.auth import Verifier, caller
from services.common.errors import Problem
from services.common.idempotency import ANONYMOUS, Post, PostHeaders
from services.common.replication import ReadHeaders, Replication, WriteHeaders
from services.common.web import no_content, problem_responses, reply
from services.user.names import name_key
from services.user.schemas import (
    AccessToken,
    Credentials,
    Jwks,
    ProfileChange,
    PublicUser,
    PublicUsers,
    Registration,
    User,
    UserPath,
    UsersQuery,
)
from services.user.sessions import SESSION_LIFETIME, Ticket
from services.user.usecases import Accounts, Sessions

COOKIE = "session"
COOKIE_PATH = "/user/session"

FAILED_PER_NAME_AND_ADDRESS = "5 per minute"
FAILED_PER_ADDRESS = "30 per minute"

_PRIVATE = {"Cache-Control": "private, no-cache"}
_SECRET = {"Cache-Control": "no-store"}
_ANY_CALL = problem_responses(400, 405, 413, 422, 429, 500, 503)
_TAGS = [Tag(name="user", description="Accounts and login state")]


def open_blueprint(
    accounts: Accounts, sessions: Sessions, limiter: Limiter, jwks: list[dict[str, str]]
) -> APIBlueprint:
    """Calls that need no access token."""
    views = APIBlueprint("open", __name__, abp_tags=_TAGS, abp_responses=_ANY_CALL)

    def attempt(credentials: Credentials, header: WriteHeaders) -> Response:
        done, ticket = sessions.sign_in(credentials, header)
        response = reply(done.value.model_dump(by_alias=True), headers={**_SECRET, **done.headers})
        _set_cookie(response, ticket.render(), int(SESSION_LIFETIME.total_seconds()))
        return response

    limited = _limit_failures(limiter, attempt)

    @views.post("/user", operation_id="register", responses={201: User, **problem_responses(409, 415)})
    def register(body: Registration, header: PostHeaders) -> Response:
        """Make an account; the name is unique over all replicas."""
        result, replicated = accounts.register(Post(ANONYMOUS, "/user", body.model_dump(), header), body)
        return reply(result.document, result.status, {**_PRIVATE, **result.headers, **replicated})

    @views.post("/user/session", operation_id="signIn", responses={200: AccessToken, **problem_responses(401, 415)})
    def sign_in(body: Credentials, header: WriteHeaders) -> Response:
        """Sign in. An Idempotency-Key is ignored: the answer is a secret and is not kept."""
        g.attempted_name = name_key(body.name)
        try:
            return limited(body, header)
        except RateLimitExceeded as error:
            limit = limiter.current_limit
            seconds = max(1, math.ceil(limit.reset_at - time.time())) if limit else 60
            raise Problem(
                "too-many-requests",
                f"Too many failed attempts; the next one is possible in {seconds} seconds.",
                headers={"Retry-After": str(seconds)},
            ) from error

    @views.delete("/user/session", operation_id="signOut", responses={204: None})
    def sign_out(header: WriteHeaders) -> Response:
        """Sign out. Also 204 if nobody was signed in; there is nothing to write then, and so no token."""
        ticket = Ticket.parse(request.cookies.get(COOKIE))
        replicated = sessions.sign_out(ticket, header).headers if ticket else {}
        response = no_content(headers={**_SECRET, **replicated})
        _set_cookie(response, "", 0)
        return response

    @views.post("/user/session/refresh", operation_id="refresh", responses={200: AccessToken, **problem_responses(401)})
    def refresh(header: ReadHeaders) -> Response:
        """A new access token while the session lives."""
        token = sessions.refresh(Ticket.parse(request.cookies.get(COOKIE)), header)
        return reply(token.model_dump(by_alias=True), headers=_SECRET)

    @views.get("/user/.well-known/jwks.json", operation_id="getKeys", responses={200: Jwks})
    def get_keys() -> Response:
        """The keys that verify access tokens."""
        return reply({"keys": jwks}, headers={"Cache-Control": "public, max-age=300"})

    return views


def blueprint(accounts: Accounts, replication: Replication, verifier: Verifier) -> APIBlueprint:
    """Calls of somebody who is signed in."""
    views = APIBlueprint(
        "user",
        __name__,
        abp_tags=_TAGS,
        abp_security=[{"bearer": []}],
        abp_responses={**_ANY_CALL, **problem_responses(401)},
    )
    views.before_request(verifier.require)

    def freshness(header: ReadHeaders) -> dict[str, str]:
        return _PRIVATE if replication.covers(header) else {**_PRIVATE, tokens.STALE_HEADER: "true"}

    @views.get("/user/me", operation_id="getMe", responses={200: User})
    def get_me(header: ReadHeaders) -> Response:
        """The caller's own account."""
        headers = freshness(header)
        account = accounts.own(caller())
        return reply(User.of(account, accounts.authority(account)).document(), headers=headers)

    @views.patch("/user/me", operation_id="changeMe", responses={200: User, **problem_responses(409, 415)})
    def change_me(body: ProfileChange, header: WriteHeaders) -> Response:
        """Change the given fields of the caller's account."""
        done = accounts.change(caller(), body, header)
        document = User.of(done.value, accounts.authority(done.value)).document()
        return reply(document, headers={**_PRIVATE, **done.headers})

    @views.get("/user/<uuid:id>", operation_id="getUser", responses={200: PublicUser, **problem_responses(404)})
    def get_user(path: UserPath, header: ReadHeaders) -> Response:
        """Somebody's public profile."""
        headers = freshness(header)
        return reply(PublicUser.of(accounts.get(path.id)).document(), headers=headers)

    @views.get("/user", operation_id="getUsers", responses={200: PublicUsers})
    def get_users(query: UsersQuery, header: ReadHeaders) -> Response:
        """The public profiles of several users."""
        headers = freshness(header)
        found = [PublicUser.of(account).document() for account in accounts.find(query.id)]
        return reply({"data": found}, headers=headers)

    return views


def internal_blueprint(accounts: Accounts, sessions: Sessions, verifier: Verifier) -> APIBlueprint:
    """Calls of the gateway; it never routes anybody here, and they are not in the OpenAPI document."""
    views = APIBlueprint("internal", __name__, url_prefix="/internal", doc_ui=False)
    views.before_request(verifier.require)

    @views.post("/session/renew")
    def renew(header: ReadHeaders) -> Response:
        """A new access token for a valid one whose session lives."""
        return reply(sessions.renew(caller(), header).model_dump(by_alias=True), headers=_SECRET)

    @views.get("/users")
    def everybody() -> Response:
        """All users, at most a thousand."""
        found = [
            {**PublicUser.of(account).document(), "authority": accounts.authority(account)}
            for account in accounts.everybody()
        ]
        return reply({"data": found}, headers=_PRIVATE)

    return views


def _limit_failures(limiter: Limiter, view: Callable[..., Response]) -> Callable[..., Response]:
    """Refuse further attempts after too many failed ones; successful ones do not count."""

    def failed(response: Response) -> bool:
        return response.status_code == 401

    def name_and_address() -> str:
        return f"{request.remote_addr} {g.attempted_name}"

    def address() -> str:
        return str(request.remote_addr)

    per_name = limiter.limit(FAILED_PER_NAME_AND_ADDRESS, key_func=name_and_address, deduct_when=failed)
    per_address = limiter.limit(FAILED_PER_ADDRESS, key_func=address, deduct_when=failed)
    limited: Callable[..., Response] = per_address(per_name(view))
    return limited


def _set_cookie(response: Response, value: str, max_age: int) -> None:
    response.set_cookie(
        COOKIE,
        value,
        max_age=max_age,
        path=COOKIE_PATH,
        secure=request.scheme == "https",
        httponly=True,
        samesite="Lax",
    )
