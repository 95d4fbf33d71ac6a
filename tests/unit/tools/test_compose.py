"""make up, make scale: what is refused before anything is started, and what more replicas are made of."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tools.compose.system import CHECKOUT, difference

BASE: dict[str, Any] = {
    "services": {
        **{
            f"rule-{n}{part}": {"environment": {"NAME": f"rule-{n}"}, "ports": [{"published": f"{8280 + n}"}]}
            for n in (1, 2, 3)
            for part in ("", "-mysql", "-accounts", "-migrate", "-sync")
        },
        "kafka": {},
    },
    "volumes": {"kafka": {}, "secrets": {}, "rule-1": {}, "rule-2": {}, "rule-3": {}},
}


def test_more_replicas_are_copies_of_the_first_under_other_names_and_on_other_ports() -> None:
    more = difference(BASE, {"rule": 5}, 9000)
    assert set(more["services"]) == {
        "secrets",
        *(f"rule-{n}{part}" for n in (4, 5) for part in ("", "-mysql", "-accounts", "-migrate", "-sync")),
    }
    assert more["services"]["rule-5"] == {"environment": {"NAME": "rule-5"}, "ports": [{"published": "9205"}]}
    assert more["volumes"] == {"rule-4": {}, "rule-5": {}}
    assert more["services"]["secrets"]["command"] == ["rule-1", "rule-2", "rule-3", "rule-4", "rule-5"]


def test_fewer_replicas_are_services_that_nobody_wants() -> None:
    fewer = difference(BASE, {"rule": 2}, 9000)
    assert {name for name, service in fewer["services"].items() if service == {"profiles": ["unwanted"]}} == {
        f"rule-3{part}" for part in ("", "-mysql", "-accounts", "-migrate", "-sync")
    }
    assert fewer["services"]["secrets"]["command"] == ["rule-1", "rule-2"]


def run(*arguments: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tools.compose", *arguments],
        cwd=CHECKOUT,
        env={**os.environ, **({"PATH": str(path)} if path else {})},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def fake_docker(directory: Path, script: str) -> Path:
    docker = directory / "docker"
    docker.write_text(f"#!/bin/sh\n{script}\n")
    docker.chmod(0o755)
    return directory


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (None, "Docker was not found"),
        ('test "$1" != compose', "Docker has no compose plugin"),
        ('test "$1" = compose || { echo "Cannot connect to the daemon" >&2; exit 1; }', "Cannot connect to the daemon"),
        (
            'case "$*" in *MemTotal*) echo 1073741824;; *--services*) echo "rule-1 rule-2 user-1";; esac',
            "Docker has 1.0 GiB of memory, and 3 replicas need 2.0",
        ),
    ],
)
def test_what_is_missing_is_said_in_a_line(tmp_path: Path, script: str | None, said: str) -> None:
    if script is not None:
        fake_docker(tmp_path, script)
    done = run("up", path=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("samebase: ")
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("arguments", [("--rule", "0"), ("--rule", "many"), ("--port", "70000"), ("--user", "50")])
def test_a_number_that_cannot_be_is_refused(arguments: tuple[str, ...]) -> None:
    done = run("scale", *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("samebase: ")
    assert arguments[1] in done.stderr
