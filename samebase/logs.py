"""Structured log lines of the sync process: JSON, or coloured on a terminal.

No line holds a row's values: what is replicated may be secret. Lines about one transaction carry the trace id of the
request that wrote it, so that one id leads from the HTTP request to the apply on every replica.
"""

from __future__ import annotations

import logging
import sys
from typing import Any, Literal

import structlog


def get_logger() -> Any:
    return structlog.get_logger("samebase")


def configure(name: str, log_format: Literal["json", "console"] | None, level: str) -> None:
    """Write lines to stderr; `log_format` None means console on a terminal and JSON elsewhere."""
    on_terminal = sys.stderr.isatty() if log_format is None else log_format == "console"
    render: structlog.typing.Processor = (
        # Not the default traceback: it shows local variables, and with them rows.
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
        if on_terminal
        else structlog.processors.JSONRenderer()
    )
    shared: list[Any] = [
        _named(name),
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if not on_terminal:
        shared.append(structlog.processors.format_exc_info)
    structlog.configure(
        processors=[*shared, render],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level)),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    # What libraries say goes the same way.
    formatter = structlog.stdlib.ProcessorFormatter(processor=render, foreign_pre_chain=shared)
    handler = logging.StreamHandler()
    handler.setFormatter(formatter)
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)


def _named(name: str) -> structlog.typing.Processor:
    def add(_: Any, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        event["process"] = name
        return event

    return add


def note(traceparent: str | None, event: str, **values: Any) -> None:
    """One line about a transaction. Transactions without a trace context are too many and too anonymous to be told."""
    if traceparent is not None:
        _, trace_id, *_ = [*traceparent.split("-"), ""]
        get_logger().info(event, trace_id=trace_id, **values)
