"""A new replica takes its rows from a peer, or from the log, or says why it cannot."""

from __future__ import annotations

import socket
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.support.processes import TOKEN, Group, SyncProcess
from tests.support.sqlite import DDL, make_database

ROWS = 2500


def rows(process: SyncProcess) -> dict[str, list[tuple[Any, ...]]]:
    with closing(sqlite3.connect(process.path)) as connection:
        found = {
            table: connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall()
            for table in ("item", "pair", "account")
        }
        found["rejected"] = connection.execute(
            'SELECT "offset", origin, seq, reason, rows FROM samebase_rejected ORDER BY 1'
        ).fetchall()
        return found


def fill(process: SyncProcess, rows: int = ROWS) -> None:
    process.write(*(f"INSERT INTO item (id, title, data) VALUES ('i{n:05}', 't{n}', x'00ff')" for n in range(rows)))
    process.write("INSERT INTO account VALUES ('u', 'name', '', 7)", "INSERT INTO pair VALUES ('a', 1, NULL)")


def forget(shop: Group, upto: int) -> None:
    """The log's retention has passed these entries."""
    with closing(sqlite3.connect(shop.directory / "log.db", isolation_level=None)) as log:
        log.execute("DELETE FROM entries WHERE offset < ?", (upto,))


@pytest.fixture
def first(shop: Group) -> SyncProcess:
    """A replica with rows, whose log has forgotten where they came from."""
    process = shop.ready("a")
    fill(process)
    shop.settle()
    process.write("UPDATE item SET title = 'last' WHERE id = 'i00001'")
    shop.settle()
    forget(shop, process.status()["offset"] - 1)
    return process


def test_a_new_replica_takes_a_peers_snapshot_and_goes_on_in_the_log(shop: Group, first: SyncProcess) -> None:
    new = shop.ready("b", peers=first.url)
    assert any(line["event"] == "booted from a peer" and line["rows"] == ROWS + 2 for line in new.lines())
    assert rows(new) == rows(first)
    new.write("INSERT INTO item (id) VALUES ('from b')")
    first.write("UPDATE item SET title = 'from a' WHERE id = 'i00002'")
    shop.settle()
    assert rows(new) == rows(first)
    assert new.status()["origin"] != first.status()["origin"]


def test_what_is_pending_at_the_peer_is_not_in_its_snapshot(shop: Group, first: SyncProcess) -> None:
    """A row that is committed there and not in the log yet comes by the log."""
    with closing(sqlite3.connect(shop.directory / "log.db", isolation_level=None, timeout=20)) as log:
        log.execute("BEGIN IMMEDIATE")  # nothing can be appended
        first.write(
            "UPDATE item SET title = 'pending', n = n + 5 WHERE id = 'i00003'",
            "DELETE FROM item WHERE id = 'i00004'",
            "INSERT INTO item (id) VALUES ('new')",
        )
        log.execute("COMMIT")
    new = shop.ready("b", peers=first.url)
    shop.settle()
    assert rows(new) == rows(first)


def test_the_name_of_this_replica_itself_among_the_peers_does_no_harm(shop: Group, first: SyncProcess) -> None:
    port = first.url.rpartition(":")[2]
    new = shop.start("b", peers=f"http://127.0.0.1:1, localhost:{port}")
    new.wait()
    assert rows(new) == rows(first)


def test_without_peers_a_log_that_does_not_begin_at_0_is_refused(shop: Group, first: SyncProcess) -> None:
    new = shop.start("b")
    new.wait("stopped")
    reason = new.status()["reason"]
    assert "begins at" in reason
    assert "SAMEBASE_PEERS" in reason


def test_without_a_peer_that_answers_it_waits_unready_and_says_for_what(shop: Group, first: SyncProcess) -> None:
    with closing(socket.socket()) as nobody:
        nobody.bind(("127.0.0.1", 0))
        new = shop.start("b", peers=f"http://127.0.0.1:{nobody.getsockname()[1]}")
        new.wait_reason("no peer gives a snapshot")
        assert "does not answer" in new.status()["reason"]
        assert rows(new)["item"] == []


def test_without_a_peer_a_log_that_begins_at_0_is_read(shop: Group) -> None:
    process = shop.ready("a")
    fill(process, 10)
    shop.settle()
    new = shop.ready("b", peers="http://127.0.0.1:1")
    shop.settle()
    assert rows(new) == rows(process)


def test_another_token_is_refused(shop: Group, first: SyncProcess) -> None:
    new = shop.start("b", peers=first.url, peer_token="another token, long enough")
    new.wait_reason("401")
    assert rows(new)["item"] == []
    for token in (None, "", TOKEN[:-1], TOKEN + "x"):
        refused = first.ask("/snapshot", token)
        assert refused.status_code == 401
        assert refused.headers["WWW-Authenticate"] == "Bearer"


def test_without_a_token_nothing_is_given(shop: Group) -> None:
    process = SyncProcess(shop.directory, "c")
    process.stop()
    del process.environment["SAMEBASE_PEER_TOKEN"]
    process.start()
    try:
        process.wait()
        assert process.ask("/snapshot").status_code == 404
    finally:
        process.stop()


def test_peers_with_other_tables_are_refused_by_name(shop: Group, first: SyncProcess) -> None:
    other = DDL.replace("title TEXT DEFAULT 'none', ", "")
    make_database(shop.directory / "b.db", other)
    new = shop.start("b", peers=first.url)
    new.wait_reason("table item has no column title here")
    assert rows(new)["item"] == []


def test_a_column_that_the_peer_does_not_have_yet_has_its_default(shop: Group, first: SyncProcess) -> None:
    make_database(shop.directory / "b.db", DDL.replace("ratio REAL", "ratio REAL, colour TEXT DEFAULT 'red'"))
    new = shop.ready("b", peers=first.url)
    with closing(sqlite3.connect(new.path)) as connection:
        assert connection.execute("SELECT DISTINCT colour FROM item").fetchall() == [("red",)]


def test_a_database_with_rows_is_refused_and_left_alone(shop: Group, first: SyncProcess) -> None:
    new = shop.start("b", peers="http://127.0.0.1:1")
    new.wait_reason("no peer gives a snapshot")
    new.stop()
    new.write("INSERT INTO item (id) VALUES ('mine')")
    new.environment["SAMEBASE_PEERS"] = first.url
    new.start()
    new.wait_reason("table item has rows: a snapshot needs an empty database")
    assert [row[0] for row in rows(new)["item"]] == ["mine"]


@contextmanager
def between(url: str, spoil: Callable[[bytes], bytes]) -> Iterator[str]:
    """A peer whose snapshot is spoilt on its way."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            import requests

            answer = requests.get(url + self.path, headers={"Authorization": self.headers["Authorization"]}, timeout=30)
            body = spoil(answer.content) if self.path == "/snapshot" else answer.content
            self.send_response(answer.status_code)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (lambda body: body[: len(body) // 2], "cut off"),
        (lambda body: body[:-40], "cut off"),
        (lambda body: body[: len(body) // 2] + b"\xff" + body[len(body) // 2 + 1 :], "damaged"),
        (lambda body: body + b"more", "something behind its end"),
        (lambda _: b"<html>not at all</html>", "no snapshot"),
    ],
)
def test_a_spoilt_snapshot_is_refused_and_the_next_peer_taken(
    shop: Group, first: SyncProcess, spoil: Callable[[bytes], bytes], named: str
) -> None:
    with between(first.url, spoil) as spoilt:
        alone = shop.start("b", peers=spoilt)
        alone.wait_reason(named)
        assert rows(alone)["item"] == []
        new = shop.ready("c", peers=f"{spoilt},{first.url}")
        assert rows(new) == rows(first)


def test_a_replica_that_was_away_too_long_takes_a_snapshot_and_keeps_its_own_pending_writes(shop: Group) -> None:
    here, away = shop.ready("a"), shop.ready("b", peers="http://127.0.0.1:1")
    fill(here, 50)
    shop.settle()
    away.stop()
    away.write("UPDATE item SET title = 'offline' WHERE id = 'i00001'", "UPDATE item SET n = n + 5 WHERE id = 'i00002'")
    away.write("INSERT INTO item (id, title) VALUES ('mine', 'offline')", "DELETE FROM item WHERE id = 'i00003'")
    away.write("INSERT INTO account VALUES ('v', 'taken', '', 8)")
    here.write("INSERT INTO account VALUES ('w', 'taken', '', 9)")
    for number in range(40):
        here.write(f"UPDATE item SET data = x'01', n = n + 1 WHERE id = 'i000{number:02}'")
    here.write("DELETE FROM item WHERE id = 'i00049'")
    shop.processes.remove(away)
    shop.settle()
    shop.processes.append(away)
    forget(shop, here.status()["offset"] - 1)
    away.environment["SAMEBASE_PEERS"] = here.url
    away.start()
    away.wait()
    shop.settle()
    assert rows(away) == rows(here)
    items = {row[0]: row for row in rows(here)["item"]}
    assert items["i00001"][1] == "offline"
    assert items["i00001"][3] == b"\x01"
    assert items["i00002"][2] == 6
    assert "mine" in items
    assert not {"i00003", "i00049"} & items.keys()
    assert [row[0] for row in rows(here)["account"]] == ["u", "w"], "the first in the log has the name"
    assert [row[3] for row in rows(away)["rejected"]] == ["taken"]
