"""A database that has rows already becomes the first replica."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from tests.integration.snapshot.test_boot import rows
from tests.integration.snapshot.test_files import environment
from tests.support.processes import Group, samebase
from tests.support.sqlite import execute


def existing(directory: Path) -> dict[str, str]:
    settings = environment(directory)
    execute(
        directory / "x.db",
        *(f"INSERT INTO item (id, title, data) VALUES ('i{number:04}', 't', x'00ff')" for number in range(1200)),
        "INSERT INTO account VALUES ('u', 'name', '', 7)",
    )
    return settings


def test_its_rows_are_the_logs_beginning(shop: Group) -> None:
    settings = existing(shop.directory)
    ended = samebase(settings, "adopt")
    assert ended.returncode == 0, ended.stderr
    assert "adopted  1201 rows" in ended.stdout
    first = shop.start("x")
    second = shop.start("y")
    first.wait()
    second.wait()
    first.write("UPDATE item SET title = 'after' WHERE id = 'i0001'")
    second.write("DELETE FROM account WHERE id = 'u'")
    shop.settle()
    assert rows(first) == rows(second)
    assert len(rows(first)["item"]) == 1200
    again = samebase(settings, "adopt")
    assert again.returncode == 1
    assert "replicated already" in again.stderr


def test_a_database_with_rows_is_not_taken_by_run(tmp_path: Path) -> None:
    ended = samebase(existing(tmp_path), "run")
    assert ended.returncode != 0
    assert "see samebase adopt" in ended.stderr


def test_a_log_with_something_in_it_is_refused_and_nothing_changed(shop: Group) -> None:
    settings = existing(shop.directory)
    with closing(sqlite3.connect(shop.directory / "log.db")) as log:
        log.execute("CREATE TABLE entries (offset INTEGER PRIMARY KEY, value BLOB NOT NULL)")
        log.execute("CREATE TABLE meta (identity TEXT NOT NULL)")
        log.execute("INSERT INTO meta VALUES ('other')")
        log.execute("INSERT INTO entries VALUES (0, 'x')")
        log.commit()
    ended = samebase(settings, "adopt")
    assert ended.returncode == 1
    assert "the log is not empty" in ended.stderr
    process = shop.start("x")
    process.wait_reason("an adoption that broke off")
    process.stop()
    for file in shop.directory.glob("log.db*"):
        file.unlink()
    assert samebase(settings, "adopt").returncode == 0, "with a new log it can be begun again"
