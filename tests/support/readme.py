"""What README tells people to paste."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"
BLOCKS = re.compile(r"<!-- tested: quickstart -->\n```sh\n(.*?)```.*?\nIt prints:\n\n```\n(.*?)```", re.S)


def assert_session_prints_what_readme_says(port: int) -> None:
    """Paste the session. `port`: the gateway's; rule-1 and rule-3 are at that plus 201 and 203."""
    found = BLOCKS.search(README.read_text("utf-8"))
    assert found is not None, "README has no block after <!-- tested: quickstart -->, or does not say what it prints"
    session, printed = found.groups()
    done = subprocess.run(
        ["bash", "-eu", "-o", "pipefail", "-c", session],
        env={**os.environ, "PORT": str(port)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == printed, done.stderr
    assert done.returncode == 0, done.stderr
