"""The REST face through the gateway: what is routed, what goes on, what comes back."""

from __future__ import annotations

import io
import json
import logging
import time

import pytest

from tests.integration.gateway.conftest import OPERATOR_TOKEN, MakeSite, Site
from tests.integration.gateway.fakes import ADA, FakeRule, FakeUser, item
from tests.support.upstreams import Misbehave, Reply, Seen, free_url, problem

MIB = 1024 * 1024


def echo(seen: Seen) -> Reply:
    """Answers with what arrived."""
    return Reply(200, {"target": seen.target, "headers": dict(seen.headers.items()), "length": len(seen.body)})


@pytest.mark.parametrize("path", ["/rule", "/rule/x", "/rule/x/y", "/rule/a%20b%2Fc", "/rule?name=a%25b&name=c"])
@pytest.mark.parametrize("host", ["localhost", "api.localhost:8080", "anything.example"])
def test_routing_is_by_path_whatever_the_host(make_site: MakeSite, path: str, host: str) -> None:
    site = make_site(rule=[echo])
    answer = site.client().get(path, headers={"Host": host})
    assert answer.json["target"] == path.replace("%2F", "/")


@pytest.mark.parametrize(
    "path",
    [
        *("/status", "/internal/users", "/internal/session/renew", "/wait", "/snapshot", "/", "/rules", "/users"),
        *("/rule/", "/user/", "/rule//x", "/rule/../status", "/user/../internal/users", "/rule/%2e%2e/status"),
        *("/user/.", "/healthz/", "/rule/..%2fstatus", "//user"),
    ],
)
def test_nothing_else_is_forwarded(make_site: MakeSite, path: str) -> None:
    site = make_site(rule=[echo], user=[echo])
    answer = site.client().get(path)
    assert answer.status_code == 404
    assert answer.content_type == "application/problem+json"
    assert site.rule_calls + site.user_calls == []


def test_a_call_goes_on_with_what_the_service_needs_and_nothing_else(make_site: MakeSite) -> None:
    site = make_site(user=[echo])
    client = site.client()
    client.set_cookie("session", "s-value", path="/user/session")
    client.set_cookie("jwtToken", "page-secret")
    sent = {
        "Authorization": "Bearer abc",
        "If-Match": '"e"',
        "Prefer": "ack=ordered",
        "Idempotency-Key": "k",
        "X-Replica-Token": "user-1@x:5",
        "traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-01",
        "Connection": "close, X-Hop",
        "X-Hop": "1",
        "X-Forwarded-For": "1.2.3.4",
        "X-Forwarded-Proto": "https",
        "Proxy-Authorization": "Basic x",
    }
    answer = client.post("/user/session/refresh", json={}, headers=sent)
    got = answer.json["headers"]
    for name in ("Authorization", "If-Match", "Prefer", "Idempotency-Key", "X-Replica-Token"):
        assert got[name] == sent[name]
    assert got["traceparent"].startswith("00-" + "a" * 32)
    assert (got["X-Forwarded-For"], got["X-Forwarded-Proto"]) == ("127.0.0.1", "http")
    assert got["Cookie"] == "session=s-value"
    assert not {"X-Hop", "Proxy-Authorization", "Transfer-Encoding"} & got.keys()
    assert got["Content-Type"] == "application/json"


def test_behind_one_proxy_its_word_on_the_client_counts(make_site: MakeSite) -> None:
    site = make_site(user=[echo], behind_proxy=True)
    sent = {"X-Forwarded-For": "6.6.6.6, 1.2.3.4", "X-Forwarded-Proto": "https"}
    got = site.client().get("/user/me", headers=sent).json["headers"]
    assert (got["X-Forwarded-For"], got["X-Forwarded-Proto"]) == ("1.2.3.4", "https")


def test_the_refresh_cookie_goes_to_its_path_only(make_site: MakeSite) -> None:
    site = make_site(user=[echo], rule=[echo])
    client = site.client()
    client.set_cookie("session", "s-value")
    assert "Cookie" not in client.get("/user/me").json["headers"]
    assert "Cookie" not in client.get("/rule").json["headers"]


def test_status_headers_and_cookies_come_back_as_they_are(make_site: MakeSite) -> None:
    reply = Reply(
        201,
        {"id": 1},
        {"ETag": '"e"', "Location": "/rule/1", "Replication": "ordered", "Keep-Alive": "x", "Cache-Control": "private"},
        ("a=1; Path=/", "b=2; HttpOnly"),
    )
    site = make_site(user=[lambda _: reply])
    answer = site.client().post("/user", json={})
    assert answer.status_code == 201
    assert answer.json == {"id": 1}
    assert answer.headers.getlist("Set-Cookie") == list(reply.cookies)
    for name in ("ETag", "Location", "Replication", "Cache-Control"):
        assert answer.headers[name] == reply.headers[name]
    assert "Keep-Alive" not in answer.headers
    assert len(answer.headers.getlist("Content-Length")) == 1


def test_problems_of_a_service_come_back_as_they_are(make_site: MakeSite) -> None:
    site = make_site(user=[lambda _: problem(429, "too-many-requests")])
    answer = site.client().post("/user/session", json={})
    assert (answer.status_code, answer.content_type) == (429, "application/problem+json")
    assert answer.headers["Retry-After"] == "1"


def test_not_modified_and_no_content_have_no_body(make_site: MakeSite) -> None:
    site = make_site(rule=[lambda seen: Reply(304 if seen.method == "GET" else 204, None, {"ETag": '"e"'})])
    for answer in (site.client().get("/rule/x"), site.client().delete("/rule/x")):
        assert answer.data == b""
        assert answer.headers["ETag"] == '"e"'


def test_head_is_answered_like_get_without_the_body(make_site: MakeSite) -> None:
    site = make_site(rule=[FakeRule(3)])
    get = site.client().get("/rule?current=1&pageSize=2", headers=site.bearer)
    head = site.client().head("/rule?current=1&pageSize=2", headers=site.bearer)
    assert (head.status_code, head.data) == (200, b"")
    assert head.headers["Content-Length"] == get.headers["Content-Length"]


def test_a_method_that_is_none_of_ours_is_405_with_allow(site: Site) -> None:
    answer = site.client().open("/rule", method="BREW")
    assert answer.status_code == 405
    assert "PATCH" in answer.headers["Allow"]


@pytest.mark.parametrize("path", ["/rule", "/user/session", "/api/rule", "/api/login/account"])
def test_a_body_over_one_mebibyte_is_413_and_never_forwarded(make_site: MakeSite, path: str) -> None:
    site = make_site(rule=[echo], user=[echo])
    client = site.page()
    client.get("/healthz")
    long = client.post(path, data=b" " * (MIB + 1), content_type="application/json")
    chunked = client.post(
        path,
        input_stream=io.BytesIO(b" " * (MIB + 1)),
        content_type="application/json",
        environ_overrides={"wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked"},
    )
    assert (long.status_code, chunked.status_code) == (413, 413)
    assert [call for call in site.rule_calls + site.user_calls if "renew" not in call] == []


def test_a_body_of_one_mebibyte_passes_chunked_or_not(make_site: MakeSite) -> None:
    client = make_site(rule=[echo]).client()
    assert client.post("/rule", data=b" " * MIB).json["length"] == MIB
    chunked = client.post(
        "/rule",
        input_stream=io.BytesIO(b" " * MIB),
        environ_overrides={"wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked"},
    )
    assert chunked.json["length"] == MIB


def test_items_get_owner_and_avatar_by_one_call_and_keep_their_etag(make_site: MakeSite) -> None:
    rule = FakeRule(5)
    rule.items.append(item("someone else's", owner="11111111-0000-4000-8000-000000000000"))
    site = make_site(rule=[rule])
    answer = site.client().get("/rule?current=1&pageSize=20", headers=site.bearer)
    rows = answer.json["data"]
    assert [row["owner"] for row in rows] == ["Ada L."] * 5 + ["11111111-0000-4000-8000-000000000000"]
    assert all(row["avatar"].startswith("data:image/svg+xml,") for row in rows)
    assert "degraded" not in answer.json
    assert site.user_calls == ["GET /user"]
    single = site.client().get(f"/rule/{rows[0]['key']}", headers=site.bearer)
    assert (single.json["owner"], single.headers["ETag"]) == ("Ada L.", '"e1"')
    assert single.headers["Cache-Control"] == "private, no-cache"


@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_written_items_get_owner_and_avatar_too(make_site: MakeSite, method: str) -> None:
    rule = FakeRule(1)
    site = make_site(rule=[rule])
    path = "/rule" if method == "POST" else f"/rule/{rule.items[0]['key']}"
    answer = site.client().open(path, method=method, json={"name": "new"}, headers=site.bearer)
    assert (answer.json["name"], answer.json["owner"], answer.headers["ETag"]) == ("new", "Ada L.", '"e2"')


@pytest.mark.parametrize("how", ["break", "hang", "error", "nonsense"])
def test_without_the_user_service_items_still_come_with_the_owners_id(make_site: MakeSite, how: str) -> None:
    replies: dict[str, Reply | Misbehave] = {"error": Reply(500, {}), "nonsense": Reply(200, {"data": "x"})}
    site = make_site(rule=[FakeRule(2)], user=[lambda _: replies.get(how) or Misbehave(how)], user_timeout_ms=200)
    site.runtime.start()
    began = time.monotonic()
    answer = site.client().get("/rule?current=1&pageSize=20", headers=site.bearer)
    assert time.monotonic() - began < 2
    assert answer.status_code == 200
    assert answer.json["degraded"] == ["user"]
    assert [row["owner"] for row in answer.json["data"]] == [ADA, ADA]
    one = site.client().get(f"/rule/{answer.json['data'][0]['key']}", headers=site.bearer)
    assert (one.json["degraded"], one.headers["ETag"]) == (["user"], '"e1"')


def test_a_clients_token_goes_to_its_service_and_the_answers_comes_back(make_site: MakeSite) -> None:
    site = make_site(rule=[FakeRule()], user=[FakeUser(lambda **_: "t")])
    client = site.client()
    answer = client.post("/rule", json={"name": "a"}, headers={**site.bearer, "X-Replica-Token": "rule-9@y:7"})
    assert answer.headers["X-Replica-Token"] == "rule-1@x:1"
    assert site.rule[0].seen[-1].headers["X-Replica-Token"] == "rule-9@y:7"
    assert site.user[0].seen[-1].headers["X-Replica-Token"] is None


def test_without_the_header_our_cookie_is_the_token_and_only_writes_move_it(make_site: MakeSite) -> None:
    site = make_site(rule=[FakeRule()])
    client = site.client()
    client.post("/rule", json={"name": "a"}, headers=site.bearer)
    cookie = client.get_cookie("replica-rule")
    assert cookie is not None
    assert (cookie.decoded_value, cookie.http_only, cookie.path) == ("rule-1@x:1", True, "/")
    read = client.get("/rule?current=1&pageSize=20", headers=site.bearer)
    assert site.rule[0].seen[-1].headers["X-Replica-Token"] == "rule-1@x:1"
    assert "Set-Cookie" not in read.headers


def test_writes_asks_every_replica_of_both_services(make_site: MakeSite) -> None:
    site = make_site(
        rule=[FakeRule(), lambda _: Reply(200, {"request": "r", "outcome": "rejected"})],
        user=[lambda _: Reply(200, {"request": "r", "outcome": "unknown"})],
    )
    answer = site.client().get("/writes/5c4d0a0e-0000-4000-8000-000000000000")
    assert answer.json["outcome"] == "rejected"
    assert len(site.rule_calls + site.user_calls) == 3


def test_writes_does_without_replicas_that_are_away(make_site: MakeSite) -> None:
    site = make_site(rule_urls=free_url())
    assert site.client().get("/writes/5c4d0a0e-0000-4000-8000-000000000000").json["outcome"] == "accepted"
    site = make_site(rule_urls=free_url(), user_urls=free_url())
    assert site.client().get("/writes/5c4d0a0e-0000-4000-8000-000000000000").status_code == 503
    assert site.client().get("/writes/..").status_code == 404


def test_replicas_is_for_operators(make_site: MakeSite) -> None:
    site = make_site(user_urls=free_url())
    client = site.client()
    assert client.get("/replicas").status_code == 401
    assert client.get("/replicas", headers={"Authorization": "Bearer wrong"}).status_code == 401
    assert client.get("/replicas", headers=site.bearer).status_code == 403
    assert site.page().get("/replicas").status_code == 403
    admin = {"Authorization": f"Bearer {site.sign(authority='admin')}"}
    operator = {"Authorization": f"Bearer {OPERATOR_TOKEN}"}
    for answer in (client.get("/replicas", headers=admin), client.get("/replicas", headers=operator)):
        assert answer.status_code == 200
        assert answer.json["rule"][0]["status"]["sync"]["state"] == "ready"
        assert answer.json["rule"][0]["health"] == "ready"
        assert answer.json["user"][0]["status"]["state"] == "unreachable"
    assert site.page(authority="admin").get("/replicas").status_code == 200


def test_the_openapi_document_is_the_services_and_the_gateways(site: Site) -> None:
    document = site.client().get("/openapi.json").json
    assert document["openapi"].startswith("3.1")
    assert {"/user", "/rule", "/api/rule", "/api/currentUser", "/replicas"} <= document["paths"].keys()
    assert not {"/status", "/internal/users"} & document["paths"].keys()


def test_ready_once_each_service_had_a_ready_replica_and_from_then_on(make_site: MakeSite) -> None:
    site = make_site(poll_ms=5000)
    site.rule[0].ready = False
    client = site.client()
    assert client.get("/healthz").status_code == 200
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json["reason"]) == (503, "no ready replica so far of: rule")
    site.rule[0].ready = True
    site.runtime.poll()
    assert client.get("/readyz").status_code == 200
    site.rule[0].refuse()
    site.runtime.poll()
    assert client.get("/readyz").status_code == 200


def test_one_trace_id_leads_through_gateway_and_service(make_site: MakeSite) -> None:
    site = make_site(rule=[lambda _: problem(503, "behind")])
    trace = "c" * 32
    answer = site.client().get("/rule/", headers={"traceparent": f"00-{trace}-{'d' * 16}-01"})
    assert answer.json["traceId"] == trace
    site.client().get("/rule", headers={"traceparent": f"00-{trace}-{'d' * 16}-01"})
    assert site.rule[0].seen[0].headers["traceparent"].split("-")[1] == trace


def test_no_secret_is_in_any_log_line(make_site: MakeSite, capsys: pytest.CaptureFixture[str]) -> None:
    """Passwords, tokens and cookies, in calls that succeed, that are refused, and that fail."""
    site = make_site(log_level="DEBUG")
    stream = io.StringIO()
    logging.getLogger().handlers[0].setStream(stream)  # type: ignore[attr-defined]
    page = site.page()
    page.set_cookie("session", "refresh-secret", path="/user/session")
    page.post("/api/login/account", json={"userName": "ada", "password": "correct horse"})
    page.post("/api/login/account", json={"userName": "ada", "password": "wrong-secret"})
    page.post("/api/register", json={"userName": "ada", "password": "register-secret"})
    page.post("/user/session/refresh", json={"password": "refused-secret"}, headers=site.bearer)
    site.user[0].refuse()
    page.post("/user/session", json={"name": "ada", "password": "failing-secret"}, headers=site.bearer)
    page.get("/api/currentUser", headers={"Cookie": "jwtToken=bad-secret"})
    lines = stream.getvalue()
    events = [json.loads(line) for line in lines.splitlines()]
    assert {event["event"] for event in events} >= {"request", "upstream failed"}
    assert all("trace_id" in event for event in events if event["event"] == "request")
    told = lines + "".join(capsys.readouterr())
    for secret in ("secret", "horse", "eyJ", OPERATOR_TOKEN):
        assert secret not in told
