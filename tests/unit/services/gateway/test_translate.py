"""The words of pages and the words of the REST face."""

from __future__ import annotations

import pytest
from werkzeug.datastructures import MultiDict

from services.common.errors import Problem
from services.gateway import translate
from services.gateway.translate import ListQuery, item_fields, key_of, keys_of, list_query


def query(**parameters: str) -> ListQuery:
    return list_query(MultiDict(parameters))


def test_without_parameters_the_first_twenty_in_the_default_order() -> None:
    assert query().page(1) == {"current": "1", "pageSize": "20"}


@pytest.mark.parametrize(
    ("sorter", "rest"),
    [
        ("updatedAt_descend", "updatedAt_descend"),
        ("updatedAt_ascend", "updatedAt_ascend"),
        ("callNo_descend", "callNo_descend"),
        ('{"updatedAt":"descend"}', "updatedAt_descend"),
        ('{"name":null,"progress":"ascend"}', "progress_ascend"),
    ],
)
def test_a_sorter_of_either_kind_is_passed_on(sorter: str, rest: str) -> None:
    assert query(sorter=sorter).rest == {"sorter": rest}


@pytest.mark.parametrize(
    "sorter", ["", "updatedAt_undefined", "{}", '{"updatedAt":null}', "owner_descend", "{", "[1]", "_", "descend"]
)
def test_a_sorter_that_asks_for_no_order_is_left_out(sorter: str) -> None:
    assert query(sorter=sorter).rest == {}


@pytest.mark.parametrize(
    ("parameters", "status"),
    [
        ({"status": "2"}, "2"),
        ({"status": "3,0"}, "0,3"),
        ({"status": "0, 9,x"}, "0"),
        ({"filter": '{"status":["0","1"]}'}, "0,1"),
        ({"filter": '{"status":[2]}'}, "2"),
        ({"filter": '{"status":"3"}'}, "3"),
        ({"status": "0,1", "filter": '{"status":["1","2"]}'}, "1"),
    ],
)
def test_status_comes_from_the_parameter_and_the_filter(parameters: dict[str, str], status: str) -> None:
    assert query(**parameters).rest == {"status": status}


@pytest.mark.parametrize("parameters", [{"status": ""}, {"filter": '{"status":null}'}, {"filter": "{"}, {"filter": ""}])
def test_no_status_is_no_condition(parameters: dict[str, str]) -> None:
    found = query(**parameters)
    assert found.rest == {}
    assert not found.impossible


@pytest.mark.parametrize(
    "parameters",
    [{"status": "9"}, {"status": "x"}, {"status": "0", "filter": '{"status":["1"]}'}, {"name": "x" * 201}],
)
def test_what_no_item_can_match_matches_none(parameters: dict[str, str]) -> None:
    assert query(**parameters).impossible


@pytest.mark.parametrize(
    ("sent", "current", "size"),
    [
        ({"current": "3", "pageSize": "5"}, 3, 5),
        ({"current": "0", "pageSize": "0"}, 1, 1),
        ({"current": "-4", "pageSize": "9999"}, 1, 200),
        ({"current": "x", "pageSize": ""}, 1, 20),
        ({"current": "9" * 40, "pageSize": "--1"}, 10**9, 20),
        ({"current": "٣", "pageSize": "1.5"}, 1, 20),
    ],
)
def test_page_numbers_are_brought_into_range(sent: dict[str, str], current: int, size: int) -> None:
    found = query(**sent)
    assert (found.current, found.page_size) == (current, size)


def test_unknown_parameters_and_updated_at_are_ignored_and_search_texts_taken_literally() -> None:
    found = query(_timestamp="1", updatedAt="2026-01-01", name="50%_", desc="")
    assert found.rest == {"name": "50%_"}


@pytest.mark.parametrize(("total", "last"), [(0, 1), (1, 1), (20, 1), (21, 2), (40, 2)])
def test_the_last_page_is_the_last_one_with_a_row(total: int, last: int) -> None:
    assert query().last_page(total) == last


def test_null_means_unchanged_and_unknown_fields_are_ignored() -> None:
    body = {"key": "k", "name": "a", "desc": None, "status": None, "method": "update", "colour": "red"}
    assert item_fields(body) == {"name": "a"}


def test_numbers_may_come_as_strings_and_texts_stay_as_they_are() -> None:
    assert item_fields({"name": "7", "status": "2", "progress": "50"}) == {"name": "7", "status": 2, "progress": 50}
    assert item_fields({"status": "two", "progress": 1.5}) == {"status": "two", "progress": 1.5}


def test_one_key_or_many_each_once_what_is_no_key_skipped() -> None:
    assert keys_of({"key": ["a", "b", "a", 3, None]}) == ["a", "b"]
    assert keys_of({"key": "a"}) == ["a"]
    assert keys_of({"key": []}) == []


@pytest.mark.parametrize("body", [{}, {"key": None}, {"key": {"a": 1}}, {"key": [str(n) for n in range(201)]}])
def test_a_deletion_without_keys_or_with_too_many_is_refused(body: dict[str, object]) -> None:
    with pytest.raises(Problem) as refused:
        keys_of(body)
    assert refused.value.status == 422


@pytest.mark.parametrize("body", [{}, {"key": None}, {"key": ["a"]}])
def test_a_change_without_one_key_is_refused(body: dict[str, object]) -> None:
    with pytest.raises(Problem) as refused:
        key_of(body)
    assert refused.value.status == 422


def test_notices_tell_new_done_and_changed_items_apart() -> None:
    new = {"key": "1", "name": "a", "status": 1, "createdAt": "t1", "updatedAt": "t1"}
    done = {"key": "2", "name": "b", "status": 2, "createdAt": "t1", "updatedAt": "t2"}
    changed = {"key": "3", "name": "c", "status": 0, "createdAt": "t1", "updatedAt": "t3"}
    found = translate.notices([new, done, changed])
    assert [(n["type"], n["title"]) for n in found] == [
        ("notification", "a was added"),
        ("event", "b is done"),
        ("event", "c was changed"),
    ]
    assert {frozenset(n) for n in found} == {frozenset({"id", "type", "title", "datetime", "read"})}
