"""Which processes make the system, as values: nothing is started here.

With P for the gateway's port: replica i of user has its api on P+100+i and its sync on P+150+i, replica i of rule on
P+200+i and P+250+i.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import services
from services.rule.migrate import DIRECTORY as RULE_MIGRATIONS
from services.user.migrate import DIRECTORY as USER_MIGRATIONS
from tools.embedded.keys import Keys

Stage = Literal["sync", "api", "gateway"]
HOST = "127.0.0.1"
MOST_REPLICAS = 49
SERVICES_DIRECTORY = Path(services.__file__).parent
MIGRATIONS = {"user": USER_MIGRATIONS, "rule": RULE_MIGRATIONS}
API_PORTS = {"user": 100, "rule": 200}
SYNC_PORTS = {"user": 150, "rule": 250}
HIGHEST_PORT = 65535 - SYNC_PORTS["rule"] - MOST_REPLICAS

# A waiting request holds a thread, and all of them wait: for the log, for a verdict, for another process.
GATEWAY_THREADS = 64
API_THREADS = 32


@dataclass(frozen=True, slots=True)
class Process:
    """One process to run.

    Attributes:
        name: in the logs directory and in messages: `rule-1`, `rule-1-sync`, `gateway`.
        settings: its environment variables, beside those of this process.
    """

    name: str
    stage: Stage
    port: int
    command: tuple[str, ...]
    settings: Mapping[str, str]

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"


@dataclass(frozen=True, slots=True)
class Replica:
    """One replica: its database, the log that it shares with the others of its service, its two ports."""

    service: str
    number: int
    database: Path
    log: Path
    api_port: int
    sync_port: int

    @property
    def name(self) -> str:
        return f"{self.service}-{self.number}"


def replicas(directory: Path, port: int, counts: Mapping[str, int]) -> list[Replica]:
    """All replicas. `counts`: how many of each service."""
    return [
        Replica(
            service,
            number,
            directory / f"{service}-{number}.db",
            directory / f"{service}.changes.db",
            port + API_PORTS[service] + number,
            port + SYNC_PORTS[service] + number,
        )
        for service, count in counts.items()
        for number in range(1, count + 1)
    ]


def processes(directory: Path, port: int, all_replicas: list[Replica], keys: Keys, admins: str) -> list[Process]:
    """All processes, in the order in which they are started; they are stopped in the opposite one."""
    return [
        *(_sync(replica) for replica in all_replicas),
        *(_api(directory, replica, keys, admins) for replica in all_replicas),
        _gateway(directory, port, all_replicas, keys),
    ]


def _sync(replica: Replica) -> Process:
    return Process(
        f"{replica.name}-sync",
        "sync",
        replica.sync_port,
        (str(Path(sys.executable).parent / "samebase"), "run"),
        {
            "SAMEBASE_NAME": replica.name,
            "SAMEBASE_DATABASE": f"sqlite:///{replica.database}",
            "SAMEBASE_LOG": f"sqlite:///{replica.log}",
            "SAMEBASE_TABLES": str(SERVICES_DIRECTORY / replica.service / "samebase.toml"),
            "SAMEBASE_LISTEN": f"{HOST}:{replica.sync_port}",
            "SAMEBASE_LOG_FORMAT": "json",
        },
    )


def _api(directory: Path, replica: Replica, keys: Keys, admins: str) -> Process:
    settings = {
        **_common(directory, replica.name, keys),
        "TODO_DATABASE_URL": f"sqlite:///{replica.database}",
        "TODO_SYNC_URL": f"http://{HOST}:{replica.sync_port}",
    }
    if replica.service == "user":
        settings |= {"TODO_SIGNING_KEY_FILE": str(keys.signing), "TODO_ADMINS": admins}
    command = _gunicorn(f"services.{replica.service}.app:create_app()", replica.api_port, API_THREADS)
    return Process(replica.name, "api", replica.api_port, command, settings)


def _gateway(directory: Path, port: int, all_replicas: list[Replica], keys: Keys) -> Process:
    urls = {
        f"TODO_{service.upper()}_URLS": ",".join(
            f"http://{HOST}:{replica.api_port}" for replica in all_replicas if replica.service == service
        )
        for service in MIGRATIONS
    }
    settings = {**_common(directory, "gateway", keys), **urls, "TODO_OPERATOR_TOKEN_FILE": str(keys.operator)}
    command = _gunicorn("services.gateway.app:create_app()", port, GATEWAY_THREADS)
    return Process("gateway", "gateway", port, command, settings)


def _common(directory: Path, name: str, keys: Keys) -> dict[str, str]:
    return {
        "TODO_NAME": name,
        "TODO_PUBLIC_KEYS_FILE": str(keys.public),
        "TODO_LOG_FORMAT": "json",
        "PROMETHEUS_MULTIPROC_DIR": str(directory / "metrics" / name),
    }


def _gunicorn(factory: str, port: int, threads: int) -> tuple[str, ...]:
    options = {
        "--config": "python:services.common.gunicorn_config",
        "--bind": f"{HOST}:{port}",
        "--threads": str(threads),
    }
    flags = [part for option in options.items() for part in option]
    return (sys.executable, "-m", "gunicorn", *flags, factory)
