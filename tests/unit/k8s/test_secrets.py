"""The Secrets that are made for the manifests."""

from __future__ import annotations

import json
import re

from tools.kubernetes.secrets import NAMES, manifests, new


def test_every_secret_has_the_keys_that_the_manifests_may_name() -> None:
    for item in json.loads(manifests("shop"))["items"]:
        assert item["metadata"]["namespace"] == "shop"
        assert set(item["stringData"]) == set(NAMES[item["metadata"]["name"]])


def test_passwords_are_new_each_time_and_need_no_quoting_in_a_url() -> None:
    one, other = (new("mysql", "shop")["stringData"] for _ in range(2))
    values = [*one.values(), *other.values()]
    assert len(set(values)) == len(values)
    assert all(re.fullmatch("[0-9a-f]{48}", value) for value in values)


def test_the_signing_key_is_the_one_that_the_public_keys_verify() -> None:
    keys = new("keys", "shop")["stringData"]
    assert keys["signing.pem"].startswith("-----BEGIN PRIVATE KEY-----")
    assert json.loads(keys["jwks.json"])["keys"][0]["alg"] == "EdDSA"
    assert len(keys["operator.token"]) >= 16
