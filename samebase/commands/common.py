"""What the operator's commands share."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NoReturn

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from samebase.config import ConfigError, OperatorSettings, load_operator_settings
from samebase.snapshot.peers import Peers


def fail(why: str, code: int = 1) -> NoReturn:
    """End with one line. Code 1: it failed; 2: wrong usage or settings."""
    sys.stderr.write(f"samebase: {why}\n")
    sys.exit(code)


def settings() -> OperatorSettings:
    """The environment's; ends the command if it makes no sense."""
    try:
        return load_operator_settings()
    except ConfigError as error:
        fail(str(error), 2)


def replicas(urls: Sequence[str], *, token: bool = True) -> tuple[Peers, list[str]]:
    """The replicas that were named, else those of SAMEBASE_PEERS, and their URLs. Ends the command if there are none,
    or if their token is needed and not there."""
    known = settings()
    if token and known.peer_token is None:
        fail("SAMEBASE_PEER_TOKEN is needed: replicas give their rows only to those who know it", 2)
    spec = ",".join(urls) or known.peers or ""
    peers = Peers(spec, known.peer_token.get_secret_value() if known.peer_token else "")
    found = peers.urls()
    if not found:
        fail("name the replicas' sync processes, or set SAMEBASE_PEERS", 2)
    return peers, found


def bar(total: bool = False) -> Progress:
    """A progress display on stderr; nothing where that is no terminal."""
    columns = [
        SpinnerColumn(),
        TextColumn("{task.description}"),
        TextColumn("{task.fields[told]}"),
        TimeElapsedColumn(),
    ]
    if total:
        columns.insert(2, BarColumn())
    console = Console(stderr=True)
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
