"""To-do items over REST: adding, reading, changing, removing, listing."""

from __future__ import annotations

import re
import uuid
from typing import Any

import pytest
from sqlalchemy import Engine, event

from services.common import dialects
from tests.support.services import Api, problem

Headers = dict[str, str]

DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


def add(rule: Api, headers: Headers, **fields: Any) -> dict[str, Any]:
    response = rule.client.post("/rule", json={"name": "milk", **fields}, headers=headers)
    assert response.status_code == 201, response.text
    return dict(response.get_json())


def names(rule: Api, headers: Headers, **query: Any) -> list[str]:
    response = rule.client.get("/rule", query_string=query, headers=headers)
    assert response.status_code == 200, response.text
    return [item["name"] for item in response.get_json()["data"]]


def test_a_new_item_has_everything_that_an_item_has(rule: Api, ada: Headers) -> None:
    response = rule.client.post("/rule", json={"name": "milk"}, headers=ada)
    item = response.get_json()
    assert list(item) == [
        *("key", "name", "desc", "status", "progress", "callNo", "owner"),
        *("avatar", "href", "disabled", "createdAt", "updatedAt"),
    ]
    assert (item["name"], item["desc"], item["status"], item["progress"], item["callNo"]) == ("milk", "", 1, 0, 0)
    assert str(uuid.UUID(item["key"])) == item["key"]
    assert response.headers["Location"] == f"/rule/{item['key']}"
    assert item["createdAt"] == item["updatedAt"]
    assert DATE.fullmatch(item["createdAt"])
    assert rule.client.get(response.headers["Location"], headers=ada).get_json() == item


def test_dates_have_six_fraction_digits_also_when_they_are_zero(rule: Api, ada: Headers) -> None:
    item = add(rule, ada)
    rule.execute("UPDATE item SET created_at = '2026-11-22 08:00:00.000000'")
    assert rule.client.get(f"/rule/{item['key']}", headers=ada).get_json()["createdAt"] == "2026-11-22T08:00:00.000000Z"


def test_a_time_is_stored_as_the_very_text_that_is_compared(rule: Api, ada: Headers) -> None:
    add(rule, ada)
    [(stored,)] = rule.rows("SELECT created_at FROM item")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}", stored)


def test_a_change_writes_the_given_columns_only(rule: Api, ada: Headers, monkeypatch: pytest.MonkeyPatch) -> None:
    statements: list[str] = []
    make_engine = dialects.engine

    def watched(url: str) -> Engine:
        engine = make_engine(url)
        event.listen(engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
        return engine

    monkeypatch.setattr(dialects, "engine", watched)
    item = add(rule, ada)
    rule.client.patch(f"/rule/{item['key']}", json={"progress": 50}, headers=ada)
    [update] = [statement for statement in statements if statement.startswith("UPDATE")]
    assert set(re.findall(r"(\w+)=\?", update)) == {"progress", "updated_at"}


@pytest.mark.parametrize(
    ("change", "now"),
    [
        ({"name": "oat milk"}, {"name": "oat milk"}),
        ({"desc": "two"}, {"desc": "two"}),
        ({"desc": ""}, {"desc": ""}),
        ({"status": 3}, {"status": 3, "callNo": 0}),
        ({"status": 2}, {"status": 2, "callNo": 1}),
        ({"progress": 100, "name": "x"}, {"progress": 100, "name": "x"}),
    ],
)
def test_a_change_changes_what_is_given(rule: Api, ada: Headers, change: dict[str, Any], now: dict[str, Any]) -> None:
    before = add(rule, ada, desc="one")
    response = rule.client.patch(f"/rule/{before['key']}", json=change, headers=ada)
    after = response.get_json()
    assert response.status_code == 200
    assert after["updatedAt"] > before["updatedAt"]
    assert after == {**before, **now, "updatedAt": after["updatedAt"]}
    assert rule.client.get(f"/rule/{before['key']}", headers=ada).get_json() == after


def test_every_time_that_an_item_is_set_to_done_counts(rule: Api, ada: Headers) -> None:
    item = add(rule, ada, status=2)
    assert item["callNo"] == 0
    counts = [
        rule.client.patch(f"/rule/{item['key']}", json=change, headers=ada).get_json()["callNo"]
        for change in ({"status": 2}, {"status": 2}, {"name": "x"}, {"status": 1}, {"status": 2})
    ]
    assert counts == [1, 2, 2, 2, 3]


def test_a_removed_item_is_gone(rule: Api, ada: Headers) -> None:
    path = f"/rule/{add(rule, ada)['key']}"
    assert rule.client.delete(path, headers=ada).status_code == 204
    for method in ("GET", "PATCH", "DELETE"):
        problem(rule.client.open(path, method=method, json={}, headers=ada), 404, "not-found")


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
def test_someone_elses_item_and_a_malformed_key_are_404(rule: Api, ada: Headers, bob: Headers, method: str) -> None:
    item = add(rule, ada)
    before = rule.rows("SELECT * FROM item")
    for key in (item["key"], str(uuid.uuid4()), item["key"].upper(), "1", "' OR 1=1"):
        response = rule.client.open(
            f"/rule/{key}", method=method, json={"name": "mine"}, headers={**bob, "If-Match": "*"}
        )
        problem(response, 404, "not-found")
    assert rule.rows("SELECT * FROM item") == before
    assert names(rule, bob) == []


def test_a_refused_write_leaves_nothing_for_sync(rule: Api, ada: Headers) -> None:
    problem(rule.client.patch(f"/rule/{uuid.uuid4()}", json={"name": "x"}, headers=ada), 404, "not-found")
    assert rule.rows("SELECT * FROM samebase_change") == []


# Lists


def test_the_list_is_page_by_page_newest_first(rule: Api, ada: Headers) -> None:
    for number in range(5):
        add(rule, ada, name=f"item {number}")
    response = rule.client.get("/rule?pageSize=2&current=2", headers=ada)
    page = response.get_json()
    assert list(page) == ["data", "total", "current", "pageSize", "success"]
    assert [item["name"] for item in page["data"]] == ["item 2", "item 1"]
    assert (page["total"], page["current"], page["pageSize"], page["success"]) == (5, 2, 2, True)
    assert response.headers["Cache-Control"] == "private, no-cache"


def test_past_the_end_there_is_nothing_and_current_is_as_asked(rule: Api, ada: Headers) -> None:
    add(rule, ada)
    for current in (2, 1_000_000_000):
        page = rule.client.get(f"/rule?current={current}&pageSize=200", headers=ada).get_json()
        assert (page["data"], page["total"], page["current"]) == ([], 1, current)


def test_a_page_has_twenty_items_unless_asked_otherwise(rule: Api, ada: Headers) -> None:
    for _ in range(21):
        add(rule, ada)
    assert len(names(rule, ada)) == 20
    assert len(names(rule, ada, pageSize=200)) == 21


@pytest.mark.parametrize(
    ("needle", "found"),
    [
        ("milk", ["Milk"]),
        ("MIL", ["Milk"]),
        ("%", ["100%"]),
        ("_", ["a_b"]),
        ("a_", ["a_b"]),
        ("ÄPFEL", ["äpfel"]),
        ("strasse", ["Straße"]),
        ("ДО", ["дом"]),
        ("\\", ["back\\slash"]),
        ("''", []),
    ],
)
def test_search_is_for_literal_substrings_and_ignores_case(
    rule: Api, ada: Headers, needle: str, found: list[str]
) -> None:
    for name in ("Milk", "100%", "a_b", "axb", "äpfel", "Straße", "дом", "back\\slash"):
        add(rule, ada, name=name, desc=f"about {name}")
    assert names(rule, ada, name=needle) == found
    assert names(rule, ada, desc=needle) == found


def test_conditions_hold_together_and_status_may_be_several(rule: Api, ada: Headers) -> None:
    for status in range(4):
        add(rule, ada, name=f"a{status}", status=status)
        add(rule, ada, name=f"b{status}", status=status)
    assert names(rule, ada, status="0", sorter="name_ascend") == ["a0", "b0"]
    assert names(rule, ada, status="3,0", sorter="name_ascend") == ["a0", "a3", "b0", "b3"]
    assert names(rule, ada, status="1,1", name="b") == ["b1"]


@pytest.mark.parametrize("field", ["name", "desc", "status", "progress", "callNo", "createdAt", "updatedAt"])
def test_the_list_is_sorted_as_asked_and_ties_by_key(rule: Api, ada: Headers, field: str) -> None:
    for number in (2, 0, 3, 1):
        item = add(rule, ada, name=f"n{number // 2}", desc=f"d{number // 2}", status=number // 2, progress=number // 2)
        if number >= 2:
            rule.client.patch(f"/rule/{item['key']}", json={"status": 2}, headers=ada)
    rule.execute("UPDATE item SET created_at = substr(created_at, 1, 10) || ' 08:00:00.00000' || progress")
    rule.execute("UPDATE item SET updated_at = created_at")
    for direction in ("ascend", "descend"):
        items = rule.client.get(f"/rule?sorter={field}_{direction}", headers=ada).get_json()["data"]
        expected = sorted(items, key=lambda item: item["key"])
        expected.sort(key=lambda item: item[field], reverse=direction == "descend")
        assert items == expected
        assert len({item[field] for item in items}) == 2


def test_a_list_says_nothing_of_other_peoples_items(rule: Api, ada: Headers, bob: Headers) -> None:
    add(rule, ada, name="ada's")
    add(rule, bob, name="bob's")
    assert names(rule, ada) == ["ada's"]
    assert rule.client.get("/rule", headers=bob).get_json()["total"] == 1
