"""What a signed-in client holds: a session cookie, and access tokens made from it."""

from __future__ import annotations

import hmac
import secrets
import time
import uuid
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from typing import Literal

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from services.common import columns
from services.common.auth import ALGORITHM, ISSUER
from services.user.models import Account, LoginSession

SESSION_LIFETIME = timedelta(days=30)
TOKEN_SECONDS = 15 * 60


@dataclass(frozen=True, slots=True)
class Ticket:
    """The cookie's value in its two parts: which session, and the proof that it is the client's own."""

    session: str
    secret: str

    @classmethod
    def new(cls) -> Ticket:
        return cls(str(uuid.uuid4()), secrets.token_urlsafe(32))

    @classmethod
    def parse(cls, cookie: str | None) -> Ticket | None:
        session, dot, secret = (cookie or "").partition(".")
        return cls(session, secret) if dot and len(session) == 36 and secret else None

    def render(self) -> str:
        return f"{self.session}.{self.secret}"

    def row(self, account_id: str) -> LoginSession:
        """The session that the ticket opens, from now on."""
        moment = columns.now()
        return LoginSession(
            id=self.session,
            account_id=account_id,
            secret_hash=self._hash(),
            created_at=moment,
            expires_at=moment + SESSION_LIFETIME,
        )

    def opens(self, session: LoginSession | None) -> bool:
        """Whether it is this session's ticket and the session lives."""
        return session is not None and hmac.compare_digest(self._hash(), session.secret_hash) and lives(session)

    def _hash(self) -> str:
        # The secret is random and long: a fast hash cannot be guessed from.
        return sha256(self.secret.encode()).hexdigest()


def lives(session: LoginSession) -> bool:
    return columns.now() < session.expires_at


class Signer:
    """Makes access tokens."""

    def __init__(self, key: Ed25519PrivateKey, kid: str) -> None:
        self._key = key
        self._kid = kid

    def token(self, account: Account, session_id: str, authority: Literal["user", "admin"]) -> str:
        now = int(time.time())
        claims = {
            "iss": ISSUER,
            "sub": account.id,
            "name": account.display_name or account.name,
            "sid": session_id,
            "authority": authority,
            "iat": now,
            "exp": now + TOKEN_SECONDS,
        }
        return jwt.encode(claims, self._key, ALGORITHM, headers={"kid": self._kid})
