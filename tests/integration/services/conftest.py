"""An api of each service for a test, and somebody who is signed in."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from services.common import logs
from tests.support.services import Api, access_token, make_api


@pytest.fixture
def rule(tmp_path: Path) -> Api:
    return make_api("rule", tmp_path)


@pytest.fixture
def user(tmp_path: Path) -> Api:
    return make_api("user", tmp_path)


@pytest.fixture
def logged(rule: Api, user: Api) -> io.StringIO:
    """What the services log from here on, as JSON lines."""
    stream = io.StringIO()
    logs.configure(name="test", log_format="json", level="DEBUG", stream=stream)
    return stream


@pytest.fixture
def ada() -> dict[str, str]:
    """Headers of a signed-in user."""
    return access_token(name="Ada")


@pytest.fixture
def bob() -> dict[str, str]:
    """Headers of another one."""
    return access_token(name="Bob")
