"""One system of containers for all tests that leave it as they found it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from tests.support.compose import ComposeSystem
from tests.support.people import Person
from tests.support.system import CHECKOUT


@pytest.fixture(scope="session")
def images() -> None:
    """As they are built from this checkout."""
    subprocess.run(["make", "images"], cwd=CHECKOUT, check=True)


@pytest.fixture(scope="session")
def shared_system(images: None) -> Iterator[ComposeSystem]:
    system = ComposeSystem()
    system.remove()
    try:
        seconds = system.up()
        print(f"\nup to ready, with empty volumes: {seconds:.0f} s; all containers use {system.memory_mib():.0f} MiB")
        yield system
    finally:
        system.remove()


@pytest.fixture
def system(shared_system: ComposeSystem) -> ComposeSystem:
    """2 user and 3 rule replicas, Kafka and the gateway, all ready."""
    shared_system.wait_ready()
    return shared_system


@pytest.fixture
def ada(system: ComposeSystem) -> Person:
    """Somebody new, signed in through the gateway."""
    return Person(system.gateway)
