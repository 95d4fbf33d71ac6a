"""Load: many clients as fast as a server takes it, one writer at a given rate, one reader that looks what has come.

Writer and reader are processes of their own, so that no Python thread waits for another. Their clock is the system's
monotonic one, which all processes of a machine share.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing

from bench.real.servers import DATABASE, MySql, session
from bench.real.table import INSERT, TABLE, insert

CLIENTS = 16
POLL_SECONDS = 0.001
"""How long the reader rests between two looks."""


def slap(server: MySql, clients: int, transactions: int, rows: int = 1) -> float:
    """So many transactions of so many rows by clients that each wait for nothing but the server (mysqlslap, inside the
    server's container). Returns the seconds that all took. Raises ValueError if they cannot be shared out evenly."""
    if transactions % clients:
        raise ValueError(f"{transactions} transactions by {clients} clients")
    said = server.run(
        *("mysqlslap", "--user=root", "--silent", "--csv", "--no-drop", f"--create-schema={DATABASE}"),
        *(f"--concurrency={clients}", f"--number-of-queries={transactions}", f"--query={insert(rows)}"),
        seconds=600,
    )
    # engine, kind of load, average, shortest and longest time, clients, queries per client
    return float(said.strip().splitlines()[-1].split(",")[2])


def processes(count: int) -> ProcessPoolExecutor:
    """Fresh processes: a fork would share the servers' connections."""
    return ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("spawn"))


def write_paced(port: int, run: str, rate: float, count: int, begin: float) -> list[float]:
    """Insert `count` rows, one transaction each, `rate` per second, from `begin` on. Returns when each was committed.
    A writer that is late does not wait."""
    committed = []
    with closing(session(port)) as connection, connection.cursor() as cursor:
        for number in range(count):
            _sleep_until(begin + number / rate)
            cursor.execute(INSERT, (key(run, number),))
            committed.append(time.monotonic())
    return committed


def watch(port: int, run: str, count: int, begin: float, seconds: float) -> list[float]:
    """Look for the rows of `write_paced` over and over. Returns when each was first seen (later: not, after
    `seconds`)."""
    seen: list[float] = []
    last = key(run, 0)[:-1]
    with closing(session(port)) as connection, connection.cursor() as cursor:
        _sleep_until(begin)
        deadline = begin + seconds
        while len(seen) < count and time.monotonic() < deadline:
            found = cursor.execute(
                f"SELECT id FROM {TABLE} WHERE id > %s AND id < %s ORDER BY id", (last, key(run, 10**8 - 1))
            )
            if found:
                now = time.monotonic()
                last = cursor.fetchall()[-1][0]
                seen.extend([now] * found)
            time.sleep(POLL_SECONDS)
    return seen


def key(run: str, number: int) -> str:
    """The key of a paced row: they sort in the order of writing."""
    return f"{run}-{number:08}"


def _sleep_until(moment: float) -> None:
    while (left := moment - time.monotonic()) > 0:
        time.sleep(left)


def timed(steps: Callable[[int], None], count: int) -> list[float]:
    """How long each of `count` calls took, in seconds."""
    took = []
    for number in range(count):
        began = time.monotonic()
        steps(number)
        took.append(time.monotonic() - began)
    return took
