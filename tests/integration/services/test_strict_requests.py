"""What cannot be understood is refused by name, changes nothing, and never ends in a 500."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from werkzeug.test import TestResponse

from services.common.web import MAX_BODY_BYTES
from tests.support.services import PASSWORD, Api, access_token, problem

Headers = dict[str, str]


def send(api: Api, headers: Headers, data: bytes, content_type: str | None = "application/json") -> TestResponse:
    return api.client.post("/rule", data=data, content_type=content_type, headers=headers)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b'{"name": "a",}',
        b'{"name": NaN}',
        b'{"name": "\\ud800"}',
        b'{"name": {"deep": ["\\udc00"]}}',
        b'{"\\ud800": 1}',
        b'{"name": "\xff"}',
        b'\xef\xbb\xbf{"name": "a"}',
        b"[" * 200_000,
        b'{"progress": ' + b"9" * 5000 + b"}",
        '{"name": "a"}'.encode("utf-16"),
    ],
)
def test_what_is_not_json_in_utf8_is_400(rule: Api, ada: Headers, data: bytes) -> None:
    problem(send(rule, ada, data), 400, "malformed")
    assert rule.rows("SELECT * FROM item") == []


def test_a_missing_body_is_400(rule: Api, ada: Headers) -> None:
    problem(send(rule, ada, b"", None), 400, "malformed")


@pytest.mark.parametrize("data", [b"[]", b'"text"', b"1", b"null", b"true", b'"{\\"name\\": \\"a\\"}"'])
def test_what_is_not_an_object_is_422(rule: Api, ada: Headers, data: bytes) -> None:
    document = problem(send(rule, ada, data), 422, "invalid")
    assert document["errors"][0]["pointer"] == "#"


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/json; charset=latin-1",
        "application/problem+json",
        "nonsense",
    ],
)
def test_another_content_type_is_415(rule: Api, ada: Headers, content_type: str | None) -> None:
    headers = ada if content_type is None else {**ada, "Content-Type": content_type}
    response = rule.client.open("/rule", method="POST", data=b'{"name": "a"}', headers=headers)
    problem(response, 415, "unsupported-media-type")


@pytest.mark.parametrize(
    "content_type", ["application/json", "application/json; charset=utf-8", "Application/JSON; charset=UTF-8"]
)
def test_json_in_utf8_may_say_so(rule: Api, ada: Headers, content_type: str) -> None:
    assert send(rule, ada, '{"name": "ä"}'.encode(), content_type).status_code == 201


def test_more_than_a_mebibyte_is_413(rule: Api, ada: Headers) -> None:
    body = json.dumps({"name": "a", "desc": "x" * MAX_BODY_BYTES}).encode()
    problem(send(rule, ada, body), 413, "too-large")


def test_more_than_a_mebibyte_in_chunks_is_413(rule: Api, ada: Headers) -> None:
    body = json.dumps({"name": "a", "desc": "x" * MAX_BODY_BYTES}).encode()
    response = rule.client.open(
        "/rule",
        method="POST",
        headers={**ada, "Transfer-Encoding": "chunked"},
        content_type="application/json",
        environ_overrides={"wsgi.input": io.BytesIO(body), "wsgi.input_terminated": True, "CONTENT_LENGTH": ""},
    )
    problem(response, 413, "too-large")


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "#/name"),
        ({"name": ""}, "#/name"),
        ({"name": "x" * 201}, "#/name"),
        ({"name": None}, "#/name"),
        ({"name": 1}, "#/name"),
        ({"name": ["a"]}, "#/name"),
        ({"name": "a", "desc": "x" * 10_001}, "#/desc"),
        ({"name": "a", "desc": None}, "#/desc"),
        ({"name": "a", "status": 4}, "#/status"),
        ({"name": "a", "status": -1}, "#/status"),
        ({"name": "a", "status": "2"}, "#/status"),
        ({"name": "a", "status": True}, "#/status"),
        ({"name": "a", "status": 1.0}, "#/status"),
        ({"name": "a", "status": None}, "#/status"),
        ({"name": "a", "progress": 101}, "#/progress"),
        ({"name": "a", "progress": 10**300}, "#/progress"),
        ({"name": "a", "progress": 1e400}, "#/progress"),
        ({"name": "a", "surprise": 1}, "#/surprise"),
        ({"name": "a", "a/b~c": 1}, "#/a~1b~0c"),
        ({"name": "a", "callNo": 1}, "#/callNo"),
        ({"name": "a", "owner": "me"}, "#/owner"),
    ],
)
def test_a_wrong_field_is_422_and_named(rule: Api, ada: Headers, body: dict[str, Any], pointer: str) -> None:
    data = json.dumps(body).replace("Infinity", "1e400").encode()
    document = problem(send(rule, ada, data), 422, "invalid")
    assert [error["pointer"] for error in document["errors"]] == [pointer]
    assert rule.rows("SELECT * FROM item") == []


def test_every_wrong_field_is_named_at_once(rule: Api, ada: Headers) -> None:
    document = problem(rule.client.post("/rule", json={"status": 9, "x": 1}, headers=ada), 422, "invalid")
    assert {error["pointer"] for error in document["errors"]} == {"#/name", "#/status", "#/x"}


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("current=0", "current"),
        ("current=-1", "current"),
        ("current=x", "current"),
        ("current=", "current"),
        ("current=1_0", "current"),
        ("current=1.0", "current"),
        ("current=%201", "current"),
        ("current=٣", "current"),
        ("current=99999999999999999999999", "current"),
        ("current=1&current=2", "current"),
        ("pageSize=201", "pageSize"),
        ("pageSize=0", "pageSize"),
        ("page_size=5", "page_size"),
        ("status=4", "status"),
        ("status=1,", "status"),
        ("status=", "status"),
        ("sorter=owner_ascend", "sorter"),
        ("sorter=name_up", "sorter"),
        ("sorter=name_ascend%0a", "sorter"),
        ("sorter=", "sorter"),
        ("_timestamp=1", "_timestamp"),
        ("name=" + "x" * 201, "name"),
    ],
)
def test_a_wrong_query_parameter_is_422_and_named(rule: Api, ada: Headers, query: str, parameter: str) -> None:
    document = problem(rule.client.get(f"/rule?{query}", headers=ada), 422, "invalid")
    assert document["errors"][0]["parameter"] == parameter


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/rule", "GET, HEAD, OPTIONS, POST"),
        ("POST", "/rule/6f432723-253d-49d5-9000-070bcd936c2f", "DELETE, GET, HEAD, OPTIONS, PATCH"),
        ("BREW", "/rule", "GET, HEAD, OPTIONS, POST"),
        ("POST", "/healthz", "GET, HEAD, OPTIONS"),
        ("DELETE", "/openapi.json", "GET, HEAD, OPTIONS"),
    ],
)
def test_another_method_is_405_and_options_says_which(rule: Api, method: str, path: str, allowed: str) -> None:
    response = rule.client.open(path, method=method)
    problem(response, 405, "method-not-allowed")
    options = rule.client.options(path)
    assert (options.status_code, options.data) == (204, b"")
    assert response.headers["Allow"] == options.headers["Allow"] == allowed


def test_a_path_of_one_method_is_not_taken_for_a_user_id(user: Api) -> None:
    response = user.client.get("/user/session")
    problem(response, 405, "method-not-allowed")
    assert response.headers["Allow"] == "DELETE, OPTIONS, POST"


@pytest.mark.parametrize(
    "path",
    [
        "/rule/",
        "/rule//6f432723-253d-49d5-9000-070bcd936c2f",
        "/",
        "/rule/x/",
        "/nothing",
        "/rule/%00",
        "/rule/%ff",
        "/rule/%2e%2e",
        "/%ed%a0%80",
    ],
)
def test_a_path_that_is_not_there_is_404(rule: Api, ada: Headers, path: str) -> None:
    problem(rule.client.get(path, headers=ada), 404, "not-found")


@pytest.mark.parametrize("path", ["/nothing", "/rule/"])
def test_options_of_a_path_that_is_not_there_is_404(rule: Api, path: str) -> None:
    problem(rule.client.options(path), 404, "not-found")


def test_head_answers_wherever_get_does(rule: Api, user: Api, ada: Headers) -> None:
    item = rule.client.post("/rule", json={"name": "milk"}, headers=ada).headers["Location"]
    for api, path in [
        (rule, "/rule"),
        (rule, item),
        (rule, "/openapi.json"),
        (rule, "/healthz"),
        (rule, "/readyz"),
        (rule, "/status"),
        (user, "/user/.well-known/jwks.json"),
        (user, f"/user?id={'0' * 36}"),
    ]:
        head, get = (api.client.open(path, method=method, headers=ada) for method in ("HEAD", "GET"))
        assert (head.status_code, head.data) == (get.status_code, b"") == (200, b""), path
        assert head.headers["Content-Length"] == get.headers["Content-Length"]


TEXTS = [
    "a\x00b",
    "\x00",
    "  kept  ",
    "\u202egnp.exe",
    "e\u0301 \u00e9 \ufb01",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "\ufffe\uffff\U0010ffff",
    "'; DROP TABLE item; --",
    "%_\\",
    "\r\n\t\x7f",
]


@pytest.mark.parametrize("text", TEXTS)
def test_text_is_kept_as_it_was_sent(rule: Api, ada: Headers, text: str) -> None:
    added = rule.client.post("/rule", json={"name": text, "desc": text * 100}, headers=ada)
    assert added.status_code == 201
    item = rule.client.get(added.headers["Location"], headers=ada).get_json()
    assert (item["name"], item["desc"]) == (text, text * 100)
    found = rule.client.get("/rule", query_string={"name": text}, headers=ada).get_json()
    assert [item["name"] for item in found["data"]] == [text]


def test_the_longest_texts_fit(rule: Api, ada: Headers) -> None:
    name, desc = "\U0001f600" * 200, "\x01" * 10_000
    added = rule.client.post("/rule", json={"name": name, "desc": desc}, headers={**ada, "Idempotency-Key": "long"})
    assert added.status_code == 201
    assert added.get_json()["desc"] == desc


@pytest.mark.parametrize("value", ["", "x", "\xff", "a" * 5000, '"', ",,,:", "=;", "ack=", '"\x01"'])
@pytest.mark.parametrize(
    "header",
    [
        "X-Replica-Token",
        "Prefer",
        "If-Match",
        "If-None-Match",
        "traceparent",
        "tracestate",
        "baggage",
        "X-Forwarded-For",
    ],
)
def test_an_odd_header_is_no_mistake_of_ours(rule: Api, ada: Headers, header: str, value: str) -> None:
    item = rule.client.post("/rule", json={"name": "milk"}, headers=ada).headers["Location"]
    for method, body in [("GET", None), ("PATCH", {"name": "oat milk"})]:
        response = rule.client.open(item, method=method, json=body, headers={**ada, header: value})
        assert response.status_code in {200, 412}


@pytest.mark.parametrize("key", ["", "a b", "\xff", "x" * 201])
def test_an_idempotency_key_that_cannot_be_one_is_422(rule: Api, ada: Headers, key: str) -> None:
    response = rule.client.post("/rule", json={"name": "milk"}, headers={**ada, "Idempotency-Key": key})
    document = problem(response, 422, "invalid")
    assert document["errors"][0]["parameter"] == "Idempotency-Key"


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer x",
        "Bearer x.y.z",
        "Bearer \xff\xfe",
        "Basic YTpi",
        "Token abc",
        "Bearer " + "a" * 10_000,
        "Bearer eyJhbGciOiJub25lIn0.e30.",
        "Bearer eyJhbGciOiJFZERTQSIsImtpZCI6WzFdfQ.e30.AA",
    ],
)
def test_who_is_not_signed_in_is_401(rule: Api, user: Api, authorization: str | None) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    for api, method, path in [
        (rule, "GET", "/rule"),
        (rule, "POST", "/rule"),
        (rule, "DELETE", "/rule/6f432723-253d-49d5-9000-070bcd936c2f"),
        (user, "GET", "/user/me"),
        (user, "PATCH", "/user/me"),
        (user, "GET", "/user?id=a"),
        (user, "POST", "/internal/session/renew"),
        (user, "GET", "/internal/users"),
    ]:
        problem(api.client.open(path, method=method, headers=headers), 401, "unauthorized")


def test_a_defect_is_a_500_problem_that_tells_nothing(
    rule: Api, ada: Headers, monkeypatch: pytest.MonkeyPatch, logged: io.StringIO
) -> None:
    def broken(*_: object) -> None:
        try:
            raise KeyError("the first cause")
        except KeyError as error:
            raise RuntimeError("a detail for nobody else") from error

    monkeypatch.setattr("services.rule.usecases.Items.get", broken)
    response = rule.client.get("/rule/6f432723-253d-49d5-9000-070bcd936c2f", headers=ada)
    document = problem(response, 500, "internal")
    assert "detail for nobody" not in response.text
    lines = [json.loads(line) for line in logged.getvalue().splitlines()]
    defect = next(line for line in lines if line["event"] == "defect")
    assert "the first cause" in defect["exception"]
    assert "a detail for nobody else" in defect["exception"]
    assert defect["trace_id"] == document["traceId"]


def test_a_trace_begun_elsewhere_goes_on(rule: Api, ada: Headers) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    headers = {**ada, "traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
    assert problem(rule.client.get("/rule/", headers=headers), 404, "not-found")["traceId"] == trace
    assert rule.client.post("/rule", json={"name": "milk"}, headers=headers).status_code == 201
    [(traceparent,)] = rule.rows("SELECT traceparent FROM samebase_change WHERE op = 'i'")
    assert traceparent.split("-")[1] == trace


def test_null_is_for_the_email_only(user: Api) -> None:
    for field in ["name", "password", "displayName"]:
        body = {"name": "ada", "password": PASSWORD, "displayName": "Ada", field: None}
        document = problem(user.client.post("/user", json=body), 422, "invalid")
        assert document["errors"][0]["pointer"] == f"#/{field}"
    assert user.registered("ada", email=None)["email"] is None
    me = user.signed_in("ada")
    problem(user.client.patch("/user/me", json={"displayName": None}, headers=me), 422, "invalid")
    assert user.client.patch("/user/me", json={"email": "ada@example.org"}, headers=me).get_json()["email"]
    assert user.client.patch("/user/me", json={"email": None}, headers=me).get_json()["email"] is None


def test_the_problem_never_repeats_what_was_sent(user: Api) -> None:
    response = user.client.post("/user", json={"name": "ada", "password": "sesame!", "email": "sesame!"})
    problem(response, 422, "invalid")
    assert "sesame!" not in response.text


def test_openapi_is_3_1_and_has_every_public_call(rule: Api, user: Api) -> None:
    def calls(api: Api) -> set[tuple[str, str]]:
        document = api.client.get("/openapi.json").get_json()
        assert document["openapi"].startswith("3.1")
        return {(method.upper(), path) for path, entry in document["paths"].items() for method in entry}

    assert calls(rule) == {
        ("GET", "/rule"),
        ("POST", "/rule"),
        ("GET", "/rule/{key}"),
        ("PATCH", "/rule/{key}"),
        ("DELETE", "/rule/{key}"),
        ("GET", "/writes/{request}"),
    }
    assert calls(user) == {
        ("POST", "/user"),
        ("GET", "/user"),
        ("GET", "/user/{id}"),
        ("GET", "/user/me"),
        ("PATCH", "/user/me"),
        ("POST", "/user/session"),
        ("DELETE", "/user/session"),
        ("POST", "/user/session/refresh"),
        ("GET", "/user/.well-known/jwks.json"),
        ("GET", "/writes/{request}"),
    }


def test_an_access_token_of_another_key_is_401(rule: Api) -> None:
    import jwt
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    good = access_token()["Authorization"].split()[1]
    claims = jwt.decode(good, options={"verify_signature": False})
    kid = jwt.get_unverified_header(good)["kid"]
    forged = jwt.encode(claims, Ed25519PrivateKey.generate(), "EdDSA", headers={"kid": kid})
    problem(rule.client.get("/rule", headers={"Authorization": f"Bearer {forged}"}), 401, "unauthorized")
