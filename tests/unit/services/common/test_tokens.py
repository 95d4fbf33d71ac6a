"""X-Replica-Token: one position of an origin, nonsense ignored."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common import tokens

ORIGINS = st.sampled_from(["a@1", "b@2", "rule-1@0d5c"])
POSITIONS = st.dictionaries(ORIGINS, st.integers(0, 2**63 - 1))


@pytest.mark.parametrize(
    ("value", "positions"),
    [
        (None, {}),
        ("", {}),
        ("a@1:5", {"a@1": 5}),
        ("a@1:5,b@2:7", {"a@1": 5, "b@2": 7}),
        (" a@1:5 , b@2:7 ,", {"a@1": 5, "b@2": 7}),
        ("a@1:5,a@1:9,a@1:7", {"a@1": 9}),
        ("a@1:-5,a@1:x,:5,a@1:,a b:1,a@1:1.5,x", {}),
        ("a@1:" + "9" * 20, {}),
        ("a@1:٣", {}),
        ("\x00:1,ä:1", {}),
    ],
)
def test_what_is_not_a_position_is_ignored(value: str | None, positions: dict[str, int]) -> None:
    assert tokens.parse(value) == positions


def test_a_token_names_a_bounded_number_of_origins() -> None:
    assert len(tokens.parse(",".join(f"o{number}:1" for number in range(1000)))) == 64


@given(POSITIONS)
def test_a_rendered_token_reads_back(positions: dict[str, int]) -> None:
    assert tokens.parse(tokens.render(positions)) == positions


@given(st.lists(POSITIONS))
def test_a_merged_token_covers_each_and_no_more(parts: list[dict[str, int]]) -> None:
    merged = tokens.parse(tokens.merge(*map(tokens.render, parts)))
    assert merged == {origin: max(part.get(origin, -1) for part in parts) for part in parts for origin in part}


@given(st.text())
def test_any_text_can_be_read(text: str) -> None:
    tokens.parse(text)
