"""What was measured on."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path

from bench.real.servers import KAFKA_IMAGE, MYSQL_IMAGE, SETTINGS, engine_version


def describe() -> list[tuple[str, str]]:
    """Name and value, for the head of a page."""
    packages = ("mysql-replication", "PyMySQL", "confluent-kafka")
    return [
        ("cores", f"{os.cpu_count()} ({_line('/proc/cpuinfo', 'model name')}), shared by clients and all servers"),
        ("memory", f"{int(_line('/proc/meminfo', 'MemTotal').split()[0]) / 2**20:.0f} GiB"),
        ("kernel", f"{platform.system()} {platform.release()}"),
        ("servers", f"`{MYSQL_IMAGE}`, `{KAFKA_IMAGE}`, Docker Engine {engine_version()}, a volume each on one disk"),
        ("mysqld", " ".join(f"`{setting}`" for setting in SETTINGS if "bind" not in setting)),
        ("Python", f"{platform.python_version()}, {', '.join(f'{name} {version(name)}' for name in packages)}"),
    ]


def _line(path: str, name: str) -> str:
    for line in Path(path).read_text().splitlines():
        if line.startswith(name):
            return line.partition(":")[2].strip()
    return "unknown"
