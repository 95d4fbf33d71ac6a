"""/healthz, /readyz, /status, /metrics: what operators see."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.services import Api, ServiceName, access_token, make_api


@pytest.fixture(params=["rule", "user"])
def api(request: pytest.FixtureRequest, rule: Api, user: Api) -> Api:
    return {"rule": rule, "user": user}[request.param]


def test_a_process_that_answers_is_alive_whatever_sync_does(api: Api) -> None:
    api.sync.down = True
    response = api.client.get("/healthz")
    assert (response.status_code, response.get_json()) == (200, {"alive": True})


def test_a_replica_is_ready_when_its_sync_is(api: Api) -> None:
    response = api.client.get("/readyz")
    assert (response.status_code, response.get_json()) == (200, {"ready": True, "reason": None})


@pytest.mark.parametrize("service", ["rule", "user"])
def test_a_process_with_a_drain_file_is_alive_and_not_ready(service: ServiceName, tmp_path: Path) -> None:
    api = make_api(service, tmp_path, drain_file=tmp_path / "drain")
    assert api.client.get("/readyz").status_code == 200
    (tmp_path / "drain").touch()
    response = api.client.get("/readyz")
    assert (response.status_code, response.get_json()["reason"]) == (503, "it is about to be stopped")
    assert api.client.get("/healthz").status_code == 200


@pytest.mark.parametrize("state", ["starting", "catching-up", "paused", "stopped"])
def test_a_replica_whose_sync_is_not_ready_says_why(api: Api, state: str) -> None:
    api.sync.state = state
    response = api.client.get("/readyz")
    assert response.status_code == 503
    assert response.get_json()["ready"] is False
    assert state in response.get_json()["reason"]
    assert "the test says so" in response.get_json()["reason"]
    assert int(response.headers["Retry-After"]) >= 1


def test_a_replica_whose_sync_is_away_is_not_ready(api: Api) -> None:
    api.sync.down = True
    assert api.client.get("/readyz").status_code == 503
    status = api.client.get("/status").get_json()
    assert status["sync"]["state"] == "unreachable"


def test_status_has_the_status_of_sync(api: Api) -> None:
    status = api.client.get("/status").get_json()
    assert status["name"].startswith(status["service"])
    assert status["sync"]["state"] == "ready"


def test_metrics_are_by_route_template_and_outcome(rule: Api, ada: dict[str, str]) -> None:
    def value(line: str) -> float:
        text = rule.client.get("/metrics").text
        return next((float(found.rpartition(" ")[2]) for found in text.splitlines() if found.startswith(line)), 0.0)

    reads = 'http_request_duration_seconds_count{method="GET",route="/rule/<uuid:key>",service="rule",status="200"}'
    writes = 'replicated_writes_total{service="rule",told="pending"}'
    nothing = 'http_request_duration_seconds_count{method="(other)",route="(none)",service="rule",status="404"}'
    before = [value(line) for line in (reads, writes, nothing)]
    rule.sync.stall()
    item = rule.client.post("/rule", json={"name": "milk"}, headers=ada).headers["Location"]
    rule.client.get(item, headers=ada)
    rule.client.open("/a-path-of-my-own", method="BREW")
    after = [value(line) for line in (reads, writes, nothing)]
    assert [b - a for a, b in zip(before, after, strict=True)] == [1, 1, 1]
    assert "a-path-of-my-own" not in rule.client.get("/metrics").text


WORKER = """
import sys
from pathlib import Path
from tests.support.services import make_api
api = make_api("rule", Path(sys.argv[1]))
api.client.get("/rule", headers={"Authorization": sys.argv[2]})
print(api.client.get("/metrics").text)
"""


def test_metrics_of_several_worker_processes_add_up(tmp_path: Path) -> None:
    (tmp_path / "metrics").mkdir()
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path / "metrics")}
    command = [sys.executable, "-c", WORKER, str(tmp_path), access_token()["Authorization"]]
    for expected in (1, 2):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
        line = 'http_request_duration_seconds_count{method="GET",route="/rule",service="rule",status="401"} '
        assert line + f"{expected}.0" in done.stdout
