"""A repeated POST with an Idempotency-Key gets the first one's result, and nothing happens twice."""

from __future__ import annotations

import json
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from services.common import columns, idempotency
from services.common.sync import Outcome
from tests.support.services import PASSWORD, Api, problem

Headers = dict[str, str]


def keyed(headers: Headers, key: str = "k") -> Headers:
    return {**headers, "Idempotency-Key": key}


def test_a_repeated_request_gets_the_first_result(rule: Api, ada: Headers) -> None:
    first = rule.client.post("/rule", json={"name": "milk", "desc": "ä"}, headers=keyed(ada))
    second = rule.client.post(
        "/rule", data=b'{"desc" : "\\u00e4", "name": "milk"}', content_type="application/json", headers=keyed(ada)
    )
    assert first.status_code == second.status_code == 201
    assert first.get_json() == second.get_json()
    for name in ("Location", "ETag", "X-Replica-Token", "Replication"):
        assert first.headers[name] == second.headers[name]
    assert rule.rows("SELECT count(*) FROM item") == [(1,)]


def test_the_record_is_written_in_the_same_transaction_and_waits_for_its_verdict(rule: Api, ada: Headers) -> None:
    response = rule.client.post("/rule", json={"name": "milk"}, headers={**keyed(ada), "Prefer": "ack=local"})
    assert response.headers["Replication"] == "ordered"
    changes = rule.rows("SELECT tbl, op FROM samebase_change ORDER BY id")
    assert changes[0] == ("samebase_intent", "i")
    assert sorted(changes[1:]) == [("idempotency", "c"), ("item", "c")]
    [(request,)] = rule.rows("SELECT request FROM idempotency")
    assert rule.sync.waits == [(request, "ordered", 5000)]


def test_a_removed_item_is_not_revived(rule: Api, ada: Headers) -> None:
    first = rule.client.post("/rule", json={"name": "milk"}, headers=keyed(ada))
    rule.client.delete(first.headers["Location"], headers=ada)
    again = rule.client.post("/rule", json={"name": "milk"}, headers=keyed(ada))
    assert again.get_json() == first.get_json()
    assert rule.rows("SELECT * FROM item") == []


def test_another_body_is_422(rule: Api, ada: Headers) -> None:
    rule.client.post("/rule", json={"name": "milk"}, headers=keyed(ada))
    problem(rule.client.post("/rule", json={"name": "eggs"}, headers=keyed(ada)), 422, "idempotency-mismatch")
    assert rule.rows("SELECT name FROM item") == [("milk",)]


def test_keys_are_each_callers_own(rule: Api, ada: Headers, bob: Headers) -> None:
    mine = rule.client.post("/rule", json={"name": "milk"}, headers=keyed(ada)).get_json()
    theirs = rule.client.post("/rule", json={"name": "milk"}, headers=keyed(bob)).get_json()
    assert mine["key"] != theirs["key"]
    assert mine["owner"] != theirs["owner"]


def test_while_the_first_is_running_it_is_409(rule: Api, ada: Headers) -> None:
    rule.sync.stall("log")
    problem(rule.client.post("/rule", json={"name": "milk"}, headers=keyed(ada)), 503, "unconfirmed")
    response = rule.client.post("/rule", json={"name": "milk"}, headers=keyed(ada))
    problem(response, 409, "in-progress")
    assert int(response.headers["Retry-After"]) >= 1
    rule.sync.verdict = lambda request, level: None
    assert rule.client.post("/rule", json={"name": "milk"}, headers=keyed(ada)).status_code == 201
    assert rule.rows("SELECT count(*) FROM item") == [(1,)]


def test_without_sync_nobody_knows_the_firsts_verdict(rule: Api, ada: Headers) -> None:
    rule.client.post("/rule", json={"name": "milk"}, headers=keyed(ada))
    rule.sync.down = True
    problem(rule.client.post("/rule", json={"name": "milk"}, headers=keyed(ada)), 503, "unavailable")


@pytest.mark.parametrize("age", [timedelta(hours=23, minutes=59), timedelta(hours=24, minutes=1)])
def test_a_record_counts_for_24_hours(rule: Api, ada: Headers, age: timedelta) -> None:
    first = rule.client.post("/rule", json={"name": "milk"}, headers=keyed(ada)).get_json()
    then = (columns.now() - age).replace(tzinfo=None).isoformat(" ", "microseconds")
    rule.execute("UPDATE idempotency SET created_at = ?", then)
    body = {"name": "milk" if age < timedelta(hours=24) else "eggs"}
    second = rule.client.post("/rule", json=body, headers=keyed(ada)).get_json()
    assert (second["key"] == first["key"]) == (age < timedelta(hours=24))
    assert rule.rows("SELECT count(*) FROM idempotency") == [(1,)]


def test_concurrent_first_requests_have_one_result(rule: Api, ada: Headers) -> None:
    def post(_: int) -> tuple[int, Any]:
        response = rule.app.test_client().post("/rule", json={"name": "milk"}, headers=keyed(ada))
        return response.status_code, response.get_json()["key"]

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(post, range(16)))) == 1
    assert rule.rows("SELECT count(*) FROM item") == [(1,)]


def test_who_loses_against_another_replica_gets_the_winners_result(user: Api) -> None:
    """The log rejects ours; applying the winner's transaction has replaced our rows by its."""
    winner = str(uuid.uuid4())
    result = {"id": str(uuid.uuid4()), "name": "ada"}

    def lost(request: str, level: str) -> Outcome | None:
        if request == winner:
            return Outcome("accepted", "ordered", "user-2@x:9")
        user.execute("DELETE FROM account")
        user.execute("UPDATE idempotency SET request = ?, body = ?", winner, json.dumps(result))
        return Outcome("rejected", "ordered", None, "taken", (("account", ("k",)),))

    user.sync.verdict = lost
    response = user.client.post("/user", json={"name": "ada", "password": PASSWORD}, headers=keyed({}))
    assert (response.status_code, response.get_json()) == (201, result)
    assert "user-2@x:9" in response.headers["X-Replica-Token"]


def test_who_loses_the_name_to_a_stranger_hears_so(user: Api) -> None:
    def lost(request: str, level: str) -> Outcome:
        user.execute("DELETE FROM account")
        user.execute("DELETE FROM idempotency")
        return Outcome("rejected", "ordered", None, "taken", (("account", ("k",)),))

    user.sync.verdict = lost
    problem(user.client.post("/user", json={"name": "ada", "password": PASSWORD}, headers=keyed({})), 409, "name-taken")
    problem(user.client.post("/user", json={"name": "ada", "password": PASSWORD}), 409, "name-taken")


def test_a_refused_request_leaves_no_record(user: Api) -> None:
    user.registered("ada")
    problem(user.client.post("/user", json={"name": "Ada", "password": PASSWORD}, headers=keyed({})), 409, "name-taken")
    assert user.rows("SELECT * FROM idempotency") == []


def test_a_registration_can_be_repeated_and_its_record_has_no_password(user: Api) -> None:
    body = {"name": "ada", "password": PASSWORD}
    first = user.client.post("/user", json=body, headers=keyed({}))
    assert user.client.post("/user", json=body, headers=keyed({})).get_json() == first.get_json()
    other = {**body, "password": PASSWORD + "!"}
    problem(user.client.post("/user", json=other, headers=keyed({})), 422, "idempotency-mismatch")
    record = str(user.rows("SELECT * FROM idempotency"))
    [(password_hash,)] = user.rows("SELECT password_hash FROM account")
    assert PASSWORD not in record
    assert password_hash not in record


def test_the_digest_of_a_body_cannot_be_computed_without_the_services_key(user: Api) -> None:
    """Else a leaked record would be a fast hash of a password."""
    from hashlib import sha256

    body = {"name": "ada", "password": PASSWORD}
    user.client.post("/user", json=body, headers=keyed({}))
    [(digest,)] = user.rows("SELECT digest FROM idempotency")
    full = {"name": "ada", "password": PASSWORD, "display_name": "", "email": None}
    for document in (body, full):
        for separators in ((",", ":"), (", ", ": ")):
            text = json.dumps(document, sort_keys=True, separators=separators)
            assert digest != sha256(text.encode()).hexdigest()


def test_signing_in_is_not_recorded(user: Api) -> None:
    user.registered("ada")
    body = {"name": "ada", "password": PASSWORD}
    tokens = [user.client.post("/user/session", json=body, headers=keyed({})).headers["Set-Cookie"] for _ in range(2)]
    assert tokens[0] != tokens[1]
    assert user.rows("SELECT * FROM idempotency") == []


def test_old_records_are_purged_in_a_transaction_of_their_own(
    rule: Api, ada: Headers, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule.client.post("/rule", json={"name": "milk"}, headers=keyed(ada, "old"))
    rule.execute("UPDATE idempotency SET created_at = '2001-01-01 00:00:00.000000'")
    monkeypatch.setattr(idempotency.time, "monotonic", lambda: 1e12)
    assert rule.client.post("/rule", json={"name": "milk"}, headers=keyed(ada, "new")).status_code == 201
    monkeypatch.undo()
    assert rule.rows("SELECT idempotency_key FROM idempotency") == [("new",)]
    operations = "".join(op for (op,) in rule.rows("SELECT op FROM samebase_change ORDER BY id"))
    assert operations.endswith("id")
