"""People who use the system over HTTP."""

from __future__ import annotations

import threading
import uuid
from typing import Any

import requests

PASSWORD = "correct horse battery staple"
TIMEOUT_SECONDS = 30
_local = threading.local()


def session() -> requests.Session:
    """Connections of this thread, without cookies that one person would leave to the next."""
    found: requests.Session | None = getattr(_local, "session", None)
    if found is None:
        found = _local.session = requests.Session()
        found.trust_env = False
    found.cookies.clear()
    return found


def call(method: str, url: str, **more: Any) -> requests.Response:
    """One request, no redirects, no retries."""
    return session().request(method, url, timeout=TIMEOUT_SECONDS, allow_redirects=False, **more)


class Person:
    """Somebody with an account, signed in for REST calls to whichever process."""

    def __init__(self, base: str, name: str | None = None, password: str = PASSWORD) -> None:
        """Registers and signs in at `base` (a gateway, or an api of the user service)."""
        self.name = name or f"p-{uuid.uuid4().hex[:12]}"
        self.password = password
        made = call("POST", f"{base}/user", json={"name": self.name, "password": password})
        assert made.status_code == 201, made.text
        self.id: str = made.json()["id"]
        self.token: str = made.headers["X-Replica-Token"]
        self.sign_in(base)

    def sign_in(self, base: str) -> requests.Response:
        answer = call(
            "POST",
            f"{base}/user/session",
            json={"name": self.name, "password": self.password},
            headers={"X-Replica-Token": self.token},
        )
        assert answer.status_code == 200, answer.text
        self.access: str = answer.json()["accessToken"]
        return answer

    def call(self, method: str, url: str, token: str | None = None, **more: Any) -> requests.Response:
        """A request with the person's access token, and with a replica token if there is one."""
        headers = {"Authorization": f"Bearer {self.access}", **more.pop("headers", {})}
        if token is not None:
            headers["X-Replica-Token"] = token
        return call(method, url, headers=headers, **more)
