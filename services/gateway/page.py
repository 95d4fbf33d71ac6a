"""The protocol of list pages: /api/... in and out, translated to calls of the services' REST face.

Errors are `{success: false, message}`; `GET /api/rule` answers 200 whatever happens, because pages of this kind go
blank otherwise.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlsplit

from flask import Blueprint, Response, g, jsonify, request

from services.common import web
from services.common.auth import Caller, Verifier
from services.common.errors import Problem, invalid
from services.gateway import translate
from services.gateway.caller import Unanswered
from services.gateway.runtime import Runtime
from services.gateway.visit import Visit, content, message, refusal

LIST_ENDPOINT = "page.items"
_LISTED_AFTER_DELETE = 20
_DELETES_SIDE_BY_SIDE = 8


def blueprint(runtime: Runtime, verifier: Verifier) -> Blueprint:
    """Routes /api/rule and /api/notices."""
    blueprint = Blueprint("page", __name__)

    @blueprint.get("/api/rule")
    def items() -> Response:
        query = translate.list_query(request.args)
        visit = signed_in(runtime, verifier)
        if query.impossible:
            return jsonify(translate.empty_list(query, current=1))
        current = query.current
        page = content(visit.call("rule", "GET", "/rule", query=query.page(current)))
        last = query.last_page(page["total"])
        if current > last:
            current = last
            page = content(visit.call("rule", "GET", "/rule", query=query.page(current)))
        rows = page["data"][: query.page_size]
        degraded = visit.introduce(rows)
        answer = {
            "data": rows,
            "total": page["total"],
            "success": True,
            "pageSize": query.page_size,
            "current": current,
        }
        return jsonify(answer | ({"degraded": degraded} if degraded else {}))

    @blueprint.post("/api/rule")
    def post() -> Response:
        visit, body = signed_in(runtime, verifier), web.read_json(request)
        method = body.get("method")
        if method in (None, "post"):
            return _item(visit, "POST", "/rule", translate.item_fields(body))
        if method == "update":
            return _update(visit, body)
        if method == "delete":
            return _delete(runtime, visit, body)
        raise invalid([{"pointer": "#/method", "detail": "must be post, update or delete"}])

    @blueprint.put("/api/rule")
    def put() -> Response:
        return _update(signed_in(runtime, verifier), web.read_json(request))

    @blueprint.delete("/api/rule")
    def delete() -> Response:
        return _delete(runtime, signed_in(runtime, verifier), web.read_json(request))

    @blueprint.get("/api/notices")
    def notices() -> Response:
        visit = signed_in(runtime, verifier)
        query = {"current": "1", "pageSize": "20", "sorter": "updatedAt_descend"}
        return jsonify(translate.notices(content(visit.call("rule", "GET", "/rule", query=query))["data"]))

    return blueprint


def begin(runtime: Runtime) -> Visit:
    """The visit of the current request; its cookies are set when the request ends."""
    if "visit" not in g:
        g.visit = Visit(runtime, request)
    visit: Visit = g.visit
    return visit


def signed_in(runtime: Runtime, verifier: Verifier) -> Visit:
    """The visit of somebody who is signed in. Raises Problem 401."""
    visit = begin(runtime)
    who(visit, verifier)
    return visit


def who(visit: Visit, verifier: Verifier) -> Caller:
    """Who is signed in. Raises Problem 401."""
    return visit.caller(verifier)


def check_origin() -> None:
    """Refuse a write that another site's page sends. Browsers name the page's origin; other clients need not.

    Raises:
        Problem: 403
    """
    origin = request.headers.get("Origin")
    if origin is None:
        return
    parts = urlsplit(origin)
    default = {"http": ":80", "https": ":443"}.get(parts.scheme, "")
    if not parts.netloc or parts.netloc.lower().removesuffix(default) != request.host.lower().removesuffix(default):
        raise Problem("forbidden", "The request comes from a page of another origin.")


def render(problem: Problem) -> Response:
    """A problem as pages understand it."""
    text = message(problem)
    if request.endpoint == LIST_ENDPOINT and request.method in ("GET", "HEAD"):
        return jsonify(translate.empty_list(translate.list_query(request.args), success=False, message=text))
    response = jsonify(success=False, message=text)
    response.status_code = problem.status
    response.headers.extend(problem.headers)
    return response


def _update(visit: Visit, body: dict[str, Any]) -> Response:
    key = translate.key_of(body)
    return _item(visit, "PATCH", _path(key), translate.item_fields(body))


def _item(visit: Visit, method: str, path: str, fields: dict[str, Any]) -> Response:
    item = content(visit.call("rule", method, path, body=fields))
    degraded = visit.introduce([item])
    return jsonify(item | ({"degraded": degraded} if degraded else {}))


def _delete(runtime: Runtime, visit: Visit, body: dict[str, Any]) -> Response:
    keys = [key for key in translate.keys_of(body) if _may_be_key(key)]
    for start in range(0, len(keys), _DELETES_SIDE_BY_SIDE):
        some = keys[start : start + _DELETES_SIDE_BY_SIDE]
        tasks = [runtime.submit(visit.call, "rule", "DELETE", _path(key)) for key in some]
        problems = []
        for task in tasks:
            try:
                answer = task.result()
            except Unanswered as error:
                problems.append(error.problem())
            else:
                if not answer.ok and answer.status != 404:
                    problems.append(refusal(answer, answer.json()))
        if problems:
            raise problems[0]
    query = {"current": "1", "pageSize": str(_LISTED_AFTER_DELETE)}
    try:
        page = content(visit.call("rule", "GET", "/rule", query=query))
    except (Unanswered, Problem):
        # the items are gone, and that is what was asked for
        return jsonify(list=[], pagination={"total": 0}, degraded=["rule"])
    degraded = visit.introduce(page["data"])
    left = {"list": page["data"], "pagination": {"total": page["total"]}}
    return jsonify(left | ({"degraded": degraded} if degraded else {}))


def _path(key: str) -> str:
    if not _may_be_key(key):
        raise Problem("not-found", "There is no item with this key.")
    return f"/rule/{quote(key, safe='')}"


def _may_be_key(key: str) -> bool:
    """Keys are UUIDs; anything else names nothing, and must not become another path."""
    return key.isascii() and key.replace("-", "").isalnum()
