"""python -m services.user.migrate: bring this replica's schema up to date."""

from __future__ import annotations

from pathlib import Path

from services.common import migrations
from services.user.config import UserSettings

DIRECTORY = Path(__file__).parent / "migrations"

if __name__ == "__main__":
    migrations.main(UserSettings, DIRECTORY)
