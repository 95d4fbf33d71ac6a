"""Owners' names and pictures: what the gateway adds to items.

An avatar is a picture drawn from the person's id and name, as a `data:` URI: the initial on a colour that the id
chooses. No picture is stored or fetched anywhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote, urlencode

from services.gateway.caller import Caller, Unanswered
from services.gateway.exchange import Call
from services.gateway.metrics import DEGRADED

MOST_IDS = 100
"""So many people the user service tells of in one call."""


def avatar(person: str, name: str) -> str:
    """An SVG picture as a `data:` URI, always the same for the same id and name."""
    hue = int.from_bytes(hashlib.sha256(person.encode()).digest()[:2]) % 360
    initial = next((letter.upper() for letter in name if letter.isalnum()), "?")
    svg = (
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 64 64'>"
        f"<rect width='64' height='64' fill='hsl({hue},45%,45%)'/>"
        "<text x='32' y='43' font-family='sans-serif' font-size='32' text-anchor='middle' fill='#fff'>"
        f"{initial}</text></svg>"
    )
    return "data:image/svg+xml," + quote(svg, safe=" /:='(),")


def display_name(profile: Mapping[str, Any]) -> str:
    """The name to show: the display name, else the name."""
    return str(profile.get("displayName") or profile.get("name") or "")


class People:
    """Fills in owners, from the user service, in bounded time."""

    def __init__(self, caller: Caller, within: float) -> None:
        """Args:
        within: seconds that an answer may wait for the user service.
        """
        self._caller = caller
        self._within = within

    def introduce(self, items: Iterable[dict[str, Any]], headers: Mapping[str, str]) -> bool:
        """Replace each item's owner, an id, by the owner's name, and set its avatar; one call for all of them.

        Args:
            items: changed in place.
            headers: of the call to the user service: the caller's authorization and token.

        Returns:
            False if the user service did not tell: then `owner` is still the id. An owner whom it does not know keeps
            the id as well, and that is no failure.
        """
        items = list(items)
        owners = list(dict.fromkeys(str(item.get("owner")) for item in items))[:MOST_IDS]
        names = self._names(owners, headers) if owners else {}
        if names is None:
            DEGRADED.labels("user").inc()
        for item in items:
            owner = str(item.get("owner"))
            name = (names or {}).get(owner, "")
            item["owner"] = name or owner
            item["avatar"] = avatar(owner, name)
        return names is not None

    def _names(self, ids: list[str], headers: Mapping[str, str]) -> dict[str, str] | None:
        query = urlencode([("id", person) for person in ids])
        try:
            answer = self._caller.send(Call("user", "GET", "/user", query, headers, within=self._within))
        except Unanswered:
            return None
        document = answer.json()
        if not answer.ok or not isinstance(document, dict) or not isinstance(document.get("data"), list):
            return None
        profiles = [profile for profile in document["data"] if isinstance(profile, dict)]
        return {str(profile.get("id")): display_name(profile) for profile in profiles}
