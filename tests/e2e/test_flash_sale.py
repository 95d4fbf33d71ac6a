"""A flash sale on a table of the test's own: sync beside a program that is none of our services and writes plain SQL.

100 in stock, 1,000 buyers on three replicas. Each buys in one local transaction, and asks sync whether it stands.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from tests.support.people import call
from tests.support.replicas import wait_for
from tests.support.system import answers, assert_same_rows, free_base_port, rows

STOCK = 100
BUYERS = 1000
TRIES = 4
AT_ONCE = 24
SCHEMA = """
CREATE TABLE stock (article TEXT NOT NULL PRIMARY KEY, remaining INTEGER NOT NULL CHECK (remaining >= 0)) STRICT;
CREATE TABLE sale (id TEXT NOT NULL PRIMARY KEY, article TEXT NOT NULL, buyer TEXT NOT NULL) STRICT;
"""
TABLES = """
service = "shop"
[tables.stock]
policy = "strict"
[tables.sale]
policy = "strict"
"""


@dataclass(frozen=True)
class Shop:
    """One replica: a database, and a sync process beside it."""

    name: str
    database: Path
    url: str

    def wait(self, request: str) -> str:
        """The verdict on a transaction."""
        answer = call("GET", f"{self.url}/wait", params={"request": request, "level": "ordered", "timeout": 20_000})
        answer.raise_for_status()
        outcome: str = answer.json()["outcome"]
        return outcome

    def buy(self, buyer: str) -> bool:
        """Whether the buyer has got one. A conflict (somebody else was first) is tried again a few times."""
        for _ in range(TRIES):
            request = str(uuid.uuid4())
            with closing(sqlite3.connect(self.database, timeout=20, isolation_level=None)) as connection:
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("INSERT INTO samebase_intent (request) VALUES (?)", (request,))
                (remaining,) = connection.execute("SELECT remaining FROM stock WHERE article = 'ticket'").fetchone()
                if remaining == 0:
                    connection.execute("ROLLBACK")
                    return False
                connection.execute("UPDATE stock SET remaining = remaining - 1 WHERE article = 'ticket'")
                connection.execute("INSERT INTO sale VALUES (?, 'ticket', ?)", (request, buyer))
                connection.execute("COMMIT")
            outcome = self.wait(request)
            assert outcome in {"accepted", "rejected"}, outcome
            if outcome == "accepted":
                return True
        return False


@pytest.fixture
def shops(tmp_path: Path) -> Iterator[list[Shop]]:
    """Three replicas of the shop."""
    tables = tmp_path / "tables.toml"
    tables.write_text(TABLES)
    base = free_base_port()
    made = []
    with ExitStack() as stack:
        for number in (1, 2, 3):
            database = tmp_path / f"shop-{number}.db"
            with closing(sqlite3.connect(database)) as connection:
                connection.executescript(SCHEMA)
            shop = Shop(f"shop-{number}", database, f"http://127.0.0.1:{base + 200 + number}")
            settings = {
                "SAMEBASE_NAME": shop.name,
                "SAMEBASE_DATABASE": f"sqlite:///{database}",
                "SAMEBASE_LOG": f"sqlite:///{tmp_path / 'shop.changes.db'}",
                "SAMEBASE_TABLES": str(tables),
                "SAMEBASE_LISTEN": shop.url.removeprefix("http://"),
            }
            output = stack.enter_context((tmp_path / f"{shop.name}.log").open("w"))
            process = subprocess.Popen(
                [str(Path(sys.executable).parent / "samebase"), "run"],
                env={**os.environ, **settings},
                stdout=output,
                stderr=output,
            )
            stack.callback(process.wait)
            stack.callback(process.kill)
            made.append(shop)
        for shop in made:
            wait_for(lambda shop=shop: answers(f"{shop.url}/readyz"), f"{shop.name} is ready")  # type: ignore[misc]
        yield made


def test_never_more_is_sold_than_there_is(shops: list[Shop]) -> None:
    request = str(uuid.uuid4())
    with closing(sqlite3.connect(shops[0].database, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO samebase_intent (request) VALUES (?)", (request,))
        connection.execute("INSERT INTO stock VALUES ('ticket', ?)", (STOCK,))
        connection.execute("COMMIT")
    assert shops[0].wait(request) == "accepted"
    settle(shops)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        bought = [pool.submit(shops[number % 3].buy, f"buyer {number}") for number in range(BUYERS)]
        buyers = {f"buyer {number}" for number, task in enumerate(bought) if task.result()}
    settle(shops)

    assert_same_rows([shop.database for shop in shops], ["stock", "sale"])
    for shop in shops:
        sold = [buyer for (buyer,) in rows(shop.database, "SELECT buyer FROM sale")]
        ((remaining,),) = rows(shop.database, "SELECT remaining FROM stock")
        assert len(sold) == len(buyers) <= STOCK
        assert set(sold) == buyers, "who was told so has bought, and nobody else"
        assert remaining == STOCK - len(sold)
    assert rows(shops[0].database, "SELECT 1 FROM samebase_rejected"), "nobody met a conflict: this has shown nothing"
    # Everybody came; whoever was too late found nothing left, or met a conflict again and again.
    assert len(buyers) == STOCK


def settle(shops: list[Shop]) -> None:
    """Until all have applied the whole log and have nothing pending."""

    def settled() -> bool:
        statuses = [requests.get(f"{shop.url}/status", timeout=5).json() for shop in shops]
        ends = {status["offset"] for status in statuses} | {status["log_end"] for status in statuses}
        return len(ends) == 1 and all(status["pending"] == 0 and status["state"] == "ready" for status in statuses)

    wait_for(settled, "all have applied the whole log")
