"""What is missing is said in one line, with exit code 1."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

KUBECTL = """#!/bin/sh
case "$1" in
version) echo "$VERSION"; echo "$WHY" >&2; exit "$CODE";;
kustomize) echo "image: samebase-rule:none";;
esac
"""


def run(directory: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tools.kubernetes", "up"],
        env={"PATH": str(directory), "HOME": os.environ.get("HOME", ""), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A directory with a kubectl that says what the test wants, and a Docker without images."""
    for name, script in (("kubectl", KUBECTL), ("docker", "#!/bin/sh\nexit 1\n")):
        (tmp_path / name).write_text(script)
        (tmp_path / name).chmod(0o755)
    return tmp_path


def refused(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 1
    assert done.stderr.startswith("samebase: ")
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def test_no_kubectl(tmp_path: Path) -> None:
    assert "kubectl is not installed" in refused(run(tmp_path))


def test_no_cluster(tools: Path) -> None:
    told = refused(run(tools, VERSION="{}", WHY="connection refused", CODE="1"))
    assert "no Kubernetes cluster answers (connection refused)" in told
    assert "KUBECONFIG" in told


def version(minor: str) -> str:
    return f'{{"serverVersion": {{"major": "1", "minor": "{minor}", "gitVersion": "v1.{minor}.0"}}}}'


def test_a_cluster_that_is_too_old(tools: Path) -> None:
    assert "1.33 or newer" in refused(run(tools, VERSION=version("28+"), WHY="", CODE="0"))


def test_images_that_were_not_made(tools: Path) -> None:
    told = refused(run(tools, VERSION=version("37"), WHY="", CODE="0", K8S_LOAD="true"))
    assert "samebase-rule:none" in told
    assert "make images" in told
