"""Starting services and waiting until they are ready, or saying why they will not be."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

from tools.compose.system import Container, System
from tools.embedded.errors import Refused

LOOK_SECONDS = 0.5
SAY_SECONDS = 10.0
PATIENCE_SECONDS = 180.0
"""For becoming ready, without a sign of progress."""
TRIES = 3
"""Looks at which a container that starts again and again was seen to do so."""

Say = Callable[[str], None]


def start(system: System, services: Collection[str], say: Say) -> None:
    """Start these services (none: all of them) and wait until they are ready. Raises Refused with the reason."""
    done = system.try_compose("--progress", "quiet", "up", "--detach", "--no-build", *sorted(services))
    containers = system.containers()
    if done.returncode:
        failed = [container for container in containers.values() if _hopeless(container)]
        for container in failed:
            raise Refused(f"{container.service}: {_reason(system, container)}")
        raise Refused(f"docker compose up: {done.stderr.strip().splitlines()[-1]}")
    _wait(system, set(services) or set(containers), say)


def _wait(system: System, services: Collection[str], say: Say) -> None:
    began = said = moved = time.monotonic()
    waiting: list[tuple[str, str]] = []
    restarting: dict[str, int] = {}
    while True:
        containers = system.containers()
        unwell = [containers[name] for name in sorted(services) if not containers[name].well]
        if not unwell:
            return
        now = time.monotonic()
        states = [(container.service, container.state) for container in unwell]
        if states != waiting:
            waiting, moved = states, now
        for container in unwell:
            restarting[container.service] = restarting.get(container.service, 0) + (container.state == "restarting")
            if _hopeless(container) or restarting[container.service] >= TRIES:
                raise Refused(f"{container.service}: {_reason(system, container)}")
        if now - moved > PATIENCE_SECONDS:
            raise Refused(f"gave up after {now - began:.0f} s: {_listed(system, unwell)}")
        if now - said > SAY_SECONDS:
            said = now
            say(f"waiting for {_listed(system, unwell)}")
        time.sleep(LOOK_SECONDS)


def _hopeless(container: Container) -> bool:
    """It has failed, and nobody starts it again."""
    return container.state in {"exited", "dead"} and container.exit_code != 0


def _listed(system: System, containers: list[Container]) -> str:
    """The first few, with their reasons."""
    shown = [f"{container.service} ({_reason(system, container)})" for container in containers[:3]]
    return ", ".join(shown) + (f" and {len(containers) - 3} more" if len(containers) > 3 else "")


def _reason(system: System, container: Container) -> str:
    if container.state == "running":
        return system.complaint(container.service) or "is starting"
    said = system.last_line(container.service)
    return said.removeprefix("error: ").removeprefix("samebase: ") or f"{container.state} ({container.exit_code})"
