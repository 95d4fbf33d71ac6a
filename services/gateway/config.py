"""The gateway's settings, from the environment (TODO_...)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_settings import NoDecode

from services.common.config import ConfigError, Settings


def _split(value: Any) -> Any:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _base_urls(urls: list[str]) -> list[str]:
    if not urls:
        raise ValueError("at least one URL is needed")
    for url in urls:
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname or parts.path.strip("/") or parts.query or parts.username:
            raise ValueError("each must be http://host:port, with commas between them")
    return urls


BaseUrls = Annotated[list[str], NoDecode, BeforeValidator(_split), AfterValidator(_base_urls)]


class GatewaySettings(Settings):
    """Times are milliseconds.

    Attributes:
        user_urls, rule_urls: base URLs of the services, comma-separated. A host name stands for all the addresses that
            it resolves to; it is resolved again at every poll.
        operator_token_file: whoever sends its content as a bearer token may see /replicas.
        behind_proxy: exactly one proxy stands before the gateway and sets X-Forwarded-For and X-Forwarded-Proto.
            Otherwise what a client sends under these names is ignored.
        read_timeout_ms, write_timeout_ms: for a whole call, all tries together.
        user_timeout_ms: how long an answer may wait for owners' names, and a page's call for its renewed cookie.
        breaker_failures: after so many in a row an address is left alone for breaker_reset_ms.
    """

    name: str = "gateway"
    user_urls: BaseUrls
    rule_urls: BaseUrls
    operator_token_file: Path | None = None
    behind_proxy: bool = False
    poll_ms: int = Field(1_000, ge=10, le=5_000)
    connect_timeout_ms: int = Field(1_000, ge=1, le=10_000)
    read_timeout_ms: int = Field(6_000, ge=1, le=60_000)
    write_timeout_ms: int = Field(15_000, ge=1, le=120_000)
    user_timeout_ms: int = Field(500, ge=1, le=10_000)
    breaker_failures: int = Field(5, ge=1)
    breaker_reset_ms: int = Field(2_000, ge=0)

    def operator_token(self) -> str | None:
        """The operators' token; None if there is none. Raises ConfigError."""
        if self.operator_token_file is None:
            return None
        try:
            token = self.operator_token_file.read_text(encoding="ascii").strip()
        except (OSError, ValueError) as error:
            reason = type(error).__name__
            raise ConfigError(f"TODO_OPERATOR_TOKEN_FILE {self.operator_token_file}: {reason}") from error
        if len(token) < 16:
            raise ConfigError(f"TODO_OPERATOR_TOKEN_FILE {self.operator_token_file}: fewer than 16 characters")
        return token
