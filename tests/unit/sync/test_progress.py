"""Whoever waits for a transaction or a position is told the truth, as soon as it is known."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from samebase.core.types import Transaction, Verdict
from samebase.http import create_app, format_token, parse_token
from samebase.progress import Position, Progress
from samebase.wiring import SystemClock

ME, OTHER = "me@1", "other@1"
HERE = Position("ready", origin=ME, applied={OTHER: 5}, last_published=7, offset=3, log_end=3, writes="all")


@pytest.fixture
def progress() -> Progress:
    progress = Progress(SystemClock())
    round_to(progress, HERE)
    return progress


def round_to(progress: Progress, position: Position) -> None:
    progress.begin_round()
    progress.end_round(position)


def transaction(seq: int, request: str) -> Transaction:
    return Transaction(ME, seq, 0, certified=False, changes=(), request=request)


def verdict(seq: int, request: str, *, accepted: bool) -> Verdict:
    reason, rows = (None, ()) if accepted else ("changed", (("item", (b"\x00", 1)),))
    return Verdict(ME, seq, request, accepted, reason, rows, 3)


def meanwhile(progress: Progress, act: Callable[[], None]) -> None:
    """Do something, from another thread, once somebody waits."""

    def run() -> None:
        progress.idle(20)
        act()

    threading.Thread(target=run, daemon=True).start()


def get(progress: Progress, url: str, status: int = 200) -> Any:
    answer = create_app("me", progress).test_client().get(url)
    assert answer.status_code == status
    return answer.get_json()


def test_levels_are_reached_one_after_the_other(progress: Progress) -> None:
    told = []
    progress.captured(transaction(8, "r"))
    told.append(get(progress, "/wait?request=r&level=local"))
    progress.logged([transaction(8, "r")])
    told.append(get(progress, "/wait?request=r&level=log"))
    progress.decided([verdict(8, "r", accepted=True)])
    told.append(get(progress, "/wait?request=r"))
    assert [(t["outcome"], t["reached"], t["token"]) for t in told] == [
        ("pending", "local", "me@1:8"),
        ("pending", "log", "me@1:8"),
        ("accepted", "ordered", "me@1:8"),
    ]


def test_a_rejection_ends_the_wait_and_says_why(progress: Progress) -> None:
    progress.captured(transaction(8, "r"))
    meanwhile(progress, lambda: progress.decided([verdict(8, "r", accepted=False)]))
    told = get(progress, "/wait?request=r&level=ordered&timeout=20000")
    assert (told["outcome"], told["reason"], told["rows"]) == ("rejected", "changed", [["item", ["AA==", 1]]])


def test_a_wait_for_a_level_that_is_not_reached_ends_with_what_is(progress: Progress) -> None:
    progress.captured(transaction(8, "r"))
    assert get(progress, "/wait?request=r&level=log&timeout=30")["reached"] == "local"


def test_a_request_that_is_republished_keeps_its_verdict(progress: Progress) -> None:
    progress.decided([verdict(8, "r", accepted=False)])
    progress.captured(transaction(8, "r"))
    assert get(progress, "/wait?request=r")["outcome"] == "rejected"


def test_an_unknown_request_is_said_to_be_unknown_only_after_a_look_at_what_is_committed(progress: Progress) -> None:
    def runner() -> None:
        progress.begin_round()
        progress.captured(transaction(9, "late"))
        progress.end_round(progress.position())

    meanwhile(progress, runner)
    assert get(progress, "/wait?request=late&level=local&timeout=20000")["outcome"] == "pending"
    assert get(progress, "/wait?request=never&timeout=0")["outcome"] == "unknown"


def test_a_commit_that_changed_nothing_is_accepted_at_the_last_published_position(progress: Progress) -> None:
    progress.committed(ME, 7, "nothing")
    told = get(progress, "/wait?request=nothing")
    assert (told["outcome"], told["reached"], told["token"]) == ("accepted", "ordered", "me@1:7")


@pytest.mark.parametrize(
    ("token", "reached", "normal"),
    [
        ("other@1:5", True, "other@1:5"),
        ("other@1:6", False, "other@1:6"),
        ("me@1:7", True, "me@1:7"),
        ("me@1:99", True, "me@1:7"),
        ("other@1:4,other@1:6", False, "other@1:6"),
        ("nonsense,,:,a:b,x:-1,other@1:٣,me@1:1", True, "me@1:1"),
        ("", True, ""),
    ],
)
def test_a_token_is_reached_when_all_its_known_positions_are(
    progress: Progress, token: str, reached: bool, normal: str
) -> None:
    answer = create_app("me", progress).test_client().get("/wait", query_string={"token": token, "timeout": "20"})
    assert answer.get_json() == {"reached": reached, "token": normal, "writes": "all"}


def test_a_token_is_reached_as_soon_as_the_entry_is_applied(progress: Progress) -> None:
    later = replace(HERE, applied={OTHER: 6}, last_published=7, offset=4, log_end=4)
    meanwhile(progress, lambda: round_to(progress, later))
    assert get(progress, "/wait?token=other@1:6&timeout=20000")["reached"] is True


def test_an_unknown_origin_is_ignored_only_once_the_log_was_applied_to_its_end(progress: Progress) -> None:
    """It may be a replica that has just begun to write."""
    behind = replace(HERE, applied={OTHER: 5}, last_published=7, offset=3, log_end=4)
    round_to(progress, behind)
    assert get(progress, "/wait?token=new@1:1&timeout=20") == {"reached": False, "token": "new@1:1", "writes": "all"}

    seen = replace(HERE, applied={OTHER: 5, "new@1": 1}, last_published=7, offset=4, log_end=4)
    meanwhile(progress, lambda: round_to(progress, seen))
    assert get(progress, "/wait?token=new@1:1&timeout=20000") == {"reached": True, "token": "new@1:1", "writes": "all"}


def test_for_an_unknown_origin_the_next_round_asks_the_log_where_it_ends(progress: Progress) -> None:
    """What is merely known of the log's end may be older than the write that the token is about."""
    assert progress.begin_round() is False
    assert get(progress, "/wait?token=other@1:6&timeout=5") == {"reached": False, "token": "other@1:6", "writes": "all"}
    assert progress.begin_round() is False, "an origin that is known needs no exact end"
    get(progress, "/wait?token=new@1:1&timeout=5")
    assert progress.begin_round() is True
    assert progress.begin_round() is False, "once is enough"


def test_an_unknown_origin_is_dropped_when_the_log_has_nothing_of_it(progress: Progress) -> None:
    meanwhile(progress, lambda: round_to(progress, progress.position()))
    assert get(progress, "/wait?token=gone@1:9,other@1:5&timeout=20000") == {
        "reached": True,
        "token": "other@1:5",
        "writes": "all",
    }


def test_halting_shows_in_readiness_and_status(progress: Progress) -> None:
    assert get(progress, "/readyz") == {"ready": True, "reason": None}
    progress.halt("stopped", "log entry 3 cannot be read")
    assert get(progress, "/readyz", 503) == {"ready": False, "reason": "log entry 3 cannot be read"}
    assert get(progress, "/status")["state"] == "stopped"
    assert get(progress, "/healthz") == {"alive": True}


def test_who_gives_no_verdicts_takes_no_writes_that_need_one(progress: Progress) -> None:
    for trouble in (
        lambda: progress.trouble("the log does not answer"),
        lambda: progress.halt("paused", "a migration"),
        lambda: progress.halt("stopped", "a person must look"),
    ):
        round_to(progress, HERE)
        assert get(progress, "/status")["writes"] == "all"
        trouble()
        assert get(progress, "/status")["writes"] == "merge"
        assert get(progress, "/wait?token=")["writes"] == "merge"
    round_to(progress, replace(HERE, writes="none"))
    progress.trouble("the database does not answer either")
    assert get(progress, "/status")["writes"] == "none", "it is still too much"
    assert get(Progress(SystemClock()), "/status")["writes"] == "merge", "one that starts knows nothing yet"


@pytest.mark.parametrize(
    "query", ["request=r&level=all", "request=r&timeout=x", "token=a:1&timeout=-1", "timeout=99999999"]
)
def test_bad_questions_are_refused(progress: Progress, query: str) -> None:
    assert create_app("me", progress).test_client().get(f"/wait?{query}").status_code == 400


def test_tokens_round_trip() -> None:
    positions = {"rule-1@a": 3, "rule-2@b": 18}
    assert parse_token(format_token(positions)) == positions


def test_only_the_latest_requests_are_remembered(progress: Progress, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("samebase.progress.REMEMBERED", 2)
    for seq in (8, 9, 10):
        progress.committed(ME, seq, f"r{seq}")
    outcomes = [get(progress, f"/wait?request=r{seq}&timeout=0")["outcome"] for seq in (8, 9, 10)]
    assert outcomes == ["unknown", "accepted", "accepted"]
