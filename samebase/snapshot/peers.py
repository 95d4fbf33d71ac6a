"""The other replicas of a service: where they are, and asking them."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import requests
import urllib3

from samebase.snapshot.errors import Refused
from samebase.snapshot.stream import Reader

CONNECT_SECONDS = 3.0
ANSWER_SECONDS = 60.0
"""How long a peer may be silent."""


@dataclass(frozen=True, slots=True)
class Peers:
    """Who they are.

    Attributes:
        spec: comma-separated: URLs of sync processes, or host:port, which stands for every address that the name has.
        token: the shared one.
    """

    spec: str
    token: str = field(repr=False)

    def urls(self) -> list[str]:
        """Base URLs, those that a name resolves to now. A name that nothing answers for gives none."""
        found: list[str] = []
        for part in filter(None, (part.strip() for part in self.spec.split(","))):
            if part.startswith(("http://", "https://")):
                found.append(part.rstrip("/"))
                continue
            host, _, port = part.rpartition(":")
            try:
                infos = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)
            except socket.gaierror:
                continue
            for _, _, _, _, address in infos:
                name = str(address[0])
                found.append(f"http://{f'[{name}]' if ':' in name else name}:{port}")
        return list(dict.fromkeys(found))

    def status(self, url: str) -> dict[str, Any]:
        """What a peer says of itself. Raises Refused."""
        with self.asked("GET", url, "/status") as response:
            told: dict[str, Any] = response.json()
            return told

    @contextmanager
    def snapshot(self, url: str, copy: Callable[[bytes], object] | None = None) -> Iterator[Reader]:
        """A peer's snapshot, while it comes; `copy` is given every byte. Raises Refused, within the block too."""
        with self.asked("GET", url, "/snapshot", stream=True) as response:

            def read(size: int) -> bytes:
                piece: bytes = response.raw.read(size, decode_content=False)
                if copy is not None:
                    copy(piece)
                return piece

            yield Reader(read)

    @contextmanager
    def asked(self, method: str, url: str, path: str, **request: Any) -> Iterator[requests.Response]:
        """A peer's answer. Raises Refused if there is none or if it is a refusal, within the block too."""
        try:
            with requests.request(
                method,
                url + path,
                headers={"Authorization": f"Bearer {self.token}"},
                timeout=(CONNECT_SECONDS, ANSWER_SECONDS),
                allow_redirects=False,
                **request,
            ) as response:
                if response.status_code != 200:
                    raise Refused(f"{url}: {response.status_code} {response.reason}: {_line(response)}")
                yield response
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            raise Refused(f"{url}: {_why(error)}") from error


def _line(response: requests.Response) -> str:
    return response.text.strip().splitlines()[0][:300] if response.text.strip() else "no reason given"


def _why(error: Exception) -> str:
    return "it does not answer" if isinstance(error, requests.ConnectionError) else f"{type(error).__name__}"
