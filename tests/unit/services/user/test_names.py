"""When two names are the same, and which are none."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.user.names import check, name_key


@example("\u1ffc\u0323\u0301")
@given(st.text())
def test_a_normal_form_is_its_own_normal_form(name: str) -> None:
    assert name_key(name_key(name)) == name_key(name)


@example("\u1ffc\u0323\u0301")
@given(st.text(st.characters(codec="utf-8")))
def test_case_makes_no_difference(name: str) -> None:
    # In its decomposed form: else folding could move a mark that counts as a letter (iota below) among other marks.
    assert name_key(unicodedata.normalize("NFD", name).casefold()) == name_key(name)


@pytest.mark.parametrize("name", ["a", "Ada Lovelace", "Łódź", "日本", "o'neil", "a.b@c", "x" * 64, "\U0001f600"])
def test_ordinary_names_are_names(name: str) -> None:
    assert check(name) == name


@pytest.mark.parametrize("name", ["", " ", "a ", "\ta", "a\x00", "a\u200b", "\u2066a", "a\u2028b", "\ue000", "x" * 65])
def test_what_cannot_be_seen_or_is_too_long_is_no_name(name: str) -> None:
    with pytest.raises(ValueError, match="must"):
        check(name)
