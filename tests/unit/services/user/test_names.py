"""When two names are the same, and which are none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.user.names import check, name_key


@given(st.text())
def test_a_normal_form_is_its_own_normal_form(name: str) -> None:
    assert name_key(name_key(name)) == name_key(name)


@given(st.text(st.characters(codec="utf-8")))
def test_case_makes_no_difference(name: str) -> None:
    assert name_key(name.casefold()) == name_key(name)


@pytest.mark.parametrize("name", ["a", "Ada Lovelace", "Łódź", "日本", "o'neil", "a.b@c", "x" * 64, "\U0001f600"])
def test_ordinary_names_are_names(name: str) -> None:
    assert check(name) == name


@pytest.mark.parametrize("name", ["", " ", "a ", "\ta", "a\x00", "a\u200b", "\u2066a", "a\u2028b", "\ue000", "x" * 65])
def test_what_cannot_be_seen_or_is_too_long_is_no_name(name: str) -> None:
    with pytest.raises(ValueError, match="must"):
        check(name)
