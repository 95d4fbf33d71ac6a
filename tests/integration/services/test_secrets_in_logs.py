"""No log line of any call has a password, a hash, a token, a cookie or a body in it."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from services.common import logs
from services.common.sync import Outcome
from tests.support.services import Api

SECRET = "sesame-marker"
PASSWORD = f"{SECRET}-password"
EMAIL = f"{SECRET}@example.org"
TEXT = f"{SECRET} text"


def drive(rule: Api, user: Api) -> list[str]:
    """Every endpoint, with marked secrets, rightly and wrongly; returns the secrets that came back."""
    client = user.client
    marked = {"X-Replica-Token": SECRET, "Idempotency-Key": SECRET, "Prefer": SECRET}
    body = {"name": "ada", "password": PASSWORD, "email": EMAIL, "displayName": TEXT}
    client.post("/user", json=body, headers=marked)
    client.post("/user", json=body, headers=marked)
    client.post("/user", json={**body, "name": "Ada"})
    client.post("/user", json={**body, "name": TEXT + "\n", SECRET: SECRET, "password": SECRET * 20})
    client.post("/user", data=f'{{"{SECRET}', content_type="application/json")
    credentials = {"name": "ada", "password": PASSWORD}
    signed_in = client.post("/user/session", json=credentials)
    access_token = signed_in.get_json()["accessToken"]
    cookie = signed_in.headers["Set-Cookie"].split(";")[0].removeprefix("session=")
    me = {"Authorization": f"Bearer {access_token}", "Cookie": f"session={cookie}", **marked}
    for number in range(8):
        client.post("/user/session", json={"name": TEXT if number else "ada", "password": PASSWORD + "!"})
    client.post("/user/session/refresh", headers=me)
    client.post("/internal/session/renew", headers=me)
    for path in ("/user/me", "/user?id=" + SECRET, "/user/" + SECRET, "/internal/users", "/" + SECRET):
        client.get(path, headers=me)
    client.patch("/user/me", json={"email": EMAIL, "displayName": TEXT + "!"}, headers=me)
    for authorization in (f"Bearer {SECRET}", f"Basic {SECRET}", f"Bearer {access_token}x"):
        client.get("/user/me", headers={"Authorization": authorization})

    item = rule.client.post("/rule", json={"name": TEXT, "desc": TEXT}, headers=me).headers["Location"]
    rule.client.get(f"/rule?name={SECRET}&desc={SECRET}", headers=me)
    rule.client.get(f"/rule?{SECRET}={SECRET}", headers=me)
    rule.client.get(item, headers={**me, "If-None-Match": SECRET})
    rule.client.patch(item, json={"desc": TEXT + "!"}, headers={**me, "If-Match": "*"})
    rule.client.delete(item, headers={**me, "If-Match": SECRET})
    rule.client.delete(item, headers=me)
    client.delete("/user/session", headers=me)
    for api in (rule, user):
        for path in ("/healthz", "/readyz", "/metrics", "/status", "/openapi.json", "/user/.well-known/jwks.json"):
            api.client.get(path, headers=me)
    return [access_token, access_token.rpartition(".")[2], cookie, cookie.partition(".")[2]]


def down(api: Api) -> None:
    api.sync.down = True


def rejecting(api: Api) -> None:
    api.sync.verdict = lambda request, level: Outcome("rejected", "ordered", None, "taken", (("account", (SECRET,)),))


def without_change_log(api: Api) -> None:
    api.execute("DROP TABLE samebase_intent")


def without_tables(api: Api) -> None:
    for (table,) in api.rows(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name IN ('account', 'session', 'item')"
    ):
        api.execute(f"ALTER TABLE {table} RENAME TO {table}_gone")


@pytest.mark.parametrize("trouble", [None, down, rejecting, without_change_log, without_tables])
def test_no_secret_is_in_any_line(
    rule: Api, user: Api, logged: io.StringIO, trouble: Callable[[Api], None] | None
) -> None:
    secrets = drive(rule, user)
    [(password_hash,)] = user.rows("SELECT password_hash FROM account")
    [(digest,)] = user.rows("SELECT digest FROM idempotency")
    secrets += [password_hash, digest, SECRET]
    if trouble is not None:
        for api in (rule, user):
            trouble(api)
        headers = {"Authorization": f"Bearer {secrets[0]}", "Cookie": f"session={secrets[2]}"}
        for api, method, path, body in [
            (user, "POST", "/user", {"name": "bob", "password": PASSWORD, "email": EMAIL}),
            (user, "POST", "/user/session", {"name": "bob", "password": PASSWORD}),
            (user, "POST", "/user/session/refresh", None),
            (user, "DELETE", "/user/session", None),
            (user, "GET", "/user/me", None),
            (user, "PATCH", "/user/me", {"email": EMAIL + "x"}),
            (rule, "POST", "/rule", {"name": TEXT}),
            (rule, "GET", f"/rule?name={SECRET}", None),
        ]:
            api.client.open(path, method=method, json=body, headers=headers)
    lines = logged.getvalue()
    assert lines.count('"event": "request"') > 30
    for secret in secrets:
        assert secret not in lines, next(line for line in lines.splitlines() if secret in line)


def test_every_line_of_a_request_has_its_trace_and_span(rule: Api, logged: io.StringIO, ada: dict[str, str]) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    rule.sync.down = True
    headers = {**ada, "traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
    rule.client.post("/rule", json={"name": "milk"}, headers=headers)
    lines = [json.loads(line) for line in logged.getvalue().splitlines()]
    assert {line["event"] for line in lines} == {"write not acknowledged", "request"}
    assert {line["trace_id"] for line in lines} == {trace}
    assert all(re.fullmatch("[0-9a-f]{16}", line["span_id"]) for line in lines)
    request = lines[-1]
    assert (request["method"], request["route"], request["status"]) == ("POST", "/rule", 201)
    assert request["ms"] > 0


@pytest.mark.parametrize(
    ("event", "kept"),
    [
        ({"password": "x"}, {"password": logs.REDACTED}),
        ({"deep": {"Authorization": "x", "n": 1}}, {"deep": {"Authorization": logs.REDACTED, "n": 1}}),
        ({"list": ["Bearer abcdefghij", 2, None]}, {"list": [logs.REDACTED, 2, None]}),
        ({"url": "mysql://root:s3cret@db/x"}, {"url": f"mysql://{logs.REDACTED}@db/x"}),
        (
            {"exception": "Error: $argon2id$v=19$m=8,t=1,p=1$abc$def in row"},
            {"exception": f"Error: {logs.REDACTED} in row"},
        ),
        ({"event": "eyJhbGciOiJFZERTQSJ9.e30.c2ln and more"}, {"event": f"{logs.REDACTED} and more"}),
        ({"error": ValueError("Bearer abcdefghij")}, {"error": f"ValueError('{logs.REDACTED}')"}),
        (
            {"status": 201, "route": "/rule", "ms": 1.5, "ok": True},
            {"status": 201, "route": "/rule", "ms": 1.5, "ok": True},
        ),
    ],
)
def test_redaction_at_any_depth(event: dict[str, Any], kept: dict[str, Any]) -> None:
    assert logs.redact(None, "", event) == kept
