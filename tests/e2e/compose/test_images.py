"""What is in the images, and what is not."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import PurePosixPath
from typing import Any

import pytest

from tests.support.compose import docker
from tests.support.system import CHECKOUT

pytestmark = [pytest.mark.docker, pytest.mark.usefixtures("images")]

ROLES = {"user": "10001", "rule": "10002", "gateway": "10003", "sync": "10004"}
UNWANTED = ("gcc", "cc", "g++", "make", "ld", "as", "curl", "wget", "git")
SECRET = re.compile(r"BEGIN [A-Z ]*PRIVATE KEY|(?i:password|token|secret)\s*=\s*['\"][^'\"]+['\"]")


def config(role: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(docker("image", "inspect", f"samebase-{role}:dev"))[0]["Config"]
    return found


def inside(role: str, *command: str) -> str:
    return docker("run", "--rm", "--read-only", "--network=none", "--entrypoint", "", f"samebase-{role}:dev", *command)


@pytest.mark.parametrize("role", ROLES)
def test_an_image_says_what_it_is_and_how_it_is_checked(role: str) -> None:
    found = config(role)
    assert found["User"] == f"{ROLES[role]}:{ROLES[role]}"
    assert found["Labels"]["org.opencontainers.image.title"] == f"samebase-{role}"
    assert found["Labels"]["org.opencontainers.image.version"] == "dev"
    assert found["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert "healthcheck.py" in found["Healthcheck"]["Test"]
    assert not [name for name in found["Env"] if re.search(r"PASSWORD|TOKEN|SECRET|_URL", name)]


@pytest.mark.parametrize("role", ROLES)
def test_a_process_is_an_ordinary_user_and_cannot_change_its_program(role: str) -> None:
    assert inside(role, "id", "-u").strip() == ROLES[role]
    assert inside(role, "find", "/app", "/opt/venv", "-writable", "-not", "-type", "l") == ""


@pytest.mark.parametrize("role", ROLES)
def test_an_image_has_its_own_code_and_no_compiler_no_tests_no_secrets(role: str) -> None:
    search = " ".join(f"$(command -v {tool})" for tool in UNWANTED)
    assert inside(role, "sh", "-c", f"echo {search}").strip() == ""
    files = [PurePosixPath(path) for path in inside(role, "find", "/app", "-type", "f").splitlines()]
    tops = {path.relative_to("/app").parts[0] for path in files if "__pycache__" not in path.parts}
    services = {path.parts[3] for path in files if path.parts[2] == "services" and len(path.parts) > 4} - {
        "__pycache__"
    }
    if role == "sync":
        assert (tops, services) == ({"healthcheck.py", "samebase", "tables"}, set())
    else:
        assert (tops, services) == ({"healthcheck.py", "services"}, {"common", role})
    text = inside(role, "sh", "-c", "cat $(find /app -name '*.py' -o -name '*.toml')")
    assert not SECRET.findall(text)


@pytest.mark.parametrize("role", ["user", "rule", "gateway"])
def test_a_missing_setting_is_named_and_the_container_ends(role: str) -> None:
    command = ["docker", "run", "--rm", "--read-only", "--tmpfs=/tmp", "--network=none", f"samebase-{role}:dev"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert "TODO_PUBLIC_KEYS_FILE: Field required" in done.stderr.splitlines()[0]
    assert "Traceback" not in done.stderr


def test_a_change_of_one_service_leaves_the_other_images_as_they_are(tmp_path_factory: pytest.TempPathFactory) -> None:
    copy = tmp_path_factory.mktemp("checkout")
    for name in ("Dockerfile", ".dockerignore", "locks", "samebase", "services", "tools"):
        subprocess.run(["cp", "-r", CHECKOUT / name, copy], check=True)

    def build(role: str) -> list[str]:
        tag = f"samebase-e2e-{role}"
        subprocess.run(["docker", "build", "--quiet", "--target", role, "--tag", tag, copy], check=True, timeout=300)
        layers: list[str] = json.loads(docker("image", "inspect", tag))[0]["RootFS"]["Layers"]
        docker("image", "rm", tag)
        return layers

    before = {role: build(role) for role in ROLES}
    with (copy / "services/rule/views.py").open("a") as views:
        views.write("\n# changed\n")
    after = {role: build(role) for role in ROLES}
    assert [role for role in ROLES if after[role] != before[role]] == ["rule"]
