"""One trace id for a request, through every process that it touches (W3C trace context).

Spans are made by the OpenTelemetry instrumentations. Nothing exports them unless a span processor is added to the
provider; the ids are what logs, problems and intent rows need.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from flask import Flask
from opentelemetry import propagate, trace
from opentelemetry.instrumentation.flask import FlaskInstrumentor
from opentelemetry.instrumentation.requests import RequestsInstrumentor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider

if TYPE_CHECKING:
    from sqlalchemy import Engine


def configure(name: str) -> None:
    """Install the tracer and follow outgoing calls of `requests`. Once per process; further calls do nothing."""
    if isinstance(trace.get_tracer_provider(), TracerProvider):
        return
    trace.set_tracer_provider(TracerProvider(resource=Resource.create({"service.name": name})))
    RequestsInstrumentor().instrument()


def instrument(app: Flask) -> None:
    """A span for each request of the application; an incoming traceparent is continued."""
    FlaskInstrumentor().instrument_app(app, enable_commenter=False)


def instrument_engine(engine: Engine) -> None:
    """A span for each statement of the process's engine. The statement's text is in it, its parameters are not."""
    from opentelemetry.instrumentation.sqlalchemy import SQLAlchemyInstrumentor

    instrumentor = SQLAlchemyInstrumentor()
    if not instrumentor.is_instrumented_by_opentelemetry:
        instrumentor.instrument(engine=engine)


def trace_id() -> str:
    """The current trace id, 32 hex digits; a new one outside of any span."""
    context = trace.get_current_span().get_span_context()
    return f"{context.trace_id:032x}" if context.is_valid else secrets.token_hex(16)


def traceparent() -> str | None:
    """The W3C traceparent of the current span, None outside of any."""
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return carrier.get("traceparent")
