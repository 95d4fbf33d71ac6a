"""The gateway: one address for the services, whichever of their replicas are up, and the protocol of list pages.

What it forwards is on a list (see `rest`): nothing that the services keep for operators or for each other can be
reached through it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from flask import Flask, Response, g, jsonify, request

from services.common import config, errors, health, web
from services.common.auth import Verifier
from services.common.errors import Problem
from services.gateway import account, openapi, operations, page, rest
from services.gateway.caller import Unanswered
from services.gateway.config import GatewaySettings
from services.gateway.replicas import Resolver
from services.gateway.runtime import Runtime

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_CLIENTS_MAY_NOT_SAY = ("HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_PROTO", "HTTP_FORWARDED")


def create_app(settings: GatewaySettings | None = None, resolver: Resolver | None = None) -> Flask:
    """The WSGI application. Nothing connects before the first request.

    Args:
        settings: default: from the environment.
        resolver: looks up host names, default: the system's.

    Raises:
        ConfigError
    """
    settings = settings or config.load(GatewaySettings)
    app = web.make_app(settings, service="gateway", title="Samebase gateway", render=_render)
    runtime = Runtime(settings, resolver)
    verifier = Verifier(settings.public_keys_file)
    document = openapi.Document(runtime.caller)
    app.extensions["gateway"] = runtime

    @app.before_request
    def prepare() -> None:
        if request.endpoint != "healthz":
            runtime.start()
        if len(request.get_data()) > web.MAX_BODY_BYTES:  # chunked: its length is known only now
            raise Problem("too-large", f"The body has more than {web.MAX_BODY_BYTES} bytes.")
        if _is_page() and request.method not in _SAFE:
            page.check_origin()

    @app.after_request
    def finish(response: Response) -> Response:
        return g.visit.finish(response) if "visit" in g else response

    app.register_error_handler(Unanswered, lambda error: _render(error.problem()))
    health.install(app, settings, runtime.not_ready)
    app.view_functions["openapi"] = lambda: jsonify(document.get())
    for blueprint in (
        page.blueprint(runtime, verifier),
        account.blueprint(runtime, verifier),
        operations.blueprint(runtime, verifier),
        rest.blueprint(runtime),
    ):
        app.register_blueprint(blueprint)
    if not settings.behind_proxy:
        app.wsgi_app = _deaf_to_forwarded(app.wsgi_app)  # type: ignore[method-assign]
    return app


def _is_page() -> bool:
    return request.path == "/api" or request.path.startswith("/api/") or request.path == "/user/register"


def _render(problem: Problem) -> Response:
    return page.render(problem) if _is_page() else errors.problem_response(problem)


def _deaf_to_forwarded(application: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
    """Without a proxy in front, whoever sets these headers is a client that makes them up."""

    def wrapped(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        for name in _CLIENTS_MAY_NOT_SAY:
            environ.pop(name, None)
        return application(environ, start_response)

    return wrapped
