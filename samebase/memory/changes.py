"""The change log of a MemoryDatabase."""

from __future__ import annotations

from collections.abc import Sequence

from samebase.core.errors import Diverged
from samebase.core.types import Commit
from samebase.memory.database import MemoryDatabase


class MemoryChanges:
    """ChangeSource over the list of commits."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database

    def read(self, after: int, limit: int) -> Sequence[Commit]:
        if after < self._database.forgotten:
            raise Diverged(f"local commits after {after} are asked for, some of them were discarded")
        return [commit for commit in self._database.commits if commit.seq > after][:limit]

    def end(self) -> int:
        return self._database.last_seq

    def size(self, after: int) -> int:
        return sum(1_000 * len(commit.rows) for commit in self._database.commits if commit.seq > after)

    def forget(self, upto: int) -> None:
        discarded = [commit.seq for commit in self._database.commits if commit.seq <= upto]
        self._database.commits = [commit for commit in self._database.commits if commit.seq > upto]
        self._database.forgotten = max([self._database.forgotten, *discarded])

    def close(self) -> None:
        pass
