"""One request of a page: who makes it, its calls to the services, and the cookies that its answer sets."""

from __future__ import annotations

import json
import threading
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from http.cookies import Morsel, SimpleCookie
from typing import Any
from urllib.parse import urlencode

from flask import Request, Response

from services.common import tokens
from services.common.auth import Caller, Verifier
from services.common.errors import PROBLEMS, Problem
from services.gateway.caller import Unanswered
from services.gateway.exchange import Answer, Call
from services.gateway.headers import keep_token, origin_of, set_cookie, token_cookie
from services.gateway.runtime import SERVICES, Runtime

COOKIE = "jwtToken"
"""Holds the access token. Scripts cannot read it."""

LIFETIME_SECONDS = 15 * 60

SESSION_COOKIE = "pageSession"
SESSION_PATH = "/api/login"
"""Holds the user service's session cookie for the one call of a page that needs it: signing out."""


class Visit:
    """Made for each request of a page."""

    def __init__(self, runtime: Runtime, request: Request) -> None:
        self._runtime = runtime
        self._request = request
        self._jwt = request.cookies.get(COOKIE)
        self._tokens = {service: request.cookies.get(token_cookie(service)) for service in SERVICES}
        self._session = request.cookies.get(SESSION_COOKIE)
        self._new_session: Morsel[str] | None = None
        self._lock = threading.Lock()
        self._renewal: Future[str | None] | None = None
        self._new_jwt: str | None = None
        self._leaves = False

    def caller(self, verifier: Verifier) -> Caller:
        """Who is signed in; begins to renew the cookie beside whatever follows. Raises Problem 401."""
        if not self._jwt:
            raise Problem("unauthorized", "You are not signed in.")
        caller = verifier.verify(self._jwt)
        self._renewal = self._runtime.submit(self._renew)
        return caller

    def call(
        self,
        service: str,
        method: str,
        path: str,
        *,
        query: dict[str, str] | None = None,
        body: dict[str, Any] | None = None,
        within: float | None = None,
        anonymous: bool = False,
    ) -> Answer:
        """Call a service, in the visitor's name unless `anonymous`. A write's token goes with all later calls, also of
        the next requests. May be called from several threads.

        Raises:
            Unanswered
        """
        headers = self.headers(service)
        if anonymous:
            headers.pop("Authorization", None)
        if body is not None:
            headers["Content-Type"] = "application/json"
        encoded = b"" if body is None else json.dumps(body, ensure_ascii=False).encode()
        call = Call(service, method, path, urlencode(query or {}), headers, encoded, within)
        return self._send(call)

    def headers(self, service: str) -> dict[str, str]:
        """Of a call to that service: who asks, and the token."""
        headers = {"Accept": "application/json", **origin_of(self._request)}
        if self._jwt:
            headers["Authorization"] = f"Bearer {self._jwt}"
        if token := self._tokens[service]:
            headers[tokens.HEADER] = token
        return headers

    def introduce(self, items: list[dict[str, Any]]) -> list[str]:
        """Fill in the items' owners. Returns the services that did not help."""
        return [] if self._runtime.people.introduce(items, self.headers("user")) else ["user"]

    def sign_in(self, access_token: str, answer: Answer) -> None:
        """The answer sets the cookies.

        Args:
            answer: of the user service, with its session cookie.
        """
        self._new_jwt, self._leaves = access_token, False
        for name, value in answer.headers:
            if name.lower() == "set-cookie":
                self._new_session = SimpleCookie(value).get("session") or self._new_session

    def end_session(self) -> Answer:
        """End the session at the user service: no access token is renewed from now on. Raises Unanswered."""
        headers = self.headers("user") | ({"Cookie": f"session={self._session}"} if self._session else {})
        return self._send(Call("user", "DELETE", "/user/session", headers=headers))

    def sign_out(self) -> None:
        """The answer removes the cookies."""
        self._new_jwt, self._leaves, self._renewal = None, True, None

    def finish(self, response: Response) -> Response:
        """Set the cookies. If the user service does not renew in time, the old access token stays."""
        if self._renewal is not None:
            try:
                self._new_jwt = self._renewal.result(timeout=self._within)
            except FutureTimeout:
                self._renewal.cancel()
        if self._new_jwt:
            set_cookie(response, self._request, COOKIE, self._new_jwt, max_age=LIFETIME_SECONDS)
        if self._new_session:
            lifetime = int(self._new_session["max-age"] or LIFETIME_SECONDS)
            set_cookie(
                response, self._request, SESSION_COOKIE, self._new_session.value, max_age=lifetime, path=SESSION_PATH
            )
        for service, token in self._tokens.items():
            keep_token(response, self._request, service, token)
        if self._leaves:
            set_cookie(response, self._request, SESSION_COOKIE, "", max_age=0, path=SESSION_PATH)
            # the last one: curl 7 forgets a removal that another cookie follows
            set_cookie(response, self._request, COOKIE, "", max_age=0)
        return response

    def _send(self, call: Call) -> Answer:
        answer = self._runtime.caller.send(call)
        if not call.safe:
            with self._lock:
                known = self._tokens[call.service]
                self._tokens[call.service] = tokens.merge(known, answer.header(tokens.HEADER)) or None
        return answer

    @property
    def _within(self) -> float:
        return self._runtime.settings.user_timeout_ms / 1000

    def _renew(self) -> str | None:
        """A new access token; None if the session has ended or the user service does not answer."""
        call = Call(
            "user",
            "POST",
            "/internal/session/renew",
            headers=self.headers("user"),
            within=self._within,
            idempotent=True,
        )
        try:
            answer = self._runtime.caller.send(call)
        except Unanswered:
            return None
        document = answer.json()
        token = document.get("accessToken") if answer.ok and isinstance(document, dict) else None
        return token if isinstance(token, str) else None


def content(answer: Answer) -> dict[str, Any]:
    """The JSON object that a service answered.

    Raises:
        Problem: what it refused, in its words, with the fields that it names.
    """
    document = answer.json()
    if answer.ok and isinstance(document, dict):
        return document
    raise refusal(answer, document)


def refusal(answer: Answer, document: Any) -> Problem:
    """What a service refused, as our own problem."""
    if not isinstance(document, dict) or answer.slug not in PROBLEMS or (answer.status >= 500 and answer.status != 503):
        return Problem("unavailable", "A service behind this one has a problem; try again.")
    members = {name: document[name] for name in ("errors", "request") if name in document}
    headers = {name: value for name in ("Retry-After",) if (value := answer.header(name)) is not None}
    return Problem(answer.slug, str(document.get("detail", "")), headers=headers, **members)


def message(problem: Problem) -> str:
    """A problem in a sentence: the fields that are wrong, else its detail."""
    errors = problem.members.get("errors")
    if isinstance(errors, list):
        told = [
            f"{str(error.get('pointer') or error.get('parameter') or '').removeprefix('#/')}: {error.get('detail')}"
            for error in errors
            if isinstance(error, dict)
        ]
        if told:
            return "; ".join(told)
    return problem.detail or problem.title
