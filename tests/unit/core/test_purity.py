"""The core is pure: it imports itself and a few pure parts of the standard library, and nothing else."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import samebase.core.replica

ALLOWED = {
    "__future__",
    "base64",
    "binascii",
    "collections",
    "collections.abc",
    "dataclasses",
    "decimal",
    "functools",
    "itertools",
    "json",
    "math",
    "typing",
}
FILES = sorted(Path(samebase.core.replica.__file__).parent.glob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_core_module_imports_nothing_impure(path: Path) -> None:
    imported = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            imported.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            imported.add(node.module or "")
        elif isinstance(node, ast.Name):
            assert node.id not in {"open", "print", "input", "eval", "exec", "__import__", "hash"}, node.id
    assert {name for name in imported if not name.startswith("samebase.core.")} <= ALLOWED


def test_there_is_a_core_to_look_at() -> None:
    assert len(FILES) >= 8
