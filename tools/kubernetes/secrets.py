"""The Secrets that the manifests in k8s/ name. They are made once and never stored in the repository."""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from services.common.keys import generate

NAMES = {
    "mysql": ("root", "api", "migrate", "sync"),
    "keys": ("signing.pem", "jwks.json", "operator.token", "peer.token"),
}
"""Each Secret and its keys: passwords of the replicas' MySQL accounts; the keys that sign and verify access tokens, the
operators' token, and the one that replicas show each other."""


def new(name: str, namespace: str) -> dict[str, Any]:
    """A Secret with fresh values, as a manifest."""
    values = {"mysql": _passwords, "keys": _keys}[name]()
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app.kubernetes.io/part-of": "samebase"}},
        "stringData": values,
    }


def manifests(namespace: str) -> str:
    """All of them, as `kubectl create -f -` takes them."""
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": [new(name, namespace) for name in NAMES]})


def _passwords() -> dict[str, str]:
    # They become part of URLs: nothing that would have to be quoted there.
    return {key: secrets.token_hex(24) for key in NAMES["mysql"]}


def _keys() -> dict[str, str]:
    with TemporaryDirectory() as directory:
        signing, public = generate(Path(directory) / "keys")
        return {
            "signing.pem": signing.read_text("ascii"),
            "jwks.json": public.read_text("ascii"),
            "operator.token": secrets.token_urlsafe(32),
            "peer.token": secrets.token_urlsafe(32),
        }
