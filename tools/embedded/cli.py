"""python -m tools.embedded: arguments, and the order in which a system comes to life.

Exit codes: 0 stopped by Ctrl-C or SIGTERM, 1 cannot run, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from tools.embedded import directory as data
from tools.embedded import keys, plan, ports
from tools.embedded.errors import Refused
from tools.embedded.supervise import Supervisor

LEFTOVER_SECONDS = 10.0
"""How long to wait for the processes of a system whose supervisor was killed: they are ending already."""


def main() -> None:
    """Entry point."""
    # Lines must reach whoever reads them through a pipe, too.
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    arguments = _arguments()
    try:
        _run(arguments)
    except Refused as refused:
        if refused.details:
            sys.stderr.write(refused.details + "\n")
        sys.stderr.write(f"samebase: {refused}\n")
        sys.exit(1)
    except BrokenPipeError:  # whoever read our lines is gone; so is everything that was started
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def _run(arguments: argparse.Namespace) -> None:
    directory: Path = arguments.directory.absolute()
    counts = {"user": arguments.user, "rule": arguments.rule}
    replicas = plan.replicas(directory, arguments.port, counts)
    lock = data.take(directory)
    processes = plan.processes(directory, arguments.port, replicas, keys.prepare(directory / "keys"), arguments.admins)
    _require_ports(directory, processes)
    data.sign(lock, processes[-1].url)
    data.check(directory, replicas)
    began = time.monotonic()
    print(f"samebase: starting {arguments.user} user and {arguments.rule} rule replicas, data in {directory}")
    data.migrate_all(replicas)
    Supervisor(directory, processes, lambda line: print(f"samebase: {line}")).run(
        lambda: print(_ready_text(directory, processes, replicas, time.monotonic() - began))
    )
    print("samebase: stopped")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line, where argparse would print its whole usage."""
        self.exit(2, f"samebase: {message}\n")


def _arguments() -> argparse.Namespace:
    parser = _Parser("python -m tools.embedded", description="Runs the whole system on this machine.")
    parser.add_argument("--port", type=_number("PORT", 1, plan.HIGHEST_PORT), default=8080, help="of the gateway")
    parser.add_argument("--user", type=_number("USER", 1, plan.MOST_REPLICAS), default=2, help="replicas of user")
    parser.add_argument("--rule", type=_number("RULE", 1, plan.MOST_REPLICAS), default=3, help="replicas of rule")
    parser.add_argument("--admins", default="", help="names of accounts that are admins, with commas between them")
    parser.add_argument("--directory", type=Path, default=Path(".run"), help="where the data is kept")
    return parser.parse_args()


def _number(name: str, low: int, high: int) -> type[int]:
    def parse(text: str) -> int:
        if text.isascii() and text.isdigit() and low <= int(text) <= high:
            return int(text)
        raise argparse.ArgumentTypeError(f"{name} must be a number from {low} to {high}, not {text!r}")

    return parse  # type: ignore[return-value]  # argparse calls it


def _require_ports(directory: Path, processes: Sequence[plan.Process]) -> None:
    """Raises Refused if a port is taken, naming who holds it."""
    deadline = time.monotonic() + (LEFTOVER_SECONDS if _leftovers(directory) else 0)
    for process in processes:
        while ports.in_use(plan.HOST, process.port):
            if time.monotonic() >= deadline:
                pid = ports.holder(process.port)
                who = "somebody" if pid is None else ports.describe(pid)
                raise Refused(
                    f"port {process.port} (for {process.name}) is in use by {who}: stop that, or choose other ports "
                    "with PORT="
                )
            time.sleep(0.1)


def _leftovers(directory: Path) -> bool:
    """Whether processes of an earlier run are still there."""
    try:
        pids = json.loads((directory / "pids.json").read_text()).values()
    except (OSError, ValueError):
        return False
    for pid in pids:
        try:
            os.kill(pid, 0)
        except OSError:
            continue
        return True
    return False


def _ready_text(
    directory: Path, processes: Sequence[plan.Process], replicas: Sequence[plan.Replica], seconds: float
) -> str:
    gateway = processes[-1]
    lines = [
        f"samebase: ready after {seconds:.1f} s",
        "",
        f"  gateway   {gateway.url}",
        *(
            f"  {replica.name:<8}  http://{plan.HOST}:{replica.api_port}   "
            f"its sync  http://{plan.HOST}:{replica.sync_port}"
            for replica in replicas
        ),
        "",
        f"  logs      {directory / 'logs'}",
        f'  operators curl -H "Authorization: Bearer $(cat {directory / "keys" / "operator.token"})" '
        f"{gateway.url}/replicas",
        "",
        "  Ctrl-C stops everything; the data stays.",
    ]
    return "\n".join(lines)
