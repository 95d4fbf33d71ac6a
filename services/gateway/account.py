"""The protocol of list pages, continued: signing in and out, registering, people.

Signing in always answers 200, what counts is `status` (only a request that is none, 400, 403, 413, 415 or 422, is
refused). Registering answers 200 with `status: "error"` when the name is taken; any other refusal carries its HTTP
status, with the same body.
"""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, jsonify, request

from services.common import web
from services.common.auth import Verifier
from services.common.errors import Problem, invalid
from services.common.logs import get_logger
from services.gateway import translate
from services.gateway.caller import Unanswered
from services.gateway.page import begin, check_origin, signed_in, who
from services.gateway.people import avatar, display_name
from services.gateway.placeholder import PLACEHOLDER
from services.gateway.runtime import Runtime
from services.gateway.visit import content, message


def blueprint(runtime: Runtime, verifier: Verifier) -> Blueprint:
    """Routes /api/login/..., /api/register, /user/register, /api/currentUser, /api/users."""
    blueprint = Blueprint("account", __name__)
    log = get_logger()

    @blueprint.post("/api/login/account")
    def sign_in() -> Response:
        visit, body = begin(runtime), _form()
        kind = body.get("type", "account")
        name, password = body.get("userName"), body.get("password")
        try:
            if kind == "mobile":
                raise Problem("invalid", "There is no sign-in by phone.")
            if not isinstance(name, str) or not isinstance(password, str) or not name or not password:
                raise Problem("invalid", "Name and password are needed.")
            credentials = {"name": name, "password": password}
            answer = visit.call("user", "POST", "/user/session", body=credentials, anonymous=True)
            token = str(content(answer)["accessToken"])
            authority = verifier.verify(token).authority
        except (Problem, Unanswered) as error:
            visit.sign_out()
            problem = error.problem() if isinstance(error, Unanswered) else error
            return jsonify(status="error", type=kind, currentAuthority="guest", message=message(problem))
        visit.sign_in(token, answer)
        return jsonify(status="ok", type=kind, currentAuthority=authority)

    @blueprint.route("/api/login/outLogin", methods=["GET", "POST"])
    def sign_out() -> Response:
        check_origin()
        visit = begin(runtime)
        try:
            answer = visit.end_session()
            if not answer.ok:
                log.warning("session not ended", status=answer.status)
        except Unanswered as error:
            # the browser forgets the access token all the same, and it expires soon
            log.warning("session not ended", reason=str(error))
        visit.sign_out()
        return jsonify(success=True)

    @blueprint.get("/api/login/captcha")
    def captcha() -> Response:
        return jsonify(False)

    @blueprint.post("/api/register")
    @blueprint.post("/user/register")
    def register() -> Response:
        visit, body = begin(runtime), _form()
        fields = {"name": body.get("userName"), "password": body.get("password")}
        try:
            if missing := [name for name, value in fields.items() if value is None]:
                names = {"name": "userName"}
                raise invalid([{"pointer": f"#/{names.get(name, name)}", "detail": "is missing"} for name in missing])
            account = content(visit.call("user", "POST", "/user", body=fields, anonymous=True))
        except (Problem, Unanswered) as error:
            problem = error.problem() if isinstance(error, Unanswered) else error
            response = jsonify(status="error", success=False, message=message(problem))
            response.status_code = 200 if problem.slug == "name-taken" else problem.status
            response.headers.extend(problem.headers)
            return response
        return jsonify(status="ok", currentAuthority=account.get("authority", "user"))

    @blueprint.get("/api/currentUser")
    def current_user() -> Response:
        visit = begin(runtime)
        caller = who(visit, verifier)
        name, email = caller.name, None
        try:
            within = runtime.settings.user_timeout_ms / 1000
            account = content(visit.call("user", "GET", "/user/me", within=within))
            name, email = display_name(account) or name, account.get("email")
        except (Problem, Unanswered) as error:
            log.warning("current user from the token", reason=str(error))
        return jsonify(translate.current_user(caller.id, name, avatar(caller.id, name), email))

    @blueprint.get("/api/users")
    def users() -> Response:
        visit = signed_in(runtime, verifier)
        people = content(visit.call("user", "GET", "/internal/users"))["data"]
        return jsonify([_person(person) for person in people])

    @blueprint.get("/user/login")
    @blueprint.get("/user/login/<path:rest>")
    @blueprint.get("/user/register")
    @blueprint.get("/user/register/<path:rest>")
    def the_page(rest: str = "") -> Response:  # noqa: ARG001 - one page for all of them
        if "text/html" not in request.headers.get("Accept", ""):
            raise Problem("not-found", "There is nothing under this path but a page, for those who accept text/html.")
        return Response(PLACEHOLDER, content_type="text/html; charset=utf-8")

    return blueprint


def _form() -> dict[str, Any]:
    """The body; a request without one is a form with nothing filled in."""
    return web.read_json(request) if request.get_data() else {}


def _person(person: dict[str, Any]) -> dict[str, str]:
    name = display_name(person)
    return {"userid": str(person["id"]), "name": name, "avatar": avatar(str(person["id"]), name)}
