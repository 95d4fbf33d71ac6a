"""The system of docker-compose.yml under test, as a project of its own on ports of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import tomllib
from typing import Any

from tests.support.replicas import wait_for
from tests.support.system import CHECKOUT, answers, free_base_port
from tools.compose import checks
from tools.compose.scale import STATUS
from tools.compose.system import System

PROJECT = "samebase-e2e"
PATIENCE = 120.0
TIMEOUT_SECONDS = 300
_QUERY = (
    'MYSQL_PWD="$(cat "/secrets/$0/mysql/root_password")" mysql --user=root --batch --skip-column-names -e "$1" "$2"'
)


class ComposeSystem:
    """Everything that people do with `make up`, `make scale`, `make down`, and docker.

    Args:
        port: of the gateway; None takes free ones.
    """

    def __init__(self, port: int | None = None, project: str = PROJECT) -> None:
        self.port = free_base_port() if port is None else port
        self.project = project
        self.system = System(project, self.port)

    # -- commands ------------------------------------------------------------------------------------------------

    def command(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """What a make target runs."""
        return subprocess.run(
            [sys.executable, "-m", "tools.compose", "--project", self.project, "--port", str(self.port), *arguments],
            cwd=CHECKOUT,
            env=environment or None,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )

    def up(self) -> float:
        """Start it; returns the seconds until it is ready."""
        began = time.monotonic()
        self._well("up")
        return time.monotonic() - began

    def scale(self, **counts: int) -> None:
        self._well("scale", *(part for name, count in counts.items() for part in (f"--{name}", str(count))))

    def down(self) -> None:
        self._well("down")

    def remove(self) -> None:
        self._well("remove")

    def _well(self, *arguments: str) -> None:
        done = self.command(*arguments)
        assert done.returncode == 0, f"{arguments}: {done.stderr}"

    # -- containers ----------------------------------------------------------------------------------------------

    def container(self, service: str) -> str:
        """The id of a service's container."""
        found = self.system.compose("ps", "--all", "--quiet", service).strip()
        assert found, f"{service} has no container"
        return found

    def kill(self, service: str) -> None:
        """As `kill -9` of everything in the container."""
        docker("kill", self.container(service))

    def bring_back(self, service: str) -> None:
        """Start what was killed, and wait until it is well."""
        docker("start", self.container(service))
        wait_for(lambda: self.system.containers()[service].well, f"{service} is well again", PATIENCE)

    def inside(self, service: str, *command: str) -> str:
        """What a command prints in the service's container."""
        return self.system.compose("exec", "-T", service, *command)

    def memory_mib(self) -> float:
        """What all containers use."""
        ids = self.system.compose("ps", "--quiet").split()
        told = docker("stats", "--no-stream", "--format", "{{.MemUsage}}", *ids)
        units = {"KiB": 1 / 1024, "MiB": 1.0, "GiB": 1024.0}
        used = [line.split(" / ")[0] for line in told.splitlines()]
        return sum(float(text[:-3]) * units[text[-3:]] for text in used)

    # -- replicas ------------------------------------------------------------------------------------------------

    @property
    def gateway(self) -> str:
        return f"http://{checks.HOST}:{self.port}"

    def replicas(self, service: str) -> list[str]:
        """Names of its replicas."""
        return [f"{service}-{n}" for n in range(1, self.system.counts()[service] + 1)]

    def api(self, name: str) -> str:
        """URL of a replica's api."""
        return f"http://{checks.HOST}:{self.system.ports(self.system.counts())[name]}"

    def rows(self, name: str, sql: str) -> list[tuple[str, ...]]:
        """What a query finds in one replica's database, all as text."""
        told = self.inside(f"{name}-mysql", "sh", "-c", _QUERY, name, sql, name.partition("-")[0])
        return [tuple(line.split("\t")) for line in told.splitlines()]

    def status(self, name: str) -> dict[str, Any]:
        """Where a replica's sync process stands."""
        status: dict[str, Any] = json.loads(self.inside(f"{name}-sync", "python", "-c", STATUS))
        return status

    def wait_ready(self) -> None:
        """Until every container is well, and the gateway answers."""
        wait_for(lambda: all(c.well for c in self.system.containers().values()), "all is well", PATIENCE)
        wait_for(lambda: answers(f"{self.gateway}/readyz"), "the gateway is ready")

    def compare_replicas(self) -> None:
        """Fails unless all replicas of each service, once settled, hold the same rows and the same rejections."""
        for service in ("user", "rule"):
            replicas = self.replicas(service)
            wait_for(lambda replicas=replicas: self._settled(replicas), f"{service} is settled", PATIENCE)  # type: ignore[misc]
            tables = tomllib.loads((CHECKOUT / "services" / service / "samebase.toml").read_text())["tables"]
            queries = [f"SELECT * FROM {table} ORDER BY 1, 2" for table in tables]
            # What was rejected, its origin alone has the content of.
            queries.append("SELECT `offset`, origin, seq, request, reason, `rows` FROM samebase.rejected ORDER BY 1, 3")
            first, *others = (self.rows(replica, "; ".join(queries)) for replica in replicas)
            for replica, other in zip(replicas[1:], others, strict=True):
                missing, more = set(first) - set(other), set(other) - set(first)
                assert other == first, f"{replica} differs from {replicas[0]}: {missing=} {more=}"

    def _settled(self, replicas: list[str]) -> bool:
        statuses = [self.status(replica) for replica in replicas]
        places = {place for status in statuses for place in (status["offset"], status["log_end"])}
        return len(places) == 1 and all(s["state"] == "ready" and s["pending"] == 0 for s in statuses)


def docker(*arguments: str) -> str:
    """What docker prints."""
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False)
    assert done.returncode == 0, f"docker {arguments}: {done.stderr}"
    return done.stdout
