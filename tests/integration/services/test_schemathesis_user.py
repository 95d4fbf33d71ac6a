"""The user service keeps to its OpenAPI document, whatever is sent to it."""

from __future__ import annotations

from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from hypothesis import assume

from services.user import names
from tests.support.openapi import drive, loaded
from tests.support.services import make_api

# schemathesis makes one test of each operation while the tests are collected: it needs the document then.
API = make_api("user", Path(mkdtemp(prefix="samebase-user-")))
SCHEMA = loaded(API)
ADA_ID = API.registered("ada")["id"]
ADA = API.signed_in("ada")


@SCHEMA.parametrize()
def test_every_call_answers_as_documented(case: Any) -> None:
    if case.path == "/user" and case.method == "POST" and isinstance(case.body, dict):
        assume(_sayable(case.body.get("name")))
    drive(case, ADA, lambda: ADA_ID)


def _sayable(name: object) -> bool:
    """Whether JSON Schema can say of this name what the service says: not which characters are invisible, nor how long
    its normal form is."""
    if not isinstance(name, str) or not 1 <= len(name) <= names.MAX_LENGTH:
        return True
    try:
        return bool(names.check(name))
    except ValueError:
        return False
