"""More replicas of a system that runs, and fewer.

A new replica has an empty database and serves when it has caught up. One that goes is asked first to take no more
requests; it is removed, its database too, when all that it has committed is in the log.
"""

from __future__ import annotations

import json
import time

from tools.compose import checks, ready
from tools.compose.ready import LOOK_SECONDS, Say
from tools.compose.system import Counts, System, services_of
from tools.embedded.errors import Refused

DRAIN_SECONDS = 4.0
"""The gateway looks every second who is ready, and its answer may take another one; then twice that."""
FLUSH_SECONDS = 60.0
STATUS = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8150/status', timeout=5).read().decode())"


def scale(system: System, counts: Counts, say: Say) -> None:
    """Have so many replicas of each service. Raises Refused; what was done until then stays done."""
    before = system.counts()
    if not any(container.state == "running" for container in system.containers().values()):
        raise Refused("nothing runs that could be scaled: make up")
    added = [f"{service}-{n}" for service in counts for n in range(before[service] + 1, counts[service] + 1)]
    removed = [f"{service}-{n}" for service in counts for n in range(before[service], counts[service], -1)]
    if added:
        most = {service: max(before[service], counts[service]) for service in counts}
        checks.require_memory(most)
        checks.require_ports(system, most)
        system.set_counts(most)
        say(f"starting {', '.join(added)}")
        ready.start(system, [name for replica in added for name in services_of(replica)], say)
    if removed:
        _remove(system, removed, say)
        system.set_counts(counts)


def _remove(system: System, replicas: list[str], say: Say) -> None:
    say(f"stopping {', '.join(replicas)}: the gateway sends them nothing any more")
    running = [replica for replica in replicas if _runs(system, replica)]
    for replica in running:
        system.compose("exec", "-T", replica, "touch", "/tmp/drain")  # noqa: S108 - in the container, which is ours
    if running:
        time.sleep(DRAIN_SECONDS)
        system.compose("stop", *running)
    for replica in replicas:
        if f"{replica}-sync" in system.containers():
            try:
                _flush(system, replica)
            except Refused:
                if replica in running:
                    system.compose("start", replica)
                raise
            for service in services_of(replica):
                system.compose("rm", "--stop", "--force", service)
            volume = f"{system.project}_{replica}"
            checks.ask("docker", "volume", "rm", "--force", volume, otherwise=f"the volume {volume} stays")


def _runs(system: System, service: str) -> bool:
    container = system.containers().get(service)
    return container is not None and container.state == "running"


def _flush(system: System, replica: str) -> None:
    """Wait until all that was committed there is in the log."""
    deadline = time.monotonic() + FLUSH_SECONDS
    while (pending := _pending(system, replica)) != 0:
        if pending is None and not _runs(system, f"{replica}-sync"):
            raise Refused(f"{replica} stays: its sync process, which knows what is in the log, does not run; make up")
        if time.monotonic() > deadline:
            what = (
                "its sync process does not answer" if pending is None else f"{pending} transactions are not in the log"
            )
            raise Refused(f"{replica} stays: {what} (does Kafka run?)")
        time.sleep(LOOK_SECONDS)


def _pending(system: System, replica: str) -> int | None:
    """How many transactions are not in the log yet; None if sync does not answer."""
    told = system.try_compose("exec", "-T", f"{replica}-sync", "python", "-c", STATUS)
    if told.returncode:
        return None
    pending: int = json.loads(told.stdout)["pending"]
    return pending
