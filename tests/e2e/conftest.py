"""One system for all tests that leave it as they found it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.people import Person
from tests.support.system import System

HERE = Path(__file__).parent
ADMIN = "head-of-operations"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session")
def shared_system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with System(tmp_path_factory.mktemp("system") / "run", admins=ADMIN) as system:
        yield system


@pytest.fixture
def system(shared_system: System) -> System:
    """2 user and 3 rule replicas and the gateway, all ready."""
    shared_system.wait_ready()
    return shared_system


@pytest.fixture
def ada(system: System) -> Person:
    """Somebody new, signed in through the gateway."""
    return Person(system.gateway)
