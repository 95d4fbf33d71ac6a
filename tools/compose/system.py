"""docker compose, for this system.

docker-compose.yml has 2 user and 3 rule replicas. Another number of them is a second file beside it, made here from the
first: copies of user-1 and rule-1 under other names, and a profile that nobody chooses for those that are not wanted.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.embedded.errors import Refused

CHECKOUT = Path(__file__).parents[2]
PARTS = ("mysql", "accounts", "migrate", "sync")
"""The services of a replica besides its api, which has the replica's name."""
PORTS = {"user": 100, "rule": 200}
MOST_REPLICAS = 49
UNWANTED = "unwanted"

Counts = Mapping[str, int]
"""How many replicas of each service."""


@dataclass(frozen=True)
class Container:
    """One container as `docker compose ps` has it. `health` is empty for those that have no check."""

    service: str
    state: str
    health: str
    exit_code: int

    @property
    def once(self) -> bool:
        """It runs once and ends."""
        return self.service == "secrets" or self.service.endswith(("-accounts", "-migrate"))

    @property
    def well(self) -> bool:
        if self.once:
            return self.state == "exited" and self.exit_code == 0
        return self.state == "running" and self.health == "healthy"


class System:
    """Args:
    project: docker compose's name for it.
    port: the gateway's; replica n of user has port + 100 + n, of rule port + 200 + n.
    admins: names of accounts that are admins, with commas between them.
    """

    def __init__(self, project: str, port: int, admins: str = "") -> None:
        self.project, self.port, self._admins = project, port, admins
        self._more = CHECKOUT / ".run" / "compose" / f"{project}.json"

    # -- replicas ------------------------------------------------------------------------------------------------

    def counts(self) -> dict[str, int]:
        """How many replicas it is to have."""
        services = self.compose("config", "--services").split()
        return {service: sum(1 for name in services if re.fullmatch(rf"{service}-\d+", name)) for service in PORTS}

    def set_counts(self, counts: Counts) -> None:
        """How many replicas it is to have from now on; nothing is started or stopped."""
        base = json.loads(self.compose("config", "--format", "json", base=True))
        self._more.parent.mkdir(parents=True, exist_ok=True)
        new = self._more.with_suffix(".new")
        new.write_text(json.dumps(difference(base, counts, self.port), indent=1))
        new.replace(self._more)

    def forget_counts(self) -> None:
        """As many as docker-compose.yml has."""
        self._more.unlink(missing_ok=True)

    def ports(self, counts: Counts) -> dict[str, int]:
        """The ports of this machine that it takes, by service."""
        replicas = {
            f"{service}-{n}": self.port + PORTS[service] + n
            for service in counts
            for n in range(1, counts[service] + 1)
        }
        return {"gateway": self.port, **replicas}

    # -- docker --------------------------------------------------------------------------------------------------

    def compose(self, *arguments: str, base: bool = False, quiet: bool = True) -> str:
        """Run docker compose and return what it prints. Raises Refused with the last line of its errors.

        Args:
            base: leave the second file out.
            quiet: False lets it talk to the person about what it does.
        """
        done = self.try_compose(*arguments, base=base, quiet=quiet)
        if done.returncode:
            raise Refused(f"docker compose {arguments[0]}: {_last_line(done.stderr) or f'exit code {done.returncode}'}")
        return done.stdout

    def try_compose(self, *arguments: str, base: bool = False, quiet: bool = True) -> subprocess.CompletedProcess[str]:
        """As `compose`, but a failure is only returned."""
        files = ["--file", str(CHECKOUT / "docker-compose.yml")]
        if self._more.exists() and not base:
            files += ["--file", str(self._more)]
        return subprocess.run(
            ["docker", "compose", "--project-name", self.project, *files, *arguments],
            cwd=CHECKOUT,
            env={**os.environ, **self._environment()},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if quiet else None,
            text=True,
            check=False,
        )

    def containers(self) -> dict[str, Container]:
        """By service."""
        told = self.compose("ps", "--all", "--format", "json").strip()
        entries = json.loads(told) if told.startswith("[") else [json.loads(line) for line in told.splitlines()]
        return {
            entry["Service"]: Container(entry["Service"], entry["State"], entry["Health"], entry["ExitCode"])
            for entry in entries
        }

    def last_line(self, service: str) -> str:
        """The last thing that a service has said; what gunicorn says about it does not count."""
        lines = self.compose("logs", "--no-log-prefix", "--no-color", "--tail", "10", service).splitlines()
        return _last_line("\n".join(line for line in lines if not re.match(r"\[\d{4}-\d\d-\d\d ", line)))

    def complaint(self, service: str) -> str:
        """What the last health check of a service has found."""
        container = self.compose("ps", "--all", "--quiet", service).split()
        done = subprocess.run(
            ["docker", "inspect", "--format", "{{json .State.Health}}", *container],
            capture_output=True,
            text=True,
            check=False,
        )
        health = json.loads(done.stdout) if done.returncode == 0 and done.stdout.strip() else None
        said: str = health["Log"][-1]["Output"] if health and health.get("Log") else ""
        try:
            return str(json.loads(said)["reason"])
        except (ValueError, KeyError, TypeError):
            return _last_line(said)

    def _environment(self) -> dict[str, str]:
        ports = self.ports({"user": MOST_REPLICAS, "rule": MOST_REPLICAS})
        named = {f"{name.upper().replace('-', '_')}_PORT": str(port) for name, port in ports.items()}
        admins = {"ADMINS": self._admins} if self._admins else {}  # else .env may name some
        return {**named, **admins, "PORT": str(self.port)}


def services_of(replica: str) -> list[str]:
    """All services of a replica, in the order in which they are stopped."""
    return [replica, *(f"{replica}-{part}" for part in reversed(PARTS))]


def difference(base: Mapping[str, Any], counts: Counts, port: int) -> dict[str, Any]:
    """What a second file must say so that there are so many replicas.

    Args:
        base: docker-compose.yml as `docker compose config` resolves it.
        port: the gateway's.
    """
    services: dict[str, Any] = {}
    volumes: dict[str, Any] = {}
    for service, count in counts.items():
        there = sum(1 for name in base["volumes"] if name.startswith(f"{service}-"))
        for n in range(count + 1, there + 1):
            services |= {name: {"profiles": [UNWANTED]} for name in services_of(f"{service}-{n}")}
        for n in range(there + 1, count + 1):
            pattern, replica = f"{service}-1", f"{service}-{n}"
            copied = {name: base["services"][name] for name in services_of(pattern)}
            services |= json.loads(json.dumps(copied).replace(pattern, replica))
            services[replica]["ports"][0]["published"] = str(port + PORTS[service] + n)
            volumes[replica] = {}
    replicas = [f"{service}-{n}" for service in counts for n in range(1, counts[service] + 1)]
    return {"services": {**services, "secrets": {"command": replicas}}, "volumes": volumes}


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""
