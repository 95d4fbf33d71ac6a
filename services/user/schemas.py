"""Requests and answers of the user service."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field

from services.common.columns import rfc3339
from services.common.web import UUID_PATTERN, Answer, Body, Path, Query, absent
from services.user import names
from services.user.models import Account

_NO_CONTROLS = r"^[^\x00-\x1f\x7f-\x9f]*$"

Name = Annotated[
    str,
    Field(min_length=1, max_length=names.MAX_LENGTH, pattern=r"^[^\s\x00-\x1f\x7f-\x9f]"),
    AfterValidator(names.check),
]
DisplayName = Annotated[str, Field(max_length=64, pattern=_NO_CONTROLS)]
Email = Annotated[
    str, Field(min_length=3, max_length=254, pattern=r"^[^@\s\x00-\x1f\x7f-\x9f]+@[^@\s\x00-\x1f\x7f-\x9f]+$")
]


class Registration(Body):
    name: Name
    password: str = Field(min_length=8, max_length=128, repr=False)
    display_name: DisplayName = ""
    email: Email | None = None


class Credentials(Body):
    # No smallest length: what is too short is simply wrong.
    name: str = Field(max_length=names.MAX_LENGTH)
    password: str = Field(max_length=128, repr=False)


class ProfileChange(Body):
    """Only the fields that are given are written; `email: null` removes it."""

    display_name: DisplayName = absent()
    email: Email | None = absent()


class UserPath(Path):
    id: str = Field(pattern=UUID_PATTERN, json_schema_extra={"format": "uuid"})


class UsersQuery(Query):
    id: list[Annotated[str, Field(max_length=64)]] = Field(
        min_length=1, max_length=100, description="Unknown ones are omitted"
    )


class PublicUser(Answer):
    """What everybody signed in may see."""

    id: str
    name: str
    display_name: str

    @classmethod
    def of(cls, account: Account) -> Self:
        return cls(id=account.id, name=account.name, display_name=account.display_name)

    def document(self) -> dict[str, Any]:
        return self.model_dump(by_alias=True)


class PublicUsers(Answer):
    data: list[PublicUser]


class User(Answer):
    """What the account's owner sees."""

    id: str
    name: str
    display_name: str
    email: str | None
    authority: Literal["user", "admin"]
    created_at: str = Field(json_schema_extra={"format": "date-time"})
    updated_at: str = Field(json_schema_extra={"format": "date-time"})

    @classmethod
    def of(cls, account: Account, authority: Literal["user", "admin"]) -> Self:
        return cls(
            id=account.id,
            name=account.name,
            display_name=account.display_name,
            email=account.email,
            authority=authority,
            created_at=rfc3339(account.created_at),
            updated_at=rfc3339(account.updated_at),
        )

    def document(self) -> dict[str, Any]:
        return self.model_dump(by_alias=True)


class AccessToken(Answer):
    access_token: str
    expires_in: int = Field(description="Seconds")


class Jwk(Answer):
    kty: str
    crv: str
    x: str
    kid: str
    alg: str = "EdDSA"
    use: str = "sig"


class Jwks(Answer):
    keys: list[Jwk]
