"""What README tells people to paste works, and prints what README says."""

from __future__ import annotations

from tests.support.readme import assert_session_prints_what_readme_says
from tests.support.system import System


def test_readmes_session_prints_what_readme_says(system: System) -> None:
    assert_session_prints_what_readme_says(system.port)
    system.compare_replicas()
