"""What can be done with to-do items. Someone else's item is treated like one that does not exist."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from services.common import columns, etags
from services.common.database import Database
from services.common.dialects import folded
from services.common.errors import Problem
from services.common.idempotency import Post, Posts, Result
from services.common.replication import Done, Rejected, Replication
from services.rule.models import Item
from services.rule.schemas import SORTABLE, ChangeHeaders, ItemAnswer, ItemChange, ListQuery, NewItem

DONE = 2


class Items:
    """The to-do items of a replica."""

    def __init__(self, replication: Replication, posts: Posts) -> None:
        self._replication = replication
        self._database: Database = replication.database
        self._posts = posts

    def page(self, owner: str, query: ListQuery) -> tuple[list[Item], int]:
        """(the items of the page, how many there are on all pages)."""
        conditions = [Item.owner_id == owner]
        if query.name:
            conditions.append(func.instr(folded(Item.name), folded(query.name)) > 0)
        if query.desc:
            conditions.append(func.instr(folded(Item.description), folded(query.desc)) > 0)
        if query.status:
            conditions.append(Item.status.in_({int(s) for s in query.status.split(",")}))
        order: ColumnElement[Any] = Item.created_at.desc()
        if query.sorter:
            column, _, direction = query.sorter.partition("_")
            order = SORTABLE[column].desc() if direction == "descend" else SORTABLE[column].asc()
        with self._database.read() as session:
            total = session.scalar(select(func.count()).select_from(Item).where(*conditions)) or 0
            items = session.scalars(
                select(Item)
                .where(*conditions)
                .order_by(order, Item.id)
                .limit(query.page_size)
                .offset((query.current - 1) * query.page_size)
            )
            return list(items), total

    def get(self, owner: str, key: str) -> Item:
        """Raises Problem `not-found`."""
        with self._database.read() as session:
            return _own(session.get(Item, key), owner)

    def add(self, post: Post, new: NewItem) -> tuple[Result, Mapping[str, str]]:
        """The answer, and the headers that replication adds to it."""
        moment = columns.now()
        item_columns: dict[str, Any] = {
            "id": str(uuid.uuid4()),
            "owner_id": post.caller,
            "name": new.name,
            "description": new.desc,
            "status": new.status,
            "progress": new.progress,
            "call_no": 0,
            "created_at": moment,
            "updated_at": moment,
        }

        def work(session: Session) -> Result:
            item = Item(**item_columns)
            session.add(item)
            headers = {"Location": f"/rule/{item.id}", "ETag": item.etag}
            return Result(201, ItemAnswer.of(item).document(), headers)

        taken = Problem("conflict", "A concurrent request was first. Try again.")
        return self._posts.execute(post, lambda: work, kind="merge", taken=taken)

    def change(self, owner: str, key: str, change: ItemChange, headers: ChangeHeaders) -> Done[Item]:
        """Write the given fields; `call_no` counts every time the item is set to done.

        Raises Problem `not-found`, `precondition-failed`, `conflict` and those of Replication.
        """
        given = change.given()
        if "desc" in given:
            given["description"] = given.pop("desc")

        def work(session: Session) -> Item:
            item = _expected(session, owner, key, headers.if_match)
            changed = {name: value for name, value in given.items() if getattr(item, name) != value}
            for name, value in changed.items():
                setattr(item, name, value)
            done = given.get("status") == DONE
            if done:
                item.call_no += 1  # the row is locked
            if changed or done:
                item.updated_at = columns.now()
            return item

        return self._write(work, headers)

    def remove(self, owner: str, key: str, headers: ChangeHeaders) -> Done[Item]:
        """Raises like `change`."""

        def work(session: Session) -> Item:
            item = _expected(session, owner, key, headers.if_match)
            session.delete(item)
            return item

        return self._write(work, headers)

    def _write(self, work: Any, headers: ChangeHeaders) -> Done[Item]:
        condition = headers.if_match
        if condition is None:
            return self._replication.write(work, headers)
        try:
            return self._replication.write(work, headers, "certify")
        except Rejected as rejected:
            reason = rejected.outcome.reason
            # `*` asks that the item exists, whatever is in it.
            if reason == "missing" or (reason == "changed" and condition.strip() != "*"):
                raise _precondition_failed() from rejected
            raise


def _expected(session: Session, owner: str, key: str, if_match: str | None) -> Item:
    item = _own(session.get(Item, key, with_for_update=True), owner)
    if if_match is not None and not etags.if_match(if_match, item.etag):
        raise _precondition_failed()
    return item


def _own(item: Item | None, owner: str) -> Item:
    if item is None or item.owner_id != owner:
        raise Problem("not-found", "You have no item with this key.")
    return item


def _precondition_failed() -> Problem:
    return Problem("precondition-failed", "The item has changed since, or is gone. Read it again.")
