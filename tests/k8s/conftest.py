"""The system on whatever cluster kubectl speaks to, in a namespace of the tests' own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.kubernetes import KubernetesSystem
from tools.kubernetes.cli import down, up
from tools.kubernetes.cluster import Refused, require_cluster

NAMESPACE = "samebase-test"


@pytest.fixture(scope="session")
def cluster() -> str:
    """The cluster's version."""
    try:
        return require_cluster()
    except Refused as refused:
        pytest.fail(str(refused))


@pytest.fixture(scope="session")
def system(cluster: str) -> Iterator[KubernetesSystem]:
    try:
        down(NAMESPACE)
        up(NAMESPACE)
    except Refused as refused:
        pytest.fail(str(refused))
    yield KubernetesSystem(NAMESPACE)
    down(NAMESPACE)
