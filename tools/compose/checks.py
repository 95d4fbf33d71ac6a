"""What would go wrong, said in one line before anything is started."""

from __future__ import annotations

import shutil
import subprocess

from tools.compose.system import Counts, System
from tools.embedded import ports
from tools.embedded.errors import Refused

GIB = 2**30
REPLICA_BYTES = 0.4 * GIB
"""A replica's MySQL, sync and api. Measured: 0.37 GiB."""
OTHER_BYTES = 0.8 * GIB
"""Kafka, the gateway, and Docker itself."""
HOST = "127.0.0.1"
INSTALL = "install Docker Engine with its compose plugin, or Docker Desktop"


def require_docker() -> None:
    """Raises Refused unless there is Docker, it runs, and it has compose."""
    if shutil.which("docker") is None:
        raise Refused(f"Docker was not found: {INSTALL}")
    ask("docker", "compose", "version", otherwise=f"Docker has no compose plugin: {INSTALL}")
    ask("docker", "info", "--format", "{{.ServerVersion}}", otherwise="Docker's engine does not answer: start it")


def require_memory(counts: Counts) -> None:
    """Raises Refused if Docker has too little for so many replicas."""
    has = int(ask("docker", "info", "--format", "{{.MemTotal}}", otherwise="Docker does not tell its memory"))
    needed = OTHER_BYTES + REPLICA_BYTES * sum(counts.values())
    if has < needed:
        raise Refused(
            f"Docker has {has / GIB:.1f} GiB of memory, and {sum(counts.values())} replicas need {needed / GIB:.1f}: "
            "give it more (Docker Desktop: Settings, Resources), or take fewer replicas: make scale RULE=1 USER=1"
        )


def require_ports(system: System, counts: Counts) -> None:
    """Raises Refused if somebody else has a port that is needed."""
    ours = {name for name, container in system.containers().items() if container.state in {"running", "restarting"}}
    for service, port in system.ports(counts).items():
        if service not in ours and ports.in_use(HOST, port):
            pid = ports.holder(port)
            whose = f" by {ports.describe(pid)}" if pid is not None else ""
            raise Refused(f"port {port} (of {service}) is taken{whose}: stop that, or choose another place with PORT=")


def ask(*command: str, otherwise: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise Refused(otherwise + (f" ({said[-1].strip()})" if said else ""))
    return done.stdout.strip()
