"""Drives a service's api with what its OpenAPI document allows, and with what it forbids."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from typing import Any

import schemathesis
from schemathesis.config import SchemathesisConfig

from tests.support.services import Api

_KEY = re.compile(r"[\x21-\x7e]{1,200}")


def loaded(api: Api) -> Any:
    """The schema that the api publishes, with a bounded number of reproducible examples."""
    config = SchemathesisConfig.from_dict(
        {
            "seed": 1,
            "generation": {"max-examples": 40, "deterministic": True},
            # A valid If-Match that does not hold is an answer like any other.
            "checks": {"positive_data_acceptance": {"expected-statuses": ["2xx", "3xx", 401, 404, 409, 412, 429]}},
        }
    )
    return schemathesis.openapi.from_wsgi("/openapi.json", api.app, config=config)


def drive(case: Any, headers: dict[str, str], existing: Callable[[], str] | None = None) -> None:
    """Make the call and check the answer against the document: status, media type, schema, and no 5xx.

    Args:
        existing: key of a thing that exists, for paths with a valid key in them.
    """
    key = (case.headers or {}).get("Idempotency-Key")
    if isinstance(key, str) and _KEY.fullmatch(key):
        # Random keys are short and repeat; with another body that is an error, and rightly so.
        case.headers["Idempotency-Key"] = uuid.uuid4().hex
    for name, value in (case.path_parameters or {}).items():
        if existing is not None and _is_uuid(value):
            case.path_parameters[name] = existing()
    if isinstance(case.body, dict):
        # JSON Schema calls 3.0 an integer, this API does not.
        case.body = {name: int(v) if isinstance(v, float) and v.is_integer() else v for name, v in case.body.items()}
    case.call_and_validate(headers=headers)


def _is_uuid(value: object) -> bool:
    try:
        return str(uuid.UUID(str(value))) == value
    except ValueError:
        return False
