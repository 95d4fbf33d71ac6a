"""Settings from the environment: prefix TODO_, everything checked at the start, unknown keys refused.

What is secret can stand in a file instead: TODO_SECRETS_DIR names a directory, todo_database_url in it is a setting.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NoReturn, TypeVar

from gunicorn.errors import AppImportError
from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "TODO_"
SECRETS_DIR = f"{PREFIX}SECRETS_DIR"


class ConfigError(AppImportError):
    """The environment cannot be used; the message is one line that names the key.

    gunicorn prints an AppImportError as one line and gives up; anything else as a traceback.
    """


class Settings(BaseSettings):
    """What every service has.

    Attributes:
        name: this process in logs and in /status, for example rule-1.
        public_keys_file: JWKS with the Ed25519 keys that access tokens are signed with.
        drain_file: while there is such a file, this process says that it is not ready: whoever stops it makes the
            file, waits until nobody sends requests any more, and loses none.
        log_format: None means console on a terminal, JSON elsewhere.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, hide_input_in_errors=True)

    name: str = Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._-]+$")
    public_keys_file: Path
    drain_file: Path | None = None
    log_format: Literal["json", "console"] | None = None
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"


class DatabaseSettings(BaseSettings):
    """What the migrations need to know."""

    model_config = Settings.model_config

    database_url: SecretStr


class ReplicaSettings(DatabaseSettings, Settings):
    """What a service with a replicated database has besides. Times are milliseconds."""

    sync_url: str = Field(pattern=r"^https?://")
    ack_timeout_ms: int = Field(500, ge=1, le=60_000)
    ordered_timeout_ms: int = Field(5_000, ge=1, le=60_000)
    token_timeout_ms: int = Field(1_000, ge=1, le=60_000)


S = TypeVar("S", bound=BaseSettings)


def load(settings: type[S], service: type[BaseSettings] | None = None) -> S:
    """Read the settings from the environment. Raises ConfigError with one line that names what is wrong.

    Args:
        service: the class that knows which keys there may be, if it is another one.
    """
    _refuse_unknown(service or settings)
    secrets = os.environ.get(SECRETS_DIR)
    if secrets is not None and not Path(secrets).is_dir():
        raise ConfigError(f"{SECRETS_DIR}: {secrets} is no directory")
    try:
        return settings(_secrets_dir=secrets)
    except ValidationError as error:
        wrong = "; ".join(f"{PREFIX}{str(e['loc'][0]).upper()}: {e['msg']}" for e in error.errors() if e["loc"])
        raise ConfigError(wrong) from error


def _refuse_unknown(settings: type[BaseSettings]) -> None:
    known = {SECRETS_DIR, *(PREFIX + field.upper() for field in settings.model_fields)}
    if unknown := sorted(key for key in os.environ if key.startswith(PREFIX) and key not in known):
        raise ConfigError(f"unknown setting {', '.join(unknown)}; known are {', '.join(sorted(known))}")


def exit_on_config_error(main: Callable[[], None]) -> NoReturn:
    """Run a command line's main; a ConfigError becomes one line on stderr and exit code 2."""
    try:
        main()
    except ConfigError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2)
    sys.exit(0)
