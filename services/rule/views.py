"""HTTP face of the rule service."""

from __future__ import annotations

from flask import Response
from flask_openapi3 import APIBlueprint, Tag

from services.common import etags, tokens
from services.common.auth import Verifier, caller
from services.common.idempotency import Post, PostHeaders
from services.common.replication import ReadHeaders, Replication
from services.common.web import no_content, problem_responses, reply
from services.rule.models import Item
from services.rule.schemas import (
    ChangeHeaders,
    GetHeaders,
    ItemAnswer,
    ItemChange,
    ItemPage,
    ItemPath,
    ListQuery,
    NewItem,
)
from services.rule.usecases import Items

_PRIVATE = {"Cache-Control": "private, no-cache"}


def blueprint(items: Items, replication: Replication, verifier: Verifier) -> APIBlueprint:
    views = APIBlueprint(
        "rule",
        __name__,
        abp_tags=[Tag(name="rule", description="To-do items")],
        abp_security=[{"bearer": []}],
        abp_responses=problem_responses(400, 401, 405, 413, 422, 429, 500, 503),
    )
    views.before_request(verifier.require)

    def freshness(header: ReadHeaders) -> dict[str, str]:
        """Wait for the request's token; say so if it was in vain."""
        return _PRIVATE if replication.covers(header) else {**_PRIVATE, tokens.STALE_HEADER: "true"}

    @views.get("/rule", operation_id="listItems", responses={200: ItemPage})
    def list_items(query: ListQuery, header: ReadHeaders) -> Response:
        """The caller's items, page by page."""
        headers = freshness(header)
        found, total = items.page(caller().id, query)
        page = ItemPage(
            data=[ItemAnswer.of(item) for item in found],
            total=total,
            current=query.current,
            page_size=query.page_size,
        )
        return reply(page.model_dump(by_alias=True), headers=headers)

    @views.post("/rule", operation_id="addItem", responses={201: ItemAnswer, **problem_responses(409, 415)})
    def add_item(body: NewItem, header: PostHeaders) -> Response:
        """Add an item."""
        post = Post(caller().id, "/rule", body.model_dump(), header)
        result, replicated = items.add(post, body)
        return reply(result.document, result.status, {**_PRIVATE, **result.headers, **replicated})

    @views.get(
        "/rule/<uuid:key>", operation_id="getItem", responses={200: ItemAnswer, 304: None, **problem_responses(404)}
    )
    def get_item(path: ItemPath, header: GetHeaders) -> Response:
        """One item."""
        headers = freshness(header)
        item = items.get(caller().id, path.key)
        headers = {**headers, "ETag": item.etag}
        if etags.if_none_match(header.if_none_match, item.etag):
            return no_content(304, headers)
        return reply(ItemAnswer.of(item).document(), headers=headers)

    @views.patch(
        "/rule/<uuid:key>",
        operation_id="changeItem",
        responses={200: ItemAnswer, **problem_responses(404, 409, 412, 415)},
    )
    def change_item(path: ItemPath, body: ItemChange, header: ChangeHeaders) -> Response:
        """Change the given fields of an item."""
        done = items.change(caller().id, path.key, body, header)
        item: Item = done.value
        return reply(ItemAnswer.of(item).document(), headers={**_PRIVATE, "ETag": item.etag, **done.headers})

    @views.delete(
        "/rule/<uuid:key>", operation_id="removeItem", responses={204: None, **problem_responses(404, 409, 412)}
    )
    def remove_item(path: ItemPath, header: ChangeHeaders) -> Response:
        """Remove an item."""
        done = items.remove(caller().id, path.key, header)
        return no_content(headers={**_PRIVATE, **done.headers})

    return views
