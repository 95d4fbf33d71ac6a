"""The sync process over HTTP: what is asked, what is understood, and what happens when nobody answers."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from services.common.sync import Outcome, Reached, SyncClient, SyncUnavailable

ACCEPTED = {"request": "r", "outcome": "accepted", "reached": "log", "token": "o@1:5", "reason": None, "rows": []}
Answer = Callable[[str, dict[str, str]], tuple[int, Any]]


@contextmanager
def serving(answer: Answer, port: int = 0) -> Iterator[str]:
    """A sync process that answers so; yields its URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            status, document = answer(parts.path, dict(parse_qsl(parts.query, keep_blank_values=True)))
            body = document if isinstance(document, bytes) else json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_request_is_asked_for_by_id_level_and_time() -> None:
    asked: list[tuple[str, dict[str, str]]] = []

    def answer(path: str, query: dict[str, str]) -> tuple[int, Any]:
        asked.append((path, query))
        return 200, ACCEPTED

    with serving(answer) as url:
        outcome = SyncClient(url).wait_request("r", "log", 500)
    assert outcome == Outcome("accepted", "log", "o@1:5")
    assert outcome.has("local")
    assert outcome.has("log")
    assert not outcome.has("ordered")
    [(path, query)] = asked
    assert (path, query["request"], query["level"]) == ("/wait", "r", "log")
    assert 400 < int(query["timeout"]) <= 500


def test_a_rejection_says_why_and_which_rows() -> None:
    document = {
        **ACCEPTED,
        "outcome": "rejected",
        "reached": "ordered",
        "reason": "taken",
        "rows": [["account", ["k"]]],
    }
    with serving(lambda path, query: (200, document)) as url:
        outcome = SyncClient(url).wait_request("r", "ordered", 0)
    assert (outcome.outcome, outcome.reason, outcome.rows) == ("rejected", "taken", (("account", ("k",)),))


def test_a_token_is_normalised() -> None:
    with serving(lambda path, query: (200, {"reached": query["token"] == "a@1:5", "token": "a@1:5"})) as url:
        client = SyncClient(url)
        assert client.wait_token("a@1:5", 100) == Reached(True, "a@1:5")
        assert client.wait_token("a@1:5,x@1:1", 100) == Reached(False, "a@1:5")
        assert client.wait_token("", 0) == Reached(False, "a@1:5")
        assert client.writes == "all"


@pytest.mark.parametrize("ask", ["request", "token"])
def test_what_may_be_written_is_remembered_of_every_answer(ask: str) -> None:
    told = {"reached": "log", "token": "a@1:5", "outcome": "pending", "reason": None, "rows": [], "writes": "none"}
    with serving(lambda path, query: (200, told)) as url:
        client = SyncClient(url)
        if ask == "token":
            assert client.wait_token("a@1:5", 0).writes == "none"
        else:
            client.wait_request("r", "log", 0)
        assert client.writes == "none"


def test_the_status_is_passed_on() -> None:
    with serving(lambda path, query: (200, {"path": path})) as url:
        assert SyncClient(url + "/").status() == {"path": "/status"}


@pytest.mark.parametrize(
    "reply", [(200, b"not JSON"), (200, {}), (200, {**ACCEPTED, "rows": [1]}), (500, {}), (404, {}), (200, b"")]
)
def test_an_answer_that_makes_no_sense_is_unavailable(reply: tuple[int, Any]) -> None:
    with serving(lambda path, query: reply) as url, pytest.raises(SyncUnavailable):
        SyncClient(url).wait_request("r", "log", 0)


def test_it_tries_until_the_time_is_over() -> None:
    with serving(lambda path, query: (200, ACCEPTED)) as url:
        pass
    started = time.monotonic()
    with pytest.raises(SyncUnavailable):
        SyncClient(url).wait_request("r", "log", 300)
    assert 0.2 < time.monotonic() - started < 5


def test_a_sync_process_that_restarts_in_time_is_not_missed() -> None:
    with serving(lambda path, query: (200, ACCEPTED)) as url:
        client = SyncClient(url)
        client.status()
    answers: list[Outcome] = []
    waiting = threading.Thread(target=lambda: answers.append(client.wait_request("r", "log", 20_000)))
    waiting.start()
    with serving(lambda path, query: (200, ACCEPTED), port=int(url.rpartition(":")[2])):
        waiting.join(20)
    assert [answer.outcome for answer in answers] == ["accepted"]


def test_with_no_time_it_asks_once() -> None:
    calls: list[str] = []

    def answer(path: str, query: dict[str, str]) -> tuple[int, Any]:
        calls.append(path)
        return 500, {}

    with serving(answer) as url, pytest.raises(SyncUnavailable):
        SyncClient(url).wait_token("", 0)
    assert calls == ["/wait"]
