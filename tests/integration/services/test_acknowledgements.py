"""What a caller is told: levels, tokens, verdicts, and what happens when sync is late or away."""

from __future__ import annotations

import sqlite3
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from services.common import dialects
from services.common.sync import Outcome
from tests.support.services import PASSWORD, Api, access_token, make_api, problem

Headers = dict[str, str]

FOREIGN = f"rule-9@{uuid.uuid4()}:7"


def add(rule: Api, headers: Headers, **more: str) -> str:
    response = rule.client.post("/rule", json={"name": "milk"}, headers={**headers, **more})
    assert response.status_code == 201, response.text
    return response.headers["Location"]


def items(rule: Api) -> int:
    return int(rule.rows("SELECT count(*) FROM item")[0][0])


def origin(rule: Api) -> str:
    return str(rule.rows("SELECT origin FROM samebase_replica")[0][0])


def test_every_write_has_an_intent_row_first_and_its_id_is_what_sync_is_asked_for(rule: Api, ada: Headers) -> None:
    item = add(rule, ada)
    rule.client.patch(item, json={"name": "oat milk"}, headers=ada)
    rule.client.delete(item, headers=ada)
    changes = rule.rows("SELECT op, request, certified FROM samebase_change ORDER BY id")
    assert [op for op, _, _ in changes] == ["i", "c", "i", "u", "i", "d"]
    requests = [request for op, request, _ in changes if op == "i"]
    assert requests == [request for request, _, _ in rule.sync.waits]
    assert all(str(uuid.UUID(request, version=4)) == request for request in requests)
    assert [certified for op, _, certified in changes if op == "i"] == [0, 0, 0]


@pytest.mark.parametrize(
    ("prefer", "asked"),
    [
        (None, "log"),
        ("ack=log", "log"),
        ("ack=ordered", "ordered"),
        ('respond-async, ACK="ordered"; x=1', "ordered"),
        ("ack=soon", "log"),
        ("return=minimal", "log"),
        ("ack=orderedly", "log"),
    ],
)
def test_the_level_is_the_one_that_the_caller_prefers(rule: Api, ada: Headers, prefer: str | None, asked: str) -> None:
    rule.sync.verdict = lambda request, level: Outcome("accepted", level, rule.sync.position(request))
    headers = ada if prefer is None else {**ada, "Prefer": prefer}
    response = rule.client.post("/rule", json={"name": "milk"}, headers=headers)
    assert response.headers["Replication"] == asked
    assert [level for _, level, _ in rule.sync.waits] == [asked]


def test_local_waits_for_nobody_and_still_has_its_token(rule: Api, ada: Headers) -> None:
    rule.sync.down = True
    response = rule.client.post("/rule", json={"name": "milk"}, headers={**ada, "Prefer": "ack=local"})
    assert response.status_code == 201
    assert response.headers["Replication"] == "local"
    [(seq,)] = rule.rows("SELECT max(id) FROM samebase_change")
    assert response.headers["X-Replica-Token"] == f"{origin(rule)}:{seq}"


def test_what_the_log_does_not_confirm_in_time_is_pending(rule: Api, ada: Headers) -> None:
    rule.sync.stall("local")
    response = rule.client.post("/rule", json={"name": "milk"}, headers=ada)
    assert (response.status_code, response.headers["Replication"]) == (201, "pending")
    assert response.headers["X-Replica-Token"].startswith(origin(rule))


def test_a_merge_write_that_is_not_ordered_in_time_says_how_far_it_got(rule: Api, ada: Headers) -> None:
    rule.sync.stall("log")
    response = rule.client.post("/rule", json={"name": "milk"}, headers={**ada, "Prefer": "ack=ordered"})
    assert (response.status_code, response.headers["Replication"]) == (201, "log")


def test_the_timeouts_are_the_configured_ones(tmp_path: Path, ada: Headers) -> None:
    rule = make_api("rule", tmp_path, ack_timeout_ms=11, ordered_timeout_ms=22)
    item = add(rule, ada)
    rule.client.patch(item, json={"name": "x"}, headers={**ada, "If-Match": "*"})
    assert [(level, timeout) for _, level, timeout in rule.sync.waits] == [("log", 11), ("ordered", 22)]


def test_a_merge_write_goes_on_without_sync_and_is_pending(rule: Api, ada: Headers) -> None:
    rule.sync.down = True
    response = rule.client.post("/rule", json={"name": "milk"}, headers=ada)
    assert (response.status_code, response.headers["Replication"]) == (201, "pending")
    assert response.headers["X-Replica-Token"].startswith(origin(rule))


def test_a_write_that_needs_a_verdict_is_not_executed_without_sync(rule: Api, user: Api, ada: Headers) -> None:
    item = add(rule, ada)
    rule.sync.down = user.sync.down = True
    problem(rule.client.patch(item, json={"name": "x"}, headers={**ada, "If-Match": "*"}), 503, "unavailable")
    problem(rule.client.delete(item, headers={**ada, "If-Match": "*"}), 503, "unavailable")
    problem(rule.client.post("/rule", json={"name": "x"}, headers={**ada, "Prefer": "ack=ordered"}), 503, "unavailable")
    problem(rule.client.post("/rule", json={"name": "x"}, headers={**ada, "Idempotency-Key": "k"}), 503, "unavailable")
    problem(user.client.post("/user", json={"name": "ada", "password": PASSWORD}), 503, "unavailable")
    assert rule.rows("SELECT name FROM item") == [("milk",)]
    assert user.rows("SELECT * FROM account") == []


def test_while_the_log_is_away_only_what_needs_a_verdict_is_refused(rule: Api, user: Api, ada: Headers) -> None:
    item = add(rule, ada)
    rule.sync.allowed = user.sync.allowed = "merge"
    rule.sync.stall("local")
    response = rule.client.post("/rule", json={"name": "bread"}, headers=ada)
    assert (response.status_code, response.headers["Replication"]) == (201, "pending")
    token = {"X-Replica-Token": FOREIGN}
    for more in ({}, token):
        refused = ada | more
        problem(rule.client.patch(item, json={"name": "x"}, headers={**refused, "If-Match": "*"}), 503, "unavailable")
        ordered = {**refused, "Prefer": "ack=ordered"}
        problem(rule.client.post("/rule", json={"name": "x"}, headers=ordered), 503, "unavailable")
        problem(user.client.post("/user", json={"name": "ada", "password": PASSWORD}), 503, "unavailable")
    assert rule.rows("SELECT name FROM item ORDER BY name") == [("bread",), ("milk",)]
    assert user.rows("SELECT * FROM account") == []
    assert rule.client.get("/rule", headers=ada).get_json()["total"] == 2, "reads go on"
    rule.sync.allowed = "all"
    assert rule.client.get("/rule", headers=ada | token).status_code == 200
    rule.sync.verdict = lambda request, level: None
    assert rule.client.patch(item, json={"name": "x"}, headers={**ada, "If-Match": "*"}).status_code == 200


def test_when_too_much_is_pending_every_write_is_refused_until_it_is_not(rule: Api, ada: Headers) -> None:
    item = add(rule, ada)
    rule.sync.allowed = rule.sync.writes = "none"
    for method, path, headers in [
        ("POST", "/rule", ada),
        ("POST", "/rule", ada | {"X-Replica-Token": FOREIGN}),
        ("POST", "/rule", ada | {"Prefer": "ack=local"}),
        ("PATCH", item, ada),
        ("DELETE", item, ada),
    ]:
        answer = rule.client.open(path, method=method, json={"name": "x"}, headers=headers)
        assert "nothing was changed" in problem(answer, 503, "unavailable")["detail"]
    assert rule.rows("SELECT name FROM item") == [("milk",)]
    assert rule.client.get("/rule", headers=ada).get_json()["total"] == 1
    rule.sync.allowed = "all"
    add(rule, ada)


def test_a_write_without_a_verdict_in_time_is_unconfirmed_and_says_how_to_ask(user: Api) -> None:
    user.sync.stall("log")
    response = user.client.post("/user", json={"name": "ada", "password": PASSWORD})
    document = problem(response, 503, "unconfirmed")
    request = document["request"]
    assert document["link"] == f"/writes/{request}"
    assert request == user.rows("SELECT request FROM samebase_change WHERE op = 'i'")[0][0]
    for outcome in ("pending", "accepted", "rejected", "unknown"):
        user.sync.verdict = lambda request, level, outcome=outcome: Outcome(outcome)
        assert user.client.get(document["link"]).get_json() == {"request": request, "outcome": outcome}


def test_sync_that_goes_away_before_the_verdict_leaves_the_write_unconfirmed(user: Api) -> None:
    def gone(request: str, level: str) -> None:
        user.sync.down = True
        user.sync._answering()

    user.sync.verdict = gone
    problem(user.client.post("/user", json={"name": "ada", "password": PASSWORD}), 503, "unconfirmed")


def test_the_outcome_of_a_write_cannot_be_asked_without_sync(rule: Api) -> None:
    rule.sync.down = True
    problem(rule.client.get(f"/writes/{uuid.uuid4()}"), 503, "unavailable")
    problem(rule.client.get("/writes/1"), 404, "not-found")


def test_an_answers_token_contains_the_requests(rule: Api, ada: Headers) -> None:
    response = rule.client.post("/rule", json={"name": "milk"}, headers={**ada, "X-Replica-Token": f"{FOREIGN}, , x"})
    parts = response.headers["X-Replica-Token"].split(",")
    assert FOREIGN in parts
    assert len(parts) == 2
    assert rule.sync.tokens == [FOREIGN]


def test_a_token_has_one_position_of_an_origin_and_none_of_unknown_ones(rule: Api, ada: Headers) -> None:
    first = rule.client.post("/rule", json={"name": "milk"}, headers=ada).headers["X-Replica-Token"]
    rule.sync.forgets = {FOREIGN.split(":", maxsplit=1)[0]}
    token = f"{first},{FOREIGN},{origin(rule)}:1"
    second = rule.client.post("/rule", json={"name": "eggs"}, headers={**ada, "X-Replica-Token": token})
    parts = second.headers["X-Replica-Token"].split(",")
    assert len(parts) == 1
    assert int(parts[0].split(":")[1]) > int(first.split(":")[1])


@pytest.mark.parametrize("down", [False, True])
def test_a_write_behind_its_token_is_503_and_not_executed(rule: Api, user: Api, ada: Headers, down: bool) -> None:
    user.registered("ada")
    me = user.signed_in("ada")
    item = add(rule, ada)
    for api in (rule, user):
        api.sync.reached, api.sync.down = False, down
    behind = {"X-Replica-Token": FOREIGN}
    for api, method, path, body, headers in [
        (rule, "POST", "/rule", {"name": "x"}, ada),
        (rule, "PATCH", item, {"name": "x"}, ada),
        (rule, "DELETE", item, None, ada),
        (rule, "PATCH", item, {"name": "x"}, {**ada, "If-Match": "*"}),
        (rule, "POST", "/rule", {"name": "x"}, {**ada, "Idempotency-Key": "k"}),
        (user, "POST", "/user", {"name": "bob", "password": PASSWORD}, {}),
        (user, "POST", "/user/session", {"name": "ada", "password": PASSWORD}, {}),
        (user, "POST", "/user/session/refresh", None, {}),
        (user, "POST", "/internal/session/renew", None, me),
        (user, "PATCH", "/user/me", {"displayName": "x"}, me),
        (user, "DELETE", "/user/session", None, {"Cookie": f"session={uuid.uuid4()}.x"}),
    ]:
        problem(api.client.open(path, method=method, json=body, headers={**headers, **behind}), 503, "behind")
    assert rule.rows("SELECT name FROM item") == [("milk",)]
    assert user.rows("SELECT name FROM account") == [("ada",)]
    assert len(user.rows("SELECT * FROM session")) == 1


@pytest.mark.parametrize("down", [False, True])
def test_a_read_behind_its_token_says_that_it_is_stale(rule: Api, user: Api, ada: Headers, down: bool) -> None:
    account = user.registered("ada")
    me = user.signed_in("ada")
    item = add(rule, ada)
    calls = [
        (rule, "/rule", ada),
        (rule, item, ada),
        (user, "/user/me", me),
        (user, f"/user/{account['id']}", me),
        (user, f"/user?id={account['id']}", me),
    ]
    for api, path, headers in calls:
        fresh = api.client.get(path, headers={**headers, "X-Replica-Token": FOREIGN})
        assert fresh.status_code == 200
        assert "X-Replica-Stale" not in fresh.headers
    for api in (rule, user):
        api.sync.reached, api.sync.down = False, down
    for api, path, headers in calls:
        stale = api.client.get(path, headers={**headers, "X-Replica-Token": FOREIGN})
        assert (stale.status_code, stale.headers["X-Replica-Stale"]) == (200, "true")


def test_a_read_without_a_token_asks_nobody(rule: Api, ada: Headers) -> None:
    rule.sync.down = True
    response = rule.client.get("/rule", headers={**ada, "X-Replica-Token": "nonsense"})
    assert response.status_code == 200
    assert "X-Replica-Stale" not in response.headers


def test_an_empty_change_changes_nothing_and_is_acknowledged_all_the_same(rule: Api, ada: Headers) -> None:
    item = add(rule, ada)
    before = rule.rows("SELECT * FROM item")
    for body in ({}, {"name": "milk"}):
        response = rule.client.patch(item, json=body, headers=ada)
        assert response.status_code == 200
        assert response.headers["Replication"] == "ordered"
        assert response.headers["X-Replica-Token"].startswith(origin(rule))
    assert rule.rows("SELECT * FROM item") == before
    assert rule.rows("SELECT count(*) FROM samebase_change WHERE op = 'u'") == [(0,)]


def test_a_replica_whose_sync_never_started_refuses_writes_and_serves_reads(tmp_path: Path, ada: Headers) -> None:
    rule = make_api("rule", tmp_path, replicated=False)
    problem(rule.client.post("/rule", json={"name": "milk"}, headers=ada), 503, "unavailable")
    assert rule.client.get("/rule", headers=ada).get_json()["total"] == 0


def test_a_database_that_is_not_there_is_503_and_not_ready(tmp_path: Path, ada: Headers) -> None:
    rule = make_api("rule", tmp_path, database_url=f"sqlite:///{tmp_path}/nothing/rule.db")
    problem(rule.client.get("/rule", headers=ada), 503, "unavailable")
    problem(rule.client.post("/rule", json={"name": "milk"}, headers=ada), 503, "unavailable")
    assert rule.client.get("/readyz").status_code == 503


def test_a_write_waits_for_a_busy_database_and_is_done_once(
    rule: Api, ada: Headers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dialects, "_BUSY_SECONDS", 0.01)
    other = sqlite3.connect(rule.database, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    with ThreadPoolExecutor(1) as pool:
        before = _retries()
        answer = pool.submit(rule.client.post, "/rule", json={"name": "milk"}, headers=ada)
        _wait_until(lambda: _retries() > before)
        other.execute("ROLLBACK")
        assert answer.result(30).status_code == 201
    other.close()
    assert items(rule) == 1


def test_a_write_gives_up_on_a_database_that_stays_busy(
    rule: Api, ada: Headers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dialects, "_BUSY_SECONDS", 0.0)
    other = sqlite3.connect(rule.database, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    problem(rule.client.post("/rule", json={"name": "milk"}, headers=ada), 503, "unavailable")
    assert rule.client.get("/rule", headers=ada).status_code == 200
    other.execute("ROLLBACK")
    other.close()
    assert items(rule) == 0


def test_concurrent_writers_of_one_item_lose_nothing(rule: Api, ada: Headers) -> None:
    item = add(rule, ada)

    def done(_: int) -> int:
        return rule.app.test_client().patch(item, json={"status": 2}, headers=ada).status_code

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(done, range(40))) == {200}
    assert rule.client.get(item, headers=ada).get_json()["callNo"] == 40


def _retries() -> float:
    from services.common.metrics import RETRIES

    return float(RETRIES.labels("rule")._value.get())


def _wait_until(condition, seconds: float = 10.0) -> None:  # type: ignore[no-untyped-def]
    done = threading.Event()
    for _ in range(int(seconds / 0.01)):
        if condition():
            return
        done.wait(0.01)
    raise AssertionError("the condition was not met in time")


def test_somebody_without_an_account_here_yet_is_told_that_the_replica_is_behind(user: Api) -> None:
    stranger = access_token()
    problem(user.client.get("/user/me", headers=stranger), 503, "behind")
    problem(user.client.patch("/user/me", json={"displayName": "x"}, headers=stranger), 503, "behind")
