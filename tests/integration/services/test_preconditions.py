"""ETag, If-Match and If-None-Match."""

from __future__ import annotations

import uuid

import pytest

from tests.support.services import Api, problem

Headers = dict[str, str]


@pytest.fixture
def item(rule: Api, ada: Headers) -> str:
    return rule.client.post("/rule", json={"name": "milk"}, headers=ada).headers["Location"]


def etag(rule: Api, item: str, headers: Headers) -> str:
    return rule.client.get(item, headers=headers).headers["ETag"]


def test_post_get_and_patch_send_the_same_strong_etag_for_the_same_item(rule: Api, ada: Headers) -> None:
    added = rule.client.post("/rule", json={"name": "milk"}, headers=ada)
    item = added.headers["Location"]
    first = added.headers["ETag"]
    assert first.startswith('"')
    assert etag(rule, item, ada) == first
    changed = rule.client.patch(item, json={"name": "oat milk"}, headers=ada)
    assert changed.headers["ETag"] != first
    assert etag(rule, item, ada) == changed.headers["ETag"]
    assert rule.client.patch(item, json={}, headers=ada).headers["ETag"] == changed.headers["ETag"]
    for response in (added, changed, rule.client.get(item, headers=ada)):
        assert response.headers["Cache-Control"] == "private, no-cache"


@pytest.mark.parametrize("column", ["name", "description", "status", "progress", "call_no", "created_at", "updated_at"])
def test_every_replicated_column_is_in_the_etag(rule: Api, ada: Headers, item: str, column: str) -> None:
    before = etag(rule, item, ada)
    value = "2001-01-01 00:00:00.000001" if column.endswith("_at") else 3
    rule.execute(f"UPDATE item SET {column} = ?", value)
    assert etag(rule, item, ada) != before


@pytest.mark.parametrize("form", ["{}", "*", '"x", {}', "W/{}"])
def test_who_has_the_current_item_gets_304(rule: Api, ada: Headers, item: str, form: str) -> None:
    current = etag(rule, item, ada)
    response = rule.client.get(item, headers={**ada, "If-None-Match": form.format(current)})
    assert (response.status_code, response.data) == (304, b"")
    assert response.headers["ETag"] == current
    rule.client.patch(item, json={"name": "oat milk"}, headers=ada)
    if form != "*":
        assert rule.client.get(item, headers={**ada, "If-None-Match": form.format(current)}).status_code == 200


@pytest.mark.parametrize("form", ["{}", "*", " * ", '"x",{}', '"x" , {} , "y"', 'W/"x", {}'])
@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
def test_a_condition_that_holds_lets_the_write_through(
    rule: Api, ada: Headers, item: str, form: str, method: str
) -> None:
    headers = {**ada, "If-Match": form.format(etag(rule, item, ada))}
    response = rule.client.open(item, method=method, json={"name": "oat milk"}, headers=headers)
    assert response.status_code in {200, 204}
    assert response.headers["Replication"] == "ordered"
    assert rule.sync.waits[-1][1] == "ordered"
    assert rule.rows("SELECT certified FROM samebase_change WHERE op = 'i' ORDER BY id DESC LIMIT 1") == [(1,)]


@pytest.mark.parametrize("form", ['"x"', "W/{}", "x", "", '"*"', '"", W/{}'])
@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
def test_a_condition_that_does_not_hold_is_412_and_changes_nothing(
    rule: Api, ada: Headers, item: str, form: str, method: str
) -> None:
    current = etag(rule, item, ada)
    headers = {**ada, "If-Match": form.format(current)}
    response = rule.client.open(item, method=method, json={"name": "oat milk"}, headers=headers)
    problem(response, 412, "precondition-failed")
    assert etag(rule, item, ada) == current


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
def test_404_comes_before_412(rule: Api, ada: Headers, bob: Headers, item: str, method: str) -> None:
    for path, headers in [(f"/rule/{uuid.uuid4()}", ada), (item, bob)]:
        for condition in ("*", '"x"'):
            response = rule.client.open(path, method=method, json={}, headers={**headers, "If-Match": condition})
            problem(response, 404, "not-found")


@pytest.mark.parametrize(
    ("condition", "reason", "expected"),
    [
        ("current", "changed", (412, "precondition-failed")),
        ("current", "missing", (412, "precondition-failed")),
        ("*", "missing", (412, "precondition-failed")),
        ("*", "changed", (409, "conflict")),
        ("current", "exists", (409, "conflict")),
    ],
)
def test_a_condition_that_failed_in_the_log_is_412_any_other_rejection_409(
    rule: Api, ada: Headers, condition: str, reason: str, expected: tuple[int, str]
) -> None:
    for method in ("PATCH", "DELETE"):
        item = rule.client.post("/rule", json={"name": "milk"}, headers=ada).headers["Location"]
        rule.sync.reject(reason, "item")
        tag = etag(rule, item, ada) if condition == "current" else condition
        response = rule.client.open(item, method=method, json={"name": "x"}, headers={**ada, "If-Match": tag})
        problem(response, *expected)
        rule.sync.verdict = lambda request, level: None


def test_a_conditional_write_without_a_verdict_is_unconfirmed(rule: Api, ada: Headers, item: str) -> None:
    rule.sync.stall("log")
    response = rule.client.patch(item, json={"name": "x"}, headers={**ada, "If-Match": "*"})
    problem(response, 503, "unconfirmed")
