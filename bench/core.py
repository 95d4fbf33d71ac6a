"""How many one-row entries a core handles per second: `python bench/core.py`.

Prints entries per second through Replica.step and Replica.written, in batches of 500 on one core, for foreign merge
entries, foreign strict entries, and merge entries with 10,000 pending local transactions in the way.
"""

from __future__ import annotations

import sys
import time

from samebase.core.replica import Replica
from samebase.core.types import (
    Change,
    Commit,
    Concerned,
    Entry,
    Policy,
    Row,
    RowChange,
    RowId,
    Rows,
    State,
    Table,
    Transaction,
    UniqueId,
)

ENTRIES = 100_000
BATCH = 500
COLUMNS = dict.fromkeys(("id", "name", "desc", "status", "progress", "owner", "created", "updated", "calls"))
MERGE = Table("item", Policy("merge", ("id",)), COLUMNS)
STRICT = Table("account", Policy("strict", ("id",), unique=(("name",),)), COLUMNS)


def entries(table: Table) -> list[Entry]:
    """One insert of each key by a foreign origin."""
    made = []
    for number in range(1, ENTRIES + 1):
        row = {
            **COLUMNS,
            "id": number,
            "name": f"name-{number}",
            "desc": "what it is about",
            "status": 1,
            "progress": 0,
        }
        change = Change(table.name, (number,), None, row, table.policy)
        made.append(
            Entry(number - 1, Transaction("other@1", number, number - 1, table.policy.strict, (change,), ts_ms=1))
        )
    return made


def measure(table: Table, pending: int) -> float:
    """Entries per second."""
    replica = Replica(State("own@1"), {table.name: table})
    database: dict[RowId, Row] = {}
    holders: dict[UniqueId, tuple[int]] = {}
    for number in range(1, pending + 1):
        row = {**COLUMNS, "id": -number, "name": f"own-{number}"}
        replica.captured(Commit(number, (RowChange(table.name, None, row),)))
        database[table.name, (-number,)] = row

    def read(concerned: Concerned) -> Rows:
        return Rows(
            {id: database.get(id) for id in concerned.rows},
            {unique: holders.get(unique) for unique in concerned.uniques},
        )

    log = entries(table)
    batches = [tuple(log[start : start + BATCH]) for start in range(0, ENTRIES, BATCH)]
    started = time.perf_counter()
    for batch in batches:
        write = replica.step(batch, read)
        database.update((put.id, put.after) for put in write.puts)
        replica.written(write)
    seconds = time.perf_counter() - started
    if len(database) != ENTRIES + pending or replica.offset != ENTRIES:
        sys.exit("the core did not apply what it was given")
    return ENTRIES / seconds


def main() -> None:
    print(f"{ENTRIES} one-row entries in batches of {BATCH}, Python {sys.version.split()[0]}, one core")
    for label, table, pending in (
        ("merge", MERGE, 0),
        ("strict, one unique index", STRICT, 0),
        ("merge, 10,000 transactions pending", MERGE, 10_000),
        ("strict, 10,000 transactions pending", STRICT, 10_000),
    ):
        print(f"{label:40} {measure(table, pending):>10,.0f} entries/s")


if __name__ == "__main__":
    main()
