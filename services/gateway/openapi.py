"""The OpenAPI document: what the services say of their public paths, and the gateway's own."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from typing import Any

from services.common.errors import Problem
from services.gateway.caller import Caller, Unanswered
from services.gateway.exchange import Call
from services.gateway.openapi_page import COMPONENTS, PATHS

PUBLIC = ("/user", "/rule")
_KEEP_SECONDS = 60.0


class Document:
    """The merged document, kept for a minute: a rolling deployment changes it."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._lock = threading.Lock()
        self._kept: tuple[float, dict[str, Any]] | None = None

    def get(self) -> dict[str, Any]:
        """Raises Problem 503 if a service does not answer and none is kept."""
        with self._lock:
            kept = self._kept
        if kept is not None and time.monotonic() - kept[0] < _KEEP_SECONDS:
            return kept[1]
        document = merged({service: self._of(service) for service in ("user", "rule")})
        with self._lock:
            self._kept = (time.monotonic(), document)
        return document

    def _of(self, service: str) -> dict[str, Any]:
        try:
            answer = self._caller.send(Call(service, "GET", "/openapi.json"))
        except Unanswered as error:
            raise error.problem() from error
        document = answer.json()
        if not answer.ok or not isinstance(document, dict):
            raise Problem("unavailable", f"The service '{service}' has no OpenAPI document for now.")
        return document


def merged(documents: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """One document for the public paths of all services.

    A component that two services define differently gets the service's name in front in the later one, and so do the
    references to it.
    """
    paths: dict[str, Any] = {}
    components: dict[str, dict[str, Any]] = {section: dict(content) for section, content in COMPONENTS.items()}
    for service, document in documents.items():
        renamed: dict[str, str] = {}
        for section, content in document.get("components", {}).items():
            known = components.setdefault(section, {})
            for name, component in content.items():
                if name in known and known[name] != component:
                    new = f"{service.capitalize()}{name}"
                    renamed[f"#/components/{section}/{name}"] = f"#/components/{section}/{new}"
        public = {path: item for path, item in document.get("paths", {}).items() if _is_public(path)}
        own = _renamed({"paths": public, "components": document.get("components", {})}, renamed)
        paths.update(own["paths"])
        for section, content in own["components"].items():
            for name, component in content.items():
                ref = renamed.get(f"#/components/{section}/{name}")
                components[section][ref.rsplit("/", 1)[1] if ref else name] = component
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Samebase",
            "version": "1.0.0",
            "description": "The REST face of the services, and the protocol of list pages under /api.",
        },
        "paths": paths | PATHS,
        "components": components,
    }


def _is_public(path: str) -> bool:
    return any(path == prefix or path.startswith(prefix + "/") for prefix in PUBLIC)


def _renamed(node: Any, names: Mapping[str, str]) -> Any:
    """A copy with references replaced."""
    text = json.dumps(node)
    for old, new in names.items():
        text = text.replace(json.dumps(old), json.dumps(new))
    return json.loads(text)
