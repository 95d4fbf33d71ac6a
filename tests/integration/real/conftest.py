"""Two servers for the tests of a file: one with MySQL's defaults, one with enforced GTIDs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.support.mysql import Server, server


@pytest.fixture(scope="module")
def servers(request: pytest.FixtureRequest) -> Iterator[list[Server]]:
    """A file whose servers are killed says `DURABLE = True`: theirs keep their data."""
    durable = getattr(request.module, "DURABLE", False)
    with ExitStack() as stack:
        started = []
        for options in ((), ("--gtid-mode=ON", "--enforce-gtid-consistency=ON")):
            running = server(*options, durable=durable)
            started.append(next(running))
            stack.callback(next, running, None)
        yield started
