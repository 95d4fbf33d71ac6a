"""The protocol of list pages, row by row."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.integration.gateway.conftest import MakeSite, Site
from tests.integration.gateway.fakes import ADA, FakeRule, FakeUser, Sign, item
from tests.support.upstreams import Misbehave, Reply, Seen, free_url, problem

UNKNOWN = "0b0e1c9e-0000-4000-8000-000000000001"
SIGN_IN = {"userName": "ada", "password": "correct horse", "type": "account"}


def cookies(answer: TestResponse) -> dict[str, str]:
    """Name to the whole Set-Cookie line."""
    return {line.split("=", 1)[0]: line for line in answer.headers.getlist("Set-Cookie")}


def failed(answer: TestResponse, status: int) -> str:
    """Check the form of an error and return its message."""
    assert answer.status_code == status
    assert answer.mimetype == "application/json"
    assert answer.json["success"] is False
    message = answer.json["message"]
    assert isinstance(message, str)
    assert message
    return message


# --- the list ---------------------------------------------------------------------------------------------------


def test_the_list_has_rows_with_owners_and_says_where_it_is(make_site: MakeSite) -> None:
    site = make_site(rule=[FakeRule(45)])
    answer = site.page().get("/api/rule?current=2&pageSize=20&_timestamp=1&updatedAt=x&sorter=updatedAt_descend")
    body = answer.json
    assert (answer.status_code, body["success"], body["total"], body["current"], body["pageSize"]) == (
        *(200, True, 45, 2),
        20,
    )
    assert [row["name"] for row in body["data"]] == [f"item {n}" for n in range(20, 40)]
    assert body["data"][0]["owner"] == "Ada L."
    assert body["data"][0]["avatar"].startswith("data:image/svg+xml")
    assert site.rule[0].seen[-1].query == {
        "current": ["2"],
        "pageSize": ["20"],
        "sorter": ["updatedAt_descend"],
    }


def test_past_the_end_is_the_last_page(make_site: MakeSite) -> None:
    page = make_site(rule=[FakeRule(45)]).page()
    body = page.get("/api/rule?current=9&pageSize=20").json
    assert (body["current"], len(body["data"]), body["total"]) == (3, 5, 45)
    empty = make_site(rule=[FakeRule(0)]).page().get("/api/rule?current=9").json
    assert (empty["current"], empty["data"], empty["total"], empty["success"]) == (1, [], 0, True)


def test_a_filter_that_nothing_can_match_finds_nothing_without_asking(make_site: MakeSite) -> None:
    site = make_site(rule=[FakeRule(3)])
    body = site.page().get("/api/rule?status=9&current=4").json
    assert (body["success"], body["data"], body["total"], body["current"]) == (True, [], 0, 1)
    assert site.rule_calls == []


def test_the_list_answers_200_also_when_signed_out(site: Site) -> None:
    for client in (site.client(), site.page(exp=1), site.page(iss="somebody")):
        answer = client.get("/api/rule?current=3&pageSize=7")
        assert answer.status_code == 200
        assert {k: v for k, v in answer.json.items() if k != "message"} == {
            "success": False,
            "data": [],
            "total": 0,
            "current": 3,
            "pageSize": 7,
        }
        assert answer.json["message"]


@pytest.mark.parametrize("reply", [problem(429, "too-many-requests"), problem(503, "behind"), Reply(500, None), None])
def test_the_list_answers_200_whatever_happens_to_the_service(make_site: MakeSite, reply: Reply | None) -> None:
    site = make_site(rule=[lambda _: reply or Misbehave("break")])
    answer = site.page().get("/api/rule")
    assert (answer.status_code, answer.json["success"], answer.json["data"]) == (200, False, [])


def test_the_list_answers_200_also_to_a_head_and_to_a_body_that_is_too_long(site: Site) -> None:
    assert site.client().head("/api/rule").status_code == 200
    assert site.client().get("/api/rule", data=b" " * (1024 * 1024 + 1)).status_code == 200


def test_without_the_user_service_the_list_still_comes(make_site: MakeSite) -> None:
    site = make_site(rule=[FakeRule(1)], user_urls=free_url())
    answer = site.page().get("/api/rule")
    assert (answer.json["degraded"], answer.json["data"][0]["owner"]) == (["user"], ADA)
    assert "jwtToken" not in cookies(answer)


# --- writes on items --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [{"name": "a", "method": "post"}, {"name": "a", "desc": None, "colour": 1}])
def test_post_adds_and_answers_the_item(make_site: MakeSite, body: dict[str, Any]) -> None:
    site = make_site(rule=[FakeRule()])
    answer = site.page().post("/api/rule", json=body)
    assert (answer.status_code, answer.json["name"], answer.json["owner"]) == (200, "a", "Ada L.")
    assert site.rule[0].seen[0].json() == {"name": "a"}


@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_an_update_changes_what_is_given(make_site: MakeSite, method: str) -> None:
    rule = FakeRule(1)
    site = make_site(rule=[rule])
    body = {"key": rule.items[0]["key"], "name": None, "desc": "d", "status": "2", "method": "update"}
    answer = site.page().open("/api/rule", method=method, json=body)
    assert (answer.status_code, answer.json["desc"], answer.json["status"]) == (200, "d", 2)
    assert site.rule[0].seen[0].json() == {"desc": "d", "status": 2}


@pytest.mark.parametrize("key", [UNKNOWN, "../status", "a b", 5, "", "é"])
def test_an_update_of_an_unknown_key_is_404(make_site: MakeSite, key: object) -> None:
    failed(make_site(rule=[FakeRule(1)]).page().put("/api/rule", json={"key": key, "name": "a"}), 404)


@pytest.mark.parametrize("method", ["DELETE", "POST"])
def test_a_deletion_skips_unknown_keys_and_answers_what_is_left(make_site: MakeSite, method: str) -> None:
    rule = FakeRule(30)
    site = make_site(rule=[rule])
    keys = [rule.items[0]["key"], UNKNOWN, "no key", rule.items[1]["key"]]
    answer = site.page().open("/api/rule", method=method, json={"key": keys, "method": "delete"})
    assert answer.status_code == 200
    assert answer.json.keys() == {"list", "pagination"}
    assert [row["name"] for row in answer.json["list"]] == [f"item {n}" for n in range(2, 22)]
    assert answer.json["pagination"] == {"total": 28}


def test_one_key_may_come_without_a_list(make_site: MakeSite) -> None:
    rule = FakeRule(2)
    site = make_site(rule=[rule])
    answer = site.page().delete("/api/rule", json={"key": rule.items[0]["key"]})
    assert answer.json["pagination"] == {"total": 1}


def test_many_deletions_leave_one_token_that_covers_all(make_site: MakeSite) -> None:
    rule = FakeRule(20)
    site = make_site(rule=[rule])
    page = site.page()
    page.delete("/api/rule", json={"key": [row["key"] for row in rule.items]})
    token = page.get_cookie("replica-rule")
    assert token is not None
    assert token.decoded_value == "rule-1@x:20"


def test_a_deletion_that_a_service_refuses_is_no_success(make_site: MakeSite) -> None:
    site = make_site(rule=[lambda seen: problem(503, "behind") if seen.method == "DELETE" else Reply(200, {})])
    failed(site.page().delete("/api/rule", json={"key": [UNKNOWN]}), 503)


def test_the_list_after_a_write_carries_its_token(make_site: MakeSite) -> None:
    site = make_site(rule=[FakeRule()])
    page = site.page()
    written = page.post("/api/rule", json={"name": "a"})
    line = cookies(written)["replica-rule"]
    assert "HttpOnly" in line
    assert "SameSite=Lax" in line
    page.get("/api/rule")
    assert site.rule[0].seen[-1].headers["X-Replica-Token"] == "rule-1@x:1"


# --- what a write can be answered -------------------------------------------------------------------------------

WRITES = [
    *(("POST", "/api/rule"), ("PUT", "/api/rule"), ("DELETE", "/api/rule")),
    *(("POST", "/api/login/account"), ("POST", "/api/register"), ("POST", "/user/register")),
]


@pytest.mark.parametrize(("method", "path"), WRITES)
def test_a_request_that_is_none_is_refused(site: Site, method: str, path: str) -> None:
    def send(data: bytes, content_type: str = "application/json") -> TestResponse:
        return site.page().open(path, method=method, data=data, content_type=content_type)

    failed(send(b"{"), 400)
    failed(send(b'{"name": "\\ud800"}'), 400)
    failed(send(b"[]"), 422)
    failed(send(b"{}", "text/plain"), 415)
    failed(send(b"a=1", "application/x-www-form-urlencoded"), 415)
    failed(send(b" " * (1024 * 1024 + 1)), 413)
    assert [call for call in site.rule_calls + site.user_calls if "renew" not in call] == []


@pytest.mark.parametrize(("method", "path"), [*WRITES, ("GET", "/api/login/outLogin"), ("POST", "/api/login/outLogin")])
@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:81", "http://localhost.evil"])
def test_a_write_from_a_page_of_another_origin_is_refused(site: Site, method: str, path: str, origin: str) -> None:
    failed(site.page().open(path, method=method, json={}, headers={"Origin": origin}), 403)
    assert site.rule_calls + site.user_calls == []


@pytest.mark.parametrize("origin", ["http://localhost", "http://localhost:80", "http://LOCALHOST"])
def test_a_write_from_the_pages_own_origin_passes(make_site: MakeSite, origin: str) -> None:
    answer = make_site(rule=[FakeRule()]).page().post("/api/rule", json={"name": "a"}, headers={"Origin": origin})
    assert answer.status_code == 200


@pytest.mark.parametrize(("method", "path"), WRITES[:3])
def test_a_write_of_nobody_is_401(site: Site, method: str, path: str) -> None:
    failed(site.client().open(path, method=method, json={"name": "a", "key": UNKNOWN}), 401)
    assert site.rule_calls == []


@pytest.mark.parametrize(
    "body",
    [{"name": ""}, {"method": "explode"}, {"method": "delete"}, {"method": "update", "name": "a"}],
)
def test_fields_that_are_wrong_are_422_and_named(make_site: MakeSite, body: dict[str, Any]) -> None:
    message = failed(make_site(rule=[FakeRule()]).page().post("/api/rule", json=body), 422)
    assert message.split(":")[0] in ("name", "method", "key")


@pytest.mark.parametrize(
    ("reply", "status"),
    [
        (problem(429, "too-many-requests"), 429),
        (problem(503, "unconfirmed", request="r"), 503),
        (Reply(500, None), 503),
        (Misbehave("break"), 503),
        (problem(401, "unauthorized"), 401),
    ],
)
def test_what_a_service_refuses_is_told_with_its_status(
    make_site: MakeSite, reply: Reply | Misbehave, status: int
) -> None:
    answer = make_site(rule=[lambda _: reply]).page().post("/api/rule", json={"name": "a"})
    failed(answer, status)
    assert ("Retry-After" in answer.headers) == (status in (429, 503))


def test_unknown_paths_and_methods_under_api_speak_json(site: Site) -> None:
    failed(site.page().get("/api/nothing", headers={"Accept": "text/html"}), 404)
    failed(site.page().get("/api"), 404)
    failed(site.page().get("/api/rule/"), 404)
    refused = site.page().patch("/api/rule", json={})
    failed(refused, 405)
    assert "PUT" in refused.headers["Allow"]
    options = site.page().options("/api/rule")
    assert (options.status_code, "DELETE" in options.headers["Allow"]) == (204, True)


# --- signing in and out -----------------------------------------------------------------------------------------


def test_signing_in_sets_the_cookie_and_hides_the_rest(site: Site) -> None:
    client = site.client()
    answer = client.post("/api/login/account", json={**SIGN_IN, "autoLogin": True})
    assert answer.status_code == 200
    assert answer.json == {"status": "ok", "type": "account", "currentAuthority": "user"}
    set_cookies = cookies(answer)
    assert set_cookies.keys() == {"jwtToken", "pageSession", "replica-user"}
    for line in set_cookies.values():
        assert "HttpOnly" in line
        assert "SameSite=Lax" in line
        assert "Secure" not in line
    assert "Path=/;" in set_cookies["jwtToken"] + ";"
    assert "Max-Age=900" in set_cookies["jwtToken"]
    assert client.get("/api/currentUser").status_code == 200


def test_over_https_the_cookies_are_secure(make_site: MakeSite) -> None:
    site = make_site(behind_proxy=True)
    answer = site.client().post("/api/login/account", json=SIGN_IN, headers={"X-Forwarded-Proto": "https"})
    assert all("Secure" in line for line in cookies(answer).values())
    bold = make_site().client().post("/api/login/account", json=SIGN_IN, headers={"X-Forwarded-Proto": "https"})
    assert not any("Secure" in line for line in cookies(bold).values())


def test_an_admin_is_told_so(make_site: MakeSite, sign: Sign) -> None:
    site = make_site(user=[FakeUser(lambda **claims: sign(authority="admin", **claims))])
    assert site.client().post("/api/login/account", json=SIGN_IN).json["currentAuthority"] == "admin"


@pytest.mark.parametrize(
    "body",
    [
        {**SIGN_IN, "password": "wrong"},
        {**SIGN_IN, "userName": "throttled"},
        {**SIGN_IN, "type": "mobile"},
        {"type": "mobile", "mobile": "1", "captcha": "2"},
        {"type": "account"},
        {"userName": None, "password": 7, "type": "account"},
        {},
    ],
)
def test_signing_in_that_fails_is_200_error_and_removes_the_cookie(site: Site, body: dict[str, Any]) -> None:
    answer = site.page().post("/api/login/account", json=body)
    assert answer.status_code == 200
    assert answer.json["status"] == "error"
    assert answer.json["type"] == body.get("type", "account")
    assert answer.json["currentAuthority"] == "guest"
    assert "Max-Age=0" in cookies(answer)["jwtToken"]


def test_signing_in_without_the_user_service_or_a_body_is_200_error(make_site: MakeSite) -> None:
    answer = make_site(user_urls=free_url()).client().post("/api/login/account", json=SIGN_IN)
    assert (answer.status_code, answer.json["status"]) == (200, "error")
    assert make_site().client().post("/api/login/account").json["status"] == "error"


def test_an_old_cookie_does_not_stand_in_the_way_of_signing_in(site: Site) -> None:
    client = site.page(exp=1)
    assert client.post("/api/login/account", json=SIGN_IN).json["status"] == "ok"
    assert "Authorization" not in site.user[0].seen[0].headers


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_signing_out_ends_the_session_and_the_cookies(site: Site, method: str) -> None:
    client = site.client()
    client.post("/api/login/account", json=SIGN_IN)
    answer = client.open("/api/login/outLogin", method=method)
    assert (answer.status_code, answer.json) == (200, {"success": True})
    assert client.get_cookie("jwtToken") is None
    assert client.get_cookie("pageSession", path="/api/login") is None
    assert answer.headers.getlist("Set-Cookie")[-1].startswith("jwtToken=;")
    last = site.user[0].seen[-1]
    assert (last.method, last.path, last.headers["Cookie"]) == ("DELETE", "/user/session", "session=refresh-secret")
    assert last.headers["X-Replica-Token"] == "user-1@x:3"
    assert client.get("/api/currentUser").status_code == 401


def test_signing_out_works_signed_out_and_without_the_user_service(make_site: MakeSite) -> None:
    assert make_site().client().get("/api/login/outLogin").json == {"success": True}
    answer = make_site(user_urls=free_url()).page().post("/api/login/outLogin")
    assert (answer.status_code, answer.json) == (200, {"success": True})
    assert "Max-Age=0" in cookies(answer)["jwtToken"]


def test_there_is_no_captcha(site: Site) -> None:
    answer = site.client().get("/api/login/captcha?mobile=1")
    assert (answer.status_code, answer.json) == (200, False)


@pytest.mark.parametrize("path", ["/api/register", "/user/register"])
def test_registering(site: Site, path: str) -> None:
    def register(body: object) -> TestResponse:
        return site.client().post(path, json=body)

    done = register({"userName": "bob", "password": "long enough", "confirm": "long enough"})
    assert (done.status_code, done.json) == (200, {"status": "ok", "currentAuthority": "user"})
    taken = register({"userName": "ada", "password": "long enough"})
    assert (taken.status_code, taken.json["status"]) == (200, "error")
    assert taken.json["message"]
    short = register({"userName": "bob", "password": "short"})
    assert short.json["status"] == "error"
    assert "password" in failed(short, 422)
    assert "userName" in failed(register({"password": "long enough"}), 422)


def test_registering_without_the_user_service_is_503(make_site: MakeSite) -> None:
    answer = make_site(user_urls=free_url()).client().post("/api/register", json={"userName": "b", "password": "x" * 8})
    assert answer.json["status"] == "error"
    failed(answer, 503)


# --- renewal ----------------------------------------------------------------------------------------------------


def authenticated() -> list[tuple[str, str, dict[str, Any] | None]]:
    return [
        ("GET", "/api/rule", None),
        ("POST", "/api/rule", {"name": "a"}),
        ("PUT", "/api/rule", {"key": UNKNOWN, "name": "a"}),
        ("DELETE", "/api/rule", {"key": UNKNOWN}),
        ("GET", "/api/currentUser", None),
        ("GET", "/api/users", None),
        ("GET", "/api/notices", None),
    ]


@pytest.mark.parametrize(("method", "path", "body"), authenticated())
def test_every_authenticated_call_renews_the_cookie(
    make_site: MakeSite, method: str, path: str, body: dict[str, Any] | None
) -> None:
    site = make_site(rule=[FakeRule()])
    page = site.page()
    before = page.get_cookie("jwtToken")
    answer = page.open(path, method=method, json=body)
    after = page.get_cookie("jwtToken")
    assert before is not None
    assert after is not None
    assert before.value != after.value
    assert "Max-Age=900" in cookies(answer)["jwtToken"]
    assert site.user_calls.count("POST /internal/session/renew") == 1


def test_when_the_session_has_ended_the_old_token_stays(make_site: MakeSite, sign: Sign) -> None:
    user = FakeUser(sign)
    user.session_lives = False
    answer = make_site(user=[user]).page().get("/api/rule")
    assert answer.json["success"] is True
    assert "jwtToken" not in cookies(answer)


def test_a_user_service_that_hangs_delays_a_call_by_a_bounded_time_once(make_site: MakeSite) -> None:
    """The renewal waits beside the call and the owners, not before them."""
    site = make_site(rule=[FakeRule(1)], user=[lambda _: Misbehave("hang")], user_timeout_ms=300)
    answer = site.page().get("/api/rule")
    assert answer.json["degraded"] == ["user"]
    assert "jwtToken" not in cookies(answer)


def test_renewing_happens_beside_the_call(make_site: MakeSite, sign: Sign) -> None:
    meeting = threading.Barrier(2, timeout=5)
    user, rule = FakeUser(sign), FakeRule()

    def renewing(seen: Seen) -> Reply:
        if seen.path == "/internal/session/renew":
            meeting.wait()
        return user(seen)

    def listing(seen: Seen) -> Reply:
        meeting.wait()
        return rule(seen)

    site = make_site(rule=[listing], user=[renewing], user_timeout_ms=5000)
    answer = site.page().get("/api/rule")
    assert answer.json["success"] is True
    assert "jwtToken" in cookies(answer)


# --- people and notices -----------------------------------------------------------------------------------------

USER_FIELDS = (
    "userid name avatar email signature title group tags notifyCount unreadCount country geographic address phone"
)


def test_the_current_user_is_a_bare_object_with_every_field(site: Site) -> None:
    body = site.page().get("/api/currentUser").json
    assert body.keys() == set(USER_FIELDS.split())
    assert (body["userid"], body["name"], body["email"]) == (ADA, "Ada L.", "ada@example.org")


@pytest.mark.parametrize("how", ["break", "hang", "cut", "error", "unknown", "refused"])
def test_the_current_user_comes_from_the_token_when_the_user_service_does_not_say(
    make_site: MakeSite, how: str
) -> None:
    replies = {"error": Reply(500, {}), "unknown": problem(404, "not-found"), "refused": problem(503, "unavailable")}
    site = make_site(user=[lambda _: replies.get(how) or Misbehave(how)], user_timeout_ms=200)
    answer = site.page(name="Token Name").get("/api/currentUser")
    assert answer.status_code == 200
    assert (answer.json["userid"], answer.json["name"], answer.json["email"]) == (ADA, "Token Name", "")


def test_the_current_user_of_nobody_is_401(site: Site) -> None:
    for client in (site.client(), site.page(exp=1), site.page(iss="x")):
        failed(client.get("/api/currentUser"), 401)
    forged = site.client()
    forged.set_cookie("jwtToken", "eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0.")
    failed(forged.get("/api/currentUser"), 401)


def test_users_are_told_without_anything_secret(site: Site) -> None:
    failed(site.client().get("/api/users"), 401)
    body = site.page().get("/api/users").json
    assert [person.keys() for person in body] == [{"userid", "name", "avatar"}]
    assert (body[0]["userid"], body[0]["name"]) == (ADA, "ada")


def test_notices_are_a_bare_array_about_the_items_changed_last(make_site: MakeSite) -> None:
    rule = FakeRule()
    rule.items = [{**item("b"), "status": 2, "updatedAt": "2026-11-22T09:00:00.000000Z"}, item("a")]
    site = make_site(rule=[rule])
    body = site.page().get("/api/notices").json
    assert [(n["title"], n["type"]) for n in body] == [("b is done", "event"), ("a was added", "notification")]
    assert site.rule[0].seen[0].query["sorter"] == ["updatedAt_descend"]
    failed(site.client().get("/api/notices"), 401)


# --- the page itself --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/user/login", "/user/register", "/user/login/forgot"])
def test_who_accepts_html_gets_the_page_under_its_paths(site: Site, path: str) -> None:
    answer = site.client().get(path, headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
    assert (answer.status_code, answer.content_type) == (200, "text/html; charset=utf-8")
    assert answer.text.startswith("<!doctype html>")
    assert site.client().get(path, headers={"Accept": "application/json"}).status_code == 404
    assert site.user_calls == []


def test_a_whole_visit(make_site: MakeSite) -> None:
    """Register, sign in, add, edit, finish, delete, sign out: as a page does it, with cookies only."""
    site = make_site(rule=[FakeRule()])
    page: FlaskClient = site.client()
    assert page.post("/user/register", json={"userName": "bob", "password": "long enough"}).json["status"] == "ok"
    assert page.post("/api/login/account", json=SIGN_IN).json["status"] == "ok"
    key = page.post("/api/rule", json={"name": "milk", "method": "post"}).json["key"]
    assert page.put("/api/rule", json={"key": key, "name": "oat milk"}).json["name"] == "oat milk"
    assert page.put("/api/rule", json={"key": key, "status": "2"}).json["status"] == 2
    assert [row["name"] for row in page.get("/api/rule").json["data"]] == ["oat milk"]
    assert page.delete("/api/rule", json={"key": [key]}).json == {"list": [], "pagination": {"total": 0}}
    assert page.get("/api/login/outLogin").json == {"success": True}
    assert json.loads(page.get("/api/rule").data)["success"] is False
