"""Steady load from inside the cluster, with nothing of this project: one writer and two readers through the gateway.

Runs until the file /tmp/stop is there, then prints what was acknowledged, and what failed, as one JSON object.
"""

import json
import os
import random
import threading
import time

import requests

GATEWAY = "http://gateway"
PAUSE_SECONDS = 0.05
WITHIN_SECONDS = 20.0

lock = threading.Lock()
began = time.monotonic()
acknowledged: dict[str, dict[str, object]] = {}  # key: name, and the progress values that the item may have in the end
failed_reads: list[str] = []
failed_writes: list[str] = []
counts = {"reads": 0, "writes": 0, "stale": 0}
slowest = {"read": 0.0, "write": 0.0}
position = ""  # covers all that the writer was told


def call(kind: str, method: str, path: str, **more: object) -> requests.Response:
    """One call on a connection of its own."""
    at = time.monotonic()
    try:
        return requests.request(method, GATEWAY + path, timeout=WITHIN_SECONDS, **more)  # type: ignore[arg-type]
    finally:
        with lock:
            slowest[kind] = max(slowest[kind], time.monotonic() - at)


class Caller:
    """Somebody who is signed in, and signs in again before that runs out."""

    until = 0.0
    token = ""

    def headers(self) -> dict[str, str]:
        if time.monotonic() > self.until:
            answer = call("write", "POST", "/user/session", json={"name": "load", "password": "steady as she goes"})
            if answer.status_code == 200:
                self.token, self.until = answer.json()["accessToken"], time.monotonic() + 300
        return {"Authorization": f"Bearer {self.token}", "X-Replica-Token": position, "Connection": "close"}


def stopped() -> bool:
    return os.path.exists("/tmp/stop")  # noqa: PTH110 - the test makes it


def write() -> None:
    """Add an item, then change it: what is answered with 2xx must never be lost."""
    global position
    caller, number = Caller(), 0
    while not stopped():
        number += 1
        name = f"item {number}"
        key = None
        for method, body in (("POST", {"name": name}), ("PATCH", {"progress": number % 101})):
            path = "/rule" if key is None else f"/rule/{key}"
            try:
                answer = call("write", method, path, json=body, headers=caller.headers())
            except requests.RequestException as error:
                problem = f"{time.monotonic() - began:.1f} s: {method}: {type(error).__name__}: {error}"
            else:
                problem = None if answer.ok else f"{time.monotonic() - began:.1f} s: {method}: {answer.text[:300]}"
            with lock:
                counts["writes"] += 1
                if problem is not None:
                    failed_writes.append(problem)
                    if key is not None:  # it may have been carried out
                        acknowledged[key]["progress"] = [0, number % 101]
                    break
                position = answer.headers["X-Replica-Token"]
                if key is None:
                    key = answer.json()["key"]
                    acknowledged[key] = {"name": name, "progress": [0]}
                else:
                    acknowledged[key]["progress"] = [number % 101]
            time.sleep(PAUSE_SECONDS)


def read() -> None:
    """Read what was acknowledged: it must be there, at once."""
    caller = Caller()
    while not stopped():
        time.sleep(PAUSE_SECONDS)
        with lock:
            key = random.choice(list(acknowledged)) if acknowledged else None
        if key is None:
            continue
        try:
            answer = call("read", "GET", f"/rule/{key}", headers=caller.headers())
        except requests.RequestException as error:
            problem = f"{type(error).__name__}: {error}"
        else:
            well = answer.status_code == 200 and answer.json()["name"] == acknowledged[key]["name"]
            problem = None if well else f"{answer.status_code} {answer.text[:300]}"
        with lock:
            counts["reads"] += 1
            if problem is not None:
                failed_reads.append(f"{time.monotonic() - began:.1f} s: {problem}")
            elif "X-Replica-Stale" in answer.headers:
                counts["stale"] += 1


def main() -> None:
    call("write", "POST", "/user", json={"name": "load", "password": "steady as she goes"}).raise_for_status()
    threads = [threading.Thread(target=work) for work in (write, read, read)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(
        json.dumps(
            {
                **counts,
                "slowest": slowest,
                "failed_reads": failed_reads,
                "failed_writes": failed_writes,
                "acknowledged": acknowledged,
            }
        )
    )


main()
