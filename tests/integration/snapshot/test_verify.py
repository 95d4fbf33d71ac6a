"""`samebase verify` finds every difference, under load too, and `samebase repair` removes it."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.processes import TOKEN, Group, SyncProcess, group, samebase

ENVIRONMENT = {"SAMEBASE_PEER_TOKEN": TOKEN}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Group]:
    with group(tmp_path_factory.mktemp("shop")) as found:
        yield found


@pytest.fixture(scope="module")
def three(shop: Group) -> list[SyncProcess]:
    """Each test leaves them the same."""
    processes = [shop.start(name) for name in "abc"]
    for process in processes:
        process.wait()
    processes[0].write(
        *(f"INSERT INTO item (id, title) VALUES ('i{n:03}', 't{n}')" for n in range(300)),
        "INSERT INTO account VALUES ('u', 'name', '', 7)",
        "INSERT INTO account VALUES ('v', 'other', '', 8)",
    )
    shop.settle()
    return processes


def urls(processes: list[SyncProcess]) -> list[str]:
    return [process.url for process in processes]


def unseen(process: SyncProcess, *statements: str) -> None:
    """Change rows behind the change log."""
    with closing(sqlite3.connect(process.path, isolation_level=None, timeout=20)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("UPDATE samebase_replica SET applying = 1")
        for statement in statements:
            connection.execute(statement)
        connection.execute("UPDATE samebase_replica SET applying = 0")
        connection.execute("COMMIT")


def test_replicas_that_are_the_same_are_found_so_while_they_are_written_to(
    shop: Group, three: list[SyncProcess]
) -> None:
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            three[number % 3].write(f"UPDATE item SET n = n + 1, title = 'w{number}' WHERE id = 'i1{number % 100:02}'")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        ended = samebase(ENVIRONMENT, "verify", *urls(three))
    finally:
        stop.set()
        writer.join()
    assert ended.returncode == 0, ended.stderr
    assert "same  3 replicas, 302 rows" in ended.stdout


def test_every_kind_of_difference_is_named_and_repaired_with_a_record(
    shop: Group, three: list[SyncProcess], tmp_path: Path
) -> None:
    unseen(three[1], "UPDATE item SET title = 'wrong' WHERE id = 'i007'", "DELETE FROM item WHERE id = 'i008'")
    unseen(three[2], "INSERT INTO item (id) VALUES ('extra')")
    unseen(three[2], "UPDATE account SET number = 9 WHERE id = 'u'", "UPDATE account SET number = 7 WHERE id = 'v'")
    ended = samebase(ENVIRONMENT, "verify", *urls(three))
    assert ended.returncode == 1
    named = [line.split()[1:3] for line in ended.stdout.splitlines()]
    assert named == [
        ["account", '["u"]'],
        ["account", '["v"]'],
        ["item", '["extra"]'],
        ["item", '["i007"]'],
        ["item", '["i008"]'],
    ]
    assert "5 of 303 rows differ" in ended.stderr
    record = tmp_path / "record.jsonl"
    ended = samebase(ENVIRONMENT, "repair", "--record", str(record), *urls(three))
    assert ended.returncode == 0, ended.stderr
    assert "repaired  5 rows" in ended.stdout
    lines = [json.loads(line) for line in record.read_text().splitlines()]
    assert {(line["replica"], line["table"], line["key"][0]) for line in lines} == {
        (three[1].url, "item", "i007"),
        (three[1].url, "item", "i008"),
        (three[2].url, "item", "extra"),
        (three[2].url, "account", "u"),
        (three[2].url, "account", "v"),
    }
    by_key = {line["key"][0]: line for line in lines}
    assert by_key["i007"]["before"]["title"] == "wrong"
    assert by_key["i007"]["after"]["title"] == "t7"
    assert by_key["i008"]["before"] is None
    assert by_key["extra"]["after"] is None
    assert samebase(ENVIRONMENT, "verify", *urls(three)).returncode == 0
    three[1].write("UPDATE item SET n = 1 WHERE id = 'i007'")
    shop.settle()
    assert samebase(ENVIRONMENT, "verify", *urls(three)).returncode == 0


def test_without_a_majority_a_person_says_who_is_right(three: list[SyncProcess], tmp_path: Path) -> None:
    unseen(three[1], "UPDATE item SET title = 'wrong' WHERE id = 'i007'")
    pair, record = urls(three)[:2], str(tmp_path / "record.jsonl")
    ended = samebase(ENVIRONMENT, "repair", "--record", record, *pair)
    assert ended.returncode == 1
    assert "--from" in ended.stderr
    assert samebase(ENVIRONMENT, "verify", *pair).returncode == 1
    assert samebase(ENVIRONMENT, "repair", "--record", record, "--from", pair[0], *pair).returncode == 0
    assert samebase(ENVIRONMENT, "verify", *pair).returncode == 0


def test_bad_usage_is_one_line(three: list[SyncProcess]) -> None:
    for environment, arguments, code, named in (
        ({}, urls(three), 2, "SAMEBASE_PEER_TOKEN"),
        (ENVIRONMENT, urls(three)[:1], 2, "all of them"),
        (ENVIRONMENT, [], 2, "SAMEBASE_PEERS"),
        ({"SAMEBASE_PEER_TOKEN": "another token, long enough"}, urls(three), 1, "401"),
        (ENVIRONMENT, [*urls(three), "http://127.0.0.1:1"], 1, "does not answer"),
    ):
        ended = samebase(environment, "verify", *arguments)
        assert ended.returncode == code
        assert named in ended.stderr
        assert len(ended.stderr.strip().splitlines()) == 1


def test_status_is_plain_lines_without_a_terminal_and_json_for_programs(three: list[SyncProcess]) -> None:
    ended = samebase({"SAMEBASE_PEERS": ",".join(urls(three))}, "status")
    assert ended.returncode == 0
    assert [line.split()[:2] for line in ended.stdout.splitlines()] == [
        [f"name={name}", "state=ready"] for name in "abc"
    ]
    ended = samebase({}, "status", "--json", *urls(three)[:2], "http://127.0.0.1:1")
    assert ended.returncode == 1
    told = json.loads(ended.stdout)
    assert [one["state"] for one in told] == ["ready", "ready", "unreachable"]
    assert told[0]["pending"] == 0
