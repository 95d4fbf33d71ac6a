"""python -m services.rule.migrate: bring this replica's schema up to date."""

from __future__ import annotations

from pathlib import Path

from services.common import migrations
from services.rule.config import RuleSettings

DIRECTORY = Path(__file__).parent / "migrations"

if __name__ == "__main__":
    migrations.main(RuleSettings, DIRECTORY)
