"""Entity tags."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common import etags

COLUMNS = st.dictionaries(st.text(), st.none() | st.integers() | st.text())


@given(COLUMNS, st.randoms())
def test_the_order_of_columns_does_not_matter(columns: dict[str, str | int | None], random: object) -> None:
    items = list(columns.items())
    random.shuffle(items)  # type: ignore[attr-defined]
    assert etags.etag(dict(items)) == etags.etag(columns)


@given(COLUMNS, COLUMNS)
def test_tags_are_equal_only_for_equal_columns(a: dict[str, str | int | None], b: dict[str, str | int | None]) -> None:
    assert (etags.etag(a) == etags.etag(b)) == (a == b)


@pytest.mark.parametrize(
    ("header", "strong", "weak"),
    [
        ("*", True, True),
        ('"a"', True, True),
        ('W/"a"', False, True),
        ('"b"', False, False),
        ('"b", "a"', True, True),
        ('"b",W/"a"', False, True),
        ("a", False, False),
        ('"a', False, False),
        ("", False, False),
        ('"*"', False, False),
        ('"A"', False, False),
    ],
)
def test_if_match_compares_strongly_if_none_match_weakly(header: str, strong: bool, weak: bool) -> None:
    assert etags.if_match(header, '"a"') == strong
    assert etags.if_none_match(header, '"a"') == weak


def test_without_the_header_nobody_has_the_current_version() -> None:
    assert not etags.if_none_match(None, '"a"')
