"""A gateway before upstreams that do what a test tells them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from services.common.keys import generate
from services.gateway.app import create_app
from services.gateway.config import GatewaySettings
from services.gateway.replicas import Resolver
from services.gateway.runtime import Runtime
from tests.integration.gateway.fakes import FakeRule, FakeUser, Sign, signer
from tests.support.upstreams import Script, Upstream, upstreams

OPERATOR_TOKEN = "the operators' own token"


@dataclass
class Site:
    """A gateway and what is behind it."""

    app: Flask
    user: list[Upstream]
    rule: list[Upstream]
    sign: Sign

    @property
    def runtime(self) -> Runtime:
        runtime: Runtime = self.app.extensions["gateway"]
        return runtime

    def client(self, **options: Any) -> FlaskClient:
        return self.app.test_client(**options)

    def page(self, **claims: Any) -> FlaskClient:
        """A browser that is signed in."""
        client = self.client()
        client.set_cookie("jwtToken", self.sign(**claims))
        return client

    @property
    def bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.sign()}"}

    @property
    def rule_calls(self) -> list[str]:
        return [call for upstream in self.rule for call in upstream.calls]

    @property
    def user_calls(self) -> list[str]:
        return [call for upstream in self.user for call in upstream.calls]


MakeSite = Callable[..., Site]


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return generate(tmp_path_factory.mktemp("keys") / "keys")


@pytest.fixture(scope="session")
def sign(keys: tuple[Path, Path]) -> Sign:
    signing, public = keys
    return signer(signing.read_text(), json.loads(public.read_text())["keys"][0]["kid"])


@pytest.fixture
def make_site(keys: tuple[Path, Path], sign: Sign, tmp_path: Path) -> Iterator[MakeSite]:
    """`make_site(rule=[script...], user=[script...], **settings)`: scripts default to one healthy fake each. With
    `rule_name` the gateway knows the first rule replica by that host name, which `resolver` looks up."""
    token_file = tmp_path / "operators"
    token_file.write_text(OPERATOR_TOKEN)
    with ExitStack() as stack:

        def make(
            rule: list[Script] | None = None,
            user: list[Script] | None = None,
            rule_name: str | None = None,
            resolver: Resolver | None = None,
            **settings: Any,
        ) -> Site:
            rules = stack.enter_context(upstreams(*(rule if rule is not None else [FakeRule()])))
            users = stack.enter_context(upstreams(*(user if user is not None else [FakeUser(sign)])))
            defaults = {
                "public_keys_file": keys[1],
                "operator_token_file": token_file,
                "user_urls": ",".join(u.url for u in users),
                "rule_urls": f"http://{rule_name}:{rules[0].port}" if rule_name else ",".join(u.url for u in rules),
                "log_format": "json",
                "poll_ms": 20,
            }
            app = create_app(GatewaySettings(**{**defaults, **settings}), resolver)
            site = Site(app, users, rules, sign)
            stack.callback(site.runtime.close)
            return site

        yield make


@pytest.fixture
def site(make_site: MakeSite) -> Site:
    """One healthy replica of each service."""
    return make_site()
