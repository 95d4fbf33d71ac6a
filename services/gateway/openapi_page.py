"""The gateway's own part of the OpenAPI document: /api, /writes, /replicas."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]


def _object(required: str = "", **properties: Json) -> Json:
    schema: Json = {"type": "object", "properties": properties}
    return schema | ({"required": required.split()} if required else {})


def _array(items: Json) -> Json:
    return {"type": "array", "items": items}


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _json(schema: Json, description: str) -> Json:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _refused(*statuses: int) -> Json:
    return {str(status): _json(_ref("PageFailure"), _REASONS[status]) for status in statuses}


def _query(name: str, schema: Json, description: str) -> Json:
    return {"name": name, "in": "query", "schema": schema, "description": description}


def _operation(summary: str, reply: Json, *refused: int, body: Json | None = None, open_to_all: bool = False) -> Json:
    operation: Json = {"summary": summary, "tags": ["page"], "responses": {"200": reply, **_refused(*refused)}}
    if body is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    return operation | {"security": [] if open_to_all else [{"pageCookie": []}]}


_REASONS = {
    400: "The body is not JSON",
    401: "Not signed in",
    403: "The request comes from a page of another origin",
    404: "There is no such thing",
    413: "The body is too large",
    415: "The body is not application/json",
    422: "A field is wrong; the message names it",
    429: "Too many attempts; see Retry-After",
    503: "Not available, or the outcome is not known; the message says which",
}
_WRITE = (400, 401, 403, 404, 413, 415, 422, 429, 503)
_STRING: Json = {"type": "string"}
_NULLABLE: Json = {"type": ["string", "null"]}
_NUMBER: Json = {"type": ["integer", "string", "null"]}
_COUNT: Json = {"type": "integer", "minimum": 0}
_SERVICES = _array(_STRING)

_ITEM = _object(
    "key name status",
    key=_STRING,
    name=_STRING,
    desc=_STRING,
    status={"type": "integer", "enum": [0, 1, 2, 3]},
    progress={"type": "integer", "minimum": 0, "maximum": 100},
    callNo=_COUNT,
    owner=_STRING,
    avatar=_STRING,
    href=_STRING,
    disabled={"type": "boolean"},
    createdAt={"type": "string", "format": "date-time"},
    updatedAt={"type": "string", "format": "date-time"},
    degraded=_SERVICES,
)
_PAGE = _object(
    "data total success pageSize current",
    data=_array(_ref("PageItem")),
    total=_COUNT,
    success={"type": "boolean"},
    pageSize={"type": "integer", "minimum": 1, "maximum": 200},
    current={"type": "integer", "minimum": 1},
    message=_STRING,
    degraded=_SERVICES,
)
_LEFT = _object("list pagination", list=_array(_ref("PageItem")), pagination=_object("total", total=_COUNT))
_KEYS: Json = {"oneOf": [_array(_STRING), _STRING]}
_CHANGE: Json = {"name": _NULLABLE, "desc": _NULLABLE, "status": _NUMBER, "progress": _NUMBER}
_CREDENTIALS: Json = {"userName": _STRING, "password": _STRING}
_SIGNED = _object("status currentAuthority", status=_STRING, type=_STRING, currentAuthority=_STRING, message=_STRING)
_REGISTERED = _object("status", status=_STRING, currentAuthority=_STRING, message=_STRING)
_PERSON = _object("userid name avatar", userid=_STRING, name=_STRING, avatar=_STRING)
_CURRENT_USER = _object(
    "userid name",
    **dict.fromkeys(
        ["userid", "name", "avatar", "email", "signature", "title", "group", "country", "address", "phone"],
        _STRING,
    ),
    tags=_array({"type": "object"}),
    notifyCount=_COUNT,
    unreadCount=_COUNT,
    geographic={"type": "object"},
)
_NOTICE = _object(
    "id type title datetime read",
    id=_STRING,
    type={"type": "string", "enum": ["notification", "message", "event"]},
    title=_STRING,
    datetime={"type": "string", "format": "date-time"},
    read={"type": "boolean"},
)

_REGISTER = {
    "post": _operation(
        "Register; status is error, with a message, when the name is taken",
        _json(_REGISTERED, "What came of it"),
        *(400, 403, 413, 415, 422, 429, 503),
        body=_object(**_CREDENTIALS),
        open_to_all=True,
    )
}
_SIGN_OUT = _operation("Sign out; the cookie is gone", _json(_object(success={"type": "boolean"}), "Done"), 403)

PATHS: Json = {
    "/api/rule": {
        "get": _operation("The items, page by page; a failure is success: false", _json(_PAGE, "Always 200"))
        | {
            "parameters": [
                _query("current", {"type": "integer"}, "From 1; past the end is the last page"),
                _query("pageSize", {"type": "integer"}, "At most 200, default 20"),
                _query("name", _STRING, "A part of the name"),
                _query("desc", _STRING, "A part of the description"),
                _query("status", _STRING, "One or several, comma-separated"),
                _query("sorter", _STRING, 'updatedAt_descend and its like, or {"updatedAt": "descend"}'),
                _query("filter", _STRING, '{"status": ["0"]}'),
            ]
        },
        "post": _operation(
            "Add an item; or, with method update or delete, what PUT and DELETE do",
            _json({"oneOf": [_ref("PageItem"), _LEFT]}, "The item; after delete, the items that are left"),
            *_WRITE,
            body=_object(**_CHANGE, key=_KEYS, method={"enum": ["post", "update", "delete"]}),
        ),
        "put": _operation(
            "Change an item; what is missing or null stays as it is",
            _json(_ref("PageItem"), "The item"),
            *_WRITE,
            body=_object("key", key=_STRING, **_CHANGE),
        ),
        "delete": _operation(
            "Delete items; unknown keys are skipped",
            _json(_LEFT, "The first 20 items that are left"),
            *_WRITE,
            body=_object("key", key=_KEYS),
        ),
    },
    "/api/notices": {
        "get": _operation("What happened to your items lately", _json(_array(_NOTICE), "Newest first"), 401, 503)
    },
    "/api/login/account": {
        "post": _operation(
            "Sign in; status is ok or error",
            _json(_SIGNED, "Signed in, or not"),
            *(400, 403, 413, 415, 422),
            body=_object(**_CREDENTIALS, type=_STRING),
            open_to_all=True,
        )
    },
    "/api/login/outLogin": {"get": _SIGN_OUT, "post": _SIGN_OUT},
    "/api/login/captcha": {
        "get": _operation("There is no sign-in by phone", _json({"const": False}, "false"), open_to_all=True)
    },
    "/api/register": _REGISTER,
    "/user/register": _REGISTER,
    "/api/currentUser": {"get": _operation("Who is signed in", _json(_CURRENT_USER, "The account"), 401)},
    "/api/users": {"get": _operation("All people", _json(_array(_PERSON), "People"), 401, 503)},
    "/writes/{request}": {
        "get": {
            "summary": "What became of a write whose outcome was not known",
            "tags": ["operations"],
            "security": [],
            "parameters": [{"name": "request", "in": "path", "required": True, "schema": _STRING}],
            "responses": {
                "200": _json(
                    _object(
                        "request outcome",
                        request=_STRING,
                        outcome={"enum": ["accepted", "rejected", "pending", "unknown"]},
                    ),
                    "What the replicas know",
                ),
                "default": {"$ref": "#/components/responses/Problem"},
            },
        }
    },
    "/replicas": {
        "get": {
            "summary": "The status of every replica of every service, for operators",
            "tags": ["operations"],
            "security": [{"bearer": []}],
            "responses": {
                "200": _json({"type": "object", "additionalProperties": _array({"type": "object"})}, "By service"),
                "default": {"$ref": "#/components/responses/Problem"},
            },
        }
    },
}

COMPONENTS: dict[str, Json] = {
    "schemas": {
        "PageItem": _ITEM,
        "PageFailure": _object("success message", success={"const": False}, message=_STRING),
    },
    "responses": {
        "Problem": {
            "description": "RFC 9457",
            "content": {"application/problem+json": {"schema": _object("type title status detail")}},
        }
    },
    "securitySchemes": {
        "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
        "pageCookie": {"type": "apiKey", "in": "cookie", "name": "jwtToken"},
    },
}
