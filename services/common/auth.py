"""Who calls: access tokens, verified by each service itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import jwt
from flask import Request, g, request

from services.common.errors import Problem
from services.common.keys import load_jwks

ISSUER = "samebase"
ALGORITHM = "EdDSA"


@dataclass(frozen=True, slots=True)
class Caller:
    """What an access token says.

    Attributes:
        name: display name, else the name, of the moment when the token was made.
        session: id of the session that the token was made for.
    """

    id: str
    name: str
    session: str
    authority: Literal["user", "admin"]


class Verifier:
    """Verifies access tokens with the keys of a JWKS file; the file is read again when a token names another key."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._keys = self._load()
        self._stamp = path.stat().st_mtime_ns

    def verify(self, token: str) -> Caller:
        """The caller. Raises Problem 401."""
        try:
            key = self._key(jwt.get_unverified_header(token).get("kid"))
            claims = jwt.decode(
                token,
                key,
                algorithms=[ALGORITHM],
                issuer=ISSUER,
                options={"require": ["exp", "iat", "iss", "sub"], "verify_aud": False},
            )
            return Caller(
                id=str(claims["sub"]),
                name=str(claims["name"]),
                session=str(claims["sid"]),
                authority="admin" if claims["authority"] == "admin" else "user",
            )
        except (jwt.PyJWTError, KeyError) as error:
            raise _refused(type(error).__name__) from error

    def caller(self, source: Request) -> Caller:
        """The caller of a request by its Authorization header. Raises Problem 401."""
        authorization = source.authorization
        if authorization is None or authorization.type != "bearer" or not authorization.token:
            raise Problem("unauthorized", "Sign in and send the access token as Authorization: Bearer.")
        return self.verify(authorization.token)

    def require(self) -> None:
        """A before_request function: refuses who is not signed in, else `caller()` tells who it is."""
        g.caller = self.caller(request)

    def _key(self, kid: str | None) -> jwt.PyJWK:
        if kid not in self._keys and (stamp := self._path.stat().st_mtime_ns) != self._stamp:
            self._keys, self._stamp = self._load(), stamp
        if kid is None or kid not in self._keys:
            raise jwt.InvalidKeyError
        return self._keys[kid]

    def _load(self) -> dict[str, jwt.PyJWK]:
        return {key["kid"]: jwt.PyJWK.from_dict(key, ALGORITHM) for key in load_jwks(self._path)}


def caller() -> Caller:
    """Who makes the current request, in views behind `Verifier.require`."""
    found: Caller = g.caller
    return found


def _refused(reason: str) -> Problem:
    return Problem(
        "unauthorized",
        f"The access token is not accepted ({reason}); refresh it or sign in again.",
        headers={"WWW-Authenticate": 'Bearer error="invalid_token"'},
    )
