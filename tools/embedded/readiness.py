"""Asking a process of ours how it is."""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass

from tools.embedded.plan import HOST, Process

TIMEOUT_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Look:
    """What a process answered.

    Attributes:
        alive: it answered at all.
        ready: it may receive traffic.
        reason: why it is not ready, for a person.
        stopped: it will not become ready by itself (a sync process only).
    """

    alive: bool = False
    ready: bool = False
    reason: str = "does not answer"
    stopped: bool = False


def look(process: Process) -> Look:
    """Ask it. Never raises: no answer is an answer too."""
    connection = http.client.HTTPConnection(HOST, process.port, timeout=TIMEOUT_SECONDS)
    try:
        # Only a sync process's /status can tell "not yet" from "never".
        connection.request("GET", "/status" if process.stage == "sync" else "/readyz")
        told = json.loads(connection.getresponse().read())
        return _of_sync(told) if process.stage == "sync" else Look(True, told["ready"], told["reason"] or "")
    except (OSError, http.client.HTTPException):
        return Look()
    except (ValueError, KeyError, TypeError):
        return Look(alive=True, reason="answers something that cannot be understood")
    finally:
        connection.close()


def _of_sync(status: dict[str, str]) -> Look:
    state = status["state"]
    reason = status["reason"]
    if state == "catching-up":
        reason = f"{status['offset']} of {status['log_end']} log entries applied"
    return Look(True, state == "ready", f"{state}: {reason}" if reason else state, state == "stopped")
