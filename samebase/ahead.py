"""Work on the next pieces of a stream while the last one is being used."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable
from queue import Full, Queue
from typing import TypeVar

T = TypeVar("T")

_LOOK_SECONDS = 0.1
_END = object()


def ahead(pieces: Iterable[T], depth: int) -> Generator[T, None, None]:
    """The same pieces, made by a thread that is at most `depth` of them ahead. What making one raises is raised at its
    place. Whoever stops early closes the iterator, which ends the thread."""
    queue: Queue[tuple[object, BaseException | None]] = Queue(depth)
    given_up = threading.Event()

    def put(piece: object, error: BaseException | None = None) -> bool:
        while not given_up.is_set():
            try:
                queue.put((piece, error), timeout=_LOOK_SECONDS)
                return True
            except Full:
                continue
        return False

    def make() -> None:
        try:
            for piece in pieces:
                if not put(piece):
                    return
            put(_END)
        except BaseException as error:  # noqa: BLE001 - it is raised again where the pieces are used
            put(_END, error)

    thread = threading.Thread(target=make, name="ahead", daemon=True)
    thread.start()
    try:
        while True:
            piece, error = queue.get()
            if error is not None:
                raise error
            if piece is _END:
                return
            yield piece  # type: ignore[misc]  # whatever is not the end came from `pieces`
    finally:
        given_up.set()
        thread.join()
