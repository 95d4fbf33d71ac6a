"""What README tells people to paste works, and prints what README says."""

from __future__ import annotations

import os
import re
import subprocess

from tests.support.system import CHECKOUT, System

BLOCKS = re.compile(r"<!-- tested: quickstart -->\n```sh\n(.*?)```.*?\nIt prints:\n\n```\n(.*?)```", re.S)


def test_readmes_session_prints_what_readme_says(system: System) -> None:
    found = BLOCKS.search((CHECKOUT / "README.md").read_text("utf-8"))
    assert found is not None, "README has no block after <!-- tested: quickstart -->, or does not say what it prints"
    session, printed = found.groups()
    done = subprocess.run(
        ["bash", "-eu", "-o", "pipefail", "-c", session],
        env={**os.environ, "PORT": str(system.port)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == printed, done.stderr
    assert done.returncode == 0, done.stderr
    system.compare_replicas()
