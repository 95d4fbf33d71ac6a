"""Bad input through the gateway, on both faces: a clear answer, no row changed, no process died."""

from __future__ import annotations

import json
import socket
import uuid
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from http.client import HTTPConnection
from typing import Any

import pytest
import requests

from tests.support.people import PASSWORD, Person, call
from tests.support.system import System

MIB = 1024 * 1024
NOBODY = str(uuid.UUID(int=7))
JSON = {"Content-Type": "application/json"}
TABLES = {"user": ("account", "session", "idempotency"), "rule": ("item", "idempotency")}


@dataclass(frozen=True)
class Bad:
    """One bad request. In paths and bodies, KEY stands for an item of the caller's and THEIRS for somebody else's.

    Attributes:
        status: of the answer.
        names: what the answer must name: a JSON pointer, or a word of its message.
        sent: the body as it is, or as a value to send as JSON.
        anonymous: nobody is signed in.
    """

    method: str
    path: str
    status: int
    sent: Any = None
    names: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    anonymous: bool = False


def _item(**fields: Any) -> dict[str, Any]:
    return {"name": "fine", **fields}


REST = {
    "not JSON": Bad("POST", "/rule", 400, b'{"name": "x"'),
    "not UTF-8": Bad("POST", "/rule", 400, b'{"name": "\xff"}'),
    "a lone surrogate": Bad("POST", "/rule", 400, b'{"name": "\\ud800"}'),
    "NaN": Bad("POST", "/rule", 400, b'{"name": "x", "progress": NaN}'),
    "no body": Bad("POST", "/rule", 400, b""),
    "nested without end": Bad("POST", "/rule", 400, b'{"name":' + b"[" * 100_000),
    "not an object": Bad("POST", "/rule", 422, ["x"], "#"),
    "another type": Bad("POST", "/rule", 415, b"name=x", headers={"Content-Type": "text/plain"}),
    "a name that is a number": Bad("POST", "/rule", 422, _item(name=1), "#/name"),
    "no name": Bad("POST", "/rule", 422, {}, "#/name"),
    "an empty name": Bad("POST", "/rule", 422, _item(name=""), "#/name"),
    "a name that is too long": Bad("POST", "/rule", 422, _item(name="x" * 201), "#/name"),
    "a description that is too long": Bad("POST", "/rule", 422, _item(desc="x" * 10_001), "#/desc"),
    "progress out of range": Bad("PATCH", "/rule/KEY", 422, {"progress": 101}, "#/progress"),
    "progress as text": Bad("PATCH", "/rule/KEY", 422, {"progress": "50"}, "#/progress"),
    "progress as a fraction": Bad("PATCH", "/rule/KEY", 422, {"progress": 0.5}, "#/progress"),
    "progress beyond all integers": Bad("PATCH", "/rule/KEY", 422, {"progress": 10**40}, "#/progress"),
    "an unknown status": Bad("PATCH", "/rule/KEY", 422, {"status": 9}, "#/status"),
    "null": Bad("PATCH", "/rule/KEY", 422, {"desc": None}, "#/desc"),
    "an unknown field": Bad("PATCH", "/rule/KEY", 422, {"colour": "red"}, "#/colour"),
    "a field that is not the caller's to set": Bad("PATCH", "/rule/KEY", 422, {"callNo": 7}, "#/callNo"),
    "a bad page": Bad("GET", "/rule?current=0", 422, names="current"),
    "a page size that is too large": Bad("GET", "/rule?pageSize=201", 422, names="pageSize"),
    "an unknown sorter": Bad("GET", "/rule?sorter=owner_ascend", 422, names="sorter"),
    "an unknown parameter": Bad("GET", "/rule?colour=red", 422, names="colour"),
    "an unknown key": Bad("PATCH", f"/rule/{NOBODY}", 404, {"name": "x"}),
    "a malformed key": Bad("GET", "/rule/..%2F..%2Fstatus", 404),
    "deleting an unknown key": Bad("DELETE", f"/rule/{NOBODY}", 404),
    "somebody else's item, read": Bad("GET", "/rule/THEIRS", 404),
    "somebody else's item, changed": Bad("PATCH", "/rule/THEIRS", 404, {"name": "mine now"}),
    "somebody else's item, deleted": Bad("DELETE", "/rule/THEIRS", 404),
    "an etag that does not hold": Bad("PATCH", "/rule/KEY", 412, {"name": "x"}, headers={"If-Match": '"0"'}),
    "not signed in": Bad("POST", "/rule", 401, _item(), anonymous=True),
    "a token that is none": Bad("GET", "/rule", 401, headers={"Authorization": "Bearer x.y.z"}, anonymous=True),
    "a wrong method": Bad("PUT", "/rule/KEY", 405, _item()),
    "an unknown path": Bad("GET", "/rules", 404),
    "a trailing slash": Bad("GET", "/rule/", 404),
    "too large": Bad("POST", "/rule", 413, _item(desc="x" * MIB)),
    "a registration with a short password": Bad("POST", "/user", 422, {"name": "n", "password": "x"}, "#/password"),
    "a registration with a long name": Bad("POST", "/user", 422, {"name": "n" * 65, "password": PASSWORD}, "#/name"),
    "a registration of a taken name": Bad("POST", "/user", 409, {"name": "Mallory", "password": PASSWORD}),
    "a profile's bad e-mail": Bad("PATCH", "/user/me", 422, {"email": 5}, "#/email"),
    "too many ids": Bad("GET", "/user?" + "&".join([f"id={NOBODY}"] * 101), 422, names="id"),
    "a wrong password": Bad("POST", "/user/session", 401, {"name": "nobody", "password": "wrong password"}),
}
PAGE = {
    "not JSON": Bad("POST", "/api/rule", 400, b'{"name": "x"'),
    "not an object": Bad("POST", "/api/rule", 422, ["x"]),
    "another type": Bad("POST", "/api/rule", 415, b"name=x", headers={"Content-Type": "text/plain"}),
    "a name that is too long": Bad("POST", "/api/rule", 422, _item(name="x" * 201), "name"),
    "no name": Bad("POST", "/api/rule", 422, {"desc": "x", "method": "post"}, "name"),
    "a wrong type": Bad("PUT", "/api/rule", 422, {"key": "KEY", "name": {"a": 1}}, "name"),
    "a status that is none": Bad("PUT", "/api/rule", 422, {"key": "KEY", "status": "done"}, "status"),
    "an unknown method": Bad("POST", "/api/rule", 422, _item(method="drop"), "method"),
    "no key": Bad("PUT", "/api/rule", 422, {"name": "x"}, "key"),
    "an unknown key": Bad("PUT", "/api/rule", 404, {"key": NOBODY, "name": "x"}),
    "a malformed key": Bad("PUT", "/api/rule", 404, {"key": "../../status", "name": "x"}),
    "somebody else's item": Bad("PUT", "/api/rule", 404, {"key": "THEIRS", "name": "mine now"}),
    "deleting somebody else's item": Bad("DELETE", "/api/rule", 200, {"key": ["THEIRS", NOBODY]}),
    "an update without a change": Bad("PUT", "/api/rule", 200, {"key": "KEY", "name": None, "colour": "red"}),
    "not signed in": Bad("POST", "/api/rule", 401, _item(), anonymous=True),
    "not signed in, current user": Bad("GET", "/api/currentUser", 401, anonymous=True),
    "a foreign origin": Bad("POST", "/api/rule", 403, _item(), headers={"Origin": "http://evil.example"}),
    "a wrong method": Bad("PATCH", "/api/rule", 405, _item()),
    "too large": Bad("POST", "/api/rule", 413, _item(desc="x" * MIB)),
    "an unknown path": Bad("GET", "/api/rules", 404),
}


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A system of its own: failed sign-ins make it refuse more of them for a while."""
    with System(tmp_path_factory.mktemp("bad") / "run") as system:
        yield system


@dataclass(frozen=True)
class Scene:
    """A system with two people, each with an item."""

    system: System
    person: Person
    key: str
    theirs: str

    def fill(self, text: str) -> str:
        return text.replace("KEY", self.key).replace("THEIRS", self.theirs)

    def send(self, bad: Bad, credentials: dict[str, str], cookies: dict[str, str]) -> requests.Response:
        body = bad.sent
        if body is not None and not isinstance(body, bytes):
            body = self.fill(json.dumps(body)).encode()
        headers = {**(JSON if body is not None else {}), **({} if bad.anonymous else credentials), **bad.headers}
        jar = {} if bad.anonymous else cookies
        return call(bad.method, self.system.gateway + self.fill(bad.path), data=body, headers=headers, cookies=jar)

    def rows(self) -> dict[str, list[Any]]:
        """Every row of every replica."""
        self.system.compare_replicas()
        return {
            f"{replica} {table}": sorted(map(repr, self.system.rows(replica, f"SELECT * FROM {table}")))
            for service, tables in TABLES.items()
            for replica in self.system.replicas(service)
            for table in tables
        }


@pytest.fixture(scope="module")
def scene(attacked: System) -> Scene:
    """Two people, each with an item."""
    gateway = attacked.gateway
    person, other = Person(gateway), Person(gateway, "mallory")
    key = person.call("POST", f"{gateway}/rule", json={"name": "mine"}).json()["key"]
    theirs = other.call("POST", f"{gateway}/rule", json={"name": "theirs"}).json()["key"]
    return Scene(attacked, person, key, theirs)


@pytest.fixture(scope="module", autouse=True)
def nothing_changes(scene: Scene) -> Iterator[None]:
    """After all that this module sends, rows and processes are what they were."""
    rows, processes = scene.rows(), scene.system.processes()
    yield
    assert scene.rows() == rows
    assert scene.system.processes() == processes


@pytest.mark.parametrize("what", REST)
def test_bad_input_on_the_rest_face(scene: Scene, what: str) -> None:
    bad = REST[what]
    answer = scene.send(bad, {"Authorization": f"Bearer {scene.person.access}"}, {})
    assert answer.status_code == bad.status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == bad.status
    assert problem["detail"]
    assert len(problem["traceId"]) == 32
    if bad.names:
        assert bad.names in [error.get("pointer", error.get("parameter")) for error in problem["errors"]]
    if bad.status == 401:
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    if bad.status == 405:
        assert answer.headers["Allow"]


@pytest.mark.parametrize("what", PAGE)
def test_bad_input_on_the_pages_face(scene: Scene, what: str) -> None:
    bad = PAGE[what]
    answer = scene.send(bad, {}, {"jwtToken": scene.person.access})
    assert answer.status_code == bad.status, answer.text
    told = answer.json()
    if bad.status != 200:
        assert told["success"] is False
        assert told["message"]
        assert bad.names in told["message"]


@pytest.mark.parametrize(
    "query", ["current=-1", "pageSize=100000", "sorter=nonsense", "filter=%7Bnot-json", "status=9", "name=%25", "x=%ff"]
)
def test_the_pages_list_always_answers_200_with_json(scene: Scene, query: str) -> None:
    for cookies in ({"jwtToken": scene.person.access}, {"jwtToken": "junk"}, {}):
        answer = call("GET", f"{scene.system.gateway}/api/rule?{query}", cookies=cookies)
        assert answer.status_code == 200, answer.text
        told = answer.json()
        assert told["success"] is (cookies.get("jwtToken") == scene.person.access)
        assert isinstance(told["data"], list)


@pytest.mark.parametrize(
    "sent",
    [
        b"\x00\x01\x02\x03\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /rule HTTP/1.1\r\nHost: x\r\nContent-Length: minus one\r\n\r\n",
        b"POST /rule HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST /rule HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{",
        b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 500 + b"\r\n",
    ],
    ids=["no HTTP", "no such version", "no length", "no chunk", "cut off", "a long line", "many headers"],
)
def test_what_is_not_even_http_harms_nobody(scene: Scene, sent: bytes) -> None:
    with closing(socket.create_connection(("127.0.0.1", scene.system.port), timeout=10)) as connection:
        try:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            answer = connection.recv(65536)
        except OSError:  # it hung up before it had read all of it
            answer = b""
    assert not answer or answer.split()[1][:1] in {b"4", b"5"}, answer[:200]
    assert call("GET", f"{scene.system.gateway}/healthz").status_code == 200


def test_a_large_body_without_a_length_is_refused_too(scene: Scene) -> None:
    def endless() -> Iterator[bytes]:
        yield b'{"name": "'
        for _ in range(20):
            yield b"x" * (MIB // 8)
        yield b'"}'

    answer = scene.person.call("POST", f"{scene.system.gateway}/rule", data=endless(), headers=JSON)
    assert answer.status_code == 413


def test_a_body_that_is_too_large_leaves_the_connection_usable(scene: Scene) -> None:
    headers = JSON | {"Authorization": f"Bearer {scene.person.access}"}
    for url in (scene.system.gateway, scene.system.api("rule-1")):
        with closing(HTTPConnection(url.removeprefix("http://"), timeout=20)) as connection:
            connection.request("POST", "/rule", body=b"x" * 3 * MIB, headers=headers)
            answer = connection.getresponse()
            assert answer.status == 413
            answer.read()
            ours = connection.sock
            connection.request("GET", "/rule", headers=headers)
            assert connection.getresponse().status == 200
            assert connection.sock is ours, "it was the same connection"


def test_failed_sign_ins_are_held_back(scene: Scene) -> None:
    """On both faces; each replica counts for itself. The right password is refused then, too."""
    gateway, name = scene.system.gateway, scene.person.name
    statuses = []
    for _ in range(15):
        answer = call("POST", f"{gateway}/user/session", json={"name": name, "password": "not this one"})
        statuses.append(answer.status_code)
    assert set(statuses) == {401, 429}
    assert statuses[0] == 401
    assert statuses[-1] == 429
    assert int(answer.headers["Retry-After"]) >= 1
    page = call("POST", f"{gateway}/api/login/account", json={"userName": name, "password": PASSWORD})
    assert (page.status_code, page.json()["status"], page.json()["currentAuthority"]) == (200, "error", "guest")
