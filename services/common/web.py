"""A Flask application that reads strictly: what is not understood is refused, by name, with a problem document.

Request models derive from `Body`, `Query` and `Headers`; views take them as arguments named `body`, `query`, `header`,
`path` (flask-openapi3). The same models make the OpenAPI document.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Self

import flask
from flask import Response, request
from flask_openapi3 import APIBlueprint, Info, OpenAPI
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel
from pydantic_core import ErrorDetails
from werkzeug.exceptions import MethodNotAllowed
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.routing import BaseConverter

from services.common import errors, logs, metrics, tracing
from services.common.config import Settings
from services.common.errors import Problem, invalid

MAX_BODY_BYTES = 1024 * 1024
DISCARDED_BODY_BYTES = 16 * MAX_BODY_BYTES
"""Of a body that is too large, so much is read and thrown away; whoever sends more loses the connection."""


class Request(flask.Request):
    """Reads JSON as the API promises; flask-openapi3 calls `get_json` for the body of a view."""

    # Werkzeug cuts a body without a declared length at its limit, silently: one byte more tells that it was too long.
    max_content_length = MAX_BODY_BYTES + 1

    def get_json(self, force: bool = False, silent: bool = False, cache: bool = True) -> Any:  # noqa: ARG002
        # `silent` is what flask-openapi3 passes; a body that cannot be read must not pass for an absent one.
        return read_json(self)


def read_json(source: flask.Request) -> dict[str, Any]:
    """The body as a JSON object. Raises Problem: 415 another type, 413 too large, 400 not JSON, 422 not an object."""
    data = source.get_data()
    if len(data) > MAX_BODY_BYTES:
        raise _too_large()
    if not data and not source.content_type:
        raise Problem("malformed", "The body is missing; send a JSON object.")
    charset = source.mimetype_params.get("charset", "utf-8").lower()
    if source.mimetype != "application/json" or charset not in {"utf-8", "utf8"}:
        raise Problem("unsupported-media-type", "Send the body as application/json in UTF-8.")
    try:
        document = json.loads(data.decode("utf-8"), parse_constant=_refuse_constant)
        json.dumps(document, ensure_ascii=False).encode("utf-8")  # finds lone surrogates
    except (ValueError, RecursionError) as error:
        raise Problem("malformed", "The body is not JSON in UTF-8.") from error
    if not isinstance(document, dict):
        raise invalid([{"pointer": "#", "detail": "must be an object"}])
    return document


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


class Body(BaseModel):
    """A request body: nothing is converted, unknown fields are refused, JSON names are camelCase."""

    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        alias_generator=to_camel,
        frozen=True,
        hide_input_in_errors=True,
    )

    @classmethod
    def model_validate(cls, obj: Any, **options: Any) -> Self:
        try:
            return super().model_validate(obj, **options)
        except ValidationError as error:
            raise invalid([{"detail": say(e), "pointer": pointer(e["loc"])} for e in error.errors()]) from error

    def given(self) -> dict[str, Any]:
        """The fields that the caller sent, by their Python names."""
        return {name: getattr(self, name) for name in self.model_fields_set}


class _Parameters(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, frozen=True, hide_input_in_errors=True)

    @classmethod
    @functools.cache  # flask-openapi3 asks for it at every request
    def model_json_schema(cls, *arguments: Any, **options: Any) -> dict[str, Any]:
        return super().model_json_schema(*arguments, **options)

    @classmethod
    def model_validate(cls, obj: Any, **options: Any) -> Self:
        try:
            return super().model_validate(obj, **options)
        except ValidationError as error:
            raise invalid([{"detail": say(e), "parameter": str(e["loc"][0])} for e in error.errors()]) from error


class Query(_Parameters):
    """Query parameters: unknown ones are refused, and so is a single one given twice."""

    model_config = ConfigDict(extra="forbid")

    @classmethod
    def model_validate(cls, obj: Any, **options: Any) -> Self:
        lists = {name for name, value in obj.items() if isinstance(value, list)}
        for name in request.args:
            if name not in lists and len(request.args.getlist(name)) > 1:
                raise invalid([{"parameter": name, "detail": "is given more than once"}])
        return super().model_validate(obj, **options)


class Headers(_Parameters):
    """Request headers that a view reads; all others are none of its business."""

    model_config = ConfigDict(extra="ignore")


class Path(BaseModel):
    """Path parameters. Their form is checked by the route's converter, so that a malformed one is 404."""


class Answer(BaseModel):
    """A response body; JSON names are camelCase."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


def _drop_default(schema: dict[str, Any]) -> None:
    schema.pop("default", None)


def absent(**options: Any) -> Any:
    """A field that may be missing but not null. Its attribute is None then, whatever its annotation says: an optional
    annotation would let null in."""
    return Field(None, json_schema_extra=_drop_default, **options)


def _whole_number(value: Any) -> Any:
    # int() would take "1_0", " 1" and digits of other scripts
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
        return int(value)
    raise ValueError("must be a whole number")


QueryInt = Annotated[int, BeforeValidator(_whole_number)]


def pointer(location: Sequence[str | int]) -> str:
    """JSON pointer in its URI fragment form."""
    return "#" + "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in location)


def say(error: ErrorDetails) -> str:
    """A sentence for a person; never the value itself."""
    if error["type"] == "extra_forbidden":
        return "is unknown"
    if error["type"] == "missing":
        return "is missing"
    return error["msg"].removeprefix("Value error, ")


class UuidConverter(BaseConverter):
    """A UUID in its canonical form."""

    regex = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"


UUID_PATTERN = f"^{UuidConverter.regex}$"


def reply(document: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON answer."""
    response = flask.jsonify(document)
    response.status_code = status
    response.headers.update(headers or {})
    return response


def no_content(status: int = 204, headers: Mapping[str, str] | None = None) -> Response:
    """An answer without a body, and so without a content type."""
    response = Response(status=status, headers=dict(headers or {}))
    del response.headers["Content-Type"]
    return response


class ProblemDocument(BaseModel):
    """application/problem+json, RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
    traceId: str


class _Service(OpenAPI):
    request_class = Request

    def register_api(self, api: APIBlueprint, **options: Any) -> None:
        # Two blueprints may serve one path with different methods; by itself the later one's entry would win.
        for path, entry in api.paths.items():
            if earlier := self.paths.get(path):
                for method in earlier.model_fields_set - entry.model_fields_set:
                    setattr(entry, method, getattr(earlier, method))
        super().register_api(api, **options)


def problem_responses(*statuses: int) -> dict[int | str, Any]:
    """Documents the error answers of an operation, for flask-openapi3."""
    schema = {"$ref": "#/components/schemas/ProblemDocument"}
    return {status: {"content": {errors.MEDIA_TYPE: {"schema": schema}}} for status in statuses}


def make_app(
    settings: Settings,
    *,
    service: str,
    title: str,
    description: str = "",
    render: Callable[[Problem], Response] = errors.problem_response,
) -> OpenAPI:
    """An application with everything that api.md says of every call; the caller registers its blueprints.

    Args:
        service: label in metrics: user, rule or gateway.
        render: writes a Problem as a response.
    """
    logs.configure(name=settings.name, log_format=settings.log_format, level=settings.log_level)
    tracing.configure(service)
    app = _Service(
        f"services.{service}",
        info=Info(title=title, version="1.0.0", description=description),
        security_schemes={"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        validation_error_model=ProblemDocument,
        doc_ui=False,
        static_folder=None,
    )
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.json.ensure_ascii = False  # type: ignore[attr-defined]
    app.json.compact = True  # type: ignore[attr-defined]
    app.url_map.merge_slashes = False
    app.url_map.converters["uuid"] = UuidConverter
    tracing.instrument(app)
    metrics.install(app, service)
    errors.install(app, render)
    app.before_request(_before)
    app.after_request(_read_the_rest)
    app.add_url_rule("/openapi.json", endpoint="openapi", view_func=lambda: app.api_doc)
    # One trusted hop: the gateway appends the address and the scheme it saw.
    app.wsgi_app = ProxyFix(app.wsgi_app, x_for=1, x_proto=1)  # type: ignore[method-assign]
    return app


def _too_large() -> Problem:
    return Problem("too-large", f"The body has more than {MAX_BODY_BYTES} bytes.")


def _read_the_rest(response: Response) -> Response:
    """Read what is left of a body that was refused: else the server closes the connection, though it said keep-alive,
    and the caller's next request on it is lost."""
    rest = request.environ["wsgi.input"]
    left = DISCARDED_BODY_BYTES if request.content_length or "HTTP_TRANSFER_ENCODING" in request.environ else 0
    while left > 0 and (chunk := rest.read(min(left, 65_536))):
        left -= len(chunk)
    return response


def _before() -> Response | None:
    if (request.content_length or 0) > MAX_BODY_BYTES:
        raise _too_large()
    if request.method == "OPTIONS" and isinstance(request.routing_exception, MethodNotAllowed):
        return no_content(headers={"Allow": errors.allow(request.routing_exception)})
    return None
