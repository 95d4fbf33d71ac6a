"""A service saved in a file and restored from it; the log and what it rejected, shown."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.integration.snapshot.test_boot import rows
from tests.support.processes import TOKEN, Group, SyncProcess, group, samebase
from tests.support.sqlite import execute, make_database

ENVIRONMENT = {"SAMEBASE_PEER_TOKEN": TOKEN}


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SyncProcess]:
    with group(tmp_path_factory.mktemp("shop")) as shop:
        process = shop.ready("a")
        process.write(
            *(f"INSERT INTO item (id, title, data) VALUES ('i{n:04}', 't{n}', x'00ff')" for n in range(1200)),
            "INSERT INTO account VALUES ('u', 'secret name', '', 7)",
        )
        process.write("UPDATE item SET title = 'new' WHERE id = 'i0001'")
        shop.settle()
        yield process


@pytest.fixture(scope="module")
def saved(one: SyncProcess, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("saved") / "backup"
    ended = samebase(ENVIRONMENT, "snapshot", "save", str(file), one.url)
    assert ended.returncode == 0, ended.stderr
    assert "saved  shop at offset 2: 1201 rows" in ended.stdout
    assert file.stat().st_mode & 0o077 == 0
    assert [file] == list(file.parent.iterdir())
    return file


def environment(directory: Path) -> dict[str, str]:
    """Of a replica of a new system, whose sync process does not run."""
    make_database(directory / "x.db")
    (directory / "tables.toml").write_text(
        'service = "shop"\n[tables.item]\ndelta = ["n"]\n[tables.pair]\n[tables.account]\npolicy = "strict"\n'
    )
    return {
        "SAMEBASE_NAME": "x",
        "SAMEBASE_DATABASE": f"sqlite:///{directory}/x.db",
        "SAMEBASE_LOG": f"sqlite:///{directory}/log.db",
        "SAMEBASE_TABLES": f"{directory}/tables.toml",
    }


def test_a_new_system_begins_from_the_file(one: SyncProcess, saved: Path, tmp_path: Path) -> None:
    ended = samebase(environment(tmp_path), "snapshot", "restore", str(saved))
    assert ended.returncode == 0, ended.stderr
    assert "restored  shop" in ended.stdout
    with group(tmp_path) as new:
        replicas = [new.ready("x"), new.ready("y")]
        new.settle()
        assert rows(replicas[0]) == rows(replicas[1]) == rows(one)
        replicas[0].write("UPDATE item SET n = 1 WHERE id = 'i0001'")
        new.settle()
        assert rows(replicas[0]) == rows(replicas[1])


def test_a_replica_of_the_same_log_is_filled_from_the_file(one: SyncProcess, saved: Path, shop: Group) -> None:
    replica = environment(shop.directory) | {"SAMEBASE_LOG": one.environment["SAMEBASE_LOG"]}
    ended = samebase(replica, "snapshot", "restore", str(saved))
    assert ended.returncode == 0, ended.stderr
    new = shop.ready("x", log=one.environment["SAMEBASE_LOG"])
    assert rows(new) == rows(one)
    assert new.status()["offset"] == 2


def _truncated(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def _damaged(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def _other(file: Path) -> None:
    file.write_text("something else entirely, and longer")


@pytest.mark.parametrize(
    ("spoil", "named"),
    [(_truncated, "cut off"), (_damaged, "damaged"), (_other, "no snapshot"), (Path.unlink, "No such file")],
)
def test_a_spoilt_file_changes_nothing(saved: Path, tmp_path: Path, spoil: object, named: str) -> None:
    file = tmp_path / "spoilt"
    file.write_bytes(saved.read_bytes())
    spoil(file)  # type: ignore[operator]
    ended = samebase(environment(tmp_path), "snapshot", "restore", str(file))
    assert ended.returncode == 1
    assert named in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "log.db").exists()


def test_a_log_or_a_table_with_something_in_it_is_refused(saved: Path, tmp_path: Path) -> None:
    settings = environment(tmp_path)
    assert samebase(settings, "snapshot", "restore", str(saved)).returncode == 0
    ended = samebase(settings, "snapshot", "restore", str(saved))
    assert ended.returncode == 1
    assert "the log is not empty" in ended.stderr
    for file in tmp_path.glob("log.db*"):
        file.unlink()
    execute(tmp_path / "x.db", "INSERT INTO item (id) VALUES ('mine')")
    ended = samebase(settings, "snapshot", "restore", str(saved))
    assert ended.returncode == 1
    assert "table item has rows" in ended.stderr


def test_saving_refuses_a_file_that_exists_and_a_disk_that_is_full(one: SyncProcess, tmp_path: Path) -> None:
    (tmp_path / "there").write_text("mine")
    for file, named in ((tmp_path / "there", "exists"), (tmp_path / "no" / "where", "cannot be written")):
        ended = samebase(ENVIRONMENT, "snapshot", "save", str(file), one.url)
        assert ended.returncode == 1
        assert named in ended.stderr
    assert (tmp_path / "there").read_text() == "mine"
    assert [file.name for file in tmp_path.iterdir()] == ["there"]


def test_the_log_is_shown_without_values_unless_they_are_asked_for(one: SyncProcess) -> None:
    settings = {"SAMEBASE_LOG": one.environment["SAMEBASE_LOG"]}
    shown = samebase(settings, "log", "--table", "account").stdout
    assert 'insert account ["u"]  id, name, realm, number' in shown
    assert "secret" not in shown
    assert "item" not in shown
    assert "secret name" in samebase(settings, "log", "--table", "account", "--values").stdout
    last = samebase(settings, "log", "--last", "1").stdout.splitlines()
    assert last[0].split()[0] == "1"
    assert last[1].strip() == 'update item ["i0001"]  title'
    records = samebase(settings, "log", "--json", "--from", "1").stdout.splitlines()
    assert json.loads(records[0])["changes"][0]["after"]["title"] == "new"
    assert samebase({}, "log").returncode == 2
    missing = samebase({"SAMEBASE_LOG": "sqlite:////nowhere/log.db"}, "log")
    assert missing.returncode == 1
    assert "gone" in missing.stderr


def test_what_was_rejected_is_listed_shown_and_exported(tmp_path: Path) -> None:
    with group(tmp_path) as shop:
        first, second = shop.ready("a"), shop.ready("b")
        first.write("INSERT INTO account VALUES ('u', 'name', '', 7)")
        with closing(sqlite3.connect(tmp_path / "log.db", isolation_level=None, timeout=20)) as log:
            log.execute("BEGIN IMMEDIATE")  # neither hears of the other
            first.write("INSERT INTO account VALUES ('v', 'taken', '', 8)")
            second.write("INSERT INTO account VALUES ('w', 'taken', '', 9)")
            log.execute("COMMIT")
        shop.settle()
        told = [samebase(process.environment, "rejected", "list").stdout for process in (first, second)]
        assert all("taken" in one and 'account["' in one for one in told)
        assert sorted("content kept here" in one for one in told) == [False, True]
        loser = (first, second)["content kept here" in told[1]]
        offset = samebase(loser.environment, "rejected", "list").stdout.split()[0]
        shown = json.loads(samebase(loser.environment, "rejected", "show", offset).stdout)
        assert shown["changes"][0]["after"]["name"] == "taken"
        assert samebase(loser.environment, "rejected", "show", "999").returncode == 1
        assert samebase(loser.environment, "rejected", "export", str(tmp_path / "out")).returncode == 0
        assert json.loads((tmp_path / "out").read_text())["reason"] == "taken"
        assert samebase(loser.environment, "rejected", "export", str(tmp_path / "out")).returncode == 1
