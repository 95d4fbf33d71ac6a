"""A small rule and a small user service for the gateway to talk to, in the words of their REST face."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from typing import Any

import jwt

from tests.support.upstreams import Reply, Seen, problem

ADA = "00000000-0000-4000-8000-00000000ada0"
SEEN_AT = "2026-11-22T08:00:00.000000Z"

Sign = Callable[..., str]


class FakeRule:
    """Items, in the order in which they are listed."""

    def __init__(self, count: int = 0) -> None:
        self.items: list[dict[str, Any]] = [item(f"item {n}") for n in range(count)]
        self.writes = 0

    def __call__(self, seen: Seen) -> Reply:
        if seen.path == "/openapi.json":
            return Reply(200, {"paths": {"/rule": {"get": {}}, "/status": {"get": {}}}, "components": {}})
        if seen.path == "/status":
            return Reply(200, {"name": "rule", "sync": {"state": "ready"}})
        if seen.path.startswith("/writes/"):
            return Reply(200, {"request": seen.path[8:], "outcome": "unknown"})
        if not seen.headers.get("Authorization", "").startswith("Bearer "):
            return problem(401, "unauthorized")
        if seen.method == "GET" and seen.path == "/rule":
            return self._list(seen)
        found = next((i for i in self.items if seen.path == f"/rule/{i['key']}"), None)
        if seen.path != "/rule" and found is None:
            return problem(404, "not-found")
        if seen.method == "GET":
            return Reply(200, found, {"ETag": '"e1"', "Cache-Control": "private, no-cache"})
        self.writes += 1
        token = {"X-Replica-Token": f"rule-1@x:{self.writes}", "ETag": '"e2"', "Replication": "log"}
        if seen.method == "DELETE":
            self.items.remove(found)  # type: ignore[arg-type] - found above
            return Reply(204, None, token)
        fields = seen.json()
        if fields.get("name") == "":
            return problem(422, "invalid", errors=[{"pointer": "#/name", "detail": "is too short"}])
        if found is None:
            found = item(fields["name"])
            self.items.insert(0, found)
            return Reply(201, {**found, **fields}, {**token, "Location": f"/rule/{found['key']}"})
        found.update(fields)
        return Reply(200, found, token)

    def _list(self, seen: Seen) -> Reply:
        current, size = int(seen.query["current"][0]), int(seen.query["pageSize"][0])
        rows = self.items[(current - 1) * size : current * size]
        total = len(self.items)
        page = {"data": rows, "total": total, "current": current, "pageSize": size, "success": True}
        return Reply(200, page, {"X-Replica-Token": "rule-1@x:0"})


def item(name: str, owner: str = ADA) -> dict[str, Any]:
    """An item as the rule service shows it."""
    return {
        "key": str(uuid.uuid4()),
        "name": name,
        "desc": "",
        "status": 1,
        "progress": 0,
        "callNo": 0,
        "owner": owner,
        "avatar": "",
        "href": "",
        "disabled": False,
        "createdAt": SEEN_AT,
        "updatedAt": SEEN_AT,
    }


class FakeUser:
    """One account: ada, with the password `correct horse`."""

    def __init__(self, sign: Sign) -> None:
        self._sign = sign
        self.session_lives = True

    def __call__(self, seen: Seen) -> Reply:
        call = f"{seen.method} {seen.path}"
        signed_in = seen.headers.get("Authorization", "").startswith("Bearer ")
        token = {"X-Replica-Token": "user-1@x:9"}
        if call == "GET /openapi.json":
            return Reply(200, {"paths": {"/user": {}, "/internal/users": {}}, "components": {}})
        if call == "GET /status":
            return Reply(200, {"name": "user", "sync": {"state": "ready"}})
        if call == "POST /user/session":
            return self._sign_in(seen.json())
        if call == "POST /user":
            return self._register(seen.json())
        if seen.path.startswith("/writes/"):
            return Reply(200, {"request": seen.path[8:], "outcome": "accepted"})
        if not signed_in:
            return problem(401, "unauthorized")
        if call == "POST /internal/session/renew":
            return self._renew()
        if call == "GET /user":
            known = [{"id": ADA, "name": "ada", "displayName": "Ada L."}]
            return Reply(200, {"data": [p for p in known if p["id"] in seen.query["id"]]})
        if call == "GET /user/me":
            return Reply(200, {"id": ADA, "name": "ada", "displayName": "Ada L.", "email": "ada@example.org"})
        if call == "GET /internal/users":
            return Reply(200, {"data": [{"id": ADA, "name": "ada", "displayName": None, "authority": "user"}]})
        if call == "DELETE /user/session":
            return Reply(204, None, token)
        return problem(404, "not-found")

    def _sign_in(self, body: dict[str, Any]) -> Reply:
        if body["name"] == "throttled":
            return problem(429, "too-many-requests")
        if body != {"name": "ada", "password": "correct horse"}:
            return problem(401, "unauthorized")
        return Reply(
            200,
            {"accessToken": self._sign(), "expiresIn": 900},
            {"X-Replica-Token": "user-1@x:3"},
            ("session=refresh-secret; Path=/user/session; HttpOnly; SameSite=Lax",),
        )

    def _register(self, body: dict[str, Any]) -> Reply:
        if body["name"] == "ada":
            return problem(409, "name-taken")
        if len(str(body["password"])) < 8:
            return problem(422, "invalid", errors=[{"pointer": "#/password", "detail": "is too short"}])
        return Reply(201, {"id": ADA, "name": body["name"], "authority": "user"}, {"X-Replica-Token": "user-1@x:2"})

    def _renew(self) -> Reply:
        if not self.session_lives:
            return problem(401, "unauthorized")
        return Reply(200, {"accessToken": self._sign(renewed=True), "expiresIn": 900})


def signer(pem: str, kid: str) -> Sign:
    """Makes access tokens like the user service's; keyword arguments replace or add claims."""

    def sign(**claims: Any) -> str:
        now = int(time.time())
        standard = {"iss": "samebase", "sub": ADA, "name": "Ada L.", "sid": "s1", "authority": "user"}
        payload = {**standard, "iat": now, "exp": now + 900, **claims}
        return jwt.encode(payload, pem, algorithm="EdDSA", headers={"kid": kid})

    return sign
