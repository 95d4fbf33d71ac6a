"""A replica's api in this process, over a real SQLite database; the test plays the sync process."""

from __future__ import annotations

import shutil
import sqlite3
import tomllib
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Literal

from argon2 import PasswordHasher
from flask.testing import FlaskClient
from flask_openapi3 import OpenAPI
from werkzeug.test import TestResponse

import services
from samebase.replicated import Replicated
from samebase.sqlite.connection import Database
from samebase.sqlite.install import install
from services.common import keys, tokens
from services.common.migrations import migrate
from services.common.sync import Level, Outcome, Reached, SyncUnavailable, Writes
from services.rule.app import create_app as create_rule
from services.rule.config import RuleSettings
from services.user.app import create_app as create_user
from services.user.config import UserSettings

ServiceName = Literal["user", "rule"]

SERVICES = Path(services.__file__).parent
PASSWORD = "correct horse battery"

CHEAP_HASHER = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


@dataclass
class FakeSync:
    """Accepts every write at once and has reached every token, unless the test says otherwise.

    Attributes:
        database: where the positions of transactions are read.
        verdict: outcome of a request by (request, level); None: the default.
        reached: whether tokens are reached.
        down: nobody answers.
        state: what /status says.
        waits: every (request, level, timeout) asked.
        tokens: every token asked for.
        forgets: origins that are not known here.
        allowed: what may be written, as the next answer says.
        writes: as the last answer said.
    """

    database: Path | None = None
    verdict: Callable[[str, Level], Outcome | None] = lambda request, level: None
    reached: bool = True
    down: bool = False
    state: str = "ready"
    waits: list[tuple[str, Level, int]] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    forgets: set[str] = field(default_factory=set)
    allowed: Writes = "all"
    writes: Writes = "all"

    def wait_request(self, request: str, level: Level, timeout_ms: int) -> Outcome:
        self._answering()
        self.waits.append((request, level, timeout_ms))
        answer = self.verdict(request, level)
        return answer if answer is not None else Outcome("accepted", "ordered", self.position(request))

    def wait_token(self, token: str, timeout_ms: int) -> Reached:
        self._answering()
        self.tokens.append(token)
        known = {origin: seq for origin, seq in tokens.parse(token).items() if origin not in self.forgets}
        return Reached(self.reached, tokens.render(known), self.writes)

    def status(self) -> dict[str, Any]:
        self._answering()
        return {"name": "fake", "state": self.state, "reason": None if self.state == "ready" else "the test says so"}

    def reject(self, reason: str, table: str, *, only_new: bool = True) -> None:
        """Every write from now on is rejected."""
        seen = {request for request, _, _ in self.waits} if only_new else set()
        self.verdict = lambda request, _: (
            None if request in seen else Outcome("rejected", "ordered", None, reason, ((table, ("k",)),))
        )

    def stall(self, reached: Level = "local") -> None:
        """Every write from now on stays where it is."""
        self.verdict = lambda request, _: Outcome("pending", reached, self.position(request))

    def position(self, request: str) -> str | None:
        if self.database is None:
            return None
        with sqlite3.connect(self.database) as connection:
            origin = connection.execute("SELECT origin FROM samebase_replica").fetchone()[0]
            begin = connection.execute("SELECT id FROM samebase_change WHERE request = ?", (request,)).fetchone()
            if begin is None:
                return None
            end = connection.execute(
                "SELECT coalesce((SELECT min(id) - 1 FROM samebase_change WHERE op = 'i' AND id > ?), max(id)) "
                "FROM samebase_change",
                begin,
            ).fetchone()[0]
        connection.close()
        return f"{origin}:{end}"

    def _answering(self) -> None:
        if self.down:
            raise SyncUnavailable("the test says so")
        self.writes = self.allowed


@dataclass
class Api:
    """A service's api under test."""

    app: OpenAPI
    client: FlaskClient
    sync: FakeSync
    database: Path

    def rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """What a query finds in the replica's database."""
        connection = sqlite3.connect(self.database)
        try:
            return connection.execute(sql, values).fetchall()
        finally:
            connection.close()

    def execute(self, sql: str, *values: object) -> None:
        """Change the replica's database behind the api's back."""
        connection = sqlite3.connect(self.database)
        with connection:
            connection.execute(sql, values)
        connection.close()

    def registered(self, name: str = "ada", password: str = PASSWORD, **more: Any) -> dict[str, Any]:
        """A new account (user service)."""
        response = self.client.post("/user", json={"name": name, "password": password, **more})
        assert response.status_code == 201, response.text
        return dict(response.get_json())

    def signed_in(self, name: str = "ada", password: str = PASSWORD) -> dict[str, str]:
        """Headers with an access token of an account (user service)."""
        response = self.client.post("/user/session", json={"name": name, "password": password})
        assert response.status_code == 200, response.text
        return {"Authorization": f"Bearer {response.get_json()['accessToken']}"}


@cache
def key_files() -> tuple[Path, Path]:
    """(signing key, public keys), the same in a whole test run."""
    return keys.generate(Path(mkdtemp(prefix="samebase-keys-")))


@cache
def _template(service: ServiceName) -> Path:
    path = Path(mkdtemp(prefix="samebase-template-")) / f"{service}.db"
    migrate(f"sqlite:///{path}", SERVICES / service / "migrations")
    install_change_log(path, service)
    return path


def install_change_log(path: Path, service: ServiceName) -> None:
    """What the sync process does to a database at its first start."""
    settings = tomllib.loads((SERVICES / service / "samebase.toml").read_text())
    tables = {
        name: Replicated(table["policy"], tuple(table.get("delta", ()))) for name, table in settings["tables"].items()
    }
    database = Database(path)
    install(database, tables, f"{service}-test")
    database.close()


def settings_of(service: ServiceName, database: Path, **more: Any) -> dict[str, Any]:
    signing, public = key_files()
    values = {
        "name": f"{service}-1",
        "database_url": f"sqlite:///{database}",
        "sync_url": "http://127.0.0.1:9",
        "public_keys_file": public,
        "log_format": "json",
        **more,
    }
    return {**values, "signing_key_file": signing} if service == "user" else values


def make_api(service: ServiceName, directory: Path, *, replicated: bool = True, **settings: Any) -> Api:
    """A service's api with a database of its own.

    Args:
        replicated: whether the sync process has installed its change log.
    """
    path = directory / f"{service}-{uuid.uuid4().hex[:8]}.db"
    if replicated:
        shutil.copy(_template(service), path)
    else:
        migrate(f"sqlite:///{path}", SERVICES / service / "migrations")
    sync = FakeSync(path if replicated else None)
    values = settings_of(service, path, **settings)
    if service == "user":
        app = create_user(UserSettings(**values), sync=sync, hasher=CHEAP_HASHER)
    else:
        app = create_rule(RuleSettings(**values), sync=sync)
    return Api(app, app.test_client(use_cookies=False), sync, path)


def access_token(
    user_id: str | None = None, name: str = "Ada", authority: Literal["user", "admin"] = "user"
) -> dict[str, str]:
    """Headers of somebody who is signed in, as the user service would have made them."""
    from services.user.models import Account
    from services.user.sessions import Signer

    signing, public = key_files()
    key = keys.load_signing_key(signing)
    signer = Signer(key, keys.key_id(key, keys.load_jwks(public)))
    account = Account(id=user_id or str(uuid.uuid4()), name=name, display_name="")
    return {"Authorization": f"Bearer {signer.token(account, str(uuid.uuid4()), authority)}"}


def problem(response: TestResponse, status: int, slug: str) -> dict[str, Any]:
    """The response's problem document; asserts that it is the expected one and complete."""
    assert response.status_code == status, response.text
    assert response.content_type == "application/problem+json"
    document = response.get_json(force=True)
    assert document["type"].endswith(f":{slug}"), document
    assert document["status"] == status
    assert document["title"]
    assert document["detail"]
    assert len(document["traceId"]) == 32
    if status == 401:
        assert response.headers["WWW-Authenticate"].startswith("Bearer")
    if status in {429, 503}:
        assert int(response.headers["Retry-After"]) >= 1
    if status == 405:
        assert "OPTIONS" in response.headers["Allow"]
    return dict(document)
