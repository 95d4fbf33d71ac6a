"""Settings of the user service."""

from __future__ import annotations

from pathlib import Path

from services.common.config import ReplicaSettings


class UserSettings(ReplicaSettings):
    """What the user service has besides.

    Attributes:
        signing_key_file: PKCS8 PEM with the Ed25519 key that signs access tokens; the same on every replica.
        admins: comma-separated names of accounts that have the authority `admin`.
    """

    signing_key_file: Path
    admins: str = ""
