"""Structured log lines: JSON, or coloured on a terminal; each with the trace id; none with a secret.

Two nets against secrets: values of keys that sound like one are replaced, and what looks like a token or a password
hash is replaced wherever it stands, tracebacks included. Bodies are never handed to a logger at all.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, Literal, TextIO

import structlog
from opentelemetry import trace

REDACTED = "[redacted]"
_SECRET_KEY = re.compile(r"pass(word|wd)?|secret|token|authorization|cookie|hash|credential|body|email", re.I)
_SECRET_TEXT = re.compile(
    r"eyJ[\w-]{8,}\.[\w-]+\.[\w-]*"  # a JWT
    r"|\$argon2\w*\$[^\s'\"]+"
    r"|(?i:bearer|basic)\s+[\w.~+/=-]{8,}"
    r"|(?<=://)[^\s/@:]+:[^\s/@]+(?=@)"  # user:password in a URL
)

EventDict = MutableMapping[str, Any]


def get_logger(**initial: Any) -> structlog.stdlib.BoundLogger:
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("services").bind(**initial)
    return logger


def configure(
    *, name: str, log_format: Literal["json", "console"] | None, level: str = "INFO", stream: TextIO | None = None
) -> None:
    """Route structlog and the standard library's loggers to `stream` (stderr) in one format."""
    stream = stream or sys.stderr
    log_format = log_format or ("console" if stream.isatty() else "json")
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        add_trace,
        _add_name(name),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    render: structlog.typing.Processor = (
        structlog.processors.JSONRenderer() if log_format == "json" else structlog.dev.ConsoleRenderer()
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                redact,
                render,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for noisy in ("urllib3", "werkzeug", "flask-limiter"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def add_trace(_: Any, __: str, event: EventDict) -> EventDict:
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        event["trace_id"] = f"{context.trace_id:032x}"
        event["span_id"] = f"{context.span_id:016x}"
    return event


def redact(_: Any, __: str, event: EventDict) -> EventDict:
    """Replace what sounds like a secret by its key, and what looks like one by its text, at any depth."""
    return {key: _clean(key, value) for key, value in event.items()}


def _clean(key: str, value: Any) -> Any:
    if _SECRET_KEY.search(key):
        return REDACTED
    if isinstance(value, str):
        return _SECRET_TEXT.sub(REDACTED, value)
    if isinstance(value, dict):
        return {k: _clean(str(k), v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_clean("", v) for v in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return _SECRET_TEXT.sub(REDACTED, repr(value))


def _add_name(name: str) -> structlog.typing.Processor:
    def add(_: Any, __: str, event: EventDict) -> EventDict:
        event.setdefault("process", name)
        return event

    return add
