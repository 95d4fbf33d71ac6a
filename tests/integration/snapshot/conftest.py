"""Replicas as processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import Group, group


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Group]:
    with group(tmp_path) as found:
        yield found
