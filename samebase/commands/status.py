"""`samebase status`: where replicas stand, live on a terminal."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table

from samebase.commands.common import replicas
from samebase.snapshot.errors import Refused
from samebase.snapshot.peers import Peers

COLUMNS = ("name", "state", "offset", "log_end", "lag_entries", "lag_seconds", "pending", "rejected", "rate", "reason")
_HEADINGS = ("replica", "state", "offset", "log end", "lag", "lag s", "pending", "rejected", "entries/s", "reason")


def status(
    urls: Annotated[
        list[str] | None, typer.Argument(help="sync processes, for example http://127.0.0.1:8251; or SAMEBASE_PEERS")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON array, once")] = False,
    once: Annotated[bool, typer.Option("--once", help="do not stay, on a terminal")] = False,
    interval: Annotated[float, typer.Option(min=0.1, help="seconds between two looks")] = 1.0,
) -> None:
    """Show where replicas stand: live on a terminal until Ctrl-C, else once, a line each. Exit code 1 if one does not
    answer or is not ready."""
    peers, found = replicas(urls or [], token=False)
    console = Console()
    told = _look(peers, found)
    if as_json:
        sys.stdout.write(json.dumps(told) + "\n")
    elif not console.is_terminal:
        for one in told:
            sys.stdout.write(
                "  ".join(f"{column}={_text(one, column)}" for column in COLUMNS if _text(one, column)) + "\n"
            )
    elif once:
        console.print(_table(told))
    else:
        told = _watch(peers, found, told, console, interval)
    sys.exit(0 if all(one["state"] == "ready" for one in told) else 1)


def _watch(
    peers: Peers, urls: Sequence[str], told: list[dict[str, Any]], console: Console, interval: float
) -> list[dict[str, Any]]:
    with Live(_table(told), console=console, auto_refresh=False) as live:
        try:
            while True:
                before, at = {one["url"]: one for one in told}, time.monotonic()
                time.sleep(interval)
                told = _look(peers, urls)
                for one in told:
                    was = before[one["url"]].get("offset")
                    if was is not None and one.get("offset") is not None:
                        one["rate"] = round((one["offset"] - was) / (time.monotonic() - at))
                live.update(_table(told), refresh=True)
        except KeyboardInterrupt:
            return told


def _look(peers: Peers, urls: Sequence[str]) -> list[dict[str, Any]]:
    told: list[dict[str, Any]] = []
    for url in urls:
        try:
            told.append({"url": url, **peers.status(url)})
        except (Refused, ValueError) as error:
            told.append({"url": url, "name": url, "state": "unreachable", "reason": str(error)})
    return told


def _table(told: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(*_HEADINGS)
    for one in told:
        style = None if one["state"] == "ready" else "red" if one["state"] in ("stopped", "unreachable") else "yellow"
        table.add_row(*(_text(one, column) for column in COLUMNS), style=style)
    return table


def _text(one: Mapping[str, Any], column: str) -> str:
    value = one.get(column)
    return "" if value is None else str(value)
