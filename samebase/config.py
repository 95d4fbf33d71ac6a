"""Settings of the sync process: environment variables with the prefix SAMEBASE_, and the tables file.

What is secret can stand in a file instead: SAMEBASE_SECRETS_DIR names a directory, samebase_database in it is a
setting. Everything is checked before anything is opened; unknown keys are refused.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "SAMEBASE_"
SECRETS_DIR = f"{PREFIX}SECRETS_DIR"

Name = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*$")]

_PEER = r"\s*(https?://[^,\s]+|[^,\s/:]+:\d{1,5})\s*"
PEERS = rf"^{_PEER}(,{_PEER})*$"


class ConfigError(Exception):
    """The settings cannot be used. The message is one line that names the key."""


class TablePolicy(BaseModel):
    """One table of the tables file: how concurrent writes to its rows are settled.

    Attributes:
        delta: counter columns of a merge table: concurrent increments add up.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    policy: Literal["merge", "strict"] = "merge"
    delta: tuple[str, ...] = ()


class TablesFile(BaseModel):
    """The tables file (TOML): the service's name and its replicated tables."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    service: Name
    tables: dict[str, TablePolicy] = Field(min_length=1)


class Settings(BaseSettings):
    """What `samebase run` needs to know.

    Attributes:
        name: this replica, for example rule-1; a part of its origin.
        database: URL of this replica's own database: sqlite:////absolute/path or mysql://user:password@host/name.
        log: URL of the log that all replicas of the service share: sqlite:////absolute/path or kafka://host:port/topic.
        tables: path of the tables file.
        listen: host:port of the sync process's own HTTP.
        poll_ms: how often an idle process looks for local commits and new log entries. Whoever waits for something
            wakes it up at once.
        batch: log entries that are applied in one database transaction, at most.
        pending_max_bytes, pending_max_age_s: while the log is away, how much may be committed here, and how long,
            before writes are refused.
        start_timeout_s: how long to wait, at the start, for a host's name to be known.
        republish_after_s: publish again what has not come back in the log for so long, although all of the log was
            read.
        peers: the other replicas' sync processes, comma-separated: URLs, or host:port for every address that a name
            has (this one may be among them). A new replica takes its rows from one of them.
        peer_token: what replicas and operators show each other; without it a replica gives nothing of its rows.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, hide_input_in_errors=True)

    name: Name
    database: SecretStr
    log: SecretStr
    tables: Path
    listen: str = Field("127.0.0.1:8150", pattern=r"^[^:]+:\d{1,5}$")
    poll_ms: int = Field(10, ge=1, le=10_000)
    batch: int = Field(500, ge=1, le=10_000)
    republish_after_s: float = Field(5.0, gt=0)
    peers: str | None = Field(None, pattern=PEERS)
    peer_token: SecretStr | None = Field(None, min_length=16)
    pending_max_bytes: int = Field(256 * 2**20, ge=0)
    pending_max_age_s: float = Field(3600.0, ge=0)
    start_timeout_s: float = Field(60.0, ge=0)
    log_format: Literal["json", "console"] | None = None
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.listen.rpartition(":")
        return host, int(port)


class AccountSettings(BaseSettings):
    """What `samebase accounts` needs to know. Each account is user:password.

    Attributes:
        database: as in Settings: the account that it names is the sync process's.
        admin: an account that may make others.
        api: the service's.
        migrate: the migrations'.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, hide_input_in_errors=True)

    database: SecretStr
    admin: SecretStr
    api: SecretStr
    migrate: SecretStr


class OperatorSettings(BaseSettings):
    """What the operator's commands may know; each says what it needs. As in Settings."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, hide_input_in_errors=True)

    log: SecretStr | None = None
    peers: str | None = Field(None, pattern=PEERS)
    peer_token: SecretStr | None = Field(None, min_length=16)


S = TypeVar("S", bound=BaseSettings)


def load_settings() -> Settings:
    """Read the environment. Raises ConfigError."""
    return _load(Settings)


def load_account_settings() -> AccountSettings:
    """Read the environment. What is a setting of `run` is known here too. Raises ConfigError."""
    return _load(AccountSettings, Settings)


def load_operator_settings() -> OperatorSettings:
    """Read the environment. What is a setting of `run` is known here too. Raises ConfigError."""
    return _load(OperatorSettings, Settings)


def _load(settings: type[S], *others: type[BaseSettings]) -> S:
    classes: list[type[BaseSettings]] = [settings, *others]
    known = {SECRETS_DIR, *(PREFIX + field.upper() for each in classes for field in each.model_fields)}
    unknown = sorted(key for key in os.environ if key.startswith(PREFIX) and key not in known)
    if unknown:
        raise ConfigError(f"unknown setting {', '.join(unknown)}; known are {', '.join(sorted(known))}")
    secrets = os.environ.get(SECRETS_DIR)
    if secrets is not None and not Path(secrets).is_dir():
        raise ConfigError(f"{SECRETS_DIR}: {secrets} is no directory")
    try:
        return settings(_secrets_dir=secrets)
    except ValidationError as error:
        raise ConfigError(
            "; ".join(f"{PREFIX}{_place(e['loc']).upper()}: {e['msg']}" for e in error.errors())
        ) from error


def load_tables(path: Path) -> TablesFile:
    """Read a tables file. Raises ConfigError."""
    try:
        data = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"SAMEBASE_TABLES: the tables file {path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"SAMEBASE_TABLES: the tables file {path} is not valid TOML: {error}") from error
    try:
        return TablesFile.model_validate(data)
    except ValidationError as error:
        wrong = "; ".join(f"{_place(e['loc'])}: {e['msg']}" for e in error.errors())
        raise ConfigError(f"SAMEBASE_TABLES: the tables file {path}: {wrong}") from error


def _place(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location)
