"""The rule service keeps to its OpenAPI document, whatever is sent to it."""

from __future__ import annotations

from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from tests.support.openapi import drive, loaded
from tests.support.services import access_token, make_api

# schemathesis makes one test of each operation while the tests are collected: it needs the document then.
API = make_api("rule", Path(mkdtemp(prefix="samebase-rule-")))
SCHEMA = loaded(API)
ADA = access_token(name="Ada")


@SCHEMA.parametrize()
def test_every_call_answers_as_documented(case: Any) -> None:
    def existing() -> str:
        response = API.client.post("/rule", json={"name": "an item"}, headers=ADA)
        return str(response.get_json()["key"])

    drive(case, ADA, existing if "/rule/" in case.path else None)
