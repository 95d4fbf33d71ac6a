"""What operators see: one trace through all processes, logs without secrets, metrics, the state of every replica."""

from __future__ import annotations

import re
import secrets
import uuid
from itertools import chain

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.conftest import ADMIN
from tests.support.people import PASSWORD, Person, call
from tests.support.replicas import wait_for
from tests.support.system import System

SECRET_LOOKING = re.compile(r"eyJ[\w-]{8,}\.[\w-]+\.|\$argon2|PRIVATE KEY|Bearer [\w.-]{8,}")


def test_one_trace_id_leads_from_the_request_to_the_apply_on_every_replica(system: System, ada: Person) -> None:
    trace = secrets.token_hex(16)
    answer = ada.call(
        "POST",
        f"{system.gateway}/rule",
        json={"name": "follow me"},
        headers={"traceparent": f"00-{trace}-{secrets.token_hex(8)}-01"},
    )
    assert answer.status_code == 201
    system.settle("rule")
    origin = answer.headers["X-Replica-Token"].partition("@")[0]

    def events(process: str) -> set[str]:
        return {line["event"] for line in system.log_lines(process) if line.get("trace_id") == trace}

    wait_for(lambda: "request" in events("gateway"), "the gateway has logged the request")
    wait_for(lambda: "request" in events(origin), f"{origin} has logged the request")
    wait_for(lambda: events(f"{origin}-sync") >= {"published", "applied"}, f"{origin}'s sync has logged its entry")
    for replica in system.replicas("rule"):
        wait_for(lambda r=replica: "applied" in events(f"{r}-sync"), f"{replica}'s sync has logged it")  # type: ignore[misc]


def test_an_errors_trace_id_finds_its_log_lines(system: System, ada: Person) -> None:
    problem = ada.call("PATCH", f"{system.gateway}/rule/{uuid.uuid4()}", json={"name": "x"})
    assert problem.status_code == 404
    trace = problem.json()["traceId"]

    def processes() -> set[str]:
        names = ("gateway", *system.replicas("rule"))
        return {n for n in names for line in system.log_lines(n) if line.get("trace_id") == trace}

    wait_for(lambda: "gateway" in processes() and len(processes()) == 2, "gateway and service have logged it")


def test_no_log_file_of_a_whole_session_holds_a_secret(system: System) -> None:
    gateway, name = system.gateway, f"quiet-{uuid.uuid4().hex[:8]}"
    hidden = {what: f"{what}-{secrets.token_hex(12)}" for what in ("password", "wrong", "junk", "idempotency")}
    email = f"{secrets.token_hex(8)}@example.org"
    me = {"userName": name, "password": hidden["password"]}
    page = requests.Session()
    page.trust_env = False
    page.post(f"{gateway}/api/register", json=me, timeout=30)
    assert page.post(f"{gateway}/api/login/account", json=me, timeout=30).json()["status"] == "ok"
    page.post(f"{gateway}/api/rule", json={"name": "mine"}, timeout=30)
    page.get(f"{gateway}/api/rule", timeout=30)
    seen = {cookie.value for cookie in page.cookies if cookie.name in {"jwtToken", "session"} and cookie.value}
    assert seen
    for path, body in (
        ("/api/login/account", {**me, "password": hidden["wrong"]}),
        ("/user/session", {"name": name, "password": hidden["wrong"]}),
        ("/user/session", {"name": name, "password": hidden["password"], hidden["junk"]: 1}),
        ("/user", {"name": name, "password": hidden["password"]}),
        ("/user", {"name": name, "password": 1, "email": email}),
    ):
        call("POST", gateway + path, json=body)
    person = Person(gateway, password=hidden["password"])
    answer = person.sign_in(gateway)
    seen |= {person.access, answer.cookies["session"], system.operator_token}
    changed = person.call("PATCH", f"{gateway}/user/me", json={"email": email})
    assert changed.status_code == 200, changed.text
    call("POST", f"{gateway}/user/session/refresh", cookies={"session": answer.cookies["session"]})
    call("GET", f"{gateway}/rule", headers={"Authorization": f"Bearer {hidden['junk']}"})
    call("GET", f"{gateway}/rule", cookies={"jwtToken": hidden["junk"], "session": hidden["junk"]})
    person.call("POST", f"{gateway}/rule", json={"name": "x"}, headers={"Idempotency-Key": hidden["idempotency"]})
    call("GET", f"{gateway}/replicas", headers={"Authorization": f"Bearer {system.operator_token}"})
    page.get(f"{gateway}/api/login/outLogin", timeout=30)
    system.compare_replicas()

    files = [*(system.directory / "logs").iterdir()]
    assert len(files) == 11
    for file in files:
        text = file.read_text()
        for secret in chain(hidden.values(), seen, (email, PASSWORD)):
            assert secret not in text, f"{file.name} has a secret in the line {_line(text, secret)}"
        found = SECRET_LOOKING.search(text)
        assert found is None, f"{file.name} has what looks like a secret: {_line(text, found[0])}"


def _line(text: str, part: str) -> str:
    return next(line for line in text.splitlines() if part in line)


def test_every_process_answers_for_itself(system: System) -> None:
    replicas = [*system.replicas("user"), *system.replicas("rule")]
    urls = [system.gateway, *map(system.api, replicas), *map(system.sync, replicas)]
    assert len(urls) == 11
    for url in urls:
        assert call("GET", f"{url}/healthz").json() == {"alive": True}
        assert call("GET", f"{url}/readyz").json() == {"ready": True, "reason": None}
        metrics = call("GET", f"{url}/metrics")
        assert metrics.status_code == 200
        families = {family.name for family in text_string_to_metric_families(metrics.text)}
        assert families & {"http_request_duration_seconds", "samebase_offset"}, url


def test_operators_see_every_replica_and_nobody_else_does(system: System, ada: Person) -> None:
    told = call("GET", f"{system.gateway}/replicas", headers={"Authorization": f"Bearer {system.operator_token}"})
    assert told.status_code == 200
    for service in ("user", "rule"):
        shown = {entry["status"]["name"]: entry for entry in told.json()[service]}
        assert set(shown) == set(system.replicas(service))
        for name, entry in shown.items():
            assert entry["health"] == "ready"
            assert entry["status"]["sync"]["origin"] == system.status(name)["origin"]
    assert call("GET", f"{system.gateway}/replicas").status_code == 401
    assert ada.call("GET", f"{system.gateway}/replicas").status_code == 403


def test_an_admin_is_an_operator(system: System) -> None:
    assert Person(system.gateway, ADMIN).call("GET", f"{system.gateway}/replicas").status_code == 200


@pytest.mark.parametrize("path", ["/status", "/internal/users", "/internal/session/renew"])
def test_what_replicas_keep_to_themselves_is_not_reached_through_the_gateway(
    system: System, ada: Person, path: str
) -> None:
    for prefix in ("", "/rule", "/user"):
        assert ada.call("GET", system.gateway + prefix + path).status_code in {404, 405}
        assert ada.call("POST", system.gateway + prefix + path, json={}).status_code in {404, 405}
