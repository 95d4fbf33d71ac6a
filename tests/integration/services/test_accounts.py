"""Registering, profiles, and who may see what."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from services.common.sync import Outcome
from tests.support.services import PASSWORD, Api, access_token, make_api, problem


def register(user: Api, **body: Any) -> Any:
    return user.client.post("/user", json={"name": "ada", "password": PASSWORD, **body})


def test_a_registered_user_has_what_was_given(user: Api) -> None:
    response = register(user, name="Ada Ł", displayName="Ada", email="ada@example.org")
    account = response.get_json()
    assert response.status_code == 201
    assert list(account) == ["id", "name", "displayName", "email", "authority", "createdAt", "updatedAt"]
    assert (account["name"], account["displayName"], account["email"]) == ("Ada Ł", "Ada", "ada@example.org")
    assert account["authority"] == "user"
    assert response.headers["Replication"] == "ordered"
    assert response.headers["X-Replica-Token"]


def test_without_display_name_and_email_they_are_empty(user: Api) -> None:
    account = register(user).get_json()
    assert (account["displayName"], account["email"]) == ("", None)


@pytest.mark.parametrize("name", ["ada", "ADA", "aDa", "\uff41\uff24\uff41", "\u1d2c" + "da"])
def test_names_that_differ_in_case_or_form_only_are_one_name(user: Api, name: str) -> None:
    user.registered("Ada")
    problem(register(user, name=name), 409, "name-taken")
    assert user.rows("SELECT name FROM account") == [("Ada",)]


@pytest.mark.parametrize(("first", "second"), [("straße", "STRASSE"), ("\u212bngstrom", "ångstrom"), ("ﬁ", "FI")])
def test_folding_is_that_of_unicode(user: Api, first: str, second: str) -> None:
    user.registered(first)
    problem(register(user, name=second), 409, "name-taken")


def test_a_name_that_another_replica_had_first_is_taken(user: Api) -> None:
    user.sync.reject("taken", "account")
    problem(register(user), 409, "name-taken")


def test_of_concurrent_registrations_of_one_name_one_succeeds(user: Api) -> None:
    def attempt(number: int) -> int:
        body = {"name": "ada" if number % 2 else "ADA", "password": PASSWORD}
        return user.app.test_client().post("/user", json=body).status_code

    with ThreadPoolExecutor(8) as pool:
        statuses = sorted(pool.map(attempt, range(16)))
    assert statuses == [201] + [409] * 15


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", "x" * 65),
        ("name", "\ufdfa" * 10),
        ("name", "a\x00b"),
        ("name", "a\nb"),
        ("name", "a\u200db"),
        ("name", "\u202eada"),
        ("name", " ada"),
        ("name", "ada\u3000"),
        ("name", "   "),
        ("password", "1234567"),
        ("password", "x" * 129),
        ("password", 12345678),
        ("displayName", "x" * 65),
        ("displayName", "a\x00"),
        ("email", "nobody"),
        ("email", "a@b@c"),
        ("email", "a @b"),
        ("email", "@b"),
        ("email", "x" * 250 + "@b.de"),
        ("authority", "admin"),
        ("id", "1"),
    ],
)
def test_a_wrong_field_is_422_and_named(user: Api, field: str, value: Any) -> None:
    document = problem(register(user, **{field: value}), 422, "invalid")
    assert [error["pointer"] for error in document["errors"]] == [f"#/{field}"]
    assert user.rows("SELECT * FROM account") == []


@pytest.mark.parametrize("password", ["12345678", "x" * 128, "\U0001f511" * 128, "nul \x00 inside", "        "])
def test_a_password_is_8_to_128_characters_of_any_kind(user: Api, password: str) -> None:
    user.registered("ada", password)
    assert user.signed_in("ada", password)
    response = user.client.post("/user/session", json={"name": "ada", "password": password[:-1]})
    problem(response, 401, "unauthorized")


def test_of_the_password_only_an_argon2id_hash_is_stored(user: Api) -> None:
    user.registered("ada")
    assert PASSWORD not in str(user.rows("SELECT * FROM account"))
    [(password_hash,)] = user.rows("SELECT password_hash FROM account")
    assert password_hash.startswith("$argon2id$")


def test_me_is_the_callers_account(user: Api) -> None:
    account = user.registered("ada", email="ada@example.org")
    user.registered("bob")
    assert user.client.get("/user/me", headers=user.signed_in("ada")).get_json() == account


def test_a_profile_change_writes_what_is_given(user: Api) -> None:
    before = user.registered("ada", email="ada@example.org", displayName="Ada")
    me = user.signed_in("ada")
    changed = user.client.patch("/user/me", json={"displayName": "Countess"}, headers=me)
    assert changed.status_code == 200
    assert changed.headers["Replication"] == "ordered"
    after = changed.get_json()
    assert after == {**before, "displayName": "Countess", "updatedAt": after["updatedAt"]}
    assert after["updatedAt"] > before["updatedAt"]
    assert user.client.patch("/user/me", json={}, headers=me).get_json() == after
    assert user.client.patch("/user/me", json={"displayName": "Countess"}, headers=me).get_json() == after


@pytest.mark.parametrize("field", ["name", "password", "authority", "id", "createdAt"])
def test_nothing_else_can_be_changed(user: Api, field: str) -> None:
    user.registered("ada")
    response = user.client.patch("/user/me", json={field: "x" * 10}, headers=user.signed_in("ada"))
    assert problem(response, 422, "invalid")["errors"][0]["pointer"] == f"#/{field}"


def test_a_profile_change_that_lost_in_the_log_is_409(user: Api) -> None:
    user.registered("ada")
    me = user.signed_in("ada")
    user.sync.reject("changed", "account")
    problem(user.client.patch("/user/me", json={"displayName": "x"}, headers=me), 409, "conflict")


def test_others_see_the_public_profile_only(user: Api) -> None:
    ada = user.registered("ada", email="ada@example.org", displayName="Ada")
    user.registered("bob")
    bob = user.signed_in("bob")
    public = {"id": ada["id"], "name": "ada", "displayName": "Ada"}
    assert user.client.get(f"/user/{ada['id']}", headers=bob).get_json() == public
    assert user.client.get(f"/user?id={ada['id']}", headers=bob).get_json() == {"data": [public]}
    problem(user.client.get(f"/user/{uuid.uuid4()}", headers=bob), 404, "not-found")
    problem(user.client.get("/user/1", headers=bob), 404, "not-found")


def test_a_list_of_users_omits_who_is_unknown_and_keeps_the_order(user: Api) -> None:
    ids = [user.registered(name)["id"] for name in ("ada", "bob", "cid")]
    query = {"id": [ids[2], "nonsense", ids[0], str(uuid.uuid4()), ids[2], ""]}
    response = user.client.get("/user", query_string=query, headers=access_token())
    assert [found["name"] for found in response.get_json()["data"]] == ["cid", "ada"]


def test_a_list_of_users_has_at_most_a_hundred_ids(user: Api) -> None:
    me = access_token()
    assert user.client.get("/user", query_string={"id": ["x"] * 100}, headers=me).status_code == 200
    problem(user.client.get("/user", query_string={"id": ["x"] * 101}, headers=me), 422, "invalid")
    document = problem(user.client.get("/user", headers=me), 422, "invalid")
    assert document["errors"][0]["parameter"] == "id"


def test_admins_are_those_that_the_settings_name(tmp_path: Path) -> None:
    user = make_api("user", tmp_path, admins="Root, ADA")
    assert user.registered("ada")["authority"] == "admin"
    assert user.registered("bob")["authority"] == "user"


def test_the_gateway_can_ask_for_everybody(user: Api) -> None:
    user.registered("bob", email="bob@example.org")
    ada = user.registered("ada", displayName="Ada")
    found = user.client.get("/internal/users", headers=user.signed_in("bob")).get_json()["data"]
    assert [sorted(account) for account in found] == [["authority", "displayName", "id", "name"]] * 2
    assert found[0] == {"id": ada["id"], "name": "ada", "displayName": "Ada", "authority": "user"}


def test_internal_calls_are_not_in_the_openapi_document(user: Api) -> None:
    assert "internal" not in user.client.get("/openapi.json").text


def test_the_outcome_of_an_unconfirmed_registration_can_be_asked_without_signing_in(user: Api) -> None:
    user.sync.stall()
    link = problem(register(user), 503, "unconfirmed")["link"]
    user.sync.verdict = lambda request, level: Outcome("rejected", "ordered")
    assert user.client.get(link).get_json()["outcome"] == "rejected"
