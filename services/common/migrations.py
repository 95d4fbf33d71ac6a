"""Brings one replica's schema up to date: alembic, driven by code, on TODO_DATABASE_URL.

Every replica migrates its own database before its sync process starts; running it again changes nothing.
"""

from __future__ import annotations

from pathlib import Path

from alembic import command, context
from alembic.config import Config
from sqlalchemy import MetaData
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from services.common import dialects
from services.common.config import PREFIX, ConfigError, DatabaseSettings, Settings, exit_on_config_error, load


def migrate(url: str, directory: Path) -> None:
    """Upgrade the database to the newest version.

    Args:
        directory: the service's migrations: env.py and versions/.
    """
    engine = dialects.engine(url).execution_options(**{dialects.WRITES: True})
    try:
        with engine.begin() as connection:
            config = Config()
            config.set_main_option("script_location", str(directory).replace("%", "%%"))
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    finally:
        engine.dispose()


def run(metadata: MetaData) -> None:
    """Body of a service's env.py."""
    context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
    with context.begin_transaction():
        context.run_migrations()


def main(settings: type[Settings], directory: Path) -> None:
    """A service's migrate command; exits 2 for bad settings, 1 if the database refuses."""

    def run_it() -> None:
        url = load(DatabaseSettings, settings).database_url.get_secret_value()
        try:
            make_url(url)
        except ArgumentError:
            raise ConfigError(f"{PREFIX}DATABASE_URL is not an SQLAlchemy URL") from None
        try:
            migrate(url, directory)
        except SQLAlchemyError as error:
            raise SystemExit(f"error: the database was not migrated: {error}") from error

    exit_on_config_error(run_it)
