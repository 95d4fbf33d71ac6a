"""Requests and answers of the rule service."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import Field

from services.common.columns import rfc3339
from services.common.replication import ReadHeaders, WriteHeaders
from services.common.web import UUID_PATTERN, Answer, Body, Path, Query, QueryInt, absent
from services.rule.models import Item

SORTABLE = {
    "name": Item.name,
    "desc": Item.description,
    "status": Item.status,
    "progress": Item.progress,
    "callNo": Item.call_no,
    "createdAt": Item.created_at,
    "updatedAt": Item.updated_at,
}

Name = Annotated[str, Field(min_length=1, max_length=200)]
Desc = Annotated[str, Field(max_length=10_000)]
Status = Annotated[int, Field(ge=0, le=3, description="0 closed, 1 active, 2 done, 3 paused")]
Progress = Annotated[int, Field(ge=0, le=100)]


class NewItem(Body):
    name: Name
    desc: Desc = ""
    status: Status = 1
    progress: Progress = 0


class ItemChange(Body):
    """Only the fields that are given are written."""

    name: Name = absent()
    desc: Desc = absent()
    status: Status = absent()
    progress: Progress = absent()


class ItemPath(Path):
    key: str = Field(pattern=UUID_PATTERN, json_schema_extra={"format": "uuid"})


class ListQuery(Query):
    """`name` and `desc` are literal substrings, case ignored; all conditions hold together."""

    current: QueryInt = Field(1, ge=1, le=1_000_000_000, description="Page, the first is 1")
    page_size: QueryInt = Field(20, ge=1, le=200)
    name: str = absent(max_length=200)
    desc: str = absent(max_length=10_000)
    status: str = absent(pattern=r"^[0-3](,[0-3]){0,3}$", description="One or several, comma-separated")
    sorter: str = absent(
        pattern=f"^({'|'.join(SORTABLE)})_(ascend|descend)$", description="Default: newest created first; ties by key"
    )


class GetHeaders(ReadHeaders):
    if_none_match: str = absent(alias="If-None-Match")


class ChangeHeaders(WriteHeaders):
    if_match: str = absent(
        alias="If-Match", description="The change happens only if the item still has this ETag; `*`: if it exists"
    )


class ItemAnswer(Answer):
    """An item. `owner` is the owner's id; names and pictures are the user service's."""

    key: str
    name: str
    desc: str
    status: int
    progress: int
    call_no: int = Field(description="Times done")
    owner: str
    avatar: str = ""
    href: str = ""
    disabled: bool = False
    created_at: str = Field(json_schema_extra={"format": "date-time"})
    updated_at: str = Field(json_schema_extra={"format": "date-time"})

    @classmethod
    def of(cls, item: Item) -> Self:
        return cls(
            key=item.id,
            name=item.name,
            desc=item.description,
            status=item.status,
            progress=item.progress,
            call_no=item.call_no,
            owner=item.owner_id,
            created_at=rfc3339(item.created_at),
            updated_at=rfc3339(item.updated_at),
        )

    def document(self) -> dict[str, Any]:
        return self.model_dump(by_alias=True)


class ItemPage(Answer):
    data: list[ItemAnswer]
    total: int
    current: int
    page_size: int
    success: bool = True
