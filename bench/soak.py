"""Random schedules on the core for as long as you like: `python bench/soak.py --minutes 60`.

Runs tests/unit/core/test_cluster.py's machine in one process per CPU with fresh random seeds, prints how many schedules
and steps of how many it has run, and stops with exit code 1 and the blob that repeats it at the first failure.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
import traceback
from multiprocessing.queues import Queue
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from tests.unit.core.test_cluster import SETTINGS, ClusterMachine

CHUNK = 250


class Counting(ClusterMachine):
    """The machine, and how many schedules it has begun and how many transactions they committed."""

    schedules = 0
    transactions = 0

    def __init__(self) -> None:
        super().__init__()
        Counting.schedules += 1

    def teardown(self) -> None:
        super().teardown()
        Counting.transactions += sum(len(database.history) for database in self.cluster.databases)


def work(until: float, results: Queue[tuple[int, int, str | None]]) -> None:
    failure = None
    while failure is None and time.monotonic() < until:
        try:
            run_state_machine_as_test(Counting, settings=settings(SETTINGS, max_examples=CHUNK, database=None))
        except Exception:  # noqa: BLE001 - whatever it is, it goes to the parent and ends the soak
            failure = traceback.format_exc()
        results.put((Counting.schedules, Counting.transactions, failure))
        Counting.schedules = Counting.transactions = 0
    results.put((0, 0, "done"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    began = time.monotonic()
    results: Queue[tuple[int, int, str | None]] = multiprocessing.Queue()
    workers = [
        multiprocessing.Process(target=work, args=(began + arguments.minutes * 60, results), daemon=True)
        for _ in range(arguments.processes)
    ]
    for worker in workers:
        worker.start()
    schedules = transactions = 0
    running = len(workers)
    while running:
        more, committed, failure = results.get()
        schedules += more
        transactions += committed
        if failure == "done":
            running -= 1
            continue
        print(
            f"{time.monotonic() - began:7.0f} s  {schedules:9,} schedules  {transactions:11,} transactions", flush=True
        )
        if failure is not None:
            sys.exit(failure)
    print(f"{schedules:,} schedules of up to {SETTINGS.stateful_step_count} steps, no failure")


if __name__ == "__main__":
    main()
