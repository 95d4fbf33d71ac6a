"""Ed25519 key files: the private key signs access tokens (user service), the public ones verify them (everywhere)."""

from __future__ import annotations

import base64
import json
import os
from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from services.common.config import ConfigError

_PUBLIC_MEMBERS = ("kty", "crv", "x", "kid", "alg", "use")


def generate(directory: Path) -> tuple[Path, Path]:
    """Make `signing.pem` and `jwks.json` in the directory unless both are there; returns their paths.

    The directory gets mode 0700, the private key 0600.
    """
    signing, public = directory / "signing.pem", directory / "jwks.json"
    if signing.exists() and public.exists():
        return signing, public
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    with os.fdopen(os.open(signing, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(pem)
    public.write_text(json.dumps({"keys": [_jwk(key.public_key())]}, indent=2) + "\n", encoding="ascii")
    return signing, public


def load_signing_key(path: Path) -> Ed25519PrivateKey:
    """Read a PKCS8 PEM file. Raises ConfigError."""
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"no signing key in {path}: {type(error).__name__}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"the signing key in {path} is not an Ed25519 key")
    return key


def load_jwks(path: Path) -> list[dict[str, str]]:
    """The keys of a JWKS file, public members only. Raises ConfigError."""
    try:
        keys: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["keys"]
        found = [{m: str(key[m]) for m in _PUBLIC_MEMBERS if m in key} for key in keys if key.get("crv") == "Ed25519"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"no JWKS in {path}: {type(error).__name__}") from error
    if not found or not all({"kid", "x"} <= key.keys() for key in found):
        raise ConfigError(f"{path} has no Ed25519 key with kid and x")
    return found


def key_id(key: Ed25519PrivateKey, jwks: list[dict[str, str]]) -> str:
    """The kid under which the key's public half is published. Raises ConfigError if it is not."""
    x = _jwk(key.public_key())["x"]
    for public in jwks:
        if public["x"] == x:
            return public["kid"]
    raise ConfigError("the signing key's public half is not in the public keys file")


def _jwk(key: Ed25519PublicKey) -> dict[str, str]:
    raw = key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    x = base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
    return {"kty": "OKP", "crv": "Ed25519", "x": x, "kid": sha256(raw).hexdigest()[:16], "alg": "EdDSA", "use": "sig"}
