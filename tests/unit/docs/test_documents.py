"""What the documents point at is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(document: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", document.read_text("utf-8"))
    local = [link for link in links if "://" not in link]
    assert [link for link in local if not (document.parent / link).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_file_that_is_named_exists(document: Path) -> None:
    named = re.findall(r"`((?:tests|samebase|services|tools|bench|docs)/[\w./*]+)", document.read_text("utf-8"))
    assert [path for path in named if not any(ROOT.glob(path.rstrip("/.")))] == []


def test_every_test_that_a_promise_names_exists() -> None:
    text = (ROOT / "docs/guarantees.md").read_text("utf-8")
    file = ""
    missing = []
    named = re.findall(r"`(tests/[\w./*]+)?(?:::(test_\w+))?`", text)
    assert len([test for _, test in named if test]) > 10
    for path, test in named:
        file = path or file
        if test and not any(f"def {test}(" in found.read_text("utf-8") for found in ROOT.glob(file)):
            missing.append(f"{file}::{test}")
    assert missing == []
