"""python -m tools.compose up|scale|down|remove: arguments, and what is told to a person.

Exit codes: 0 well, 1 cannot be done, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import NoReturn

from tools.compose import checks, ready
from tools.compose.scale import scale
from tools.compose.system import MOST_REPLICAS, PORTS, System
from tools.embedded.errors import Refused

HIGHEST_PORT = 65535 - max(PORTS.values()) - MOST_REPLICAS


def main() -> None:
    """Entry point."""
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    arguments = _arguments()
    try:
        checks.require_docker()
        system = System(arguments.project, arguments.port, arguments.admins)
        {"up": _up, "scale": _scale, "down": _down, "remove": _remove}[arguments.command](system, arguments)
    except Refused as refused:
        sys.stderr.write(f"samebase: {refused}\n")
        sys.exit(1)


def _up(system: System, _: argparse.Namespace) -> None:
    counts = system.counts()
    checks.require_memory(counts)
    checks.require_ports(system, counts)
    began = time.monotonic()
    _say(f"starting {counts['user']} user and {counts['rule']} rule replicas, Kafka and the gateway in containers")
    ready.start(system, [], _say)
    _say(f"ready after {time.monotonic() - began:.0f} s")
    for name, port in system.ports(counts).items():
        print(f"  {name:<8} http://{checks.HOST}:{port}")
    print("Try it: the session in README.md. The operators' token, for /replicas of the gateway:")
    print(f"  docker compose --project-name {system.project} exec gateway cat /secrets/operator.token")


def _scale(system: System, arguments: argparse.Namespace) -> None:
    before = system.counts()
    wanted = {"user": arguments.user or before["user"], "rule": arguments.rule or before["rule"]}
    began = time.monotonic()
    scale(system, wanted, _say)
    shown = ", ".join(f"{count} {service}" for service, count in wanted.items())
    _say(f"{shown} replicas after {time.monotonic() - began:.0f} s")


def _down(system: System, _: argparse.Namespace) -> None:
    system.compose("--progress", "quiet", "down")
    _say("stopped; the data is in its volumes, and there again after make up")


def _remove(system: System, _: argparse.Namespace) -> None:
    system.compose("--progress", "quiet", "--profile", "*", "down", "--volumes", "--remove-orphans")
    system.forget_counts()
    _say("removed, the data too")


def _say(line: str) -> None:
    print(f"samebase: {line}")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line, where argparse would print its whole usage."""
        self.exit(2, f"samebase: {message}\n")


def _arguments() -> argparse.Namespace:
    parser = _Parser("python -m tools.compose", description="Runs the system of docker-compose.yml.")
    parser.add_argument("command", choices=("up", "scale", "down", "remove"))
    parser.add_argument("--project", default="samebase", help="docker compose's name for it")
    parser.add_argument("--port", type=_number("PORT", HIGHEST_PORT), default=8080, help="of the gateway")
    parser.add_argument("--user", type=_number("USER", MOST_REPLICAS), help="replicas of user")
    parser.add_argument("--rule", type=_number("RULE", MOST_REPLICAS), help="replicas of rule")
    parser.add_argument("--admins", default="", help="names of accounts that are admins, with commas between them")
    return parser.parse_args()


def _number(name: str, high: int) -> type[int]:
    def parse(text: str) -> int:
        if text.isascii() and text.isdigit() and 1 <= int(text) <= high:
            return int(text)
        raise argparse.ArgumentTypeError(f"{name}={text} is not a whole number from 1 to {high}")

    return parse  # type: ignore[return-value]
