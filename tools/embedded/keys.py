"""The secrets of an embedded system, made at its first run: keys that sign access tokens, the operators' token."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from services.common.config import ConfigError
from services.common.keys import generate, key_id, load_jwks, load_signing_key
from tools.embedded.errors import Refused


@dataclass(frozen=True, slots=True)
class Keys:
    """Files: the signing key (PEM), the public keys (JWKS), the operators' token."""

    signing: Path
    public: Path
    operator: Path


def prepare(directory: Path) -> Keys:
    """Make what is missing and check what is there. Raises Refused."""
    operator = directory / "operator.token"
    try:
        signing, public = generate(directory)
        key_id(load_signing_key(signing), load_jwks(public))
        directory.chmod(0o700)
        if not operator.exists():
            with os.fdopen(os.open(operator, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(secrets.token_urlsafe(32) + "\n")
    except OSError as error:
        raise Refused(f"the keys in {directory} cannot be read or made: {error.strerror}") from error
    except ConfigError as error:
        raise Refused(f"{error}: remove {directory} to make new keys (everybody has to sign in again)") from error
    return Keys(signing, public, operator)
