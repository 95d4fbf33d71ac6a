"""What a replica gives to other replicas and to operators, of its whole database: with the shared token only.

GET  /snapshot                              the snapshot (stream.py)
GET  /digest    ?at=OFFSET&timeout=MS       checksums (digest.py), at an offset that every replica can be asked for
POST /listing   {at, timeout, buckets}      the rows of some buckets, by key and hash
POST /rows      {rows: [[table, key]...]}   the log's rows with these keys
POST /repair    {at, rows: [[table, key, row]...]}  make them the log's rows again, as they were there at that offset
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from threading import BoundedSemaphore
from typing import Any, NoReturn

from flask import Blueprint, Response, abort, jsonify, request

from samebase.core.errors import Unavailable
from samebase.progress import Progress
from samebase.snapshot import mend, stream
from samebase.snapshot.errors import Refused
from samebase.snapshot.view import PREPARE_SECONDS, View, Views

OFFSET, SHAPE = "Samebase-Offset", "Samebase-Shape"
AT_ONCE = 2
"""Views that a replica gives at one time: each reads the whole database."""
LONGEST_SECONDS = 60.0


def blueprint(views: Views, progress: Progress, token: str) -> Blueprint:
    """The routes. `token` is what a caller must know."""
    routes = Blueprint("snapshot", __name__)
    free = BoundedSemaphore(AT_ONCE)

    @routes.before_request
    def check() -> None:
        kind, _, given = request.headers.get("Authorization", "").partition(" ")
        if kind.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), token.encode()):
            abort(Response("the token is missing or wrong\n", 401, {"WWW-Authenticate": "Bearer"}))
        if request.method == "HEAD":
            _abort(405, "a view is read, or it is not opened")
        position = progress.position()
        if position.phase != "ready":
            _abort(503, f"this replica is {position.phase}" + (f": {position.reason}" if position.reason else ""))

    def opened(do: dict[str, Any], at: int | None, timeout: float) -> Response:
        if not free.acquire(blocking=False):
            _abort(503, f"{AT_ONCE} others are reading this replica already")
        try:
            view = views.open(do, at, timeout)
        except BaseException:
            free.release()
            raise
        headers = {OFFSET: str(view.offset), SHAPE: view.shape}
        return Response(_Pieces(view, free), 200, headers, content_type=stream.CONTENT_TYPE)

    @routes.get("/snapshot")
    def snapshot() -> Response:
        return opened({"make": "snapshot"}, None, PREPARE_SECONDS)

    @routes.get("/digest")
    def digest() -> Response:
        at = request.args.get("at", type=int)
        return opened({"make": "digest"}, at, _seconds(request.args.get("timeout")))

    @routes.post("/listing")
    def listing() -> Response:
        wanted = request.get_json()
        do = {"make": "listing", "buckets": wanted["buckets"]}
        return opened(do, wanted.get("at"), _seconds(wanted.get("timeout")))

    @routes.post("/rows")
    def rows() -> Response:
        ids = mend.ids_of(request.get_json()["rows"])
        offset, found = views.desk.ask(lambda boundary: mend.rows_of(boundary, ids), LONGEST_SECONDS)
        return jsonify(offset=offset, rows=mend.dumped(found))

    @routes.post("/repair")
    def repair() -> Response:
        wanted = request.get_json()
        rows = mend.loaded(wanted["rows"])
        changed = views.desk.ask(lambda boundary: mend.repair(boundary, wanted["at"], rows), LONGEST_SECONDS)
        return jsonify(changed=mend.dumped(changed))

    @routes.errorhandler(Refused)
    def refused(error: Refused) -> tuple[str, int]:
        return f"{error}\n", 409

    @routes.errorhandler(Unavailable)
    def unavailable(error: Unavailable) -> tuple[str, int, dict[str, str]]:
        return f"{error}\n", 503, {"Retry-After": "1"}

    return routes


class _Pieces:
    """A view's output as a response's body: whatever becomes of the response, the view is closed and counted out."""

    def __init__(self, view: View, free: BoundedSemaphore) -> None:
        self._view, self._free = view, free
        self._open = True

    def __iter__(self) -> Iterator[bytes]:
        return self._view.output()

    def close(self) -> None:
        if self._open:
            self._open = False
            self._view.close()
            self._free.release()


def _seconds(milliseconds: str | int | None) -> float:
    try:
        return min(int(milliseconds or 5000) / 1000, LONGEST_SECONDS)
    except ValueError:
        _abort(400, "timeout is a number of milliseconds")


def _abort(code: int, why: str) -> NoReturn:
    abort(Response(f"{why}\n", code, {"Retry-After": "1"} if code == 503 else None))
