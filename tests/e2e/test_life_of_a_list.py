"""The whole life of a to-do list on both faces of the gateway, seen on every replica."""

from __future__ import annotations

from typing import Any

import requests

from tests.support.people import PASSWORD, Person, call
from tests.support.system import System


def names_on_each_replica(system: System, person: Person, answer: requests.Response) -> list[list[tuple[str, int]]]:
    """The person's items as each replica shows them to whoever has the answer's token: name and status."""
    shown = []
    for replica in system.replicas("rule"):
        page = person.call("GET", f"{system.api(replica)}/rule", answer.headers["X-Replica-Token"])
        assert page.status_code == 200
        assert "X-Replica-Stale" not in page.headers
        shown.append([(item["name"], item["status"]) for item in page.json()["data"]])
    return shown


def test_a_list_lives_on_the_rest_face(system: System) -> None:
    gateway = system.gateway
    person = Person(gateway, "Grace Hopper")

    def write(method: str, path: str, status: int, **more: Any) -> requests.Response:
        answer = person.call(method, gateway + path, **more)
        assert answer.status_code == status, answer.text
        return answer

    milk = write("POST", "/rule", 201, json={"name": "buy milk", "desc": "two litres"})
    key = milk.json()["key"]
    assert milk.json()["owner"] == "Grace Hopper"
    assert names_on_each_replica(system, person, milk) == [[("buy milk", 1)]] * 3
    more = write("POST", "/rule", 201, json={"name": "write a compiler"})
    assert names_on_each_replica(system, person, more) == [[("write a compiler", 1), ("buy milk", 1)]] * 3

    token = {"X-Replica-Token": more.headers["X-Replica-Token"]}
    edited = write("PATCH", f"/rule/{key}", 200, json={"name": "buy oat milk"}, headers=token)
    done = write("PATCH", f"/rule/{key}", 200, json={"status": 2, "progress": 100}, headers=token)
    assert (done.json()["callNo"], done.json()["desc"]) == (1, "two litres")
    assert done.headers["ETag"] != edited.headers["ETag"]
    late = {**token, "If-Match": edited.headers["ETag"], "X-Replica-Token": done.headers["X-Replica-Token"]}
    write("PATCH", f"/rule/{key}", 412, json={"name": "too late"}, headers=late)
    assert names_on_each_replica(system, person, done) == [[("write a compiler", 1), ("buy oat milk", 2)]] * 3

    token = {"X-Replica-Token": done.headers["X-Replica-Token"]}
    gone = write("DELETE", f"/rule/{key}", 204, headers=token)
    assert names_on_each_replica(system, person, gone) == [[("write a compiler", 1)]] * 3
    write("GET", f"/rule/{key}", 404, headers={"X-Replica-Token": gone.headers["X-Replica-Token"]})
    system.compare_replicas()


def test_a_list_lives_on_the_pages_face(system: System) -> None:
    """As a list page sends it: cookies only, no header of ours; each list read shows the write before it."""
    page = requests.Session()
    page.trust_env = False

    def send(method: str, path: str, body: object = None, status: int = 200, **query: str) -> Any:
        answer = page.request(method, system.gateway + path, json=body, params=query, timeout=30)
        assert answer.status_code == status, answer.text
        return answer.json()

    def listed() -> list[tuple[str, int]]:
        told = send("GET", "/api/rule", current="1", pageSize="20", sorter="", _timestamp="1")
        assert told["success"] is True
        return [(item["name"], item["status"]) for item in told["data"]]

    me = {"userName": "linus", "password": PASSWORD}
    assert send("POST", "/api/register", me)["status"] == "ok"
    assert send("POST", "/api/register", me)["status"] == "error"
    assert send("POST", "/api/login/account", {**me, "type": "account"})["currentAuthority"] == "user"
    assert send("GET", "/api/currentUser")["name"] == "linus"
    milk = send("POST", "/api/rule", {"name": "buy milk", "desc": "two litres", "method": "post"})
    assert listed() == [("buy milk", 1)]
    more = send("POST", "/api/rule", {"name": "more", "method": "post"})
    assert listed() == [("more", 1), ("buy milk", 1)]
    done = send("PUT", "/api/rule", {"key": milk["key"], "name": "buy oat milk", "status": "2", "method": "update"})
    assert (done["callNo"], done["desc"]) == (1, "two litres")
    assert listed() == [("more", 1), ("buy oat milk", 2)]
    left = send("DELETE", "/api/rule", {"key": [milk["key"], "unknown"], "method": "delete"})
    assert [item["name"] for item in left["list"]] == ["more"]
    assert send("POST", "/api/rule", {"key": more["key"], "method": "delete"})["pagination"] == {"total": 0}
    assert listed() == []
    assert send("GET", "/api/login/outLogin") == {"success": True}
    assert send("GET", "/api/rule")["success"] is False
    send("GET", "/api/currentUser", status=401)
    system.compare_replicas()
    for replica in system.replicas("rule"):
        assert system.rows(replica, "SELECT id FROM item WHERE id IN (?, ?)", milk["key"], more["key"]) == []


def test_signing_out_ends_the_session_on_every_replica(system: System) -> None:
    person = Person(system.gateway)
    replicas = system.replicas("user")
    answer = person.sign_in(system.api(replicas[0]))
    cookies = {"session": answer.cookies["session"]}
    token = {"X-Replica-Token": answer.headers["X-Replica-Token"]}
    refreshed = call("POST", f"{system.api(replicas[1])}/user/session/refresh", cookies=cookies, headers=token)
    assert refreshed.status_code == 200, refreshed.text
    out = call("DELETE", f"{system.api(replicas[1])}/user/session", cookies=cookies, headers=token)
    assert out.status_code == 204, out.text
    for replica in replicas:
        again = call(
            "POST",
            f"{system.api(replica)}/user/session/refresh",
            cookies=cookies,
            headers={"X-Replica-Token": out.headers["X-Replica-Token"]},
        )
        assert again.status_code == 401, again.text
