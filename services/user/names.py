"""Which account names there are, and when two of them are the same."""

from __future__ import annotations

import unicodedata

MAX_LENGTH = 64
_REFUSED = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}
"""Unicode categories of what cannot be seen: a name with it would pass for another one."""


def name_key(name: str) -> str:
    """Equal for names that differ in case or in compatible forms of characters only.

    The compatibility caseless match of the Unicode standard, section 3.13, D146.
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFD", name).casefold())
    return unicodedata.normalize("NFKC", folded.casefold())


def check(name: str) -> str:
    """The name itself. Raises ValueError that says why it cannot be one."""
    if any(unicodedata.category(character) in _REFUSED for character in name):
        raise ValueError("must not contain control or invisible characters")
    if name != name.strip():
        raise ValueError("must not begin or end with a space")
    if not 1 <= len(name_key(name)) <= MAX_LENGTH:
        raise ValueError(f"must have at most {MAX_LENGTH} characters in its normal form")
    return name
