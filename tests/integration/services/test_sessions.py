"""Signing in, staying signed in, signing out; and what an attacker learns."""

from __future__ import annotations

import json
import uuid
from http.cookies import Morsel, SimpleCookie
from pathlib import Path
from typing import Any

import jwt
import pytest
from werkzeug.test import TestResponse

from services.common import auth, keys
from services.user import passwords, sessions
from services.user.views import FAILED_PER_ADDRESS
from tests.support.services import PASSWORD, Api, key_files, make_api, problem

BODY = {"name": "ada", "password": PASSWORD}


@pytest.fixture
def account(user: Api) -> dict[str, Any]:
    return user.registered("ada", displayName="Ada Lovelace")


def sign_in(user: Api, name: str = "ada", password: str = PASSWORD, **headers: str) -> TestResponse:
    return user.client.post("/user/session", json={"name": name, "password": password}, headers=headers)


def cookie(response: TestResponse) -> Morsel[str]:
    return SimpleCookie(response.headers["Set-Cookie"])["session"]


def with_cookie(response: TestResponse) -> dict[str, str]:
    return {"Cookie": f"session={cookie(response).value}"}


def refresh(user: Api, headers: dict[str, str]) -> TestResponse:
    return user.client.post("/user/session/refresh", headers=headers)


def test_signing_in_gives_a_token_and_a_cookie(user: Api, account: dict[str, Any]) -> None:
    response = sign_in(user)
    assert response.status_code == 200
    assert list(response.get_json()) == ["accessToken", "expiresIn"]
    assert response.get_json()["expiresIn"] == 900
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["X-Replica-Token"]
    assert response.headers["Replication"] in {"log", "ordered"}
    session = cookie(response)
    assert session["httponly"]
    assert (session["samesite"], session["path"]) == ("Lax", "/user/session")
    assert int(session["max-age"]) > 0
    assert not session["secure"]


@pytest.mark.parametrize("name", ["ADA", "\uff41da"])
def test_the_name_may_be_typed_in_another_form(user: Api, account: dict[str, Any], name: str) -> None:
    assert sign_in(user, name).status_code == 200


def test_over_https_the_cookie_is_secure(user: Api, account: dict[str, Any]) -> None:
    response = sign_in(user, **{"X-Forwarded-Proto": "https"})
    assert cookie(response)["secure"]
    signed_out = user.client.delete("/user/session", headers={**with_cookie(response), "X-Forwarded-Proto": "https"})
    assert cookie(signed_out)["secure"]


def test_the_access_token_says_who_and_verifies_with_the_published_keys(user: Api, account: dict[str, Any]) -> None:
    token = sign_in(user).get_json()["accessToken"]
    [key] = user.client.get("/user/.well-known/jwks.json").get_json()["keys"]
    assert set(key) == {"kty", "crv", "x", "kid", "alg", "use"}
    header = jwt.get_unverified_header(token)
    assert (header["alg"], header["kid"]) == ("EdDSA", key["kid"])
    claims = jwt.decode(token, jwt.PyJWK.from_dict(key), algorithms=["EdDSA"])
    [(session_id,)] = user.rows("SELECT id FROM session")
    assert claims == {
        "iss": "samebase",
        "sub": account["id"],
        "name": "Ada Lovelace",
        "sid": session_id,
        "authority": "user",
        "iat": claims["iat"],
        "exp": claims["iat"] + 900,
    }


def test_the_secret_of_a_session_is_stored_as_a_hash_only(user: Api, account: dict[str, Any]) -> None:
    _, _, secret = cookie(sign_in(user)).value.partition(".")
    assert len(secret) >= 43
    assert secret not in str(user.rows("SELECT * FROM session"))


def test_a_wrong_name_and_a_wrong_password_get_the_same_words(user: Api, account: dict[str, Any]) -> None:
    answers = [
        problem(sign_in(user, *who), 401, "unauthorized")
        for who in [("ada", "wrong password"), ("nobody", PASSWORD), ("", ""), ("ada\x00", PASSWORD)]
    ]
    assert len({json.dumps({**answer, "traceId": ""}) for answer in answers}) == 1


def test_an_unknown_name_costs_a_verification_too(
    user: Api, account: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    sign_in(user, password="wrong password")
    verified: list[str] = []
    verify = passwords.PasswordHasher.verify

    def counting(self: Any, password_hash: str, password: str) -> bool:
        verified.append(password_hash)
        return verify(self, password_hash, password)

    monkeypatch.setattr(passwords.PasswordHasher, "verify", counting)
    for name in ("ada", "nobody"):
        problem(sign_in(user, name, "wrong password"), 401, "unauthorized")
    known, unknown = verified
    assert known != unknown
    assert known.split("$")[:4] == unknown.split("$")[:4]


@pytest.mark.parametrize("body", [{}, {"name": "ada"}, {**BODY, "type": "account"}, {**BODY, "password": "x" * 129}])
def test_sign_in_reads_strictly(user: Api, body: dict[str, str]) -> None:
    problem(user.client.post("/user/session", json=body), 422, "invalid")


# Refreshing and renewing


def test_the_cookie_gets_new_access_tokens(user: Api, account: dict[str, Any]) -> None:
    signed_in = sign_in(user)
    response = refresh(user, with_cookie(signed_in))
    assert response.status_code == 200
    assert response.headers["Cache-Control"] == "no-store"
    me = {"Authorization": f"Bearer {response.get_json()['accessToken']}"}
    assert user.client.get("/user/me", headers=me).get_json() == account


@pytest.mark.parametrize("value", [None, "", "x", ".", "0" * 36 + ".x", "0" * 36 + ".", "\xff.\xff", "a" * 5000])
def test_a_cookie_that_is_none_of_ours_is_401(user: Api, account: dict[str, Any], value: str | None) -> None:
    sign_in(user)
    problem(refresh(user, {} if value is None else {"Cookie": f"session={value}"}), 401, "unauthorized")


def test_a_session_needs_its_own_secret(user: Api, account: dict[str, Any]) -> None:
    first, second = cookie(sign_in(user)).value, cookie(sign_in(user)).value
    mixed = first.split(".")[0] + "." + second.split(".")[1]
    problem(refresh(user, {"Cookie": f"session={mixed}"}), 401, "unauthorized")
    problem(refresh(user, {"Cookie": f"session={first.split('.')[0]}.{first.split('.')[1]}x"}), 401, "unauthorized")
    user.client.delete("/user/session", headers={"Cookie": f"session={mixed}"})
    assert len(user.rows("SELECT * FROM session")) == 2


def test_an_expired_session_is_refused_and_removed_at_the_next_sign_in(user: Api, account: dict[str, Any]) -> None:
    signed_in = sign_in(user)
    me = {"Authorization": f"Bearer {signed_in.get_json()['accessToken']}"}
    user.execute("UPDATE session SET expires_at = '2001-01-01 00:00:00.000000'")
    problem(refresh(user, with_cookie(signed_in)), 401, "unauthorized")
    problem(user.client.post("/internal/session/renew", headers=me), 401, "unauthorized")
    sign_in(user)
    assert len(user.rows("SELECT * FROM session")) == 1


def test_a_valid_access_token_is_renewed_while_its_session_lives(user: Api, account: dict[str, Any]) -> None:
    signed_in = sign_in(user)
    me = {"Authorization": f"Bearer {signed_in.get_json()['accessToken']}"}
    renewed = user.client.post("/internal/session/renew", headers=me)
    assert renewed.status_code == 200
    me = {"Authorization": f"Bearer {renewed.get_json()['accessToken']}"}
    assert user.client.get("/user/me", headers=me).status_code == 200
    user.client.delete("/user/session", headers=with_cookie(signed_in))
    problem(user.client.post("/internal/session/renew", headers=me), 401, "unauthorized")


# Signing out


def test_after_signing_out_refreshing_is_refused_and_the_access_token_lives_on(
    user: Api, account: dict[str, Any]
) -> None:
    signed_in, other = sign_in(user), sign_in(user)
    response = user.client.delete("/user/session", headers=with_cookie(signed_in))
    assert (response.status_code, response.data) == (204, b"")
    assert response.headers["X-Replica-Token"]
    assert response.headers["Replication"]
    assert (cookie(response).value, cookie(response)["max-age"], cookie(response)["path"]) == ("", "0", "/user/session")
    problem(refresh(user, with_cookie(signed_in)), 401, "unauthorized")
    assert refresh(user, with_cookie(other)).status_code == 200
    me = {"Authorization": f"Bearer {signed_in.get_json()['accessToken']}"}
    assert user.client.get("/user/me", headers=me).status_code == 200


def test_signing_out_twice_or_without_a_session_is_204(user: Api, account: dict[str, Any]) -> None:
    headers = with_cookie(sign_in(user))
    for attempt in (headers, headers, {}, {"Cookie": "session=x"}):
        assert user.client.delete("/user/session", headers=attempt).status_code == 204


# Guessing


def test_repeated_failed_sign_ins_are_429_until_later(user: Api, account: dict[str, Any]) -> None:
    for _ in range(5):
        problem(sign_in(user, password="wrong password"), 401, "unauthorized")
    response = sign_in(user)
    problem(response, 429, "too-many-requests")
    assert 1 <= int(response.headers["Retry-After"]) <= 61
    problem(sign_in(user, "ADA"), 429, "too-many-requests")


def test_others_and_elsewhere_are_not_hindered(user: Api, account: dict[str, Any]) -> None:
    user.registered("bob")
    for _ in range(6):
        sign_in(user, password="wrong password")
    assert sign_in(user, "bob").status_code == 200
    assert sign_in(user, **{"X-Forwarded-For": "192.0.2.7"}).status_code == 200
    assert sign_in(user, **{"X-Forwarded-For": "192.0.2.7, 127.0.0.1"}).status_code == 429


def test_successful_sign_ins_do_not_count(user: Api, account: dict[str, Any]) -> None:
    assert {sign_in(user).status_code for _ in range(10)} == {200}


def test_an_address_that_tries_many_names_is_stopped_too(user: Api) -> None:
    allowed = int(FAILED_PER_ADDRESS.split()[0])
    statuses = [sign_in(user, f"name {number}").status_code for number in range(allowed + 1)]
    assert statuses == [401] * allowed + [429]


# Keys


def test_a_token_of_a_new_key_is_accepted_once_the_keys_file_has_it(tmp_path: Path) -> None:
    old_signing, old_public = keys.generate(tmp_path / "old")
    new_signing, new_public = keys.generate(tmp_path / "new")
    rule = make_api("rule", tmp_path, public_keys_file=old_public)

    def token(signing: Path, public: Path) -> dict[str, str]:
        key = keys.load_signing_key(signing)
        signer = sessions.Signer(key, keys.key_id(key, keys.load_jwks(public)))
        who = sessions.Account(id=str(uuid.uuid4()), name="ada", display_name="")
        return {"Authorization": f"Bearer {signer.token(who, 'sid', 'user')}"}

    new = token(new_signing, new_public)
    problem(rule.client.get("/rule", headers=new), 401, "unauthorized")
    both = keys.load_jwks(old_public) + keys.load_jwks(new_public)
    old_public.write_text(json.dumps({"keys": both}))
    assert rule.client.get("/rule", headers=new).status_code == 200
    assert rule.client.get("/rule", headers=token(old_signing, old_public)).status_code == 200


@pytest.mark.parametrize(
    ("change", "accepted"),
    [
        ({}, True),
        ({"exp": 1}, False),
        ({"iss": "somebody"}, False),
        ({"iat": 99_999_999_999}, False),
        *[({missing: None}, False) for missing in ("exp", "iat", "iss", "sub", "name", "sid", "authority")],
    ],
)
def test_every_claim_counts(change: dict[str, Any], accepted: bool, user: Api, account: dict[str, Any]) -> None:
    token = sign_in(user).get_json()["accessToken"]
    claims = {**jwt.decode(token, options={"verify_signature": False}), **change}
    signing, _ = key_files()
    kid = jwt.get_unverified_header(token)["kid"]
    forged = jwt.encode(
        {name: value for name, value in claims.items() if value is not None},
        keys.load_signing_key(signing),
        auth.ALGORITHM,
        headers={"kid": kid},
    )
    response = user.client.get("/user/me", headers={"Authorization": f"Bearer {forged}"})
    assert response.status_code == (200 if accepted else 401)


def test_a_symmetric_signature_with_the_public_key_is_refused(user: Api, account: dict[str, Any]) -> None:
    """The classic confusion of algorithms."""
    import base64
    import hmac

    token = sign_in(user).get_json()["accessToken"]
    [key] = user.client.get("/user/.well-known/jwks.json").get_json()["keys"]

    def encoded(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    head = encoded(json.dumps({"alg": "HS256", "kid": key["kid"]}).encode())
    message = f"{head}.{token.split('.')[1]}"
    raw = base64.urlsafe_b64decode(key["x"] + "=")
    forged = f"{message}.{encoded(hmac.digest(raw, message.encode(), 'sha256'))}"
    problem(user.client.get("/user/me", headers={"Authorization": f"Bearer {forged}"}), 401, "unauthorized")
