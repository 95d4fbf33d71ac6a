"""Small pure parts: headers, paths, repeatability, avatars, merging, settings."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

import pytest

from services.common.config import ConfigError, load
from services.common.errors import Problem
from services.gateway.config import GatewaySettings
from services.gateway.exchange import Answer, Call, end_to_end
from services.gateway.openapi import merged as merged_documents
from services.gateway.operations import merged as merged_outcomes
from services.gateway.people import avatar
from services.gateway.rest import clean_path
from services.gateway.visit import message, refusal


def test_hop_by_hop_headers_and_those_that_connection_names_end_here() -> None:
    headers = [("Connection", "close, X-Private"), ("x-private", "1"), ("Keep-Alive", "5"), ("ETag", '"a"')]
    assert end_to_end(headers) == [("ETag", '"a"')]


@pytest.mark.parametrize(
    ("method", "headers", "repeatable"),
    [
        ("GET", {}, True),
        ("PUT", {}, True),
        ("DELETE", {}, True),
        ("POST", {"idempotency-key": "k"}, True),
        ("POST", {}, False),
        ("PATCH", {"Idempotency-Key": "k"}, False),
    ],
)
def test_which_calls_may_be_sent_twice(method: str, headers: dict[str, str], repeatable: bool) -> None:
    assert Call("rule", method, "/rule", headers=headers).repeatable is repeatable


@pytest.mark.parametrize("path", ["/rule/", "/rule//x", "/rule/../status", "/rule/.", "/rule/a/..", "//rule"])
def test_paths_that_could_come_to_mean_others_are_not_found(path: str) -> None:
    with pytest.raises(Problem) as refused:
        clean_path(path)
    assert refused.value.status == 404


def test_a_path_is_encoded_again_whatever_bytes_it_has() -> None:
    assert clean_path("/rule/a b%2e\u00c3\u00a9?#\xff") == "/rule/a%20b%252e%C3%A9%3F%23%FF"


@pytest.mark.parametrize("name", ["Ada", "", "<script>", "&", "'", "日本", "é"])
def test_an_avatar_is_a_picture_of_its_own_without_anything_of_the_name_but_a_letter(name: str) -> None:
    uri = avatar("0b0e", name)
    assert uri == avatar("0b0e", name)
    kind, _, picture = uri.partition(",")
    assert kind == "data:image/svg+xml"
    assert '"' not in uri
    assert "#" not in uri
    texts = [element.text for element in ElementTree.fromstring(unquote(picture)) if element.text]  # noqa: S314 - ours
    assert len(texts[0]) == 1


def outcome(status: int, **document: str) -> Answer:
    return Answer(status, (("Content-Type", "application/json"),), json.dumps(document).encode())


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        (["unknown", "accepted", "pending"], "accepted"),
        (["unknown", "rejected"], "rejected"),
        (["unknown", "pending"], "pending"),
        (["unknown", "unknown"], "unknown"),
    ],
)
def test_of_all_replicas_the_one_that_knows_most_is_believed(answers: list[str], told: str) -> None:
    assert merged_outcomes([outcome(200, outcome=each) for each in answers]).json()["outcome"] == told


def test_a_replica_that_fails_does_not_hide_what_others_know_and_a_refusal_is_passed_on() -> None:
    assert merged_outcomes([outcome(503), outcome(200, outcome="unknown")]).status == 200
    assert merged_outcomes([outcome(503), outcome(404)]).status == 404
    with pytest.raises(Problem) as nobody:
        merged_outcomes([])
    assert nobody.value.status == 503


def test_merged_documents_hold_public_paths_only_and_keep_clashing_components_apart() -> None:
    def document(kind: str, *paths: str) -> dict[str, object]:
        ref = {"$ref": "#/components/schemas/Thing"}
        return {
            "paths": {path: {"get": {"schema": ref}} for path in paths},
            "components": {"schemas": {"Thing": {"type": kind}, "Same": {"type": "null"}}},
        }

    found = merged_documents(
        {"user": document("string", "/user", "/internal/users"), "rule": document("integer", "/rule/{key}", "/status")}
    )
    assert {"/user", "/rule/{key}", "/api/rule", "/writes/{request}"} <= found["paths"].keys()
    assert not {"/internal/users", "/status"} & found["paths"].keys()
    schemas = found["components"]["schemas"]
    assert (schemas["Thing"], schemas["RuleThing"]) == ({"type": "string"}, {"type": "integer"})
    assert found["paths"]["/user"]["get"]["schema"] == {"$ref": "#/components/schemas/Thing"}
    assert found["paths"]["/rule/{key}"]["get"]["schema"] == {"$ref": "#/components/schemas/RuleThing"}
    assert "RuleSame" not in schemas


def test_every_reference_of_the_gateways_own_document_leads_somewhere() -> None:
    document = merged_documents({})
    text = json.dumps(document)
    for part in text.split('"$ref": "#/')[1:]:
        node = document
        for step in part.split('"')[0].split("/"):
            node = node[step]


def test_a_refusal_is_told_with_the_fields_it_names_and_a_defect_without_details() -> None:
    body = {
        "type": "urn:samebase:problem:invalid",
        "detail": "d",
        "errors": [{"pointer": "#/name", "detail": "is bad"}],
    }
    answer = Answer(422, (("Content-Type", "application/problem+json"),), json.dumps(body).encode())
    problem = refusal(answer, answer.json())
    assert (problem.status, message(problem)) == (422, "name: is bad")
    assert refusal(Answer(500, (), b"Traceback"), None).status == 503


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    monkeypatch.setenv("TODO_PUBLIC_KEYS_FILE", str(tmp_path / "jwks.json"))
    monkeypatch.setenv("TODO_USER_URLS", "http://127.0.0.1:1, http://127.0.0.1:2")
    monkeypatch.setenv("TODO_RULE_URLS", "http://rule:8000")
    return monkeypatch


def test_settings_come_from_the_environment(environment: pytest.MonkeyPatch) -> None:
    settings = load(GatewaySettings)
    assert settings.user_urls == ["http://127.0.0.1:1", "http://127.0.0.1:2"]
    assert settings.rule_urls == ["http://rule:8000"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("TODO_RULE_URLS", ""),
        ("TODO_RULE_URLS", "rule:8000"),
        ("TODO_RULE_URLS", "https://rule"),
        ("TODO_RULE_URLS", "http://rule/path"),
        ("TODO_POLL_MS", "6000"),
        ("TODO_RULE_URL", "http://rule"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(environment: pytest.MonkeyPatch, key: str, value: str) -> None:
    environment.setenv(key, value)
    with pytest.raises(ConfigError, match=key):
        load(GatewaySettings)


def test_an_operator_token_that_is_missing_or_short_is_refused(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "token"
    environment.setenv("TODO_OPERATOR_TOKEN_FILE", str(file))
    with pytest.raises(ConfigError, match="TODO_OPERATOR_TOKEN_FILE"):
        load(GatewaySettings).operator_token()
    file.write_text("short\n")
    with pytest.raises(ConfigError, match="16"):
        load(GatewaySettings).operator_token()
    file.write_text("long enough, surely\n")
    assert load(GatewaySettings).operator_token() == "long enough, surely"
