"""What a service's replicated tables look like, for another replica to compare with its own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, TypeAlias

from samebase.core.types import Schema

Shape: TypeAlias = Mapping[str, Mapping[str, Any]]
"""Per table: policy, key, unique, delta and columns, as JSON has them, in the same order on every replica."""


def shape_of(schema: Schema) -> Shape:
    """The shape of these tables."""
    return {
        name: {
            "policy": table.policy.kind,
            "key": list(table.policy.key),
            "unique": sorted(list(columns) for columns in table.policy.unique),
            "delta": sorted(delta.column for delta in table.policy.delta),
            "columns": sorted(table.columns),
        }
        for name, table in sorted(schema.items())
    }


def hash_of(shape: Shape) -> str:
    """The same for two replicas whose tables are alike."""
    return sha256(json.dumps(shape, sort_keys=True).encode()).hexdigest()[:16]


def difference(theirs: Shape, ours: Shape) -> str | None:
    """Why rows of their tables do not fit into ours; None if they do. A column that they do not have yet reads as its
    default, as it does in the log."""
    for name in sorted(theirs.keys() | ours.keys()):
        if name not in ours:
            return f"it has a table {name}, which is not replicated here"
        if name not in theirs:
            return f"it has no table {name}"
        for what in ("policy", "key", "unique", "delta"):
            if theirs[name].get(what) != ours[name][what]:
                return f"table {name}: its {what} is {theirs[name].get(what)}, here it is {ours[name][what]}"
        unknown = sorted(set(theirs[name].get("columns", ())) - set(ours[name]["columns"]))
        if unknown:
            return f"table {name} has no column {unknown[0]} here: migrate this database first"
    return None
